"""What the scores of a data set say about its methods, and what they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from captum_guided_ext.sampling import CONFIDENCE, resampling_weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from captum_guided_ext.evaluation._rows import ScoreRow

_RESAMPLES = 10_000


@dataclass(frozen=True)
class SummaryLine:
    """One method under one metric, over the images of a data set.

    Attributes:
        metric: The metric's name.
        method: The method's name.
        images: How many images have a score.
        missing: How many have none.
        mean: The mean of the scores; None where there are none.
        ci_low: Lower end of its 95 % interval; None for fewer than two images.
        ci_high: The upper end.
        difference: The mean, over the images that both have, of this method's score less that of
            the one with the best mean; 0 for that one.
        difference_ci_low: Lower end of its 95 % interval, from the same images drawn for both.
        difference_ci_high: The upper end.
        rank: 1 and the number of methods that are clearly better: whose interval lies wholly on
            the better side of this one's.
        last_rank: The number of methods that are not clearly worse. Two methods whose intervals
            overlap share ranks: neither is called the better one.
        higher_is_better: Whether a higher score is better.
        reason: Why scores are missing, if any are.
    """

    metric: str
    method: str
    images: int
    missing: int
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    difference: float | None
    difference_ci_low: float | None
    difference_ci_high: float | None
    rank: int | None
    last_rank: int | None
    higher_is_better: bool
    reason: str


def summarise(rows: Iterable[ScoreRow], higher_is_better: Mapping[str, bool]) -> list[SummaryLine]:
    """Return a line for each metric and method, the best mean first.

    Intervals are 95 % percentile bootstrap intervals over the images (Efron & Tibshirani 1993,
    chapter 13), from 10,000 resamples that are the same for all methods. They speak about
    images like these, not about other weights of the network; from few images they are too short.

    Args:
        rows: Scores, in any order.
        higher_is_better: By metric.
    """
    values: dict[str, dict[str, dict[int, float | None]]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for row in sorted(rows, key=lambda one: (one.image, one.method, one.metric)):
        values.setdefault(row.metric, {}).setdefault(row.method, {})[row.image] = row.value
        if row.value is None:
            reasons.setdefault((row.metric, row.method), row.reason)
    lines: list[SummaryLine] = []
    for metric in sorted(values):
        lines += _of_metric(metric, values[metric], reasons, higher=higher_is_better[metric])
    return lines


def _of_metric(
    metric: str,
    by_method: Mapping[str, Mapping[int, float | None]],
    reasons: Mapping[tuple[str, str], str],
    *,
    higher: bool,
) -> list[SummaryLine]:
    images = sorted({image for scores in by_method.values() for image in scores})
    table = np.array(
        [
            [math.nan if scores.get(i) is None else scores[i] for i in images]
            for scores in by_method.values()
        ],
        dtype=np.float64,
    )
    methods = list(by_method)
    there = ~np.isnan(table)
    means = [
        float(row[is_].mean()) if is_.any() else None for row, is_ in zip(table, there, strict=True)
    ]
    sign = -1 if higher else 1
    order = sorted(
        range(len(methods)), key=lambda i: (means[i] is None, sign * (means[i] or 0), methods[i])
    )
    best = order[0]
    intervals = _intervals(table)
    differences = table - table[best]
    difference_intervals = _intervals(differences)
    lines = []
    for i in order:
        paired = differences[i][~np.isnan(differences[i])]
        low, high = intervals[i]
        rank, last = _ranks(i, means, intervals, sign)
        lines.append(
            SummaryLine(
                metric=metric,
                method=methods[i],
                images=int(there[i].sum()),
                missing=int((~there[i]).sum()),
                mean=means[i],
                ci_low=low,
                ci_high=high,
                difference=float(paired.mean()) if len(paired) else None,
                difference_ci_low=difference_intervals[i][0],
                difference_ci_high=difference_intervals[i][1],
                rank=rank,
                last_rank=last,
                higher_is_better=higher,
                reason=reasons.get((metric, methods[i]), ""),
            )
        )
    return lines


Interval = tuple[float | None, float | None]


def _intervals(table: npt.NDArray[np.float64]) -> list[Interval]:
    """Return the interval of the mean of each row, (rows, images); NaN stands for no score."""
    there = ~np.isnan(table)
    filled = np.where(there, table, 0)
    means = []
    for weights in resampling_weights(table.shape[1], _RESAMPLES):
        with np.errstate(invalid="ignore"):  # a resample in which a method has no score at all
            means.append((weights @ filled.T) / (weights @ there.T.astype(np.float64)))
    found = np.concatenate(means)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    intervals: list[Interval] = []
    for column, is_ in zip(found.T, there, strict=True):
        if is_.sum() < 2:  # noqa: PLR2004 - one score says nothing about others
            intervals.append((None, None))
        else:
            low, high = np.nanquantile(column, tails).tolist()
            intervals.append((low, high))
    return intervals


def _ranks(
    method: int, means: Sequence[float | None], intervals: Sequence[Interval], sign: int
) -> tuple[int | None, int | None]:
    if means[method] is None:
        return None, None

    def clearly_better(one: int, other: int) -> bool:
        (low, high), (other_low, other_high) = intervals[one], intervals[other]
        if low is None or high is None or other_low is None or other_high is None:
            return False
        return high < other_low if sign > 0 else low > other_high

    others = [i for i in range(len(means)) if i != method and means[i] is not None]
    better = sum(clearly_better(i, method) for i in others)
    worse = sum(clearly_better(method, i) for i in others)
    return 1 + better, 1 + len(others) - worse
