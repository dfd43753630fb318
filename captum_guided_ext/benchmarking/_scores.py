"""The scores of a data set, in columns: a million rows are no million objects."""

from __future__ import annotations

import hashlib
import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from captum_guided_ext.evaluation import ScoreRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import numpy.typing as npt

    from captum_guided_ext.benchmarking._records import BatchRecord, ScoreColumns

    Floats = npt.NDArray[np.float64]

_OPTIONAL = ("standard_error", "interval_low", "interval_high")
_AT_A_TIME = 1000  # images whose rows are made together


class Series(NamedTuple):
    """One method under one metric: NaN where there is no score.

    Attributes:
        values: Shape (images,).
        optional: By the name of a row's column, for those that any image has; (images,) each.
        reasons: The reasons why scores are missing, the first one empty.
        why: Which of them is each image's; None where none is missing.
    """

    values: Floats
    optional: Mapping[str, Floats]
    reasons: tuple[str, ...] = ("",)
    why: npt.NDArray[np.int32] | None = None

    def reason(self) -> str:
        """Return the reason that the first of the missing scores has."""
        return "" if self.why is None else self.reasons[self.why[self.why > 0][0]]


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of a data set.

    Attributes:
        images: The numbers of the images, in order.
        series: By metric and method.
    """

    images: npt.NDArray[np.int64]
    series: Mapping[tuple[str, str], Series]

    @classmethod
    def of(cls, records: Iterable[BatchRecord]) -> Scores:
        """Collect what batches, in any order, have to say."""
        images: array[int] = array("q")
        growing: dict[tuple[str, str], _Growing] = {}
        for record in records:
            for metric, by_method in record.scores.items():
                for method, columns in by_method.items():
                    growing.setdefault((metric, method), _Growing()).add(len(images), columns)
            images.extend(record.images)
        numbers = np.array(images, np.int64)
        order = np.argsort(numbers, kind="stable")
        ordered = {name: growing[name].series(len(images), order) for name in sorted(growing)}
        return cls(numbers[order], ordered)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scores) and self.digest() == other.digest()

    __hash__ = None  # type: ignore[assignment] # it holds arrays

    def digest(self) -> str:
        """Return what changes when a score does, in 16 hexadecimal digits."""
        found = hashlib.blake2b(self.images.tobytes(), digest_size=8)
        for name, series in self.series.items():
            found.update(repr((name, series.reasons, list(series.optional))).encode())
            for column in (series.values, *series.optional.values(), series.why):
                found.update(b"" if column is None else column.tobytes())
        return found.hexdigest()

    @property
    def metrics(self) -> list[str]:
        """The names of the metrics, sorted."""
        return list(dict.fromkeys(metric for metric, _ in self.series))

    def methods(self, metric: str) -> list[str]:
        """Return the names of the methods that a metric has, sorted."""
        return [method for one, method in self.series if one == metric]

    def table(self, metric: str) -> Floats:
        """Return a metric's scores, (methods, images)."""
        return np.stack([self.series[metric, method].values for method in self.methods(metric)])

    def blocks(self) -> Iterator[dict[str, list[Any]]]:
        """Yield the rows as columns, some images at a time, by image, method and metric."""
        names = sorted(self.series, key=lambda name: (name[1], name[0]))
        for start in range(0, len(self.images), _AT_A_TIME):
            part = slice(start, start + _AT_A_TIME)
            count = len(self.images[part])
            block: dict[str, list[Any]] = {
                "image": np.repeat(self.images[part], len(names)).tolist(),
                "method": [method for _, method in names] * count,
                "metric": [metric for metric, _ in names] * count,
                "value": self._interleaved([self.series[name].values[part] for name in names]),
            }
            for column in _OPTIONAL:
                given = [self.series[name].optional.get(column) for name in names]
                block[column] = self._interleaved(
                    [np.full(count, math.nan) if one is None else one[part] for one in given]
                )
            why = [self._reasons(self.series[name], part, count) for name in names]
            block["reason"] = [reason for row in zip(*why, strict=True) for reason in row]
            yield block

    def rows(self) -> Iterator[ScoreRow]:
        """Yield the rows as objects, by image, method and metric."""
        for block in self.blocks():
            yield from map(ScoreRow, *(block[name] for name in ScoreRow.__dataclass_fields__))

    @staticmethod
    def _interleaved(columns: list[Floats]) -> list[float | None]:
        together = np.stack(columns, axis=1).ravel()
        found: list[float | None] = [*together.tolist()]
        for place in np.flatnonzero(np.isnan(together)).tolist():
            found[place] = None
        return found

    @staticmethod
    def _reasons(series: Series, part: slice, count: int) -> list[str]:
        if series.why is None:
            return [""] * count
        return [series.reasons[one] for one in series.why[part].tolist()]


class _Growing:
    """A series while batches come in."""

    def __init__(self) -> None:
        self._values: array[float] = array("d")
        self._optional: dict[str, array[float]] = {}
        self._reasons = {"": 0}
        self._why: array[int] = array("i")

    def add(self, start: int, columns: ScoreColumns) -> None:
        _extend(self._values, start, columns.values)
        given = (columns.standard_error, columns.low, columns.high)
        for name, values in zip(_OPTIONAL, given, strict=True):
            if values is not None:
                _extend(self._optional.setdefault(name, array("d")), start, values)
        for place, reason in sorted(columns.reasons.items()):
            self._why.extend([0] * (start + place - len(self._why)))
            self._why.append(self._reasons.setdefault(reason, len(self._reasons)))

    def series(self, total: int, order: npt.NDArray[np.intp]) -> Series:
        given = sorted(self._optional.items())
        optional = {name: _padded(one, total)[order] for name, one in given}
        reasons, why = sorted(self._reasons), None  # sorted, whatever order the batches came in
        if len(reasons) > 1:
            self._why.extend([0] * (total - len(self._why)))
            places = np.array([reasons.index(one) for one in self._reasons], np.int32)
            why = places[np.array(self._why, np.int32)[order]]
        return Series(_padded(self._values, total)[order], optional, tuple(reasons), why)


def _extend(values: array[float], start: int, more: array[float]) -> None:
    values.extend([math.nan] * (start - len(values)))
    values.extend(more)


def _padded(values: array[float], total: int) -> Floats:
    values.extend([math.nan] * (total - len(values)))
    return np.array(values, np.float64)
