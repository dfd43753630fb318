"""Regions of a picture: a grid, and masks laid as their picture was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

Mask: TypeAlias = npt.NDArray[np.bool_]
"""Boolean ``(height, width)``: which pixels belong to a region."""

_VERTICAL = {1: ("",), 2: ("top", "bottom"), 3: ("top", "", "bottom")}
_HORIZONTAL = {1: ("",), 2: ("left", "right"), 3: ("left", "", "right")}


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
    regions: Mapping[str, Mask], network: Lays
) -> tuple[dict[str, Mask], dict[str, float]]:
    """Lay regions as their picture was; one that was cut away is left empty.

    Args:
        regions: Name to mask ``(H, W)`` of the whole picture.
        network: What lays one, and says which part of a picture it sees.

    Returns:
        The masks, of the view's size, and the share of each that is inside of what is seen.
    """
    laid, seen = {}, {}
    for name, mask in regions.items():
        laid[name] = network.lay_mask(mask)
        height, width = mask.shape
        left, top, right, bottom = network.window((width, height))
        rows = slice(round(top * height), round(bottom * height))
        inside = mask[rows, round(left * width) : round(right * width)].sum()
        seen[name] = float(inside / max(mask.sum(), 1))
    return laid, seen


class Lays(Protocol):
    """What lays a mask of a picture as it lays the picture, such as a ``Network``."""

    def lay_mask(self, mask: Mask) -> Mask: ...

    def window(self, size: tuple[int, int]) -> tuple[float, float, float, float]: ...
