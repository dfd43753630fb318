"""Whether a map depends on the class that is explained."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from captum_guided_ext.attr import METHODS
from captum_guided_ext.autograd import check_inputs
from captum_guided_ext.errors import ModelError
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics._utils.similarity import rank_correlation
from captum_guided_ext.networks import by_score, find_targets
from captum_guided_ext.sampling import Draws, a_seed, find_draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor, nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd import ForwardPass
    from captum_guided_ext.methods import Method

_SAME_CLASS = "the other class is the target itself"
_CONSTANT = "the map of the target is the same everywhere"
_OTHER_CONSTANT = "the map of the other class is the same everywhere"
_OTHERS = ("top2", "random")


@dataclass(frozen=True, eq=False)
class ClassSensitivity:
    """How alike the maps of two classes are, by method.

    Attributes:
        values: By method, (N,), from -1 to 1; NaN where there is no number.
        target: The class explained of each example, (N,).
        other: The class it was compared with, (N,).
        reasons: By method, why there is no number, one text for each example; empty where there is.
    """

    values: Mapping[str, Tensor]
    target: Tensor
    other: Tensor
    reasons: Mapping[str, tuple[str, ...]]


def class_sensitivity(
    model: Callable[..., Any],
    inputs: Tensor,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    target: TargetType | str = None,
    other: TargetType | str = "top2",
    additional_forward_args: object = None,
    *,
    layer: nn.Module | str | None = None,
    interpolate_mode: str = "bilinear",
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
) -> ClassSensitivity:
    """Return how alike each method's maps of two classes are: near 1, the class hardly matters.

    Spearman's rank correlation of the magnitudes of the two maps' numbers, over all places and
    channels; numbers of equal magnitude share a rank. Mahendran & Vedaldi 2016 and Nie et al. 2018
    (arXiv:1805.07039) showed that guided backprop and deconvolution hardly depend on the class. Low
    is not good by itself: maps of noise are uncorrelated, too.

    One forward pass serves both classes of the named methods; methods of Captum's run twice. A
    method that draws gets the same random numbers for both.

    Args:
        model: A module or any callable that returns one score for each class, (N, classes), or what
            holds such a tensor (see :class:`~captum_guided_ext.ForwardPass`).
        inputs: One tensor, the examples along dimension 0.
        methods: As in :func:`captum_guided_ext.compare`. Default: the six names.
        target: Class indices, as in Captum; or "prediction", "top2", ... Default: None, which no
            model with several classes takes.
        other: What the target is compared with: "top2", the runner-up, or where the target is not
            the prediction, the best class that is not the target; "random", another class drawn for
            each image; or class indices, as in Captum. Default: "top2".
        additional_forward_args: As in Captum. Default: None.
        layer: Grad-CAM's layer, as a module or by its dotted name. Default: the last feature map.
        interpolate_mode: How a Grad-CAM is laid over the input. Default: "bilinear".
        generator: Instead of ``seed``: one is drawn from it.
        seed: Of all randomness. Default: drawn from torch's global generator.
        image_indices: The number of each example's image: what is drawn for it does not depend on
            the batch. Default: its place in the batch.

    Returns:
        A number for each method and example; NaN with a reason where a map is the same everywhere,
        the two classes are one, or the method does not apply to the model.

    Raises:
        TypeError: for inputs or methods of a wrong kind.
        ModelError: for an output that is not (N, classes) with two classes or more, or a missing or
            impossible target.
        ValueError: for another word than these, an unknown method, or a layer the model does not
            have.

    Example:
        >>> found = class_sensitivity(model, images, target="prediction", seed=0)
        >>> {method: float(values.mean()) for method, values in found.values.items()}
    """
    if not isinstance(inputs, torch.Tensor):
        raise TypeError(
            f"inputs must be one tensor, not {type(inputs).__name__}: pass further inputs among "
            "additional_forward_args"
        )
    check_inputs(inputs)
    draws = find_draws(None, a_seed(generator, seed), image_indices, len(inputs), "")
    assert draws is not None  # noqa: S101 - for the type checker: there is a seed
    return sample_class_sensitivity(
        MethodSet(model, methods, layer=layer, interpolate_mode=interpolate_mode),
        inputs,
        target,
        other,
        additional_forward_args,
        seed=draws.seed,
        images=draws.images,
    )


def sample_class_sensitivity(
    methods: MethodSet,
    inputs: Tensor,
    target: TargetType | str,
    other: TargetType | str,
    additional_forward_args: object,
    *,
    seed: int,
    images: Sequence[int],
    original: Mapping[str, Tensor] | None = None,
) -> ClassSensitivity:
    """Do what :func:`class_sensitivity` does, with maps of the target that there may be already.

    Args:
        methods: The methods.
        inputs: As there, and so are the next ones.
        target: What was explained.
        other: What it is compared with.
        additional_forward_args: The model's further arguments.
        seed: Of all randomness.
        images: The number of each example's image.
        original: Each method's map of the target. Default: they are made.
    """
    if isinstance(other, str) and other not in _OTHERS:
        raise ValueError(f"other must be 'top2', 'random' or class indices, and is {other!r}")
    forward_pass = methods.forward_pass(inputs, additional_forward_args)
    asked = _classes(forward_pass, find_targets(target, forward_pass.output))
    if isinstance(other, str):
        compared = _others(forward_pass.output, asked, other, Draws(seed, images, "other class"))
    else:
        compared = _classes(forward_pass, other)
    seeds = methods.seeds(seed, images, [0])

    def explained(
        classes: Tensor, *, is_first: bool
    ) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
        return methods.maps(
            forward_pass,
            classes.tolist(),
            seeds,
            additional_forward_args,
            warn_if_zero=is_first,
            retain_graph=is_first,
        )

    first, whys = (original, {}) if original is not None else explained(asked, is_first=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said of the target's maps already
        second, other_whys = explained(compared, is_first=False)
    whys = {**other_whys, **whys}
    values, reasons = {}, {}
    for name in methods.names:
        if name in first and name in second:
            values[name], reasons[name] = _alike(first[name], second[name], asked == compared)
        elif original is None or name in original:
            values[name] = torch.full((len(inputs),), torch.nan, dtype=torch.float64)
            reasons[name] = (whys[name],) * len(inputs)
    return ClassSensitivity(values, asked, compared, reasons)


def _classes(forward_pass: ForwardPass, target: TargetType) -> Tensor:
    """Return the class of each example, counted from 0."""
    output = forward_pass.output
    if output.dim() != 2 or output.shape[1] < 2:  # noqa: PLR2004 - (examples, classes)
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}, and class sensitivity needs one "
            "score for each of two classes or more, (N, classes)"
        )
    forward_pass.scores(target)  # which says what is wrong with it
    indices = torch.as_tensor(target).flatten().cpu()
    return (indices % output.shape[1]).expand(len(output))


def _others(output: Tensor, target: Tensor, other: str, draws: Draws) -> Tensor:
    found = []
    for example, asked in enumerate(target.tolist()):
        if other == "random":
            generator = draws.generator(example, 0, torch.device("cpu"))
            drawn = int(torch.randint(output.shape[1] - 1, (), generator=generator))
            found.append(drawn + (drawn >= asked))
        else:
            ranked = by_score(output[example].detach())
            found.append(ranked[ranked[0] == asked])
    return torch.tensor(found)


def _alike(first: Tensor, second: Tensor, is_same: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    values = rank_correlation(first.abs(), second.abs()).masked_fill(is_same, torch.nan)
    rows = first.reshape(len(first), -1).abs()
    is_constant = (rows == rows[:, :1]).all(dim=1).tolist()
    reasons = [
        "" if number == number else _CONSTANT if constant else _OTHER_CONSTANT  # noqa: PLR0124
        for number, constant in zip(values.tolist(), is_constant, strict=True)
    ]
    same = is_same.tolist()
    return values, tuple(_SAME_CLASS if same[i] else why for i, why in enumerate(reasons))
