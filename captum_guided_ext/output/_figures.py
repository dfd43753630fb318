"""Figures, on ``captum.attr.visualization`` and matplotlib, which is imported only to draw.

A figure belongs to no window, and nothing global is changed.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

_OUTLIERS = 2  # per cent of a map's magnitude left beyond the ends of the colour scale
_COLOURS = "RdBu_r"
_PANEL = 2.9  # inches
_COLUMNS = 3
_TITLE_WIDTH = 36  # characters above a panel
_CAPTION_WIDTH = 48  # characters below a panel
_DECADES = 100  # the ratio from which values are drawn on a logarithmic axis


@dataclass(frozen=True)
class PicturePanel:
    """A picture.

    Attributes:
        title: Above it.
        picture: Whatever matplotlib's ``imshow`` takes.
        outlines: Masks, (H, W) each, whose outlines are drawn.
    """

    title: str
    picture: Any
    outlines: Sequence[npt.NDArray[np.bool_]] = ()


@dataclass(frozen=True)
class MapPanel:
    """A map over a picture.

    Attributes:
        title: Above it.
        values: The map, (C, H, W).
        caption: Lines below it.
    """

    title: str
    values: Tensor
    caption: Sequence[str] = ()


def draw_maps(
    rows: Sequence[tuple[PicturePanel, Sequence[MapPanel]]],
    *,
    title: str = "",
    wrap: bool = False,
) -> Figure:
    """Draw pictures with their maps, each map on its own scale, with one colour bar.

    Args:
        rows: Each picture with its maps, as many as the first; a row each.
        title: Above all of them.
        wrap: Put at most three panels beside one another.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    count = 1 + len(rows[0][1])
    columns = min(count, _COLUMNS) if wrap else count
    down = -(-count // columns) * len(rows)
    lines = max((len(panel.caption) for _, maps in rows for panel in maps), default=0)
    size = (_PANEL * columns, (_PANEL + 0.2 * lines) * down + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    grid = list(figure.subplots(down, columns, squeeze=False).flat)
    for axes in grid:
        _clear(axes)
    places = iter(grid)
    for picture, maps in rows:
        _draw_picture(next(places), picture)
        for panel in maps:
            axes = next(places)
            _draw_map(figure, axes, panel.values, np.asarray(picture.picture))
            axes.axis("on")  # captum.attr.visualization hides the axis, and the caption with it
            _clear(axes)
            _set_title(axes, panel.title)
            axes.set_xlabel("\n".join(panel.caption), fontsize=8)
    if title:
        figure.suptitle(_literal(title), fontsize=13, fontweight="bold")
    _draw_scale(figure, grid, columns)
    return figure


def as_picture(x: Tensor) -> npt.NDArray[np.float64]:
    """Return an input, (C, H, W), as a picture: its lowest value black and its highest white."""
    values = x.double().cpu().permute(1, 2, 0)
    spread = values.max() - values.min()
    picture: npt.NDArray[np.float64] = ((values - values.min()) / spread.clamp(min=1e-12)).numpy()
    return picture


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
        reference: A value that the intervals are to be compared with; None for none.
    """

    title: str
    caption: str
    estimates: Sequence[Estimate]
    reference: float | None = None


def draw_estimates(panels: Sequence[EstimatePanel], *, caption: str) -> Figure:
    """Draw panels of values with their intervals, up to three beside one another."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    most = max([1, *(len(panel.estimates) for panel in panels)])
    columns = min(max(len(panels), 1), _COLUMNS)
    down = max(-(-len(panels) // columns), 1)
    figure = Figure(figsize=(4.6 * columns, (1.5 + 0.32 * most) * down), layout="constrained")
    grid = list(figure.subplots(down, columns, squeeze=False).flat)
    for unused in grid[len(panels) :]:
        unused.set_axis_off()
    for axes, panel in zip(grid, panels, strict=False):
        _draw_estimates(axes, panel)
    figure.supxlabel(fill(caption, int(_CAPTION_WIDTH * 1.6) * columns), fontsize=8)
    return figure


def _draw_estimates(axes: Axes, panel: EstimatePanel) -> None:
    shown = list(reversed(panel.estimates))
    values = [one.value for one in shown]
    if values and min(values) > 0 and max(values) >= _DECADES * min(values):
        axes.set_xscale("log", nonpositive="clip")
        axes.set_xlim(min(values) / 2, max(values) * 2)
    if panel.reference is not None:
        axes.axvline(panel.reference, color="0.6", linewidth=0.9, linestyle="--", zorder=0)
    for place, one in enumerate(shown):
        colour = "0.6" if one.muted else "tab:blue"
        inside = colour if one.muted else "white"
        if one.low is not None and one.high is not None:
            inside = colour
            axes.plot([one.low, one.high], [place, place], color=colour, linewidth=2.5, alpha=0.6)
        axes.plot([one.value], [place], "o", color=colour, markerfacecolor=inside)
    axes.set_yticks(range(len(shown)), [_literal(one.label) for one in shown])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="x", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_literal(panel.title), fontsize=11, fontweight="bold")
    axes.set_xlabel(panel.caption, fontsize=9)


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150)
    return content.getvalue()


def _clear(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _set_title(axes: Axes, title: str) -> None:
    """Write a title, a long one on several lines."""
    axes.set_title(_literal(fill(title, _TITLE_WIDTH)), fontsize=11)


def _literal(text: str) -> str:
    """Return ``text`` as it must be given to matplotlib, for which "$" begins mathematics."""
    return text.replace("$", r"\$")


def _draw_picture(axes: Axes, panel: PicturePanel) -> None:
    axes.imshow(panel.picture, cmap="gray")
    _set_title(axes, panel.title)
    for mask in panel.outlines:
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors="white", linewidths=0.8, alpha=0.8)


def _draw_map(
    figure: Figure, axes: Axes, attribution: Tensor, picture: npt.NDArray[np.generic]
) -> None:
    from captum.attr import visualization  # noqa: PLC0415

    values = np.transpose(attribution.float().cpu().numpy(), (1, 2, 0))
    if not values.any():
        axes.imshow(np.zeros(values.shape[:2]), cmap=_COLOURS, vmin=-1, vmax=1)
        axes.text(0.5, 0.5, "zero everywhere", ha="center", transform=axes.transAxes)
        return
    with warnings.catch_warnings():
        # A map with little in it is scaled by a number near 0, and Captum says so.
        warnings.filterwarnings("ignore", "Attempting to normalize by value approximately 0")
        visualization.visualize_image_attr(
            values,
            picture,
            method="heat_map",
            sign="all",
            outlier_perc=_OUTLIERS,
            cmap=_COLOURS,
            plt_fig_axis=(figure, axes),
            use_pyplot=False,
        )


def _draw_scale(figure: Figure, grid: Sequence[Axes], columns: int) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import Normalize  # noqa: PLC0415

    scale = ScalarMappable(Normalize(-1, 1), cmap=_COLOURS)
    bar = figure.colorbar(scale, ax=grid, orientation="horizontal", shrink=0.6, aspect=45, pad=0.02)
    bar.set_ticks([-1, 0, 1], labels=["negative  −1", "0", "1  positive"])
    caption = (
        "Attribution, summed over colour channels. Each panel has its own scale: the strongest "
        f"values, {_OUTLIERS} % of the total, are drawn as 1 or −1."
    )
    bar.set_label(fill(caption, _CAPTION_WIDTH * columns), fontsize=8)
    bar.ax.tick_params(labelsize=8)
