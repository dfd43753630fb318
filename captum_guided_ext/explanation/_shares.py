"""Which regions of a picture carry the attribution, next to how much of the picture they cover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from captum_guided_ext.errors import DataError
from captum_guided_ext.metrics import strength
from captum_guided_ext.output import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from captum_guided_ext.pictures import Mask


_ROUNDING = 1e-9  # of the map's sum, far beyond that of a Fourier transform in double precision
_LEAST = 0.01  # what is below is said to be below
_HALF = 0.5  # what is seen of a picture is known to about a pixel
_RARE = 0.05  # of the places, at which as much may be held where a region is marked


@dataclass(frozen=True)
class RegionShare:
    """How much of the attribution and of the area one region holds.

    Attributes:
        name: The region's name.
        attribution: Its share of the map's absolute values, 0 to 1.
        area: Its share of the pixels that the network sees, 0 to 1.
        elsewhere: Of all places to which the region can be shifted, its own among them, the share
            where it would hold as much or more, above 0 and up to 1.
        seen: The share of the region that lies inside what the network sees, 0 to 1.
    """

    name: str
    attribution: float
    area: float
    elsewhere: float
    seen: float = 1.0

    @property
    def holds_more(self) -> bool:
        """Whether it holds more attribution than area, and as much at 5 % of the places at most."""
        close = math.isclose(self.attribution, self.area, rel_tol=1e-9)  # what rounding explains
        return self.attribution > self.area and not close and self.elsewhere <= _RARE

    @property
    def times(self) -> float:
        """How many times its share of the area it holds; 0 for a region without a pixel."""
        return self.attribution / self.area if self.area else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold."""
        return {
            "name": self.name,
            "attribution_share": self.attribution,
            "area_share": self.area,
            "share_of_places_with_as_much": self.elsewhere,
            "holds_more": self.holds_more,
            "seen": self.seen,
        }

    @property
    def mark(self) -> str:
        """``"✔"`` where :attr:`holds_more`, a dash without a pixel that is seen, else ``"✖"``."""
        if not self.area:
            return "–"
        return "✔" if self.holds_more else "✖"

    @property
    def words(self) -> str:
        """What is found, in a short line."""
        if not self.area:
            outside = self.seen < _HALF
            return "outside what the network sees" if outside else "too small for the network"
        held = f"{percent(self.attribution):>5} of the map, {_times(self.times):>3} times its area"
        # Rounded up, so that 5 % is no more than that.
        raised = math.ceil(self.elsewhere * 100 - 1e-6) / 100
        places = percent(raised if raised > _LEAST else self.elsewhere)
        words = f"{held}, as much at {places:>5} of places"
        unseen = percent(1 - self.seen)
        return words if unseen in ("0 %", "<1 %") else f"{words}; {unseen} of it is outside"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 9.95 else f"{ratio:.0f}"  # noqa: PLR2004 - shows as 10.0


def region_shares(
    attribution: Tensor,
    masks: Mapping[str, Mask | Tensor],
    seen: Mapping[str, float] | None = None,
) -> list[RegionShare]:
    """Measure which share of an attribution falls into each region, and how rare that is.

    A pixel counts with the sum of its channels' absolute values, so that negative attribution is
    attribution too. The shares of regions that overlap, or do not cover the picture, do not sum to
    1. Where the map is zero everywhere, every share of it is 0.

    How much a region would hold by chance is asked of the same map: the region is laid at all its
    ``H W`` places by circular shifts, and ``elsewhere`` counts those where it holds as much or
    more. This is an exact test of the null hypothesis that map and region have nothing to do with
    one another, any shift being as likely as the one found: then at most 5 % of regions get 0.05 or
    less. Shifts keep what pixels shuffled one by one would destroy, the sizes of the map's spots
    and the shape of the region; they are circular so that every place of the region weighs alike
    and it always has all its pixels.

    Its limits: networks and photographers both prefer the middle, so that a region there may get a
    small number whatever it shows. A shift carries what passes one border in at the opposite one;
    where a map's spots are half as wide as the view and do not go on there, a region in a corner is
    marked up to twice as often. A band across the whole picture has only as many places as there
    are rows (or columns) to shift it by, and fewer than 20 of them cannot make it rare. One region
    in twenty that means nothing is marked.

    Args:
        attribution: One example's map, ``(C, H, W)`` or ``(H, W)``.
        masks: Name to boolean mask ``(H, W)`` of what the network sees; anything but 0 counts as
            true.
        seen: Name to the share of the region that lies in that. Default: 1 for each.

    Returns:
        One share per region, in the order given.

    Raises:
        ValueError: if the map has another number of dimensions or holds NaN or infinity.
        DataError: if a mask has another height or width.
    """
    if attribution.ndim not in (2, 3):
        raise ValueError(
            f"attribution has shape {tuple(attribution.shape)}; one example's map, (C, H, W) or "
            "(H, W), is needed"
        )
    values = strength(attribution[None])[0].numpy()
    # Scaled without rounding, so that no sum overflows.
    values = np.ldexp(values, -np.frexp(values.max())[1])
    total = float(values.sum()) or 1.0
    spectrum = np.fft.rfft2(values)
    shares = []
    for name, given in masks.items():
        mask = np.asarray(given.cpu() if isinstance(given, Tensor) else given).astype(bool)
        if mask.shape != values.shape:
            raise DataError(
                f"region {name!r} has shape {mask.shape}, the attribution's pictures have "
                f"{values.shape}: lay the mask as the picture was laid"
            )
        # At every shift at once, by the correlation theorem.
        held = np.fft.irfft2(spectrum * np.fft.rfft2(mask).conj(), s=values.shape)
        own = float(values[mask].sum())
        elsewhere = float((held >= own - _ROUNDING * total).mean())
        known = 1.0 if seen is None else seen[name]
        # Rounding may carry the sum of a part past that of the whole.
        share = RegionShare(name, min(own / total, 1.0), float(mask.mean()), elsewhere, known)
        shares.append(share)
    return shares
