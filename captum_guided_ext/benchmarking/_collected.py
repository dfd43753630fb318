"""What the records of a run hold, put together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captum_guided_ext.benchmarking._changes import changes_of
from captum_guided_ext.benchmarking._journal import damaged_lines
from captum_guided_ext.benchmarking._scores import Scores
from captum_guided_ext.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from captum_guided_ext.benchmarking._changes import ScoreChange
    from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage, SkippedImage


@dataclass(frozen=True)
class Collected:
    """What was recorded.

    Attributes:
        scores: The scores, in columns.
        images: What is known of each image that has scores, by number.
        skipped: The images that have none.
        notes: What the methods warned of, and in how many batches.
        layer: The dotted name of Grad-CAM's layer, where it is known.
        changes: By how much ``fast`` changed the scores of the first batch.
    """

    scores: Scores
    images: Mapping[int, ScoredImage]
    skipped: tuple[SkippedImage, ...]
    notes: Mapping[str, int]
    layer: str | None
    changes: tuple[ScoreChange, ...] = ()


def collect(folder: Path, records: Iterable[BatchRecord]) -> Collected:
    """Return what the records hold, which may come in any order.

    Raises:
        DataError: if Grad-CAM was made at different layers.
    """
    images: dict[int, ScoredImage] = {}
    skipped: list[SkippedImage] = []
    notes: list[tuple[int, str]] = []
    layers: dict[str, None] = {}
    changes: list[ScoreChange] = []

    def told() -> Iterator[BatchRecord]:
        for record in records:
            images.update(record.images)
            skipped.extend(record.skipped)
            changes.extend(changes_of(record))
            notes.extend((record.batch, note) for note in record.notes)
            if record.layer is not None:
                layers[record.layer] = None
            yield record

    scores = Scores.of(told())
    if len(layers) > 1:
        raise DataError(
            f"Grad-CAM was made at different layers, {' and '.join(sorted(layers))}: say which "
            "with layer"
        )
    counted = Counter(note for _, note in sorted(notes))
    if damaged := damaged_lines(folder):
        counted["damaged lines of rows were set aside, and their batches computed again"] = damaged
    return Collected(
        scores,
        {image: images[image] for image in sorted(images)},
        tuple(sorted(skipped)),
        counted,
        next(iter(layers), None),
        tuple(changes),
    )
