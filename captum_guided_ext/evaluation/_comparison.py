"""Several attribution methods on one batch: their maps, and the numbers beside them."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.attr._utils.methods import METHODS
from captum_guided_ext.autograd import _checks as checks
from captum_guided_ext.evaluation._methods import MethodSet
from captum_guided_ext.evaluation._metrics import Score, ScoredBatch, find_metrics
from captum_guided_ext.output._files import write_whole
from captum_guided_ext.output._tables import csv_text, markdown_table, number
from captum_guided_ext.sampling._draws import find_draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import pandas as pd
    from matplotlib.figure import Figure
    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.evaluation._methods import Method
    from captum_guided_ext.evaluation._metrics import Metric

__all__ = ["DEFAULT_METRICS", "Comparison", "ScoreRow", "compare", "compare_methods"]

DEFAULT_METRICS = ("infidelity", "sensitivity_max")


@dataclass(frozen=True)
class ScoreRow:
    """One score of one method on one image.

    Attributes:
        image: The image's number.
        method: The method's name.
        metric: The metric's name.
        value: The score; None where there is none.
        standard_error: Its standard error, for means of samples that were drawn; else None.
        interval_low: Lower end of its 95 % interval by resampling its samples, for normalised
            scores; else None.
        interval_high: The upper end.
        reason: Why there is no score; empty where there is one.
    """

    image: int
    method: str
    metric: str
    value: float | None
    standard_error: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    reason: str = ""


_COLUMNS = tuple(column.name for column in dataclasses.fields(ScoreRow))


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare` found.

    Attributes:
        inputs: What was explained, (N, ...).
        target: The class or score explained of each, as in Captum.
        maps: By method, of the shape of ``inputs``; Grad-CAM's have one channel.
        rows: The scores, one row for each image, method and metric.
        reasons: Why a method has no map, by method.
        layer: The dotted name of Grad-CAM's layer, where it is known.
    """

    inputs: Tensor
    target: TargetType
    maps: Mapping[str, Tensor]
    rows: tuple[ScoreRow, ...]
    reasons: Mapping[str, str]
    layer: str | None

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the rows as CSV, numbers with all their digits; written to ``path`` if given."""
        text = csv_text(_COLUMNS, map(dataclasses.asdict, self.rows))
        if path is not None:
            write_whole(Path(path), text.encode())
        return text

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table, numbers to four digits."""
        used = [
            name
            for name in _COLUMNS
            if name in _COLUMNS[:4]
            or any(getattr(row, name) not in (None, "") for row in self.rows)
        ]
        return markdown_table(used, ([getattr(row, name) for name in used] for row in self.rows))

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(
                'to_pandas needs pandas: pip install "captum-guided-ext[pandas]"'
            ) from error
        return pd.DataFrame(map(dataclasses.asdict, self.rows), columns=list(_COLUMNS))

    def plot(self) -> Figure:
        """Draw each picture with its maps and their scores, up to eight pictures.

        Raises:
            ValueError: if the inputs are no pictures (N, 1 or 3 channels, H, W).
        """
        from captum_guided_ext.output._figures import draw_comparison  # noqa: PLC0415

        return draw_comparison(self)

    def __str__(self) -> str:
        """Return a table of methods and metrics, each the mean over the images."""
        metrics = list(dict.fromkeys(row.metric for row in self.rows))
        rows: dict[str, list[str]] = {}
        for method in (*self.maps, *self.reasons):
            cells = []
            for metric in metrics:
                values = [
                    row.value
                    for row in self.rows
                    if (row.method, row.metric) == (method, metric) and row.value is not None
                ]
                cells.append(number(math.fsum(values) / len(values)) if values else "")
            rows[method] = [*cells, self.reasons.get(method, "")]
        columns = ["method", *metrics, "reason"] if self.reasons else ["method", *metrics]
        table = markdown_table(columns, ([m, *cells][: len(columns)] for m, cells in rows.items()))
        images = len({row.image for row in self.rows})
        return f"{table}\nmeans over {images} image{'s' if images != 1 else ''}"


