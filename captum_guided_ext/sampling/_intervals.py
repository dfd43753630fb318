"""How exact a number from samples is: standard errors, and intervals of means."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Interval = tuple[float, float] | None

CONFIDENCE = 0.95
RESAMPLES = 4999  # an odd number: the quantiles that are wanted are those of single resamples
RESAMPLED_FROM = 10
"""Below this many samples too many resamples show no spread."""
RESAMPLED_UP_TO = 3000
"""Above this many samples a mean is normal for all that resampling could show."""
_SEED = 20190601  # of the resampling; it says nothing about the samples
_AT_A_TIME = 100_000  # numbers drawn, so that memory does not grow with their count
_TINY = 1e-9  # a variance below this, of values whose variance is 1, is rounding


def mean_standard_error(samples: Tensor) -> Tensor:
    """Return the standard error of the means over the last dimension; NaN for a single sample."""
    if samples.shape[-1] == 1:
        return torch.full_like(samples[..., 0], math.nan)
    return samples.std(dim=-1) / math.sqrt(samples.shape[-1])


def resampled_interval(
    samples: Tensor, statistic: Callable[[Tensor], Tensor], resamples: int
) -> Tensor:
    """Return the percentile bootstrap interval of a function of means.

    Args:
        samples: Shape (quantities, examples, samples).
        statistic: From the means of the quantities, (quantities, examples, resamples), to the
            statistic, (examples, resamples), of each example alone.
        resamples: Number of resamples.

    Returns:
        Shape (examples, 2): the 2.5 % and the 97.5 % point.
    """
    tails = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    wide, ends = samples.double().cpu(), []
    at_a_time = max(_AT_A_TIME // resamples, 1)
    for start in range(0, wide.shape[1], at_a_time):
        some = wide[:, start : start + at_a_time]
        values = [
            statistic(some @ torch.from_numpy(weights).T)
            for weights in _weights(samples.shape[-1], resamples)
        ]
        ends.append(torch.cat(values, dim=-1).quantile(tails, dim=-1).T)
    return torch.cat(ends)


def mean_interval(values: Floats, *, are_hits: bool = False) -> Interval:
    """Return a 95 % interval of the mean that the values were drawn from.

    Of hits Wilson's (1927) score interval. Of others the studentised bootstrap (Efron & Tibshirani
    1993, section 12.5), and Student's t below :data:`RESAMPLED_FROM` values and above
    :data:`RESAMPLED_UP_TO`.

    Args:
        values: Shape (samples,), finite.
        are_hits: Whether they are 0 and 1, or shares of a hit. Default: False.

    Returns:
        None for fewer than two values, or for so few different ones that resampling shows no
        spread too often.
    """
    from scipy import special  # noqa: PLC0415 - needed for tables alone; scipy.stats is slow

    count = len(values)
    if count < 2:  # noqa: PLR2004 - one score says nothing about others
        return None
    tails = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    unit = unit_of(values)
    mean, deviation = float(values.mean()), float((values / unit).std(ddof=1))
    if are_hits:
        z = float(special.ndtri(tails[1]))
        middle, share = mean + z**2 / (2 * count), 1 + z**2 / count
        half = z * math.sqrt(mean * (1 - mean) / count + z**2 / (4 * count**2))
        low, high = (middle - half) / share, (middle + half) / share
        return 0.0 if mean == 0 else low, 1.0 if mean == 1 else high
    error = unit * deviation / math.sqrt(count)
    if error <= _TINY * abs(mean):
        return mean, mean
    if not RESAMPLED_FROM <= count <= RESAMPLED_UP_TO:
        below, above = special.stdtrit(count - 1, tails).tolist()
    else:
        places = np.ceil(tails * RESAMPLES).astype(int)
        below, above = np.partition(resampled_t(values[None] / unit)[:, 0], places)[places].tolist()
    if not (math.isfinite(below) and math.isfinite(above)):
        return None
    return mean - above * error, mean - below * error


def unit_of(values: Floats) -> float:
    """Return a power of two near the largest magnitude: squares over it are neither 0 nor inf."""
    largest = float(np.abs(values).max(initial=0))
    return math.ldexp(1, math.frexp(largest)[1] - 1) if largest else 1.0


def resampled_t(table: Floats) -> Floats:
    """Return the t statistic of each row in resamples of the columns, about the row's own mean.

    The resamples are the same for every table of as many columns, so that all rows of all tables
    are resampled alike.

    Args:
        table: Shape (rows, samples); no row may be the same everywhere.

    Returns:
        Shape (resamples, rows). Infinite where a resample moved a row and holds one value only.
    """
    rows, count = table.shape
    centred = table - table.mean(axis=1, keepdims=True)
    scaled = centred / centred.std(axis=1, keepdims=True)
    moments = np.concatenate([scaled, scaled**2]).T
    drawn = np.concatenate([w @ moments for w in _weights(count, RESAMPLES)])
    mean, variance = drawn[:, :rows], drawn[:, rows:] - drawn[:, :rows] ** 2
    flat = variance < _TINY
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = mean / np.sqrt(np.where(flat, 0, variance) / (count - 1))
    return np.where(flat & (np.abs(mean) < math.sqrt(_TINY)), 0, found)


def _weights(count: int, resamples: int) -> Iterator[Floats]:
    """Yield the weights of ``count`` samples in resamples drawn with replacement, in blocks."""
    for block in _counts(count, resamples) if count <= RESAMPLED_UP_TO else _draw(count, resamples):
        yield block / count


@lru_cache(maxsize=4)
def _counts(count: int, resamples: int) -> tuple[npt.NDArray[np.uint8], ...]:
    return tuple(block.astype(np.uint8) for block in _draw(count, resamples))


def _draw(count: int, resamples: int) -> Iterator[npt.NDArray[np.int64]]:
    generator = np.random.default_rng([_SEED, count])
    at_a_time = max(_AT_A_TIME // count, 1)
    for start in range(0, resamples, at_a_time):
        rows = min(at_a_time, resamples - start)
        drawn = generator.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
