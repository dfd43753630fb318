"""What a benchmark found, as words, rows, a figure and files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.benchmarking._changes import changes_in_words
from captum_guided_ext.benchmarking._html_report import article
from captum_guided_ext.benchmarking._report import draw_summary, reading, summary_tables
from captum_guided_ext.benchmarking._summary import SummaryLine
from captum_guided_ext.evaluation import COLUMNS, ScoreRow
from captum_guided_ext.output import (
    Article,
    Result,
    Table,
    counted,
    figure_bytes,
    wrapped,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from matplotlib.figure import Figure

    from captum_guided_ext.benchmarking._changes import ScoreChange
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
        changes: By how much ``fast=True`` changed the scores of the first batch, by metric and
            method; of several runs that were put together, those of the first. Empty without it.
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
    changes: tuple[ScoreChange, ...] = ()

    @property
    def rows(self) -> tuple[ScoreRow, ...]:
        """The scores as objects, sorted by image, method and metric."""
        return tuple(self.scores.rows())

    @property
    def preprocessing(self) -> str:
        """How pictures became the network's input, in words; empty where it is not known."""
        return str(self.settings.get("preprocessing", {}).get("words", ""))

    def __str__(self) -> str:
        """Return the summary's tables, and how to read them."""
        tables = summary_tables(self.summary, self.level) or "no image has scores"
        return "\n\n".join([tables, *(wrapped(lines) for _, lines in _paragraphs(self))])

    def to_dict(self) -> dict[str, Any]:
        """Return the summary with its settings; the rows are in :meth:`to_pandas`."""
        return {
            "summary": [dataclasses.asdict(line) for line in self.summary],
            "settings": dict(self.settings),
            "skipped": [one._asdict() for one in self.skipped],
            "notes": dict(self.notes),
            "object_area": self.object_area,
            "threads": self.threads,
        } | ({"fast": [one._asdict() for one in self.changes]} if self.settings.get("fast") else {})

    def to_parquet(self, path: str | Path) -> None:
        """Write the rows as a Parquet file.

        Raises:
            ImportError: if pyarrow is not installed.
        """
        self._table().to_parquet(Path(path))

    def plot(self) -> Figure:
        """Draw the mean of each method, and how it differs from the best; a panel a metric."""
        return draw_summary(self.summary, self.preprocessing)

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

    @cached_property
    def _drawn(self) -> bytes:
        """The figure as a PNG file, drawn once."""
        return figure_bytes(self.plot(), "png")

    def _articles(self) -> Iterator[Article]:
        yield article(
            self.summary,
            headline=self._headline(),
            paragraphs={title: list(lines) for title, lines in _paragraphs(self)},
            settings=self.settings,
            level=self.level,
            figure=lambda: self._drawn,
        )

    def _files(self, folder: Path) -> dict[str, bytes | Iterable[bytes] | None]:
        lines = [dataclasses.asdict(line) for line in self.summary]
        columns = tuple(column.name for column in dataclasses.fields(SummaryLine))
        digest = self._digest_of_rows()
        there = _checksum_of_rows(folder, digest)
        checksum = there or 0

        def rows() -> Iterator[bytes]:
            nonlocal checksum
            for piece in self._table().csv():
                checksum = zlib.crc32(piece, checksum)
                yield piece

        def told() -> Iterator[bytes]:  # asked for when the rows are written
            of_rows = {"digest": digest, "crc32": checksum}
            yield json.dumps(self.to_dict() | {"scores.csv": of_rows}, indent=2).encode()

        return {
            "scores.csv": rows() if there is None else None,
            "summary.csv": Table.of_rows(columns, lines).to_csv().encode(),
            "summary.html": self.to_html().encode(),
            "summary.json": told(),
            "summary.png": self._drawn,
        }

    def _digest_of_rows(self) -> str:
        """Return what changes when a row does, or what it says of its image."""
        found = hashlib.blake2b(self.scores.digest().encode(), digest_size=8)
        for one in self.images.values():
            found.update(repr([getattr(one, name) for name in _OF_THE_IMAGE]).encode())
        return found.hexdigest()


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


def _paragraphs(found: Benchmark) -> Iterator[tuple[str, Iterable[str]]]:
    runs = len(found.settings.get("runs", ()))
    yield "how to read it", reading(found.summary, found.object_area, found.level, runs)
    if found.preprocessing:
        yield "preprocessing", [f"preprocessing: {found.preprocessing}"]
    if found.settings.get("fast"):
        yield "fast arithmetic", changes_in_words(found.changes)
    asked = found.settings["images"]
    if left := asked - len({*found.images, *(one.image for one in found.skipped)}):
        yield "unfinished", [f"unfinished: {left} of {counted(asked, 'image')} are not scored yet"]
    if missing := dict.fromkeys(map(_missing, (one for one in found.summary if one.reason))):
        yield "without a score", missing
    if notes := [
        f"{note} ({count} batch{'es' if count > 1 else ''})" for note, count in found.notes.items()
    ]:
        left = len(notes) - _NOTES
        more = [f"and {left} notes more, in summary.json"] if left > 0 else []
        yield "notes", notes[:_NOTES] + more
    if skipped := found.skipped:
        left = len(skipped) - _SKIPPED
        yield (
            "skipped images",
            [
                f"skipped {counted(len(skipped), 'image')} that could not be scored:",
                *(f"  {one.name}: {one.reason}" for one in skipped[:_SKIPPED]),
                *([f"  and {left} more, in summary.json"] if left > 0 else []),
            ],
        )


def _missing(line: SummaryLine) -> str:
    total = line.images + line.missing
    if not line.images:
        return f"{line.method} has no score: {line.reason}"
    return (
        f"{line.method} has no {line.metric} on {line.missing} of {counted(total, 'image')}, the "
        f"first since: {line.reason}"
    )
