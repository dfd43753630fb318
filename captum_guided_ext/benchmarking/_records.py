"""What one batch of a benchmark has to say, and how it is written down: in columns."""

from __future__ import annotations

import json
import math
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from captum_guided_ext.evaluation import ScoreRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class SkippedImage(NamedTuple):
    """An image that has no scores."""

    image: int
    name: str
    reason: str


class ScoredImage(NamedTuple):
    """What is known of an image besides its scores.

    Attributes:
        name: What the data calls it.
        target: The class that was explained.
        object_area: The share of the picture that the object covers; None where there is no mask.
        digest: Of the input, the label and the mask, as they were scored: 16 hexadecimal digits.
        stamp: What its files look like from outside; empty where the data does not say.
    """

    name: str
    target: Any
    object_area: float | None
    digest: str = ""
    stamp: str = ""


class ScoreColumns(NamedTuple):
    """The scores of one method under one metric, in the order of a batch's images.

    Columns are arrays, so that the records of many images need little room; NaN where there is
    nothing.

    Attributes:
        values: The scores.
        standard_error: Their standard errors; None if no image has one.
        low: The lower ends of their intervals; None if no image has one.
        high: The upper ends.
        reasons: Why there is no score, by place in the batch.
    """

    values: array[float]
    standard_error: array[float] | None
    low: array[float] | None
    high: array[float] | None
    reasons: dict[int, str]

    @classmethod
    def of(cls, rows: Iterable[ScoreRow]) -> ScoreColumns:
        """Return the columns of rows, one of each image."""
        found = list(rows)
        return cls(
            _packed([row.value for row in found]),
            _column([row.standard_error for row in found]),
            _column([row.interval_low for row in found]),
            _column([row.interval_high for row in found]),
            {place: row.reason for place, row in enumerate(found) if row.reason},
        )

    @classmethod
    def of_json(cls, columns: Sequence[Any]) -> ScoreColumns:
        """Return what :meth:`to_json` wrote."""
        values, error, low, high, reasons = columns
        by_place = {int(place): reason for place, reason in reasons.items()} if reasons else {}
        error, low, high = (None if one is None else _packed(one) for one in (error, low, high))
        return cls(_packed(values), error, low, high, by_place)

    def to_json(self) -> list[Any]:
        """Return it as values that JSON can hold."""
        return [*(None if one is None else _unpacked(one) for one in self[:4]), self.reasons]

    def rows(self, images: Iterable[int], method: str, metric: str) -> Iterator[ScoreRow]:
        """Yield the scores as rows."""
        values = _unpacked(self.values)
        ends = [[None] * len(values) if one is None else _unpacked(one) for one in self[1:4]]
        each = enumerate(zip(images, values, *ends, strict=True))
        for place, (image, value, error, low, high) in each:
            reason = self.reasons.get(place, "")
            yield ScoreRow(image, method, metric, value, error, low, high, reason)


def _packed(values: list[float | None]) -> array[float]:
    try:
        return array("d", cast("list[float]", values))
    except TypeError:  # a score is missing, which is rare
        return array("d", [math.nan if one is None else one for one in values])


def _unpacked(values: array[float]) -> list[float | None]:
    return [None if math.isnan(one) else one for one in values]


def _column(values: list[float | None]) -> array[float] | None:
    return None if all(value is None for value in values) else _packed(values)


@dataclass(frozen=True)
class BatchRecord:
    """One batch.

    Attributes:
        batch: Its number.
        images: What is known of each of its images, by number.
        scores: The scores, by metric and by method.
        skipped: The images that have no scores.
        notes: What the methods warned of.
        layer: The dotted name of Grad-CAM's layer, where it is known.
        exact: The scores of exact arithmetic, where the batch was scored by both.
    """

    batch: int
    images: Mapping[int, ScoredImage] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, ScoreColumns]] = field(default_factory=dict)
    skipped: tuple[SkippedImage, ...] = ()
    notes: tuple[str, ...] = ()
    layer: str | None = None
    exact: Mapping[str, Mapping[str, ScoreColumns]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        batch: int,
        rows: Iterable[ScoreRow],
        images: Mapping[int, ScoredImage],
        skipped: Iterable[SkippedImage] = (),
        notes: Iterable[str] = (),
        layer: str | None = None,
        exact: Iterable[ScoreRow] = (),
    ) -> BatchRecord:
        """Return a record of rows, of which there is one for each image, method and metric."""
        scores, exactly = _in_columns(rows, images), _in_columns(exact, images)
        return cls(batch, images, scores, tuple(skipped), tuple(notes), layer, exactly)

    def rows(self) -> Iterator[ScoreRow]:
        """Yield the scores as rows, those of one method under one metric together."""
        for metric, by_method in self.scores.items():
            for method, columns in by_method.items():
                yield from columns.rows(self.images, method, metric)

    def to_json(self) -> str:
        """Return it as one line of JSON.

        Raises:
            ValueError: for NaN or infinity.
        """
        columns = [list(column) for column in zip(*self.images.values(), strict=True)]
        written = vars(self) | {"images": [list(self.images), *columns]}
        for name in ("scores", "exact"):
            written[name] = {
                metric: {method: one.to_json() for method, one in by_method.items()}
                for metric, by_method in written[name].items()
            }
        if not self.exact:
            del written["exact"]
        return json.dumps(written, allow_nan=False)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> BatchRecord:
        """Return what :meth:`to_json` wrote, from the JSON's values.

        Raises:
            KeyError: if something is missing.
            TypeError, ValueError, AttributeError: if something has another form.
        """
        numbers, *columns = found["images"]
        images = map(ScoredImage, *columns) if columns else ()
        return cls(
            batch=found["batch"],
            images=dict(zip(numbers, images, strict=True)),
            scores=_of_json(found["scores"]),
            skipped=tuple(SkippedImage(*one) for one in found["skipped"]),
            notes=tuple(found["notes"]),
            layer=found["layer"],
            exact=_of_json(found.get("exact", {})),
        )


def _in_columns(
    rows: Iterable[ScoreRow], images: Iterable[int]
) -> dict[str, dict[str, ScoreColumns]]:
    sorted_out: dict[str, dict[str, dict[int, ScoreRow]]] = {}
    for row in rows:
        by_method = sorted_out.setdefault(row.metric, {})
        by_method.setdefault(row.method, {})[row.image] = row
    return {
        metric: {
            method: ScoreColumns.of(by_image[image] for image in images)
            for method, by_image in by_method.items()
        }
        for metric, by_method in sorted_out.items()
    }


def _of_json(found: Mapping[str, Any]) -> dict[str, dict[str, ScoreColumns]]:
    return {
        metric: {method: ScoreColumns.of_json(one) for method, one in by_method.items()}
        for metric, by_method in found.items()
    }
