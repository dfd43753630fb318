"""What a benchmark found, as words, rows, a figure and files."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import method_title
from captum_guided_ext.evaluation._records import ScoredImage, SkippedImage
from captum_guided_ext.evaluation._rows import COLUMNS, ScoreRow
from captum_guided_ext.evaluation._summary import SummaryLine
from captum_guided_ext.output import (
    Estimate,
    EstimatePanel,
    Result,
    Table,
    counted,
    draw_estimates,
    markdown_table,
    number,
    percent,
    png,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

_NOTES = 3  # shown of what the methods warned of


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """What :func:`benchmark` found.

    Attributes:
        rows: The scores, sorted by image, method and metric.
        summary: A line for each metric and method, the best first.
        images: The name, the class explained and the object's area of each image, by number.
        skipped: The images that could not be read.
        notes: What the methods warned of, and in how many batches.
        object_area: The mean share of the picture that the object covers, which is what a map
            without direction would score in relevance_mass; None without masks.
        folder: Where it is on disk.
        settings: All that decides the rows, and how many processes there were.
        threads: How many threads the first process had.
    """

    rows: tuple[ScoreRow, ...]
    summary: tuple[SummaryLine, ...]
    images: Mapping[int, ScoredImage]
    skipped: tuple[SkippedImage, ...]
    notes: Mapping[str, int]
    object_area: float | None
    folder: Path
    settings: Mapping[str, Any]
    threads: int

    def __str__(self) -> str:
        """Return the summary's tables, and how to read them."""
        paragraphs = [summary_tables(self.summary), *map(wrapped, _paragraphs(self))]
        files = "scores.csv, summary.csv, summary.json and summary.png"
        return "\n\n".join([*paragraphs, f"{files} are in {self.folder}"])

    def to_dict(self) -> dict[str, Any]:
        """Return the summary with its settings; the rows are in :meth:`to_pandas`."""
        return {
            "summary": [dataclasses.asdict(line) for line in self.summary],
            "settings": dict(self.settings),
            "skipped": [one._asdict() for one in self.skipped],
            "notes": dict(self.notes),
            "object_area": self.object_area,
            "threads": self.threads,
        }

    def plot(self) -> Figure:
        """Draw the mean of each method with its interval, one panel per metric."""
        return _draw(self.summary)

    def _headline(self) -> str:
        metrics = dict.fromkeys(line.metric for line in self.summary)
        methods = counted(len({line.method for line in self.summary}), "method")
        return f"{methods} on {counted(len(self.images), 'image')}: {', '.join(metrics)}"

    def _table(self) -> Table:
        rows = [dataclasses.asdict(row) | self.images[row.image]._asdict() for row in self.rows]
        return Table((*COLUMNS[:-1], *ScoredImage._fields[:3], COLUMNS[-1]), rows, COLUMNS[4:])

    def _files(self) -> dict[str, bytes]:
        lines = [dataclasses.asdict(line) for line in self.summary]
        columns = tuple(column.name for column in dataclasses.fields(SummaryLine))
        return {
            "scores.csv": self.to_csv().encode(),
            "summary.csv": Table(columns, lines).to_csv().encode(),
            "summary.json": json.dumps(self.to_dict(), indent=2).encode(),
            "summary.png": png(self.plot()),
        }


def _paragraphs(found: Benchmark) -> Iterator[Iterable[str]]:
    yield _reading(found)
    if missing := {line.method: line.reason for line in found.summary if line.reason}:
        yield [f"{method} has no score: {why}" for method, why in missing.items()]
    if notes := [
        f"{note} ({count} batch{'es' if count > 1 else ''})" for note, count in found.notes.items()
    ]:
        left = len(notes) - _NOTES
        yield notes[:_NOTES] + ([f"and {left} notes more, in summary.json"] if left > 0 else [])
    if found.skipped:
        yield [
            f"skipped {len(found.skipped)} that could not be read:",
            *(f"  {one.name}: {one.reason}" for one in found.skipped),
        ]


def _reading(found: Benchmark) -> Iterable[str]:
    metrics = {line.metric for line in found.summary}
    if found.object_area is not None and "relevance_mass" in metrics:
        yield (
            f"the object covers {percent(found.object_area)} of the picture: a map that is the "
            "same everywhere has that relevance_mass"
        )
    if any(metric.startswith("infidelity") for metric in metrics):
        yield (
            "infidelity after the scaling that suits each map best; Grad-CAM's is of its map laid "
            "over the picture, one number for all channels"
        )
    yield (
        "intervals: 95 %, by resampling the images. Methods whose intervals overlap share ranks: "
        "none of them is called better"
    )


def summary_tables(lines: Iterable[SummaryLine]) -> str:
    """Return the summary for a terminal, a table for each metric."""
    tables: dict[str, list[tuple[Any, ...]]] = {}
    for line in lines:
        better = "higher" if line.higher_is_better else "lower"
        ranks = "" if line.rank is None else str(line.rank)
        if line.last_rank != line.rank:
            ranks += f" to {line.last_rank}"
        title = f"{line.metric} ({better} is better)"
        tables.setdefault(title, []).append(
            (
                line.method,
                None if line.mean is None else number(line.mean),
                _interval(line.ci_low, line.ci_high),
                None if line.difference is None else number(line.difference),
                _interval(line.difference_ci_low, line.difference_ci_high),
                ranks,
                counted(line.images, "image"),
            )
        )
    columns = ("method", "mean", "95 % interval", "less the best", "95 % interval", "rank", "over")
    return "\n\n".join(
        f"{title}\n{markdown_table(columns, rows)}" for title, rows in tables.items()
    )


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _draw(lines: Sequence[SummaryLine]) -> Figure:
    """Draw the mean of each method with its interval, one panel per metric, best on top."""
    panels = []
    for metric in dict.fromkeys(line.metric for line in lines):
        shown = [line for line in lines if line.metric == metric and line.mean is not None]
        better = "higher" if shown and shown[0].higher_is_better else "lower"
        images = max((line.images for line in shown), default=0)
        panels.append(
            EstimatePanel(
                metric.replace("_", " "),
                f"mean over {images} images\n{better} is better",
                [
                    Estimate(method_title(one.method), one.mean, one.ci_low, one.ci_high)
                    for one in shown
                    if one.mean is not None
                ],
            )
        )
    return draw_estimates(panels, caption="lines: 95 % bootstrap intervals over the images")
