"""What a benchmark found, as words, rows, a figure and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import method_title
from captum_guided_ext.benchmarking._summary import SummaryLine
from captum_guided_ext.evaluation import COLUMNS, ScoreRow
from captum_guided_ext.output import (
    Estimate,
    EstimatePanel,
    Result,
    Table,
    counted,
    draw_estimates,
    number,
    percent,
    png,
    wrapped,
    write_files,
)
from captum_guided_ext.sampling import FEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

    from captum_guided_ext.benchmarking._records import ScoredImage, SkippedImage
    from captum_guided_ext.benchmarking._scores import Scores

_NOTES = 3  # shown of what the methods warned of
_SKIPPED = 20  # shown of the images that were left out
_PIECE = 2**20  # bytes read at a time
_OF_THE_IMAGE = ("name", "target", "object_area")


@dataclass(frozen=True, repr=False)
class Benchmark(Result):
    """What :func:`benchmark` found, or :func:`summarize` read.

    Attributes:
        scores: The scores, in columns.
        summary: A line for each metric and method, the best first.
        images: The name, the class explained and the object's area of each image, by number.
        skipped: The images that have no scores.
        notes: What the methods warned of, and in how many batches.
        object_area: The mean share of the picture that the object covers, where there is one,
            which is what a map without direction would score in relevance_mass; None without masks.
        folder: Where it is on disk.
        settings: All that decides the rows, and how many processes there were.
        threads: How many threads the first process had.
        level: What several runs that were put together differ in, "seeds" or "weights"; empty for
            one run.
    """

    scores: Scores
    summary: tuple[SummaryLine, ...]
    images: Mapping[int, ScoredImage]
    skipped: tuple[SkippedImage, ...]
    notes: Mapping[str, int]
    object_area: float | None
    folder: Path
    settings: Mapping[str, Any]
    threads: int
    level: str = ""

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """The scores as objects, sorted by image, method and metric."""
        return tuple(self.scores.rows())

    def __str__(self) -> str:
        """Return the summary's tables, and how to read them."""
        tables = summary_tables(self.summary, self.level) or "no image has scores"
        return "\n\n".join([tables, *map(wrapped, _paragraphs(self))])

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

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows as a Parquet file.

        Raises:
            ImportError: if pyarrow is not installed.
        """
        self._table().to_parquet(Path(path))

    def plot(self) -> Figure:
        """Draw the mean of each method, and how it differs from the best; a panel a metric."""
        return _draw(self.summary)

    def _headline(self) -> str:
        metrics = dict.fromkeys(line.metric for line in self.summary)
        methods = counted(
            len({line.method for line in self.summary if not line.is_floor}), "method"
        )
        return f"{methods} on {counted(len(self.images), 'image')}: {', '.join(metrics)}"

    def _table(self) -> Table:
        def blocks() -> Iterator[dict[str, list[Any]]]:
            for block in self.scores.blocks():
                images = [self.images[image] for image in block["image"]]
                known = {name: [getattr(one, name) for one in images] for name in _OF_THE_IMAGE}
                yield block | known

        return Table((*COLUMNS[:-1], *_OF_THE_IMAGE, COLUMNS[-1]), blocks, COLUMNS[4:])

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write it to a folder, as every result; rows that are there already are not written again.

        Args:
            folder: Where to. Files of these names that are there are replaced.

        Returns:
            The files.

        Raises:
            DataError: if the folder cannot be written to.
        """
        folder, files = Path(folder), dict(self._files())
        names = tuple(files)
        checksum = _checksum_of_rows(folder, self._digest_of_rows())
        if checksum is not None:
            del files["scores.csv"]
            files["summary.json"] = self._told(checksum)
        write_files(folder, files)
        return tuple(folder / name for name in names)

    def _files(self) -> dict[str, bytes | Iterable[bytes]]:
        lines = [dataclasses.asdict(line) for line in self.summary]
        columns = tuple(column.name for column in dataclasses.fields(SummaryLine))
        checksum = 0

        def rows() -> Iterator[bytes]:
            nonlocal checksum
            for piece in self._table().csv():
                checksum = zlib.crc32(piece, checksum)
                yield piece

        def told() -> Iterator[bytes]:  # asked for when the rows are written
            yield self._told(checksum)

        return {
            "scores.csv": rows(),
            "summary.csv": Table.of_rows(columns, lines).to_csv().encode(),
            "summary.json": told(),
            "summary.png": png(self.plot()),
        }

    def _digest_of_rows(self) -> str:
        """Return what changes when a row does, or what it says of its image."""
        found = hashlib.blake2b(self.scores.digest().encode(), digest_size=8)
        for one in self.images.values():
            found.update(repr([getattr(one, name) for name in _OF_THE_IMAGE]).encode())
        return found.hexdigest()

    def _told(self, checksum: int) -> bytes:
        of_rows = {"digest": self._digest_of_rows(), "crc32": checksum}
        return json.dumps(self.to_dict() | {"scores.csv": of_rows}, indent=2).encode()


