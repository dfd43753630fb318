"""Figures of pictures with their maps, on matplotlib, which is imported only to draw.

A figure belongs to no window, and nothing global is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from captum_guided_ext.output._lettering import LITERAL, lettering
from captum_guided_ext.output._regions import draw_regions
from captum_guided_ext.output._sheet import Sheet
from captum_guided_ext.output._views import (
    HOW_DRAWN,
    OVERLAY,
    SIGNED,
    VIEWS,
    as_pixels,
    map_picture,
    scale_pixels,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from captum_guided_ext.output._views import Pixels

_PANEL = 2.9  # inches
_BETWEEN = 0.16  # inches
_HIGHEST = 1.5  # a panel's height by its width; a picture that is higher is drawn narrower
_LOWEST = 0.3  # inches
_BESIDE_WRAPPED = 3  # panels
_BESIDE = 7
_BAR = 5.0  # inches, at the most
_TICKS = {SIGNED: ("negative  −1", "0", "1  positive"), OVERLAY: ("0", "", "1  strong")}


@dataclass(frozen=True)
class PicturePanel:
    """A picture.

    Attributes:
        title: Above it.
        picture: A PIL picture, or an array (H, W), (H, W, 1) or (H, W, 3): bytes, or floats from 0
            to 1. One without colours is drawn in grey.
        outlines: Regions, whose outlines and names are drawn: name to mask, (H, W).
    """

    title: str
    picture: Any
    outlines: Mapping[str, npt.NDArray[np.bool_]] = field(default_factory=dict)


@dataclass(frozen=True)
class MapPanel:
    """A map of a picture.

    Attributes:
        title: Above it; where a figure has several views, the view's name is added.
        values: The map, (C, H, W).
        caption: Lines below it.
        view: How it is drawn, as :func:`map_picture` takes it.
    """

    title: str
    values: Tensor
    caption: Sequence[str] = ()
    view: str = SIGNED


Panel: TypeAlias = PicturePanel | MapPanel


def draw_maps(
    rows: Sequence[tuple[PicturePanel, Sequence[MapPanel]]],
    *,
    title: str = "",
    row_titles: Sequence[str] = (),
    caption: str = "",
    wrap: bool = False,
) -> Figure:
    """Draw pictures with their maps, each map on its own scale; below, what each view's scale is.

    Args:
        rows: Each picture with its maps, of any number.
        title: Above all of them.
        row_titles: Above each row, one a row. Default: none.
        caption: Below all of them.
        wrap: Put at most three panels beside one another, and not seven; a row that has more goes
            on below. Of several views, put those of a map beside one another, each in its column.

    Raises:
        ValueError: for a view that a map has not, or another number of row titles than rows.
    """
    if row_titles and len(row_titles) != len(rows):
        raise ValueError(f"row_titles has {len(row_titles)} titles for {len(rows)} rows")
    views = [view for view in VIEWS if any(one.view == view for _, maps in rows for one in maps)]
    titles = [[one.title for one in maps] for _, maps in rows]
    # a map that has several views has them one after the other
    by_view = wrap and len(views) > 1 and any(len(set(some)) < len(some) for some in titles)
    most = max(1 + len(maps) for _, maps in rows)
    beside = min(most, _BESIDE_WRAPPED if wrap else _BESIDE)
    if by_view:
        beside = 1 + len(views)
    sheet = Sheet(beside * _PANEL + (beside + 1) * _BETWEEN)
    if title:
        sheet.write(title, 13, bold=True, title=True)
    for number, (picture, maps) in enumerate(rows):
        if row_titles:
            sheet.write(row_titles[number], 11.5, bold=True)
        lines = _by_view(picture, maps, views) if by_view else _in_order(picture, maps, beside)
        for line in lines:
            _draw_line(sheet, as_pixels(picture.picture), line, views)
    for view in views:
        if view in _TICKS:
            _draw_scale(sheet, view)
        sheet.write(HOW_DRAWN[view], 8)
    if caption:
        sheet.write(caption, 8)
    return sheet.finish()


def _in_order(
    picture: PicturePanel, maps: Sequence[MapPanel], beside: int
) -> Iterator[Mapping[int, Panel]]:
    """Yield lines of panels, by column, as many in each as there is room for."""
    panels: list[Panel] = [picture, *maps]
    for first in range(0, len(panels), beside):
        yield dict(enumerate(panels[first : first + beside]))


def _by_view(
    picture: PicturePanel, maps: Sequence[MapPanel], views: Sequence[str]
) -> Iterator[Mapping[int, Panel]]:
    """Yield lines of panels, by column: the views of a map in each, the picture in the first."""
    line: dict[int, Panel] = {0: picture}
    last = None
    for panel in maps:
        column = 1 + views.index(panel.view)
        if last not in (None, panel.title) or column in line:
            yield line
            line = {}
        line[column] = panel
        last = panel.title
    yield line


def _draw_line(
    sheet: Sheet, picture: Pixels, panels: Mapping[int, Panel], views: Sequence[str]
) -> None:
    shape = picture.shape
    high = max(_PANEL * min(shape[0] / shape[1], _HIGHEST), _LOWEST)
    for column, panel in panels.items():
        axes = sheet.add(_BETWEEN + column * (_PANEL + _BETWEEN), _PANEL, high)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        title, caption = panel.title, ""
        if isinstance(panel, PicturePanel):
            axes.imshow(picture)
            wide = min(_PANEL, high * shape[1] / shape[0])
            draw_regions(axes, panel.outlines, (wide, wide * shape[0] / shape[1]))
        else:
            title += f", {panel.view}" if len(views) > 1 else ""
            caption = "\n".join(panel.caption)
            _draw_map(axes, panel, picture)
        axes.set_title(lettering(title, _PANEL, 11), fontsize=11, pad=4, y=1, **LITERAL)
        below = lettering(caption, _PANEL, 8)
        axes.set_xlabel(below, fontsize=8, labelpad=3, **LITERAL)
    sheet.go_below()


def _draw_map(axes: Axes, panel: MapPanel, picture: Pixels) -> None:
    axes.imshow(map_picture(panel.values, picture, panel.view))
    word = "" if panel.values.any() else "zero everywhere"
    if not panel.values.isfinite().all():
        word = "NaN and infinity drawn as 0"
    if word:
        axes.text(0.5, 0.5, word, ha="center", va="center", fontsize=9, transform=axes.transAxes)


def _draw_scale(sheet: Sheet, view: str) -> None:
    wide = min(_BAR, 0.6 * sheet.width)
    axes = sheet.add((sheet.width - wide) / 2, wide, 0.14)
    axes.imshow(scale_pixels(view), aspect="auto", extent=(0, 1, 0, 1))
    ticks = _TICKS[view]
    axes.set_xticks([0, 0.5, 1] if ticks[1] else [0, 1], [one for one in ticks if one], fontsize=8)
    axes.set_yticks([])
    sheet.go_below()
