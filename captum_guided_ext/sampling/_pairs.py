"""Which of several means differ: one family of statements about all pairs."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from captum_guided_ext.sampling._intervals import (
    CONFIDENCE,
    RESAMPLED_FROM,
    RESAMPLED_UP_TO,
    RESAMPLES,
    resampled_t,
    unit_of,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

FEWEST = RESAMPLED_FROM
"""Columns below which nothing is claimed."""
_WILD = 2  # times Student's t
_ROUNDING = 1e-5  # of single precision, in sums of a picture's values
_NORMAL_DRAWS = 100_000
_AT_A_TIME = 5_000
_SEED = 20050701


class Differences(NamedTuple):
    """Differences of the means of all pairs of rows, with simultaneous 95 % intervals.

    Attributes:
        mean: Row i's mean less row j's, shape (rows, rows).
        low: Lower ends; minus infinity where nothing can be claimed.
        high: Upper ends; infinity likewise.
    """

    mean: Floats
    low: Floats
    high: Floats

    def above(self) -> npt.NDArray[np.bool_]:
        """Return whether row i's mean is claimed to be above row j's, (rows, rows)."""
        return self.low > 0


def all_pairs(table: Floats) -> Differences:
    """Return the differences of all pairs of rows, measured on the same columns.

    One family: the chance that any of its intervals misses its difference is about 5 %. A
    single-step maximum of studentised differences, resampled over the columns (Romano & Wolf 2005,
    doi:10.1111/j.1468-0262.2005.00615.x). Above :data:`RESAMPLED_UP_TO` columns the maximum of
    normal variables of the estimated correlation takes the place of resampling.

    A pair of which a few columns decide, so that its own resampled t reaches twice as far as
    Student's, is left out: nothing is claimed of it, and it does not widen the others' intervals.
    Differences within single precision's rounding count as none.

    Args:
        table: Shape (rows, columns), finite. Below ten columns nothing is claimed.
    """
    rows, columns = table.shape
    unit = unit_of(table)
    table = table / unit
    mean, low, high = (np.zeros((rows, rows)) for _ in range(3))
    low[:], high[:] = -math.inf, math.inf
    pairs = np.array(list(combinations(range(rows), 2)), dtype=np.intp).reshape(-1, 2)
    one, other = table[pairs[:, 0]], table[pairs[:, 1]]
    differences = one - other
    differences[np.abs(differences) <= _ROUNDING * np.maximum(np.abs(one), np.abs(other))] = 0
    means = differences.mean(axis=1)
    deviations = differences.std(axis=1, ddof=1) if columns > 1 else np.zeros(len(pairs))
    half = np.full(len(pairs), math.inf)
    if columns >= FEWEST:
        flat = deviations <= _ROUNDING * np.abs(means)  # the same difference everywhere, or none
        half[flat] = 0
        quantile, is_tame = _largest(differences[~flat])
        half[np.flatnonzero(~flat)[is_tame]] = quantile
        half[~flat] *= deviations[~flat] / math.sqrt(columns)
    for (i, j), middle, width in zip(pairs, means, half, strict=True):
        mean[i, j], low[i, j], high[i, j] = middle, middle - width, middle + width
        mean[j, i], low[j, i], high[j, i] = 0 - middle, 0 - middle - width, 0 - middle + width
    np.fill_diagonal(low, 0)
    np.fill_diagonal(high, 0)
    return Differences(unit * mean, unit * low, unit * high)


def _largest(differences: Floats) -> tuple[float, npt.NDArray[np.bool_]]:
    """Return the 95 % point of the largest studentised difference where no means differ.

    And of which pairs it is the largest: of those that are not decided by a few columns.
    """
    pairs, columns = differences.shape
    if not pairs:
        return math.inf, np.zeros(0, bool)
    if columns > RESAMPLED_UP_TO:
        correlation = np.corrcoef(differences).reshape(pairs, pairs)
        return float(np.quantile(_normal_maxima(correlation), CONFIDENCE)), np.ones(pairs, bool)
    from scipy import special  # noqa: PLC0415 - needed for tables alone; scipy.stats is slow

    drawn = np.abs(resampled_t(differences))
    point = math.ceil(CONFIDENCE * (RESAMPLES + 1)) - 1
    usual = special.stdtrit(columns - 1, (1 + CONFIDENCE) / 2)
    is_tame = np.partition(drawn, point, axis=0)[point] <= _WILD * usual
    if not is_tame.any():
        return math.inf, is_tame
    return float(np.partition(drawn[:, is_tame].max(axis=1), point)[point]), is_tame


def _normal_maxima(correlation: Floats) -> Floats:
    """Return draws of the largest of normal variables of this correlation, by magnitude."""
    generator = np.random.default_rng(_SEED)
    scales, axes = np.linalg.eigh(correlation)
    spread = scales > _ROUNDING * scales.max()  # of all pairs of k rows, k - 1
    mixed = (axes * np.sqrt(scales.clip(0)))[:, spread]
    return np.concatenate(
        [
            np.abs(generator.standard_normal((_AT_A_TIME, mixed.shape[1])) @ mixed.T).max(axis=1)
            for _ in range(_NORMAL_DRAWS // _AT_A_TIME)
        ]
    )
