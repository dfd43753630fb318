"""Which regions of a picture carry the attribution, next to how much of the picture they cover."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from captum_guided_ext.autograd._checks import check_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from PIL import Image

__all__ = [
    "Mask",
    "RegionShare",
    "grid_regions",
    "lay_regions",
    "region_shares",
    "strength",
]

Mask: TypeAlias = npt.NDArray[np.bool_]
"""Boolean ``(height, width)``: which pixels belong to a region."""

_VERTICAL = {1: ("",), 2: ("top", "bottom"), 3: ("top", "", "bottom")}
_HORIZONTAL = {1: ("",), 2: ("left", "right"), 3: ("left", "", "right")}


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
    values = strength(attribution)
    total = float(values.sum())
    shares = []
    for name, given in regions.items():
        mask = np.asarray(given.cpu() if isinstance(given, Tensor) else given).astype(bool)
        if mask.shape != values.shape:
            raise ValueError(
                f"region {name!r} has shape {mask.shape}, the attribution's pictures have "
                f"{values.shape}: lay the mask as the picture was laid"
            )
        held = float(values[mask].sum()) / total if total > 0 else 0.0
        # Rounding may carry the sum of a part past that of the whole.
        shares.append(RegionShare(name, min(held, 1.0), float(mask.mean()) if mask.size else 0.0))
    return shares


def strength(attribution: Tensor) -> npt.NDArray[np.float64]:
    """Return how much attribution each place holds: the sum of its channels' absolute values.

    Args:
        attribution: One example's map, ``(C, H, W)`` or ``(H, W)``.

    Returns:
        Shape ``(H, W)``.

    Raises:
        ValueError: if the map has another number of dimensions or holds NaN or infinity.
    """
    if attribution.ndim not in (2, 3):
        raise ValueError(
            f"attribution has shape {tuple(attribution.shape)}; one example's map, (C, H, W) or "
            "(H, W), is needed"
        )
    check_finite(attribution, "attribution")
    values: npt.NDArray[np.float64] = attribution.detach().cpu().double().abs().numpy()
    return values.sum(axis=0) if values.ndim == 3 else values  # noqa: PLR2004


def grid_regions(height: int, width: int, rows: int = 3, columns: int = 3) -> dict[str, Mask]:
    """Cut a picture into a grid, as equal as whole pixels allow; each pixel is in one cell.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        rows: Number of cells from top to bottom, at most ``height``.
        columns: Number of cells from left to right, at most ``width``.

    Returns:
        Name to mask ``(height, width)``, row by row: ``"top left"``, ``"top"``, ...,
        ``"centre"``, ..., ``"bottom right"``; ``"row 1, column 1"`` where more than 3 rows or
        columns leave no such words.

    Raises:
        ValueError: if a cell would be empty.
    """
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise ValueError(
            f"a picture of {width} x {height} pixels (width x height) has no grid of {columns} x "
            f"{rows} cells: ask for at least 1 and at most one cell per pixel each way"
        )
    regions = {}
    for row in range(rows):
        for column in range(columns):
            name = f"row {row + 1}, column {column + 1}"
            if rows in _VERTICAL and columns in _HORIZONTAL:
                words = f"{_VERTICAL[rows][row]} {_HORIZONTAL[columns][column]}".strip()
                name = words or "centre"
            down = slice(row * height // rows, (row + 1) * height // rows)
            across = slice(column * width // columns, (column + 1) * width // columns)
            regions[name] = np.zeros((height, width), dtype=bool)
            regions[name][down, across] = True
    return regions


def lay_regions(
    regions: Mapping[str, Mask], lay_mask: Callable[[Image.Image], Image.Image]
) -> dict[str, Mask]:
    """Resize and cut regions as their picture was; one that was cut away is left empty.

    Args:
        regions: Name to mask ``(H, W)`` of the whole picture.
        lay_mask: What does that to one label image, such as ``Network.lay_mask``.
    """
    from PIL import Image  # noqa: PLC0415

    return {
        name: np.array(lay_mask(Image.fromarray(mask.astype(np.uint8)))).astype(bool)
        for name, mask in regions.items()
    }