def compare(
    model: Callable[..., Any],
    inputs: Tensor,
    target: TargetType | str = None,
    additional_forward_args: object = None,
    *,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    layer: nn.Module | str | None = None,
    metrics: Iterable[str | Metric] = DEFAULT_METRICS,
    n_perturb_samples: int = 10,
    interpolate_mode: str = "bilinear",
    masks: Tensor | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    max_examples_per_batch: int | None = None,
    show_progress: bool = False,
) -> Comparison:
    """Explain a batch by several methods, and score their maps.

    The six named methods cost one forward pass, three full backward passes and one down to the
    layer. Infidelity adds ``n_perturb_samples`` forward passes, sensitivity as many times what the
    maps cost. Both are made of the same perturbed inputs for all methods.

    Args:
        model: A module or any callable that returns a tensor.
        inputs: The examples along dimension 0, (N, ...).
        target: Which output to explain, as in Captum; or "prediction", the highest score of each
            example. Default: None, for a model with one output per example.
        additional_forward_args: As in Captum. Default: None.
        methods: Names (``gradient``, ``input_x_gradient``, ``deconvolution``,
            ``guided_backprop``, ``grad_cam``, ``guided_grad_cam``), Captum's ``Attribution``
            objects, functions of the form of ``attribute``, or a mapping from names of your choice
            to these. Default: the six names.
        layer: Grad-CAM's layer, as a module or by its dotted name. Default: the last feature map,
            found in a forward pass of one example.
        metrics: Names from :data:`captum_guided_ext.evaluation.METRICS`, or metrics with settings
            of their own such as ``InfidelityMetric(SquareRemoval(), 1000)``. An infidelity is
            optimally scaled (``normalize=True``). Default: infidelity and sensitivity_max.
        n_perturb_samples: Perturbations of each example, for metrics given by name. Default: 10.
        interpolate_mode: How a Grad-CAM is laid over the input. Default: "bilinear".
        masks: Where the object is, boolean (N, H, W), for relevance_mass and pointing_game.
        generator: Source of all randomness: one seed is drawn from it.
        seed: Instead of ``generator``. Default: 0. An image's scores do not depend on the batch.
        image_indices: The number of each example's image. Default: its place in the batch.
        max_examples_per_batch: Most perturbed inputs at a time, at least one of each example.
            Default: ten of each example.
        show_progress: Show progress bars on standard error. Default: False.

    Returns:
        The maps and the scores. A method that does not apply to the model has rows that give the
        reason instead of a value.

    Raises:
        TypeError: for inputs, outputs, methods or metrics of a wrong kind.
        ValueError: for a missing or impossible target, an unknown method or metric, a layer the
            model does not have, a metric that does not fit the inputs.

    Example:
        >>> result = compare(model, images, target=labels, layer="layer4", seed=0)
        >>> print(result)
        >>> result.plot().savefig("maps.png")
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"inputs must be one tensor, not {type(inputs).__name__}: pass further inputs among "
            "additional_forward_args"
        )
    if generator is None and seed is None:
        seed = 0
    draws = find_draws(generator, seed, image_indices, len(inputs), "")
    assert draws is not None  # noqa: S101 - for the type checker: there is a seed
    return compare_methods(
        MethodSet(model, methods, layer=layer, interpolate_mode=interpolate_mode),
        find_metrics(metrics, n_perturb_samples=n_perturb_samples),
        inputs,
        target,
        additional_forward_args,
        masks=masks,
        seed=draws.seed,
        images=draws.images,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
    )


def compare_methods(
    methods: MethodSet,
    metrics: Sequence[Metric],
    inputs: Tensor,
    target: TargetType | str,
    additional_forward_args: object = None,
    *,
    masks: Tensor | None,
    seed: int,
    images: Sequence[int],
    max_examples_per_batch: int | None,
    show_progress: bool,
) -> Comparison:
    """Do what :func:`compare` does, with methods and metrics that were looked up before."""
    if masks is not None and masks.shape != (len(inputs), *inputs.shape[-2:]):
        raise ValueError(
            f"masks have shape {tuple(masks.shape)}, and the inputs need "
            f"{(len(inputs), *inputs.shape[-2:])}"
        )
    forward_pass = methods.forward_pass(inputs, additional_forward_args)
    chosen = _chosen(target, forward_pass.output)
    scores = checks.select_target(forward_pass.output, chosen).detach()
    batch = ScoredBatch(
        methods,
        inputs.detach(),
        chosen,
        additional_forward_args,
        scores,
        {},
        seed,
        images,
        masks,
        max_examples_per_batch,
        show_progress,
    )
    batch.maps, reasons = methods.maps(
        forward_pass, chosen, batch.seeds([0]), additional_forward_args
    )
    del forward_pass  # and with it the graph
    rows = list(_rows(batch, metrics, reasons))
    return Comparison(batch.inputs, chosen, batch.maps, tuple(rows), reasons, methods.layer_name)


def _chosen(target: TargetType | str, output: Tensor) -> TargetType:
    if not isinstance(target, str):
        return target
    if target != "prediction":
        raise ValueError(
            f"target {target!r} is no class index; the only word it may be is prediction"
        )
    if output.dim() != 2:  # noqa: PLR2004 - (examples, classes)
        raise ValueError(f"there is no prediction in an output of shape {tuple(output.shape)}")
    found: list[int] = output.argmax(dim=1).tolist()
    return found


def _rows(
    batch: ScoredBatch, metrics: Iterable[Metric], reasons: Mapping[str, str]
) -> Iterable[ScoreRow]:
    scored: dict[str, Mapping[str, Score]] = {}
    for metric in metrics:
        scored |= metric.score(batch) if batch.maps else {name: {} for name in metric.names}
    for place, image in enumerate(batch.images):
        for method in batch.methods.names:
            for metric_name, by_method in scored.items():
                score = by_method.get(method)
                if score is None:
                    yield ScoreRow(image, method, metric_name, None, reason=reasons[method])
                else:
                    failure = batch.failures.get(method, "the score is not a finite number")
                    yield _row(image, method, metric_name, score, place, failure)


def _row(image: int, method: str, metric: str, score: Score, place: int, failure: str) -> ScoreRow:
    values: Tensor = score.values  # noqa: PD011
    value = values[place].item()
    if not math.isfinite(value):
        return ScoreRow(image, method, metric, None, reason=failure)
    error = None if score.standard_error is None else score.standard_error[place].item()
    low, high = (None, None) if score.interval is None else score.interval[place].tolist()
    if error is not None and math.isnan(error):  # of a single sample
        error = None
    return ScoreRow(image, method, metric, value, error, low, high)
