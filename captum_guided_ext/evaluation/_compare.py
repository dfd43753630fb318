"""Several attribution methods on one batch: their maps, and the numbers beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from captum_guided_ext.attr import METHODS
from captum_guided_ext.evaluation._comparison import Comparison
from captum_guided_ext.evaluation._metric import Score, ScoredBatch
from captum_guided_ext.evaluation._metrics import DEFAULT_METRICS, find_metrics
from captum_guided_ext.evaluation._rows import ScoreRow
from captum_guided_ext.methods import FLOORS, FastMethods, MethodSet, floor_maps
from captum_guided_ext.networks import Network, check_class_names, find_targets
from captum_guided_ext.sampling import a_seed, find_draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import torch
    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.evaluation._metric import Metric
    from captum_guided_ext.methods import Method


def compare(
    model: Callable[..., Any] | Network,
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
    seed: int | None = 0,
    image_indices: Sequence[int] | None = None,
    max_examples_per_batch: int | None = None,
    fast: bool = False,
    show_progress: bool = False,
) -> Comparison:
    """Explain a batch by several methods, and score their maps.

    The six named methods cost one forward pass, three full backward passes and one down to the
    layer. Infidelity adds ``n_perturb_samples`` forward passes, sensitivity as many times what the
    maps cost. Both are made of the same perturbed inputs for all methods.

    Args:
        model: A module, any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`), or a :class:`~captum_guided_ext.Network`.
        inputs: The examples along dimension 0, (N, ...).
        target: Which output to explain, as in Captum; or "prediction" (the same as "top1"), the
            class with the highest score of each example, or "top2", ... Default: None, for a model
            with one output per example.
        additional_forward_args: As in Captum. Default: None.
        methods: Names (``gradient``, ``input_x_gradient``, ``deconvolution``,
            ``guided_backprop``, ``grad_cam``, ``guided_grad_cam``; and Captum's,
            :data:`captum_guided_ext.evaluation.CAPTUM_METHODS`), Captum's ``Attribution``
            objects, functions of the form of ``attribute``, a :class:`MethodSpec` of either, or a
            mapping from names of your choice to these. Default: the six names.
        layer: Grad-CAM's layer, as a module or by its dotted name. Default: the last feature map.
        metrics: Names from :data:`captum_guided_ext.evaluation.METRICS`, or metrics with settings
            of their own such as ``InfidelityMetric(SquareRemoval(), 1000)``. An infidelity is
            optimally scaled (``normalize=True``). Default: infidelity and sensitivity_max.
        n_perturb_samples: Perturbations of each example, for metrics given by name. Default: 10.
        interpolate_mode: How a Grad-CAM is laid over the input. Default: "bilinear".
        masks: Where the object is, boolean (N, H, W), for relevance_mass and pointing_game.
        generator: Instead of ``seed``: one is drawn from it.
        seed: Of all randomness; None draws one from torch's global generator. An image's scores do
            not depend on the batch. Default: 0.
        image_indices: The number of each example's image. Default: its place in the batch.
        max_examples_per_batch: Most perturbed inputs at a time, at least one of each example.
            Default: ten of each example.
        fast: Compute on a copy of the network that takes less time: in evaluation mode, a batch
            norm is folded into the convolution (or linear layer) in front of it where nothing else
            uses that; and on a CPU pictures, and kernels larger than 1 x 1, have their channels
            last. The network stays as it is, and its copy shares all other weights. Outputs are
            within 1e-4 of the largest, which is checked on these inputs by one forward pass more;
            but where a gate is at its edge, it flips, and a map changes. Methods that are objects
            or functions run what they were made with, and weights are randomised in an exact copy.
            Default: False.
        show_progress: Show progress bars on standard error. Default: False.

    Returns:
        The maps and the scores. A method that does not apply to the model has rows that give the
        reason instead of a value. What a score has to beat has rows of its own: ``constant_map``,
        ``random_map``, ``edges`` of pictures, and ``best_constant`` for infidelity.

    Raises:
        TypeError: for inputs, outputs, methods or metrics of a wrong kind.
        ValueError: for a missing or impossible target, an unknown method or metric, a layer the
            model does not have, a metric that does not fit the inputs; with ``fast``, for a model
            that is no module or cannot be copied, or a copy whose outputs differ.

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
    function = model.model if isinstance(model, Network) else model
    draws = find_draws(None, a_seed(generator, seed), image_indices, len(inputs), "")
    assert draws is not None  # noqa: S101 - for the type checker: there is a seed
    asked = MethodSet(function, methods, layer=layer, interpolate_mode=interpolate_mode)
    return compare_methods(
        asked,
        find_metrics(metrics, n_perturb_samples=n_perturb_samples),
        inputs,
        target,
        additional_forward_args,
        network=model if isinstance(model, Network) else None,
        masks=masks,
        seed=draws.seed,
        images=draws.images,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
        fast=FastMethods(asked) if fast else None,
    )


def compare_methods(
    methods: MethodSet,
    metrics: Sequence[Metric],
    inputs: Tensor,
    target: TargetType | str,
    additional_forward_args: object = None,
    *,
    network: Network | None,
    masks: Tensor | None,
    seed: int,
    images: Sequence[int],
    max_examples_per_batch: int | None,
    show_progress: bool,
    fast: FastMethods | None = None,
) -> Comparison:
    """Do what :func:`compare` does, with methods and metrics that were looked up before.

    ``fast`` holds these methods; None computes exactly.
    """
    if masks is not None and not isinstance(masks, Tensor):
        raise TypeError(f"masks must be a tensor, not {type(masks).__name__}")
    if masks is not None and masks.shape != (len(inputs), *inputs.shape[-2:]):
        raise ValueError(
            f"masks have shape {tuple(masks.shape)}, and the inputs need "
            f"{(len(inputs), *inputs.shape[-2:])}"
        )
    exact = methods
    if fast is not None:
        methods = fast.of_copy(inputs, additional_forward_args)
    forward_pass = methods.forward_pass(inputs, additional_forward_args)
    output, check = forward_pass.output, None
    if fast is not None:
        check, output = fast.check(inputs, additional_forward_args, output)
    if network is not None and output.dim() == 2:  # noqa: PLR2004 - (examples, classes)
        check_class_names(network.classes, output.shape[1], network.name)
    chosen = find_targets(target, output)
    scores = forward_pass.scores(chosen).detach()
    seeds = methods.seeds(seed, images, [0])
    maps, reasons = methods.maps(forward_pass, chosen, seeds, additional_forward_args)
    del forward_pass, output  # and with them the graph
    floors = floor_maps(inputs.detach(), seed, images, [0]) if maps and metrics else {}
    batch = ScoredBatch(
        methods,
        inputs.detach(),
        chosen,
        additional_forward_args,
        scores,
        maps | floors,
        seed,
        images,
        masks,
        max_examples_per_batch,
        show_progress,
        exact,
    )
    rows = tuple(_rows(batch, metrics, reasons))
    higher = {name: metric.higher_is_better for metric in metrics for name in metric.names}
    layer = methods.layer_name
    return Comparison(batch.inputs, chosen, maps, rows, reasons, layer, higher, check)


def _rows(
    batch: ScoredBatch, metrics: Iterable[Metric], reasons: Mapping[str, str]
) -> Iterable[ScoreRow]:
    columns: dict[str, dict[str, _Column]] = {}
    for metric in metrics:
        scored = _scores(metric, batch) if batch.maps else {name: {} for name in metric.names}
        for name, by_method in scored.items():
            columns[name] = {method: _Column.of(score) for method, score in by_method.items()}
    for place, image in enumerate(batch.images):
        for method in (*batch.methods.names, *FLOORS):
            for metric_name, by_name in columns.items():
                column = by_name.get(method)
                if column is not None:
                    yield column.row(image, method, metric_name, place)
                elif method not in FLOORS:
                    reason = reasons.get(method, "the metric gives this method no score")
                    yield ScoreRow(image, method, metric_name, None, reason=reason)


def _scores(metric: Metric, batch: ScoredBatch) -> Mapping[str, Mapping[str, Score]]:
    """Return what a metric, which may be somebody's own, gives; raise where it is none of that."""
    found, kind = metric.score(batch), type(metric).__name__
    if not isinstance(found, Mapping) or set(found) != set(metric.names):
        given = sorted(found) if isinstance(found, Mapping) else type(found).__name__
        raise ValueError(
            f"{kind} gives scores called {given}, its names are {tuple(metric.names)}: "
            "score(batch) must return a mapping from each name to one from methods to scores"
        )
    for name, by_method in found.items():
        if not isinstance(by_method, Mapping):
            raise TypeError(
                f"{kind} gives {name} as {type(by_method).__name__}: it must be a mapping"
            )
        for method, score in by_method.items():
            _check_score(f"{kind} gives {name} of {method}", score, len(batch.inputs))
    return found


def _check_score(what: str, score: object, examples: int) -> None:
    if not isinstance(score, Score):
        raise TypeError(f"{what} as {type(score).__name__}: it must be a Score")
    shapes: dict[str, tuple[Any, tuple[int, ...]]] = {
        "values": (score.values, (examples,)),
        "standard_error": (score.standard_error, (examples,)),
        "interval": (score.interval, (examples, 2)),
    }
    for part, (given, wanted) in shapes.items():
        if given is None and part != "values":
            continue
        if not isinstance(given, Tensor) or given.shape != wanted or given.is_complex():
            shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{what} the {part} {shape}: it must be a real tensor {wanted}")
    if not isinstance(score.reason, str) and len(score.reason) != examples:
        raise ValueError(
            f"{what} {len(score.reason)} reasons: it must be a text, or one for each of {examples} "
            "examples"
        )


class _Column(NamedTuple):
    """A score's numbers, read at once."""

    score: Score
    values: list[float]
    errors: list[float] | None
    intervals: list[list[float]] | None

    @classmethod
    def of(cls, score: Score) -> _Column:
        error, interval = score.standard_error, score.interval
        return cls(
            score,
            score.values.tolist(),
            None if error is None else error.tolist(),
            None if interval is None else interval.tolist(),
        )

    def row(self, image: int, method: str, metric: str, place: int) -> ScoreRow:
        value = _finite(self.values[place])
        if value is None:
            reason = self.score.reason_of(place) or "the score is not a finite number"
            return ScoreRow(image, method, metric, None, reason=reason)
        error = None if self.errors is None else _finite(self.errors[place])
        ends = (None, None) if self.intervals is None else map(_finite, self.intervals[place])
        return ScoreRow(image, method, metric, value, error, *ends)


def _finite(number: float) -> float | None:
    """Return a number, or None where it is none: the standard error of a single sample, say."""
    number = float(number)  # of a hit, which may be true or false
    return number if math.isfinite(number) else None
