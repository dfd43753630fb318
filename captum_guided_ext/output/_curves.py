"""Figures of curves, small ones beside one another, above values and a matrix of the same names."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from captum_guided_ext.output._estimates import draw_panel, panel_height
from captum_guided_ext.output._lettering import LITERAL, lettering
from captum_guided_ext.output._matrices import draw_matrix, matrix_size
from captum_guided_ext.output._sheet import Sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from captum_guided_ext.output._estimates import EstimatePanel
    from captum_guided_ext.output._matrices import Matrix

_WIDTH = 11.0  # inches
_BESIDE = 4  # small ones
_HIGH = 1.5  # inches
_LEFT = 0.45  # inches of numbers left of an axis
_LABEL = 1.9  # inches of names left of values
_BETWEEN = 0.15  # inches
_ENDS = (-1.05, 1.05)  # of the axes of values
# Okabe & Ito's blue and vermilion, that colour-blind people tell apart, and other lines for grey.
_STYLES = (("#0072B2", "-"), ("#D55E00", "--"))


class Curve(NamedTuple):
    """Values from left to right, NaN where there is none.

    Attributes:
        label: What they are, in the key.
        values: The values.
        low: The lower ends of their intervals, NaN where there is none.
        high: The upper ends.
        level: A value to compare them with; None for none.
    """

    label: str
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    level: float | None = None


@dataclass(frozen=True)
class CurvePanel:
    """Up to two curves.

    Attributes:
        title: Above them.
        curves: The curves, of the same number of values in all panels.
    """

    title: str
    curves: Sequence[Curve]


def draw_checks(
    curves: Sequence[CurvePanel],
    steps: tuple[str, str],
    estimates: Sequence[EstimatePanel],
    matrix: Matrix | None,
    *,
    title: str,
    caption: str,
) -> Figure:
    """Draw small panels of curves; below, values of the same names on a line, and a matrix.

    Args:
        curves: One for each name, on axes from -0.5 or more to 1.
        steps: What the first and the last value of a curve are of.
        estimates: Values from -1 to 1, of the same names in the same order.
        matrix: Of the same names; None for none.
        title: Above all of them.
        caption: Below all of them.
    """
    sheet = Sheet(_WIDTH)
    sheet.write(title, 13, bold=True, title=True)
    wide = (_WIDTH - _BETWEEN) / _BESIDE
    values = [v for panel in curves for one in panel.curves for v in (*one.values, *one.low)]
    lowest = max(min([v for v in values if v == v], default=0), -1) - 0.05  # noqa: PLR0124
    with_key = next((panel for panel in curves if panel.curves), None)
    for first in range(0, len(curves), _BESIDE):
        for place, panel in enumerate(curves[first : first + _BESIDE]):
            axes = sheet.add(_LEFT + place * wide, wide - _LEFT - _BETWEEN, _HIGH)
            _draw_curves(axes, panel, wide - _LEFT, steps)
            axes.set_ylim(min(lowest, -0.1), 1.05)
            if panel is with_key:
                axes.legend(loc="best", fontsize=7, frameon=False, handlelength=2.4)
        sheet.go_below()
    if estimates:
        wide = (_WIDTH - _LABEL) / len(estimates)
        high = max(map(panel_height, estimates))
        for place, one in enumerate(estimates):
            axes = sheet.add(_LABEL + place * wide, wide - 2 * _BETWEEN, high)
            draw_panel(axes, one, _ENDS)
            axes.set_xticks([-1, -0.5, 0, 0.5, 1])
            if place:  # the names are those of the first
                axes.set_yticklabels([])
        sheet.go_below()
    if matrix is not None:
        width, side = matrix_size(matrix)
        axes = sheet.add((_WIDTH + width) / 2 - side, side, side)
        draw_matrix(axes, matrix, width)
        sheet.go_below()
    sheet.write(caption, 8)
    return sheet.finish()


def _alone(values: Sequence[float]) -> list[int]:
    """Return where a value has none beside it."""
    there = [False, *(not math.isnan(value) for value in values), False]
    beside = zip(there, there[1:], there[2:], strict=False)
    return [place for place, three in enumerate(beside) if three == (False, True, False)]


def _draw_curves(axes: Axes, panel: CurvePanel, wide: float, steps: tuple[str, str]) -> None:
    count = max((len(one.values) for one in panel.curves), default=0)
    places = range(1, count + 1)
    for one, (colour, line) in zip(panel.curves, _STYLES, strict=False):
        axes.fill_between(places, one.low, one.high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(places, one.values, line, color=colour, linewidth=1.6, label=one.label)
        alone = _alone(one.values)  # of which a line shows nothing
        axes.plot(
            [place + 1 for place in alone],
            [one.values[place] for place in alone],
            "o",
            color=colour,
            clip_on=False,
        )
        if one.level is not None:
            axes.axhline(one.level, color=colour, linestyle=":", linewidth=1.1)
    if not panel.curves:
        axes.text(0.5, 0.5, "no numbers", ha="center", va="center", transform=axes.transAxes)
    axes.set_xlim(1, max(count, 2))
    axes.set_xticks([])
    first, last = (lettering(step, wide / 2, 7) for step in steps)
    axes.text(0, -0.03, first, ha="left", va="top", fontsize=7, transform=axes.transAxes, **LITERAL)
    axes.text(1, -0.03, last, ha="right", va="top", fontsize=7, transform=axes.transAxes, **LITERAL)
    axes.tick_params(labelsize=8)
    axes.set_yticks([-1, -0.5, 0, 0.5, 1])
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(
        lettering(panel.title, wide, 10, bold=True),
        fontsize=10,
        fontweight="bold",
        y=1,
        pad=4,
        **LITERAL,
    )
