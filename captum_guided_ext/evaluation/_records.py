"""What one batch of a benchmark has to say, and how it is written down."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from captum_guided_ext.evaluation._rows import ScoreRow

if TYPE_CHECKING:
    from collections.abc import Mapping


class SkippedImage(NamedTuple):
    """An image that could not be read."""

    image: int
    name: str
    reason: str


class ScoredImage(NamedTuple):
    """What is known of an image besides its scores.

    Attributes:
        name: What the data calls it.
        target: The class that was explained.
        object_area: The share of the picture that the object covers; None where there is no mask.
    """

    name: str
    target: Any
    object_area: float | None


@dataclass(frozen=True)
class BatchRecord:
    """One batch.

    Attributes:
        batch: Its number.
        rows: The scores.
        images: What is known of each of its images, by number.
        skipped: The images that could not be read.
        notes: What the methods warned of.
    """

    batch: int
    rows: tuple[ScoreRow, ...] = ()
    images: Mapping[int, ScoredImage] = field(default_factory=dict)
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return it as one line of JSON.

        Raises:
            ValueError: for NaN or infinity.
        """
        written = vars(self) | {"rows": [dataclasses.astuple(row) for row in self.rows]}
        return json.dumps(written, allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> BatchRecord:
        """Return what :meth:`to_json` wrote.

        Raises:
            ValueError: if it is no JSON.
            KeyError: if something is missing.
            TypeError, AttributeError: if something has another form.
        """
        found = json.loads(line)
        return cls(
            batch=found["batch"],
            rows=tuple(ScoreRow(*row) for row in found["rows"]),
            images={int(i): ScoredImage(*image) for i, image in found["images"].items()},
            skipped=tuple(SkippedImage(*one) for one in found["skipped"]),
            notes=tuple(found["notes"]),
        )
