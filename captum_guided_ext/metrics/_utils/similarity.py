"""How alike two maps are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captum_guided_ext.metrics._utils.correlation import pearson, ranks

if TYPE_CHECKING:
    from torch import Tensor


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of two batches of maps, (N,); NaN for a constant one."""
    return pearson(ranks(first), ranks(second))
