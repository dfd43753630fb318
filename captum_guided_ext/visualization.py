"""Figures, on ``captum.attr.visualization`` and matplotlib, which is imported only to draw."""

from __future__ import annotations

import os
import warnings
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from captum_guided_ext.explanation import Explanation

__all__ = ["TITLES", "draw_explanation", "save_figure", "write_whole"]

TITLES = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "deconvolution": "DeconvNet",
    "guided_backprop": "Guided backprop",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
}
_OUTLIERS = 2  # per cent of a map's magnitude left beyond the ends of the colour scale
_COLOURS = "RdBu_r"
_PANEL = 2.9  # inches
_COLUMNS = 3


def draw_explanation(explanation: Explanation) -> Figure:
    """Draw the input and one panel per method, on one colour scale.

    Args:
        explanation: What :func:`captum_guided_ext.explanation.explain` returned.

    Returns:
        A figure that belongs to no window; nothing global is changed.
    """
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import Normalize  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    count = 1 + len(explanation.maps)
    columns = min(count, _COLUMNS)
    rows = -(-count // columns)
    figure = Figure(figsize=(_PANEL * columns, _PANEL * rows + 1.1), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.set_axis_off()
    _draw_input(panels[0], explanation)
    for panel, (method, attribution) in zip(panels[1:], explanation.maps.items(), strict=False):
        _draw_map(figure, panel, attribution, explanation)
        panel.set_title(TITLES[method], fontsize=11)
    figure.suptitle(_title(explanation), fontsize=13, fontweight="bold")
    scale = ScalarMappable(Normalize(-1, 1), cmap=_COLOURS)
    bar = figure.colorbar(
        scale, ax=panels, orientation="horizontal", shrink=0.6, aspect=45, pad=0.02
    )
    bar.set_ticks([-1, 0, 1], labels=["negative  −1", "0", "1  positive"])
    bar.set_label(
        "Attribution, summed over colour channels. In every panel 1 is the value that leaves the "
        f"last {_OUTLIERS} % of the map's total magnitude beyond it.",
        fontsize=8,
    )
    bar.ax.tick_params(labelsize=8)
    return figure


def _title(explanation: Explanation) -> str:
    best, target = explanation.predictions[0], explanation.target
    title = f"prediction: {best.name} ({best.probability:.1%})"
    if target.index != best.index:
        title = f"explained: {target.name} ({target.probability:.1%}) · {title}"
    return title


def _draw_input(panel: Axes, explanation: Explanation) -> None:
    panel.imshow(explanation.view)
    panel.set_title(explanation.image, fontsize=11)
    for mask in explanation.masks.values():
        if mask.any() and not mask.all():
            panel.contour(mask, levels=[0.5], colors="white", linewidths=0.8, alpha=0.8)


def _draw_map(figure: Figure, panel: Axes, attribution: Tensor, explanation: Explanation) -> None:
    from captum.attr import visualization  # noqa: PLC0415

    values = np.transpose(attribution.float().numpy(), (1, 2, 0))
    if not values.any():
        panel.imshow(np.zeros(values.shape[:2]), cmap=_COLOURS, vmin=-1, vmax=1)
        panel.text(0.5, 0.5, "zero everywhere", ha="center", transform=panel.transAxes)
        return
    with warnings.catch_warnings():
        # A map with little in it is scaled by a number near 0, and Captum says so.
        warnings.filterwarnings("ignore", "Attempting to normalize by value approximately 0")
        visualization.visualize_image_attr(
            values,
            np.asarray(explanation.view),
            method="heat_map",
            sign="all",
            outlier_perc=_OUTLIERS,
            cmap=_COLOURS,
            plt_fig_axis=(figure, panel),
            use_pyplot=False,
        )


def save_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG to ``path``, whole or not at all."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=150)
    write_whole(path, content.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or the one that was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
