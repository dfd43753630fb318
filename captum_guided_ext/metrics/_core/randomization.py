"""Whether maps change with the weights of the model (Adebayo et al. 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from captum_guided_ext.attr import METHODS
from captum_guided_ext.autograd import check_inputs
from captum_guided_ext.errors import CaptumGuidedError, nearest, warn_user
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics._utils.randomized_copy import Order, RandomizedCopy
from captum_guided_ext.metrics._utils.randomized_maps import Plan, RandomizedMaps
from captum_guided_ext.metrics._utils.similarity import MEASURES, Originals
from captum_guided_ext.sampling import Draws, a_seed, find_draws, mean_interval

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any

    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods import Method
    from captum_guided_ext.metrics._utils.reinitialization import Reinitialization


@dataclass(frozen=True)
class Randomization:
    """How alike maps are to those of the same model with other weights.

    Attributes:
        layers: The last layer that was randomised, step by step.
        values: By measure and method, shape (examples, steps, draws): "spearman", the rank
            correlation of the signed maps; "spearman_abs", that of their magnitudes; "ssim", the
            structural similarity of the magnitudes, each map scaled to 1 by its largest. NaN where
            there is none.
        random_map: By measure and method, shape (examples, draws): the same of the original map
            and its own values shuffled over the places, which is a map without any information.
        reasons: Why a method has no values or lacks some, and why a measure has none.
        lost: Why an example lacks maps after some steps, by method and example: the first reason.
            It says nothing of maps that are there and the same everywhere.
    """

    layers: tuple[str, ...]
    values: Mapping[str, Mapping[str, Tensor]]
    random_map: Mapping[str, Mapping[str, Tensor]]
    reasons: Mapping[str, str]
    lost: Mapping[str, Mapping[int, str]]

    def mean(self, measure: str = "spearman_abs") -> dict[str, Tensor]:
        """Return the mean of a measure over steps and draws, by method, shape (examples,).

        Over those that there are: NaN where there is none.

        Raises:
            ValueError: for an unknown measure.
        """
        return {n: one.flatten(1).nanmean(dim=1) for n, one in self._of(measure).items()}

    def interval(self, measure: str = "spearman_abs") -> dict[str, Tensor]:
        """Return 95 % intervals of the mean over draws, by method, shape (examples, steps, 2).

        Student's t for a few draws. They say how much the draw of the weights matters, not what
        other pictures would give. NaN for a single draw, or where a draw has no value.

        Raises:
            ValueError: for an unknown measure.
        """
        return {name: draw_intervals(one) for name, one in self._of(measure).items()}

    def _of(self, measure: str) -> Mapping[str, Tensor]:
        if measure not in self.values:
            near = nearest(measure, self.values, otherwise=None)
            raise CaptumGuidedError(f"no measure is called {measure!r}{near}")
        return self.values[measure]


def parameter_randomization(
    model: nn.Module,
    inputs: Tensor,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    target: TargetType = None,
    additional_forward_args: object = None,
    *,
    order: Order = "cascading",
    reinitialization: Reinitialization = "permuted",
    every_nth_layer: int = 1,
    n_draws: int = 3,
    layer: nn.Module | str | None = None,
    interpolate_mode: str = "bilinear",
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> Randomization:
    """Return how alike maps stay while the model's weights are randomised, layer by layer.

    The model parameter randomisation test (MPRT) of Adebayo et al. 2018, arXiv:1810.03292: a map
    that stays as it is does not explain what the model has learnt. A map that changes need not be
    right: one without information changes most (``Randomization.random_map``). From the output down
    much of the forward signal survives, and SSIM and normalisation change the order of methods
    (Binder et al. 2023, arXiv:2211.12486): look at all measures, and at ``order="bottom_up"``.

    One deep copy of the model is randomised; the model itself is only read. All methods, and all
    examples up to ``max_examples_per_batch``, share the forward pass of a step: the six named
    methods cost ``steps * n_draws + 1`` forward passes, and each what ``compare`` says of backward
    passes. Captum's methods are asked about the copy, too; a function that goes on running the
    original has no values and a reason.

    A layer is a module that holds parameters of its own that lead to the output. Which those are,
    and in which order they are used, is read off a forward pass; it does not depend on the order of
    registration. A module whose weights are used without a call of it has its place, too. Tied
    weights are randomised once, with the layer that comes first; a batch norm's running statistics
    with its weight and bias, which may be buffers, as in a frozen one, or missing. What the
    re-initialisation would leave as it is, as a batch norm that was never trained, is no step. The
    parameters of the model itself are a layer with the name of its class. What is drawn does not
    depend on the order: when all layers are randomised, cascading and bottom_up have come to the
    same weights.

    Args:
        model: An ``nn.Module``; one that was compiled or wrapped is opened where that is needed.
        inputs: One tensor, the examples along dimension 0.
        methods: As ``compare`` takes them: names, Captum's ``Attribution`` objects, functions of
            the form of ``attribute``, ``MethodSpec``, or a mapping from names of your choice to
            these. Default: the six names.
        target: Which output is explained, as in Captum; it stays, whatever a randomised model
            predicts. Default: None, for a model with one output per example.
        additional_forward_args: As in Captum. Default: None.
        order: "cascading": the layer nearest to the output first, and each stays randomised as the
            next is. "bottom_up": the same from the input up. "independent": one layer at a time,
            the others as they were. Default: "cascading".
        reinitialization: "permuted": a tensor's own values in another order. "normal": draws from
            a normal distribution of its mean and standard deviation; of a variance the magnitude.
            "reset": what the layer's ``reset_parameters`` makes, and "permuted" for a tensor whose
            module has none. Default: "permuted", which keeps a layer's scale.
        every_nth_layer: Maps are made after the first layer, after every so many more, and after
            the last; the layers between are randomised all the same. Default: 1.
        n_draws: How often all that is done, with other random weights. Default: 3.
        layer: Grad-CAM's layer, as a module or by its dotted name. Default: the last feature map.
        interpolate_mode: How a Grad-CAM is laid over the input. Default: "bilinear".
        max_examples_per_batch: Most inputs in one forward pass. Default: all examples.
        generator: Instead of ``seed``: one is drawn from it.
        seed: Of all randomness. Default: drawn from torch's global generator.
        image_indices: The number of each example's image, for methods that draw; weights are the
            same for all images. Default: its place in the batch.
        show_progress: Show a progress bar on standard error. Default: False.

    Returns:
        The values by measure and method. Rank correlations are Spearman's: a place of pictures
        (N, C, H, W) is a pixel and counts with the sum of its channels, or of their magnitudes; of
        inputs of other shapes each number is a place. Where a map is the same everywhere there is
        none. SSIM needs torchmetrics, ``pip install "captum-guided-ext[sanity]"``, and pictures.

    Raises:
        ModelError: for what is no ``nn.Module``, has no weights, cannot be copied, or uses weights
            that are not among its parameters or that autograd does not see.
        TypeError: for inputs, methods or numbers of a wrong kind.
        ValueError: for a missing or impossible target, an unknown name, NaN or infinity.

    Example:
        >>> result = parameter_randomization(model, images, target=labels, seed=0)
        >>> dict(zip(result.layers, result.values["spearman_abs"]["guided_backprop"][0].mean(-1)))
    """
    chosen = a_seed(generator, seed)
    draws = check_batch("parameter_randomization", inputs, chosen, image_indices)
    return sample_randomization(
        MethodSet(model, methods, layer=layer, interpolate_mode=interpolate_mode),
        inputs,
        target,
        additional_forward_args,
        plan=Plan(order, reinitialization, every_nth_layer, n_draws),
        seed=draws.seed,
        images=draws.images,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
    )


def check_batch(metric: str, inputs: Any, seed: int, image_indices: Sequence[int] | None) -> Draws:
    """Return the draws of a batch that may be explained with randomised weights, or raise."""
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"inputs must be one tensor for {metric}, not {type(inputs).__name__}: pass further "
            "inputs among additional_forward_args"
        )
    check_inputs(inputs)
    draws = find_draws(None, seed, image_indices, len(inputs), metric)
    assert draws is not None  # noqa: S101 - for the type checker: there is a seed
    return draws


def sample_randomization(
    methods: MethodSet,
    inputs: Tensor,
    target: TargetType,
    additional_forward_args: object = None,
    *,
    plan: Plan,
    seed: int,
    images: Sequence[int],
    max_examples_per_batch: int | None,
    measures: Sequence[str] = MEASURES,
    floors: Collection[str] = (),
    show_progress: bool = False,
) -> Randomization:
    """Do what :func:`parameter_randomization` does, with methods that were looked up before.

    Args:
        methods: Of the model.
        inputs: As there.
        target: As there.
        additional_forward_args: As there.
        plan: Which layers are randomised how, and how often.
        seed: Of all randomness.
        images: The number of each example's image.
        max_examples_per_batch: Most inputs in one forward pass.
        measures: Those that are wanted. Default: all.
        floors: Floors that are to have values, too: ``constant_map``, ``random_map``, which is new
            noise at each step, and ``edges``.
        show_progress: Show a progress bar on standard error.
    """
    maps = RandomizedMaps(
        methods,
        inputs,
        target,
        additional_forward_args,
        plan=plan,
        seed=seed,
        images=images,
        max_examples_per_batch=max_examples_per_batch,
        floors=floors,
        show_progress=show_progress,
    )
    originals = Originals(maps.original, measures)
    shape = (len(inputs), len(maps.layers), plan.n_draws)
    values = _empty(measures, maps.original, shape)
    shuffled = _empty(measures, maps.original, (len(inputs), plan.n_draws))
    for draw in range(plan.n_draws):
        for rows in maps.parts:
            mixed = _shuffled(maps.original, rows, draw, Draws(seed, images, "shuffled map"))
            _put(shuffled, originals.similarities(mixed, rows), (rows, draw))
    untouched = {n for n, one in maps.original.items() if n not in floors and _has_places(one)}
    for step in maps:
        _put(
            values, originals.similarities(step.maps, step.rows), (step.rows, step.step, step.draw)
        )
        if step.step == len(maps.layers) - 1 and plan.order != "independent":
            same = {n for n in untouched if torch.equal(step.maps[n], maps.original[n][step.rows])}
            untouched &= same
    if untouched and plan.order != "independent":
        named = ", ".join(sorted(untouched))
        warn_user(
            f"with all weights random, the map of {named} is the same to the bit: it does not "
            "depend on them, or it explains another network than this one (a copy, a script or a "
            "trace of it)"
        )
    reasons = maps.reasons | {name: next(iter(why.values())) for name, why in maps.lost.items()}
    for name in maps.original:
        for measure in set(measures) - set(originals.reasons):
            reason = _why_missing(values[measure][name], maps.layers)
            if reason:
                reasons.setdefault(name, reason)
    return Randomization(maps.layers, values, shuffled, reasons | originals.reasons, maps.lost)


def randomized_layers(
    model: nn.Module,
    inputs: Tensor,
    additional_forward_args: object = None,
    *,
    every_nth_layer: int = 1,
    order: Order = "cascading",
    reinitialization: Reinitialization = "permuted",
) -> tuple[str, ...]:
    """Return the layers after which :func:`parameter_randomization` makes maps.

    Costs one copy of the model and one forward pass.

    Raises:
        As it does.
    """
    plan = Plan(order, reinitialization, every_nth_layer)
    plan.check()
    found = RandomizedCopy(model, reinitialization, seed=0)
    found.find_layers_by(inputs, additional_forward_args, order)
    return plan.steps(found.layers)


def _has_places(attributions: Tensor) -> bool:
    """Whether the maps are not the same everywhere."""
    return bool((attributions != attributions.flatten()[0]).any())


def _empty(
    measures: Sequence[str], methods: Iterable[str], shape: tuple[int, ...]
) -> dict[str, dict[str, Tensor]]:
    nothing = torch.full(shape, math.nan, dtype=torch.float64)
    return {measure: {name: nothing.clone() for name in methods} for measure in measures}


def _put(
    values: Mapping[str, Mapping[str, Tensor]],
    found: Mapping[str, Mapping[str, Tensor]],
    place: tuple[Any, ...],
) -> None:
    for measure, by_method in found.items():
        for name, one in by_method.items():
            values[measure][name][place] = one


def _shuffled(
    maps: Mapping[str, Tensor], rows: slice, draw: int, draws: Draws
) -> dict[str, Tensor]:
    """Return the maps of some examples with their places in another order, the same for all."""
    found: dict[str, list[Tensor]] = {name: [] for name in maps}
    for row in range(rows.start, rows.stop):
        generator = draws.generator(row, draw, torch.device("cpu"))
        order: Tensor | None = None
        for name, several in maps.items():
            one = several[row].cpu()
            flat = one.reshape(one.shape[0], -1) if one.dim() > 2 else one.reshape(1, -1)  # noqa: PLR2004
            if order is None:
                order = torch.randperm(flat.shape[1], generator=generator)
            found[name].append(flat[:, order].reshape(one.shape))
    return {name: torch.stack(several) for name, several in found.items()}


def _why_missing(values: Tensor, layers: Sequence[str]) -> str:
    """Return why some of (examples, steps, draws) are NaN; empty, if none is."""
    missing = values.isnan()
    if not missing.any():
        return ""
    example, step, _ = missing.nonzero()[0].tolist()
    return (
        f"{int(missing.sum())} of {missing.numel()} maps have nothing to compare: they or the "
        f"original are the same everywhere, first that of example {example} after {layers[step]} "
        "was randomised"
    )


def draw_intervals(values: Tensor) -> Tensor:
    """Return 95 % intervals of the mean over the last dimension, (..., draws) to (..., 2)."""
    found = np.full((*values.shape[:-1], 2), math.nan)
    for place in np.ndindex(*values.shape[:-1]):
        draws = values[place].numpy()
        interval = mean_interval(draws) if np.isfinite(draws).all() else None
        if interval is not None:
            found[place] = interval
    return torch.from_numpy(found)
