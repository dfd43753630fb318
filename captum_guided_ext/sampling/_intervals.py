"""How exact a number from samples is: standard errors and bootstrap intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONFIDENCE = 0.95
_SEED = 20190601  # of the resampling; it says nothing about the samples
_AT_A_TIME = 100  # resamples, so that memory does not grow with their number


def mean_standard_error(samples: Tensor) -> Tensor:
    """Return the standard error of the means over the last dimension; NaN for a single sample."""
    if samples.shape[-1] == 1:
        return torch.full_like(samples[..., 0], math.nan)
    return samples.std(dim=-1) / math.sqrt(samples.shape[-1])


def resampling_weights(
    count: int, resamples: int
) -> Iterator[np.ndarray[tuple[int, int], np.dtype[np.float64]]]:
    """Yield the weights of ``count`` samples in resamples drawn with replacement, some at a time.

    The same for every call: two quantities that are resampled alike can be compared pair by pair.
    """
    generator = np.random.default_rng([_SEED, count])
    for start in range(0, resamples, _AT_A_TIME):
        rows = min(_AT_A_TIME, resamples - start)
        yield generator.multinomial(count, np.full(count, 1 / count), size=rows) / count


def resampled_interval(
    samples: Tensor, statistic: Callable[[Tensor], Tensor], resamples: int
) -> Tensor:
    """Return the percentile bootstrap interval of a function of means.

    Args:
        samples: Shape (quantities, examples, samples).
        statistic: From the means of the quantities, (quantities, examples, resamples), to the
            statistic, (examples, resamples).
        resamples: Number of resamples.

    Returns:
        Shape (examples, 2): the 2.5 % and the 97.5 % point.
    """
    wide = samples.double().cpu()
    values = [
        statistic(wide @ torch.from_numpy(weights).T)
        for weights in resampling_weights(samples.shape[-1], resamples)
    ]
    tails = torch.tensor([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], dtype=torch.float64)
    return torch.cat(values, dim=-1).quantile(tails, dim=-1).T
