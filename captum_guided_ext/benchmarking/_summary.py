"""What the scores of a data set say about its methods, and what they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_guided_ext.methods import BEST_CONSTANT, FLOORS
from captum_guided_ext.sampling import FEWEST, Differences, all_pairs, mean_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from captum_guided_ext.benchmarking._scores import Scores

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

_RANKED_FROM = 0.9  # of the images that any method has a score on
_QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class SummaryLine:
    """One method under one metric, over the images of a data set.

    Attributes:
        metric: The metric's name.
        method: The method's name.
        images: How many images have a score.
        missing: How many have none.
        mean: The mean of the scores, over all images that have one; None where none has.
        lower_quartile: A quarter of the scores are below it.
        median: Half of them are.
        upper_quartile: Three quarters are. Few images decide a mean that is above it, or below
            the lower one.
        ci_low: Lower end of the mean's 95 % interval; None for fewer than two images, and for
            scores of which too few differ.
        ci_high: The upper end.
        runs_low: Lower end of the mean's 95 % interval over several runs, by Student's t; None for
            one run.
        runs_high: The upper end.
        relative: For infidelity: the mean, divided by that of the best constant prediction over the
            same images. 1 is no better than a constant.
        shared_images: How many images all ranked methods have a score on; None for a method that is
            not ranked.
        shared_mean: The mean over these.
        difference: This method's mean less that of the best one, over these; 0 for the best one.
        difference_ci_low: Lower end of the difference's interval. The intervals of all pairs hold
            together, with 95 %. None where nothing can be claimed.
        difference_ci_high: The upper end.
        rank: 1 and the number of methods that are better, by an interval that leaves out 0; None
            for a method that is not ranked.
        last_rank: The number of ranked methods that are not worse, likewise.
        higher_is_better: Whether a higher score is better.
        is_floor: Whether this is no method: a constant or a random map, edges, a constant
            prediction. Never ranked.
        reason: Why scores are missing, if any are.
    """

    metric: str
    method: str
    images: int
    missing: int
    mean: float | None
    lower_quartile: float | None
    median: float | None
    upper_quartile: float | None
    ci_low: float | None
    ci_high: float | None
    runs_low: float | None
    runs_high: float | None
    relative: float | None
    shared_images: int | None
    shared_mean: float | None
    difference: float | None
    difference_ci_low: float | None
    difference_ci_high: float | None
    rank: int | None
    last_rank: int | None
    higher_is_better: bool
    is_floor: bool
    reason: str


def summarise(
    scores: Scores, higher_is_better: Mapping[str, bool], runs: Sequence[Scores] = ()
) -> list[SummaryLine]:
    """Return a line for each metric and method: the ranked ones first, the best mean first.

    Methods are ranked that have a score on nine tenths or more of the images that any has one on
    (an empty mask gives none), by one family of simultaneous statements about all pairs of them, on
    the images that all of them have (:func:`captum_guided_ext.sampling.all_pairs`). They speak
    about images like these. From fewer than ten images no rank follows.

    Args:
        scores: Of all methods; of several runs, their means.
        higher_is_better: By metric.
        runs: The scores of each run, where there are several.
    """
    lines: list[SummaryLine] = []
    for metric in scores.metrics:
        lines += _of_metric(metric, scores, runs, higher=higher_is_better[metric])
    return lines


def _of_metric(
    metric: str, scores: Scores, runs: Sequence[Scores], *, higher: bool
) -> list[SummaryLine]:
    methods, table = scores.methods(metric), scores.table(metric)
    there = ~np.isnan(table)
    counts = there.sum(axis=1)
    means = [
        float(row[has].mean()) if has.any() else None for row, has in zip(table, there, strict=True)
    ]
    floor = [method in FLOORS for method in methods]
    ranked = [
        i
        for i in range(len(methods))
        if not floor[i] and counts[i] >= max(_RANKED_FROM * there.any(axis=0).sum(), 1)
    ]
    sign = -1 if higher else 1
    family = _Family(table, there, ranked, sign)

    def place(i: int) -> tuple[bool, bool, bool, int, float, str]:
        mean, ahead = family.means.get(i, means[i]), family.ahead.get(i, 0)
        return floor[i], i not in family.means, mean is None, ahead, sign * (mean or 0), methods[i]

    are_hits = _are_hits(table[[not one for one in floor]])
    lines = []
    for i in sorted(range(len(methods)), key=place):
        own = table[i][there[i]]
        # a floor may lie outside of what the methods' hits are
        in_range = bool(((own >= 0) & (own <= 1)).all())
        low, high = mean_interval(own, are_hits=are_hits and in_range) or (None, None)
        quartiles = np.quantile(own, _QUARTILES).tolist() if len(own) else [None] * 3
        runs_low, runs_high = _over_runs(metric, methods[i], runs)
        series = scores.series[metric, methods[i]]
        lines.append(
            SummaryLine(
                metric=metric,
                method=methods[i],
                images=int(counts[i]),
                missing=int(table.shape[1] - counts[i]),
                mean=means[i],
                lower_quartile=quartiles[0],
                median=quartiles[1],
                upper_quartile=quartiles[2],
                ci_low=low,
                ci_high=high,
                runs_low=runs_low,
                runs_high=runs_high,
                relative=_relative(metric, methods[i], scores),
                higher_is_better=higher,
                is_floor=floor[i],
                reason=series.reason(),
                **family.statements(i),
            )
        )
    return lines


class _Family:
    """The methods that are compared with one another, on the images that all of them have."""

    def __init__(self, table: Floats, there: Bools, ranked: Sequence[int], sign: int) -> None:
        shared = there[list(ranked)].all(axis=0) if ranked else np.zeros(table.shape[1], bool)
        self.images = int(shared.sum())
        self._places = {method: place for place, method in enumerate(ranked)}
        common = table[list(ranked)][:, shared]
        self.means: dict[int, float] = {
            method: float(common[place].mean())
            for method, place in self._places.items()
            if self.images
        }
        self._pairs: Differences | None = all_pairs(common) if self.images else None
        self._sign = sign
        # By the differences that are claimed of, which leave rounding out: by the means alone the
        # best one might be worse than another.
        better = [] if self._pairs is None else (sign * self._pairs.mean > 0).sum(axis=1).tolist()
        self.ahead: dict[int, int] = dict(zip(self._places, better, strict=False))
        self._best = min(
            self.means, key=lambda i: (self.ahead[i], sign * self.means[i]), default=None
        )

    def statements(self, method: int) -> dict[str, Any]:
        """Return what is said of one method beside the others."""
        names = "shared_images shared_mean difference difference_ci_low difference_ci_high"
        nothing: dict[str, Any] = dict.fromkeys([*names.split(), "rank", "last_rank"])
        if method not in self._places or self._pairs is None or self._best is None:
            return nothing
        i, best = self._places[method], self._places[self._best]
        above = self._pairs.above()
        better, worse = (above[:, i], above[i]) if self._sign < 0 else (above[i], above[:, i])
        claims = self.images >= FEWEST
        return {
            "shared_images": self.images,
            "shared_mean": self.means[method],
            "difference": float(self._pairs.mean[i, best]),
            "difference_ci_low": _finite(self._pairs.low[i, best]) if claims else None,
            "difference_ci_high": _finite(self._pairs.high[i, best]) if claims else None,
            "rank": 1 + int(better.sum()) if claims else None,
            "last_rank": len(self._places) - int(worse.sum()) if claims else None,
        }


def _are_hits(table: Floats) -> bool:
    """Return whether scores are 0 or 1, with a share where several places hold a map's largest."""
    given = table[~np.isnan(table)]
    if not len(given) or given.min() < 0 or given.max() > 1:
        return False
    whole = np.isin(given, (0, 1))
    return bool(whole.all() or (whole.mean() > 0.5 and given.max() == 1))  # noqa: PLR2004


def _relative(metric: str, method: str, scores: Scores) -> float | None:
    """Return the mean over that of the best constant, over the images that both have."""
    constant = scores.series.get((metric, BEST_CONSTANT))
    if constant is None:
        return None
    both = np.stack([scores.series[metric, method].values, constant.values])
    own, other = both[:, ~np.isnan(both).any(axis=0)].sum(axis=1).tolist()
    return own / other if other > 0 else None


def _over_runs(
    metric: str, method: str, runs: Sequence[Scores]
) -> tuple[float | None, float | None]:
    """Return the interval of the mean over several runs, each the mean over the same images."""
    if len(runs) < 2:  # noqa: PLR2004 - one run says nothing about others
        return None, None
    from scipy import special  # noqa: PLC0415 - needed here alone; scipy.stats is slow

    table = np.stack([one.series[metric, method].values for one in runs])
    shared = table[:, ~np.isnan(table).any(axis=0)]
    if not shared.shape[1]:
        return None, None
    means = shared.mean(axis=1)
    reach = special.stdtrit(len(runs) - 1, 0.975) * means.std(ddof=1) / math.sqrt(len(runs))
    return float(means.mean() - reach), float(means.mean() + reach)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
