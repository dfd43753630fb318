"""Figures, on ``captum.attr.visualization`` and matplotlib, which is imported only to draw."""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from captum_guided_ext.output._files import write_whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from captum_guided_ext.evaluation._comparison import Comparison
    from captum_guided_ext.evaluation._summary import SummaryLine
    from captum_guided_ext.explanation._explanation import Explanation

__all__ = ["TITLES", "draw_comparison", "draw_explanation", "draw_summary", "save_figure"]

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
        _draw_map(figure, panel, attribution, np.asarray(explanation.view))
        panel.set_title(TITLES[method], fontsize=11)
    figure.suptitle(_title(explanation), fontsize=13, fontweight="bold")
    _draw_scale(figure, panels)
    return figure


def draw_comparison(comparison: Comparison, *, most: int = 8) -> Figure:
    """Draw each picture with its maps, the scores below each map.

    Args:
        comparison: What :func:`captum_guided_ext.compare` returned.
        most: Pictures drawn at the most. Default: 8.

    Raises:
        ValueError: if the inputs are no pictures (N, 1 or 3, H, W), or no method has a map.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    inputs = comparison.inputs
    if inputs.dim() != 4 or inputs.shape[1] not in (1, 3):  # noqa: PLR2004
        raise ValueError(f"inputs of shape {tuple(inputs.shape)} are no pictures to draw")
    if not comparison.maps:
        raise ValueError(f"no method has a map to draw: {next(iter(comparison.reasons.values()))}")
    images = list(dict.fromkeys(row.image for row in comparison.rows)) or list(range(len(inputs)))
    drawn, columns = min(len(inputs), most), 1 + len(comparison.maps)
    metrics = list(dict.fromkeys(row.metric for row in comparison.rows))
    height = _PANEL + 0.2 * len(metrics)
    figure = Figure(figsize=(_PANEL * columns, height * drawn + 1.1), layout="constrained")
    grid = figure.subplots(drawn, columns, squeeze=False)
    for panel in grid.flat:
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    for place, panels in enumerate(grid):
        picture = _picture(inputs[place])
        panels[0].imshow(picture, cmap="gray")
        panels[0].set_title(f"image {images[place]}", fontsize=11)
        for panel, (method, maps) in zip(panels[1:], comparison.maps.items(), strict=True):
            _draw_map(figure, panel, maps[place].cpu(), picture)
            panel.set_title(_title_of(method), fontsize=11)
            panel.axis("on")  # captum.attr.visualization hides the axis, and the scores with it
            panel.set(xticks=[], yticks=[])
            scores = [
                f"{row.metric} {row.value:.3g}"
                for row in comparison.rows
                if (row.image, row.method) == (images[place], method) and row.value is not None
            ]
            panel.set_xlabel("\n".join(scores), fontsize=8)
    _draw_scale(figure, list(grid.flat))
    return figure


def _title_of(method: str) -> str:
    return TITLES.get(method, method.replace("_", " "))


def _picture(x: Tensor) -> npt.NDArray[np.float64]:
    """Return an input as a picture: its lowest value black and its highest white."""
    values = x.double().cpu().permute(1, 2, 0)
    spread = values.max() - values.min()
    picture: npt.NDArray[np.float64] = ((values - values.min()) / spread.clamp(min=1e-12)).numpy()
    return picture


def draw_summary(lines: Sequence[SummaryLine]) -> Figure:
    """Draw the mean of each method with its interval, one panel per metric, best on top.

    Args:
        lines: What :func:`captum_guided_ext.evaluation.summarise` returned.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415

    metrics = list(dict.fromkeys(line.metric for line in lines))
    most = max((sum(line.metric == metric for line in lines) for metric in metrics), default=1)
    columns = min(max(len(metrics), 1), _COLUMNS)
    down = max(-(-len(metrics) // columns), 1)
    figure = Figure(figsize=(4.6 * columns, (1.5 + 0.36 * most) * down), layout="constrained")
    panels = list(figure.subplots(down, columns, squeeze=False).flat)
    for unused in panels[len(metrics) :]:
        unused.set_axis_off()
    for panel, metric in zip(panels, metrics, strict=False):
        shown = [one for one in lines if one.metric == metric and one.mean is not None]
        for place, one in enumerate(reversed(shown)):
            low, high = one.ci_low, one.ci_high
            if low is not None and high is not None:
                panel.plot([low, high], [place, place], color="tab:blue", linewidth=2.5)
            panel.plot([one.mean], [place], "o", color="tab:blue")
        panel.set_yticks(range(len(shown)), [_title_of(one.method) for one in reversed(shown)])
        panel.set_ylim(-0.6, len(shown) - 0.4)
        panel.grid(axis="x", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        better = "higher" if shown and shown[0].higher_is_better else "lower"
        images = max((one.images for one in shown), default=0)
        panel.set_title(metric.replace("_", " "), fontsize=11, fontweight="bold")
        panel.set_xlabel(f"mean over {images} images\n{better} is better", fontsize=9)
    figure.supxlabel("lines: 95 % bootstrap intervals over the images", fontsize=8)
    return figure


def _draw_scale(figure: Figure, panels: Sequence[Axes]) -> None:
    from matplotlib.cm import ScalarMappable  # noqa: PLC0415
    from matplotlib.colors import Normalize  # noqa: PLC0415

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


def _draw_map(
    figure: Figure, panel: Axes, attribution: Tensor, picture: npt.NDArray[np.generic]
) -> None:
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
            picture,
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
