"""Which regions of a picture carry the attribution, next to how much of the picture they cover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captum_guided_ext.errors import DataError
from captum_guided_ext.metrics import strength

if TYPE_CHECKING:
    from collections.abc import Mapping

    from captum_guided_ext.pictures import Mask


@dataclass(frozen=True)
class RegionShare:
    """How much of the attribution and of the area one region holds.

    Attributes:
        name: The region's name.
        attribution: Its share of the map's absolute values, 0 to 1.
        area: Its share of the picture's pixels, 0 to 1.
    """

    name: str
    attribution: float
    area: float

    @property
    def holds_more(self) -> bool:
        """Whether the region holds more attribution than area, by more than rounding explains."""
        close = math.isclose(self.attribution, self.area, rel_tol=1e-9)
        return self.attribution > self.area and not close

    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold."""
        return {
            "name": self.name,
            "attribution_share": self.attribution,
            "area_share": self.area,
            "holds_more": self.holds_more,
        }

    @property
    def mark(self) -> str:
        """``"✔"`` where the region holds more attribution than area, else ``"✖"``."""
        return "✔" if self.holds_more else "✖"


def region_shares(attribution: Tensor, regions: Mapping[str, Mask | Tensor]) -> list[RegionShare]:
    """Measure which share of an attribution falls into each region.

    A pixel counts with the sum of its channels' absolute values, so that negative attribution is
    attribution too. The shares of regions that overlap, or do not cover the picture, do not sum to
    1. Where the map is zero everywhere, every share of it is 0.

    Args:
        attribution: One example's map, ``(C, H, W)`` or ``(H, W)``.
        regions: Name to boolean mask ``(H, W)``; anything but 0 counts as true.

    Returns:
        One share per region, in the order given.

    Raises:
        ValueError: if the map has another number of dimensions or holds NaN or infinity, or if a
            mask has another height or width.
    """
    if attribution.ndim not in (2, 3):
        raise ValueError(
            f"attribution has shape {tuple(attribution.shape)}; one example's map, (C, H, W) or "
            "(H, W), is needed"
        )
    values = strength(attribution[None])[0].numpy()
    total = float(values.sum())
    shares = []
    for name, given in regions.items():
        mask = np.asarray(given.cpu() if isinstance(given, Tensor) else given).astype(bool)
        if mask.shape != values.shape:
            raise DataError(
                f"region {name!r} has shape {mask.shape}, the attribution's pictures have "
                f"{values.shape}: lay the mask as the picture was laid"
            )
        held = float(values[mask].sum()) / total if total > 0 else 0.0
        # Rounding may carry the sum of a part past that of the whole.
        shares.append(RegionShare(name, min(held, 1.0), float(mask.mean()) if mask.size else 0.0))
    return shares
