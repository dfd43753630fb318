"""Regions on a picture: outlines that end where the picture does, and names beside one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from captum_guided_ext.output._lettering import LITERAL, extent, lettering

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matplotlib.axes import Axes

    Mask = npt.NDArray[np.bool_]
    Box = tuple[float, float, float, float]  # left, top, right, bottom

_SIZE = 7.5  # points
_PAD = 0.04  # inches around a name
_DEEP = 0.9  # of the distance to a region's edge that its middle has at the least


def draw_regions(axes: Axes, regions: Mapping[str, Mask], size: tuple[float, float]) -> None:
    """Draw the outline and the name of each region on the picture of an axes.

    A region that is empty, or all of the picture, has neither. The regions of a grid, rectangles
    that cover the picture together, are told by their places and have no names.

    Args:
        axes: With a picture of the masks' height and width.
        regions: Name to mask, (H, W).
        size: How wide and how high the picture is drawn, in inches.
    """
    from matplotlib.collections import LineCollection  # noqa: PLC0415

    shown = {name: mask for name, mask in regions.items() if mask.any() and not mask.all()}
    for mask in shown.values():
        lines = list(_edges(mask))
        for colour, width in (("black", 1.8), ("white", 0.9)):
            axes.add_collection(
                LineCollection(lines, colors=colour, linewidths=width, capstyle="projecting"),
                autolim=False,
            )
    if is_grid(shown):
        return
    for name, x, y in _places(shown, size):
        axes.text(
            x, y, name, transform=axes.transAxes, ha="center", va="center", fontsize=_SIZE,
            color="white", bbox={"boxstyle": f"square,pad={_PAD * 72 / _SIZE}", "lw": 0,
                                 "facecolor": "black", "alpha": 0.6}, **LITERAL,
        )  # fmt: skip


def _edges(mask: Mask) -> Iterator[list[tuple[float, float]]]:
    """Yield the lines between the pixels of a mask and the others, as far as the border."""
    for turned in (False, True):
        # between a line of pixels and the next, edges run along each step up or down
        steps = np.diff((mask.T if turned else mask).astype(np.int8), axis=0)
        ends = np.diff(steps, axis=1, prepend=0, append=0)
        for line, row in enumerate(ends):
            places = np.repeat(np.arange(len(row)), np.abs(row))
            for first, last in places.reshape(-1, 2):
                corners = [(first - 0.5, line + 0.5), (last - 0.5, line + 0.5)]
                yield [(y, x) for x, y in corners] if turned else corners


def is_grid(regions: Mapping[str, Mask]) -> bool:
    """Whether regions are rectangles that cover the picture together."""
    if len(regions) < 2:  # noqa: PLR2004
        return False
    covered = np.sum([mask.astype(int) for mask in regions.values()], axis=0)
    return bool((covered == 1).all()) and all(
        mask.sum() == mask.any(axis=0).sum() * mask.any(axis=1).sum() for mask in regions.values()
    )


def _places(
    regions: Mapping[str, Mask], size: tuple[float, float]
) -> Iterator[tuple[str, float, float]]:
    """Yield each name with its middle, in shares of the picture from its lower left corner.

    The smallest region has the first choice; a name for which there is no place left is left out.
    """
    width, height = size
    taken: list[Box] = []
    for name, mask in sorted(regions.items(), key=lambda one: int(one[1].sum())):
        words = lettering(name, width - 4 * _PAD, _SIZE)
        wide, high = (length + 2 * _PAD for length in extent(words, _SIZE))
        if wide > width or high > height:
            continue
        for x, y in _spots(mask, size, (wide, high)):
            left = min(max(x - wide / 2, 0), width - wide)
            top = min(max(y - high / 2, 0), height - high)
            box = left, top, left + wide, top + high
            if not any(_overlap(box, other) for other in taken):
                taken.append(box)
                yield words, (left + wide / 2) / width, 1 - (top + high / 2) / height
                break


def _spots(
    mask: Mask, size: tuple[float, float], text: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    """Yield where a name may stand, the best first, in inches from the upper left corner."""
    from scipy.ndimage import distance_transform_edt  # noqa: PLC0415

    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    deep = np.argwhere(depth >= _DEEP * depth.max())
    centre = deep[np.linalg.norm(deep - np.argwhere(mask).mean(axis=0), axis=1).argmin()]
    inch = np.array(size[::-1]) / mask.shape
    y, x = (centre + 0.5) * inch
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    left, right = columns[0] * inch[1], (columns[-1] + 1) * inch[1]
    top, bottom = rows[0] * inch[0], (rows[-1] + 1) * inch[0]
    wide, high = text
    if right - left >= wide and bottom - top >= high:
        yield x, y
    middle = (left + right) / 2
    yield middle, top - high / 2
    yield middle, bottom + high / 2
    yield right + wide / 2, (top + bottom) / 2
    yield left - wide / 2, (top + bottom) / 2
    yield x, y
    for further in range(1, 4):
        yield x, y - further * high
        yield x, y + further * high


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
