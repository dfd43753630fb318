"""A figure that grows downwards: as high as what is on it, with nothing cut and no gap."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from captum_guided_ext.output._lettering import LITERAL, lettering

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_MARGIN = 0.12  # inches
_BETWEEN = 0.12  # inches from one row to the next
_TEXT = 9.0  # inches that a line of text is wide at the most


class Sheet:
    """A figure of a given width, in inches, on which rows are put from the top down."""

    def __init__(self, width: float) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        self.width = width
        self._figure = Figure(figsize=(width, 1))
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._depth = _MARGIN  # below the top, of the next row
        self._texts: list[tuple[Text, float]] = []
        self._panels: list[tuple[Axes, tuple[float, float, float, float]]] = []
        self._row: dict[Axes, tuple[float, float, float]] = {}

    def write(self, text: str, size: float, *, bold: bool = False, title: bool = False) -> None:
        """Put lines of text across the sheet; as the figure's title, if they are that."""
        words = lettering(text, min(self.width - 2 * _MARGIN, _TEXT), size, bold=bold)
        style: dict[str, Any] = {"fontsize": size, "ha": "center", "va": "top"} | LITERAL
        style["fontweight"] = "bold" if bold else "normal"
        if title:
            written = self._figure.suptitle(words, x=0.5, y=0, **style)
        else:
            written = self._figure.text(0.5, 0, words, **style)
        self._texts.append((written, self._depth))
        bottom, top = self._extent(written)
        self._depth += top - bottom + _BETWEEN

    def add(self, left: float, width: float, height: float) -> Axes:
        """Return axes of the next row, which :meth:`go_below` ends."""
        share = left / self.width, 0.0, width / self.width, height
        axes = self._figure.add_axes(share)
        self._row[axes] = left, width, height
        return axes

    def go_below(self) -> None:
        """End a row, with room for what stands around its axes, whose lower edges are in line."""
        ends = [self._extent(axes) for axes in self._row]
        bottom, top = min(0, *(low for low, _ in ends)), max(high for _, high in ends)
        for axes, (left, width, height) in self._row.items():
            self._panels.append((axes, (left, self._depth + top - height, width, height)))
        self._row.clear()
        self._depth += top - bottom + _BETWEEN

    def finish(self) -> Figure:
        """Return the figure, as high as what is on it."""
        height = self._depth - _BETWEEN + _MARGIN
        self._figure.set_size_inches(self.width, height)
        for text, depth in self._texts:
            text.set_y(1 - depth / height)
        for axes, (left, depth, wide, high) in self._panels:
            bottom = 1 - (depth + high) / height
            axes.set_position((left / self.width, bottom, wide / self.width, high / height))
        return self._figure

    def _extent(self, artist: Text | Axes) -> tuple[float, float]:
        """Return where an artist, and the text around it, ends below and above, in inches."""
        box: Any = artist.get_tightbbox(self._canvas.get_renderer())
        return box.y0 / self._figure.dpi, box.y1 / self._figure.dpi
