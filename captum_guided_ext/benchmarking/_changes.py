"""By how much ``fast=True`` changes scores, beside what is not known of them anyway."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, NamedTuple

from captum_guided_ext.methods import FLOORS
from captum_guided_ext.output import counted, number

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from captum_guided_ext.benchmarking._records import BatchRecord, ScoreColumns

_PER_HALF_WIDTH = 1.96  # standard errors in half of a 95 % interval


class ScoreChange(NamedTuple):
    """How far the scores of one method under one metric are from the exact ones.

    Attributes:
        metric: The metric's name.
        method: The method's name.
        images: How many images have both scores.
        largest: The largest difference of an image's two scores; None where no image has both.
        median: The median difference.
        standard_error: The median standard error of the exact scores; of those that have an
            interval instead, half of it divided by 1.96; None for scores without either.
    """

    metric: str
    method: str
    images: int
    largest: float | None
    median: float | None
    standard_error: float | None


def changes_of(record: BatchRecord) -> Iterator[ScoreChange]:
    """Yield what a batch says that was scored both ways; nothing of one that was not."""
    for metric, by_method in record.exact.items():
        for method, exact in by_method.items():
            fast = record.scores.get(metric, {}).get(method)
            if fast is not None:
                yield _change(metric, method, fast, exact)


def _change(metric: str, method: str, fast: ScoreColumns, exact: ScoreColumns) -> ScoreChange:
    both = zip(fast.values, exact.values, strict=True)
    found = _numbers(abs(one - other) for one, other in both)
    errors: list[float] = []
    if exact.standard_error is not None:
        errors = _numbers(exact.standard_error)
    elif exact.low is not None and exact.high is not None:
        ends = zip(exact.low, exact.high, strict=True)
        errors = _numbers((high - low) / 2 / _PER_HALF_WIDTH for low, high in ends)
    return ScoreChange(
        metric,
        method,
        len(found),
        max(found, default=None),
        statistics.median(found) if found else None,
        statistics.median(errors) if errors else None,
    )


def _numbers(values: Iterable[float]) -> list[float]:
    return [one for one in values if not math.isnan(one)]


def changes_in_words(changes: Sequence[ScoreChange]) -> list[str]:
    """Return what a report says of changes."""
    if not changes:
        return ["fast arithmetic: the first batch, which is scored both ways, is not scored yet"]
    images = counted(max(one.images for one in changes), "image")
    said = (
        f"fast arithmetic: how far the scores of the first {images} are from the exact ones, at "
        "most (in the median), beside their standard errors"
    )
    lines = [said]
    for one in changes:
        if one.method in FLOORS or one.largest is None or one.median is None:
            continue
        error = one.standard_error
        beside = "none" if error is None else number(error)
        change = f"{number(one.largest)} ({number(one.median)})"
        lines.append(f"  {one.metric} of {one.method}: {change}, beside {beside}")
    return lines
