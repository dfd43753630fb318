"""Figures of numbers for each two of several names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from captum_guided_ext.output._lettering import LITERAL, extent, lettering
from captum_guided_ext.output._sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_CELL = 0.46  # inches
_LABEL = 1.7  # inches that a name is wide at the most
_GAP = 0.15  # inches between a matrix and what is beside it
_WIDEST = 11.0  # inches of matrices beside one another
_DARK = 0.6  # of the way from the middle of the colours to their end, where letters are white
_SIZE = 9  # of the names, in points
_APART = 1.1  # of the height of a name, from one to the next
_NARROWEST = 2.0  # inches of a matrix with its names: a title needs them


@dataclass(frozen=True)
class Matrix:
    """A number for each two names.

    Attributes:
        title: Above it.
        names: Of rows and columns.
        values: From -1 to 1, shape (names, names); NaN where there is no number.
        caption: Below it. Default: none.
    """

    title: str
    names: Sequence[str]
    values: Tensor
    caption: str = ""


def draw_matrices(matrices: Sequence[Matrix], *, caption: str = "") -> Figure:
    """Draw matrices, each with its numbers; beside one another where there is room.

    Args:
        matrices: One or more.
        caption: Below all of them. Default: none.
    """
    widths, sides = zip(*map(matrix_size, matrices), strict=True)
    lines: list[list[int]] = [[]]
    for place, width in enumerate(widths):
        if lines[-1] and sum(widths[other] for other in lines[-1]) + width > _WIDEST:
            lines.append([])
        lines[-1].append(place)
    sheet = Sheet(max(sum(widths[place] for place in line) for line in lines))
    for line in lines:
        left = 0.0
        for place in line:
            side = sides[place]
            axes = sheet.add(left + widths[place] - side - _GAP, side, side)
            draw_matrix(axes, matrices[place], widths[place])
            left += widths[place]
        sheet.go_below()
    if caption:
        sheet.write(caption, 8)
    return sheet.finish()


def _labels(matrix: Matrix) -> list[str]:
    return [lettering(name, _LABEL, _SIZE) for name in matrix.names]


def _cell(matrix: Matrix) -> float:
    """Return how wide a cell is, in inches: the lines of its name stand above it."""
    return max(_CELL, *(_APART * extent(label, _SIZE)[1] for label in _labels(matrix)))


def _label_width(matrix: Matrix) -> float:
    return max(extent(label, _SIZE)[0] for label in _labels(matrix)) + _GAP


def matrix_size(matrix: Matrix) -> tuple[float, float]:
    """Return how wide a matrix is with its names, and its side, in inches."""
    side = _cell(matrix) * len(matrix.names)
    return max(_NARROWEST, _GAP + _label_width(matrix) + side + _GAP), side


def draw_matrix(axes: Axes, matrix: Matrix, width: float) -> None:
    """Draw a matrix on axes of its own, with its names and title in ``width`` inches."""
    values = matrix.values.tolist()
    labels = _labels(matrix)
    axes.imshow(values, cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set_facecolor("0.85")
    for row, numbers in enumerate(values):
        for column, number in enumerate(numbers):
            word = "–" if math.isnan(number) else f"{round(number, 2) + 0.0:.2f}".replace("-", "−")
            colour = "white" if abs(number) > _DARK else "black"
            axes.text(column, row, word, ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(labels)), labels, fontsize=_SIZE, **LITERAL)
    axes.set_xticks(range(len(labels)), labels, fontsize=_SIZE, rotation=90, **LITERAL)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(
        lettering(matrix.title, width, 11, bold=True),
        fontsize=11, fontweight="bold", x=1, ha="right", **LITERAL,
    )  # fmt: skip
    axes.set_xlabel(lettering(matrix.caption, width, 8), fontsize=8, labelpad=4, **LITERAL)
