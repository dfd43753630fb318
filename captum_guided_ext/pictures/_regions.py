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


def grid_regions(
    height: int, width: int, rows: int | None = None, columns: int | None = None
) -> dict[str, Mask]:
    """Cut a picture into a grid, as equal as whole pixels allow; each pixel is in one cell.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        rows: Number of cells from top to bottom, at most ``height``. Default: 3, or ``height``
            where that is less.
        columns: Number of cells from left to right, at most ``width``. Default: as ``rows``.

    Returns:
        Name to mask ``(height, width)``, row by row: ``"top left"``, ``"top"``, ...,
        ``"centre"``, ..., ``"bottom right"``; ``"row 1, column 1"`` where more than 3 rows or
        columns leave no such words.

    Raises:
        ValueError: if a cell would be empty.
    """
    rows = min(3, height) if rows is None else rows
    columns = min(3, width) if columns is None else columns
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


class Lays(Protocol):
    """What lays a mask of a picture as it lays the picture, such as a ``Network``."""

    def lay_mask(self, mask: Mask) -> Mask: ...

    def window(self, size: tuple[int, int]) -> tuple[float, float, float, float]: ...


def lay_regions(
    regions: Mapping[str, Mask], network: Lays
) -> tuple[dict[str, Mask], dict[str, float]]:
    """Lay regions as their picture is; one that is cut away is left empty.

    Args:
        regions: Name to mask ``(H, W)`` of the whole picture; anything but 0 counts as true.
        network: What lays one, and says which part of a picture it sees.

    Returns:
        The masks, of the view's size, and the share, 0 to 1, of each that is inside of what is
        seen; 0 for one without a pixel.
    """
    masks = {name: np.asarray(mask).astype(bool) for name, mask in regions.items()}
    shapes = {mask.shape for mask in masks.values()}
    windows = {shape: _window(shape, network) for shape in shapes}
    laid = {name: network.lay_mask(mask) for name, mask in masks.items()}
    inside = {name: mask[windows[mask.shape]].sum() for name, mask in masks.items()}
    return laid, {name: float(inside[name] / max(masks[name].sum(), 1)) for name in masks}


def _window(shape: tuple[int, ...], network: Lays) -> tuple[slice, slice]:
    """Return the rows and columns of a picture that are seen, to whole pixels."""
    height, width = shape
    left, top, right, bottom = network.window((width, height))
    rows = slice(round(top * height), round(bottom * height))
    return rows, slice(round(left * width), round(right * width))
