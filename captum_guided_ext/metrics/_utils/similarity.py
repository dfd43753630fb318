"""How alike two maps are: rank correlation and structural similarity; and how complex one is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from captum_guided_ext.errors import brief
from captum_guided_ext.metrics._utils.correlation import ranks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MEASURES = ("spearman", "spearman_abs", "ssim")
"""Spearman's rank correlation of the signed maps, that of their magnitudes, and SSIM."""
_PICTURE = 4  # dimensions
_REACH = 5  # of the window of SSIM, in pixels to each side
_BINS = 100  # of the histogram of a map


def rank_correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation of each example's two maps; ties share a rank.

    Args:
        first: Shape (N, ...): all that an example holds counts, whatever its place.
        second: Of the same shape.

    Returns:
        Shape (N,), -1 to 1, in double precision, on the CPU. NaN where a map is the same everywhere
        or holds NaN or infinity.
    """
    return _correlation(*(_ranked(one.detach().cpu().flatten(1)) for one in (first, second)))


def entropy(attributions: Tensor) -> Tensor:
    """Return the entropy of the histogram of each map's values, (N,), in nats.

    100 bins of equal width from the smallest to the largest value of that map, a place's value
    being the sum of its channels (Hedström et al. 2024, arXiv:2401.06465). 0 for a map that is the
    same everywhere, NaN for one that holds NaN or infinity.
    """
    found = []
    for row in _places(attributions).sum(dim=1).double().numpy():
        if not np.isfinite(row).all():
            found.append(math.nan)
            continue
        low, high = float(row.min()), float(row.max())
        unit = (row - low) / (high - low) if high > low else np.zeros_like(row)
        counts = np.histogram(unit, bins=_BINS, range=(0, 1))[0]
        shares = counts[counts > 0] / len(row)
        found.append(float(-(shares * np.log(shares)).sum()) + 0.0)  # of one bin: 0 and not -0
    return torch.tensor(found, dtype=torch.float64)


class Originals:
    """Maps that others are compared with; what that needs of them is computed once.

    Args:
        maps: By method, (N, ...).
        measures: Of :data:`MEASURES`.

    Attributes:
        reasons: Why a measure is NaN everywhere, by measure.
    """

    def __init__(self, maps: Mapping[str, Tensor], measures: Sequence[str]) -> None:
        self.reasons: dict[str, str] = {}
        self._measures = measures
        self._ssim: Any = None
        if "ssim" in measures and maps:
            self._ssim, reason = _find_ssim(tuple(next(iter(maps.values())).shape))
            self.reasons |= {"ssim": reason} if reason else {}
        self._known = {name: self._measured(one) for name, one in maps.items()}

    def similarities(self, maps: Mapping[str, Tensor], rows: slice) -> dict[str, dict[str, Tensor]]:
        """Return how alike these maps of some examples are to the original ones.

        Args:
            maps: By method, (examples, ...), NaN for a map that there is not.
            rows: Which examples of the originals they are of.

        Returns:
            By measure and method, (examples,); NaN where it is not defined.
        """
        found: dict[str, dict[str, Tensor]] = {measure: {} for measure in self._measures}
        pictures = []
        for name, one in maps.items():
            known, measured = self._known[name], self._measured(one)
            for measure, ranked in measured.ranks.items():
                found[measure][name] = _correlation(known.ranks[measure][rows], ranked)
            pictures.append((known.picture[rows], measured.picture))
        if self._ssim and maps:
            originals, scaled = (torch.cat(several) for several in zip(*pictures, strict=True))
            values = self._ssim(scaled, originals, data_range=1.0, reduction="none").double()
            found["ssim"] = dict(zip(maps, values.chunk(len(maps)), strict=True))
        elif "ssim" in found:
            nothing = torch.full((rows.stop - rows.start,), math.nan, dtype=torch.float64)
            found["ssim"] = dict.fromkeys(maps, nothing)
        return found

    def _measured(self, attributions: Tensor) -> _Measured:
        places = _places(attributions)
        ranked, strengths = {}, places.abs().sum(dim=1)
        if "spearman" in self._measures:
            ranked["spearman"] = _ranked(places.sum(dim=1))
        if "spearman_abs" in self._measures:
            ranked["spearman_abs"] = _ranked(strengths)
        if self._ssim is None:
            return _Measured(ranked, strengths[:, :0])
        scaled = strengths / strengths.amax(dim=1, keepdim=True)  # NaN for a map of zeros
        shape = (len(attributions), 1, *attributions.shape[2:])
        return _Measured(ranked, scaled.float().reshape(shape))


class _Measured(NamedTuple):
    """What comparing a map needs of it.

    Attributes:
        ranks: By measure.
        picture: How strong each place is, from 0 to 1, (N, 1, H, W); empty where nobody asks.
    """

    ranks: dict[str, Tensor]
    picture: Tensor


def _places(attributions: Tensor) -> Tensor:
    """Return (N, channels, places), in single precision at least, on the CPU.

    Of pictures (N, C, H, W) and what has more dimensions a place is a pixel; of others each number
    is one.
    """
    values = attributions.detach().cpu()
    values = values if values.dtype == torch.float64 else values.float()
    channels = values.shape[1] if values.dim() >= _PICTURE else 1
    return values.reshape(len(values), channels, -1)


def _ranked(values: Tensor) -> Tensor:
    """Return the ranks of each row, NaN for a row that holds NaN or infinity.

    In single precision, which is exact up to 2^23 places, halves of ties included.
    """
    finite = values.isfinite().all(dim=1, keepdim=True)
    return ranks(values.where(finite, torch.nan)).float()


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of ranks, (N, places): of equal ones exactly 1."""
    middle = (first.shape[1] + 1) / 2  # ties or not
    x, y = first.double() - middle, second.double() - middle
    spread = x.square().sum(dim=1) * y.square().sum(dim=1)
    return (x * y).sum(dim=1) / spread.sqrt()  # of a map that is the same everywhere 0 / 0


def why_no_ssim(shape: tuple[int, ...]) -> str:
    """Return why maps of a shape have no structural similarity; empty where they have."""
    return _find_ssim(shape)[1]


def _find_ssim(shape: tuple[int, ...]) -> tuple[Any, str]:
    """Return torchmetrics' function, or why there is no SSIM."""
    if len(shape) != _PICTURE or min(shape[2:]) <= _REACH:
        return None, (
            f"SSIM compares pictures (N, C, H, W) of {_REACH + 1} x {_REACH + 1} pixels or more, "
            f"and the inputs have shape {shape}"
        )
    try:
        from torchmetrics.functional.image import (  # noqa: PLC0415 - an extra, and heavy
            structural_similarity_index_measure,
        )
    except ImportError as error:
        return None, (
            f"SSIM comes from the package torchmetrics, which cannot be imported ({brief(error)}): "
            'pip install "captum-guided-ext[sanity]"'
        )
    return structural_similarity_index_measure, ""
