"""Figures of values with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from captum_guided_ext.output._lettering import LITERAL, lettering

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BESIDE = 3  # panels
_PANEL = 4.6  # inches
_LABEL = 1.7  # inches that a label is wide at the most
_LINE = 0.16  # inches from one line of text to the next
_DECADES = 100  # the ratio from which values are drawn on a logarithmic axis


class Estimate(NamedTuple):
    """A value with an interval; one without is hollow. A muted one is grey, and has none."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    muted: bool = False


@dataclass(frozen=True)
class EstimatePanel:
    """Values with their intervals, the first on top.

    Values that are all positive and span two decades are drawn on a logarithmic axis.

    Attributes:
        title: Above it.
        caption: Below its axis.
        estimates: One a line.
        references: Values that the intervals are to be compared with. Default: none.
    """

    title: str
    caption: str
    estimates: Sequence[Estimate]
    references: tuple[float, ...] = ()


def draw_estimates(panels: Sequence[EstimatePanel], *, caption: str) -> Figure:
    """Draw panels of values with their intervals, up to three beside one another."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    beside = min(max(len(panels), 1), _BESIDE)
    down = max(-(-len(panels) // beside), 1)
    rows = [panels[row * beside :][:beside] for row in range(down)]
    heights = [max(map(_height, row), default=1.8) for row in rows]
    below = lettering(caption, _PANEL * beside - 0.3, 8)
    size = (_PANEL * beside, sum(heights) + _LINE * (1 + below.count("\n")))
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(down, beside, squeeze=False, height_ratios=heights).flat)
    for unused in grid[len(panels) :]:
        unused.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        draw_panel(axes, panel)
    figure.supxlabel(below, fontsize=8, **LITERAL)
    return figure


def _labels(panel: EstimatePanel) -> list[str]:
    return [lettering(one.label, _LABEL, 10) for one in panel.estimates]


def _height(panel: EstimatePanel) -> float:
    """Return how high a panel is, in inches."""
    lines = [1 + label.count("\n") for label in _labels(panel)]
    heads = _title(panel).count("\n") + _caption(panel).count("\n")
    return 1.2 + 0.2 * heads + 0.32 * max(len(lines), 1) * max([1, *(0.6 * n for n in lines)])


def panel_height(panel: EstimatePanel) -> float:
    """Return how high a panel's axes are, in inches."""
    return _height(panel) - 1.0


def _title(panel: EstimatePanel) -> str:
    return lettering(panel.title, _PANEL - _LABEL, 11, bold=True)


def _caption(panel: EstimatePanel) -> str:
    return lettering(panel.caption, _PANEL - _LABEL, 9)


def draw_panel(axes: Axes, panel: EstimatePanel, ends: tuple[float, float] | None = None) -> None:
    """Draw a panel on axes of its own.

    Args:
        axes: The axes.
        panel: The panel.
        ends: Those of a linear axis. Default: as the values need it.
    """
    shown = list(reversed(panel.estimates))
    values = [one.value for one in shown]
    if ends is not None:
        axes.set_xlim(*ends)
    elif values and min(values) > 0 and max(values) >= _DECADES * min(values):
        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(min(values) / 2, max(values) * 2)
    else:
        axes.locator_params(axis="x", nbins=4)  # means that are close have long numbers
    for value in panel.references:
        axes.axvline(value, color="0.6", linewidth=0.9, linestyle="--", zorder=0)
    for place, one in enumerate(shown):
        colour = "0.6" if one.muted else "tab:blue"
        inside = colour if one.muted else "white"
        if one.low is not None and one.high is not None:
            inside = colour
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.5, alpha=0.6)
        axes.plot([one.value], [place], "o", color=colour, markerfacecolor=inside)
    if not shown:
        axes.text(0.5, 0.5, "no scores", ha="center", va="center", transform=axes.transAxes)
        axes.set_xticks([])
    axes.set_yticks(range(len(shown)), _labels(panel)[::-1], **LITERAL)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(panel), fontsize=11, fontweight="bold", **LITERAL)
    axes.set_xlabel(_caption(panel), fontsize=9, **LITERAL)