def _checksum_of_rows(folder: Path, digest: str) -> int | None:
    """Return the checksum of the rows in a folder, if they are those of this digest, and whole."""
    try:
        said = json.loads((folder / "summary.json").read_bytes())["scores.csv"]
        checksum = 0
        with (folder / "scores.csv").open("rb") as file:
            while piece := file.read(_PIECE):
                checksum = zlib.crc32(piece, checksum)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return checksum if said == {"digest": digest, "crc32": checksum} else None


def _paragraphs(found: Benchmark) -> Iterator[Iterable[str]]:
    yield _reading(found)
    asked = found.settings["images"]
    if left := asked - len({*found.images, *(one.image for one in found.skipped)}):
        yield [f"unfinished: {left} of {counted(asked, 'image')} are not scored yet"]
    if missing := dict.fromkeys(map(_missing, (one for one in found.summary if one.reason))):
        yield missing
    if notes := [
        f"{note} ({count} batch{'es' if count > 1 else ''})" for note, count in found.notes.items()
    ]:
        left = len(notes) - _NOTES
        yield notes[:_NOTES] + ([f"and {left} notes more, in summary.json"] if left > 0 else [])
    if skipped := found.skipped:
        left = len(skipped) - _SKIPPED
        yield [
            f"skipped {counted(len(skipped), 'image')} that could not be scored:",
            *(f"  {one.name}: {one.reason}" for one in skipped[:_SKIPPED]),
            *([f"  and {left} more, in summary.json"] if left > 0 else []),
        ]


def _missing(line: SummaryLine) -> str:
    total = line.images + line.missing
    if not line.images:
        return f"{line.method} has no score: {line.reason}"
    return (
        f"{line.method} has no {line.metric} on {line.missing} of {counted(total, 'image')}, the "
        f"first since: {line.reason}"
    )


def _reading(found: Benchmark) -> Iterable[str]:
    lines = found.summary
    metrics = {line.metric for line in lines}
    if found.object_area is not None and "relevance_mass" in metrics:
        yield (
            f"the object covers {percent(found.object_area)} of the picture: a map that is the "
            "same everywhere has that relevance_mass"
        )
    if any(metric.startswith("infidelity") for metric in metrics):
        yield (
            "infidelity after the scaling that suits each map best; Grad-CAM's is of its map laid "
            "over the picture, one number for all channels. Relative to the best constant: 1 is no "
            "better than predicting the same fall for every perturbation"
        )
    if any(_few_decide(line) for line in lines):
        yield "where a few images decide a mean, the median stands beside it"
    if any(_has_gaps(line) for line in lines):
        yield (
            "* has no score on some images: its mean is over the images that it has, and is "
            "compared on those that all ranked methods have; below nine tenths of the images that "
            "any method has a score on it is not ranked"
        )
    shared = [line.shared_images for line in lines if line.shared_images is not None]
    if shared and min(shared) < FEWEST:
        yield f"fewer than {FEWEST} images: nothing is claimed, and no method has a rank"
    if shared and max(shared) >= FEWEST:
        yield (
            "of all pairs: 95 % intervals of differences, all pairs of ranked methods under one "
            "metric together. Methods share ranks where that of their difference holds 0, or where "
            "a few images decide it and it has none: none of them is called better. Floors are no "
            "methods, and have no rank"
        )
    yield _about(found)


def _about(found: Benchmark) -> str:
    """Return what the intervals speak of."""
    if not found.level:
        return (
            "intervals of means: 95 %, over images like these; not over other seeds, and not over "
            "other weights of the network"
        )
    runs = len(found.settings["runs"])
    return (
        f"means over {counted(runs, 'run')} with different {found.level}. Intervals of means and "
        f"of differences: over images like these, for the mean of these {runs} {found.level}. "
        f'"over {found.level}": 95 % by Student\'s t, over {found.level} like these, on these '
        "images"
    )


