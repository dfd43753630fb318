"""Pearson's correlation, and the ranks that make Spearman's of it, example by example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of two batches, one number for each example.

    Args:
        first: Shape (N, ...).
        second: As many numbers for each example.

    Returns:
        From -1 to 1, (N,), in double precision, on the CPU; NaN where one of the two is the same
        everywhere.
    """
    return (standardized(first) * standardized(second)).sum(dim=1).clamp(-1, 1)


def standardized(values: Tensor) -> Tensor:
    """Return each example less its mean, and of length 1: products of them are correlations.

    Args:
        values: Shape (N, ...).

    Returns:
        Shape (N, numbers of an example), in double precision, on the CPU; NaN for an example that
        is the same everywhere.
    """
    rows = values.detach().cpu().double().reshape(len(values), -1)
    is_constant = (rows == rows[:, :1]).all(dim=1, keepdim=True)
    scaled = rows / rows.abs().amax(dim=1, keepdim=True)  # whose squares are neither 0 nor inf
    centred = scaled - scaled.mean(dim=1, keepdim=True)
    length = centred.square().sum(dim=1, keepdim=True).sqrt()
    return (centred / length).masked_fill(is_constant, torch.nan)


def ranks(values: Tensor) -> Tensor:
    """Return the rank of each number in its example; equal ones share a rank.

    Args:
        values: Shape (N, ...).

    Returns:
        Shape (N, numbers of an example), in double precision, on the CPU.
    """
    from scipy.stats import rankdata  # noqa: PLC0415 - slow to import

    rows = values.detach().cpu().double().reshape(len(values), -1)
    return torch.from_numpy(rankdata(rows.numpy(), axis=1))