def _few_decide(line: SummaryLine) -> bool:
    if line.is_floor or line.mean is None:
        return False
    assert line.lower_quartile is not None  # noqa: S101 - for the type checker: as the mean
    assert line.upper_quartile is not None  # noqa: S101
    quartiles = {line.lower_quartile, line.median, line.upper_quartile}
    is_hit = quartiles <= {0, 1} and 0 <= line.mean <= 1
    return not is_hit and not line.lower_quartile <= line.mean <= line.upper_quartile


def _has_gaps(line: SummaryLine) -> bool:
    return not line.is_floor and bool(line.images and line.missing)


def summary_tables(lines: Iterable[SummaryLine], level: str = "") -> str:
    """Return the summary for a terminal, a table for each metric."""
    by_metric: dict[str, list[SummaryLine]] = {}
    for line in lines:
        by_metric.setdefault(line.metric, []).append(line)
    return "\n\n".join(_table_of(some, level) for some in by_metric.values())


def _table_of(lines: Sequence[SummaryLine], level: str) -> str:
    better = "higher" if lines[0].higher_is_better else "lower"
    medians = any(map(_few_decide, lines))
    shared = any(
        line.shared_images is not None and line.shared_images != line.images for line in lines
    )
    rows = [
        {
            "method": line.method + (" *" if _has_gaps(line) else ""),
            "mean": _number(line.mean),
            "95 % interval": _interval(line.ci_low, line.ci_high),
            f"over {level}": _interval(line.runs_low, line.runs_high),
            "median": _number(line.median) if medians else None,
            "relative": _number(line.relative),
            "shared mean": _number(line.shared_mean) if shared else None,
            "less the best": _number(line.difference),
            "of all pairs": _interval(line.difference_ci_low, line.difference_ci_high),
            "rank": _rank(line),
            "over": _over(line),
        }
        for line in lines
    ]
    optional = (f"over {level}", "median", "relative", "shared mean", "of all pairs", "rank")
    table = Table.of_rows(tuple(rows[0]), rows, optional).to_markdown()
    return f"{lines[0].metric} ({better} is better)\n{table}"


def _rank(line: SummaryLine) -> str:
    if line.is_floor:
        return "floor"
    if line.rank is None:
        return "not ranked" if line.shared_images is None else ""
    return str(line.rank) if line.rank == line.last_rank else f"{line.rank} to {line.last_rank}"


def _over(line: SummaryLine) -> str:
    if not _has_gaps(line):
        return counted(line.images, "image")
    return f"{line.images} of {counted(line.images + line.missing, 'image')}"


def _number(value: float | None) -> str | None:
    return None if value is None else number(value)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def _draw(lines: Sequence[SummaryLine]) -> Figure:
    """Draw means, and the family's intervals about the best one's; a panel a metric."""
    panels = []
    for metric in dict.fromkeys(line.metric for line in lines):
        own = [line for line in lines if line.metric == metric]
        shown = [line for line in own if line.mean is not None]
        better = "higher" if own[0].higher_is_better else "lower"
        images = max((line.images for line in shown), default=0)
        best = next((one.shared_mean for one in shown if one.difference == 0), None)
        panels.append(
            EstimatePanel(
                metric.replace("_", " "),
                f"mean over {counted(images, 'image')}\n{better} is better",
                [_estimate(one, best) for one in shown],
                reference=best if any(one.rank for one in shown) else None,
            )
        )
    bars = (
        "Bars: the 95 % interval of the difference to the best method (dashed), all pairs "
        "together; a bar that does not reach the dashed line is a method that differs. "
    )
    rest = "Hollow: nothing is claimed. Grey: floors, and methods that are not ranked."
    return draw_estimates(panels, caption=(bars if any(one.rank for one in lines) else "") + rest)


def _estimate(line: SummaryLine, best: float | None) -> Estimate:
    mean = line.mean if line.shared_mean is None else line.shared_mean
    assert mean is not None  # noqa: S101 - for the type checker: it is shown
    title = method_title(line.method)
    low, high = line.difference_ci_low, line.difference_ci_high
    if best is None or low is None or high is None:
        return Estimate(title, mean, muted=line.is_floor or line.shared_images is None)
    return Estimate(title, mean, best + low, best + high)
