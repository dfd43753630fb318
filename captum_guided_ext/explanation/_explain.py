"""Explaining one prediction: the maps, the regions that carry them, and how far to believe them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from torch import Tensor, nn

from captum_guided_ext.attr import (
    LAYER_METHODS,
    METHODS,
    FoundLayer,
    check_methods,
    find_layer,
    named_maps,
    run_at_layer,
)
from captum_guided_ext.autograd import GUIDED, ForwardPass
from captum_guided_ext.errors import CaptumGuidedError, ModelError, brief
from captum_guided_ext.explanation._explanation import Explanation, ScoredClass, main_method
from captum_guided_ext.explanation._explanations import Explanations
from captum_guided_ext.explanation._given import Given, refusal
from captum_guided_ext.explanation._shares import region_shares
from captum_guided_ext.explanation._trust import (
    LastLayer,
    after_last_layer,
    number_or_none,
    recovery,
)
from captum_guided_ext.metrics import rank_correlation
from captum_guided_ext.networks import (
    Network,
    as_network,
    by_score,
    check_class_names,
    find_target,
)
from captum_guided_ext.pictures import Mask, Photo

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image

Model: TypeAlias = Network | Callable[..., Any]
Picture: TypeAlias = "str | Path | Image | Photo | npt.NDArray[Any] | Tensor"
Layer: TypeAlias = str | nn.Module | None
Regions: TypeAlias = Mapping[str, Mask] | str | Path | None

DEFAULT_METHODS = tuple(method for method in METHODS if method != "input_x_gradient")
_REPORTED = 5  # classes in the list of predictions
_CERTAIN = "the network has one output, of which the softmax is 100 % whatever the picture"
_ROUNDING = 1e-3  # of a sum of probabilities, in half precision
_PROBABILITIES = (
    "what the network returns are probabilities, it seems (none is below 0, and their sum is 1): "
    "they are reported as they are, and explained instead of scores before a softmax"
)


@overload
def explain(
    model: Model,
    image: Picture,
    *,
    name: str | None = None,
    target: str | int = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: Layer = None,
    regions: Regions = None,
) -> Explanation: ...


@overload
def explain(
    model: Model,
    image: Picture,
    *,
    name: str | None = None,
    target: str | int | Sequence[str | int] = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: Layer | Sequence[str | nn.Module] = None,
    regions: Regions = None,
) -> Explanation | Explanations: ...


def explain(
    model: Model,
    image: Picture,
    *,
    name: str | None = None,
    target: str | int | Sequence[str | int] = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: Layer | Sequence[str | nn.Module] = None,
    regions: Regions = None,
) -> Explanation | Explanations:
    """Explain one prediction of a network, from a single forward pass.

    Args:
        model: A :class:`~captum_guided_ext.Network`; or a module or any callable, of which no
            preprocessing is known: it gets pixels in [0, 1] at the picture's own size, and the
            report says so.
        image: A file's path; a PIL picture of any size and mode, turned upright as a file is;
            pixels as an array (H, W) or (H, W, 3), of bytes or of floats from 0 to 1, or as a
            tensor of bytes (C, H, W); or the network's input itself, a float tensor (C, H, W) or
            (1, C, H, W), which is not preprocessed.
        name: What to call the picture. Default: the file's name, or "picture".
        target: "prediction" (the same as "top1"), "top2", ..., a class index or a class name; a
            list of them for several explanations, from the same forward pass. Default:
            "prediction".
        methods: Names from :data:`captum_guided_ext.attr.METHODS`. Default: all but
            ``input_x_gradient``.
        layer: Grad-CAM's layer or its dotted name; a list for several explanations, from a forward
            pass each. Default: the last feature map with more than one position.
        regions: Masks of the picture as it is given, (H, W) each, by name; or a file, as
            :func:`captum_guided_ext.pictures.load_regions` reads it. Default: a 3 x 3 grid of what
            the network sees.

    Returns:
        The explanation; for a list of targets or layers all of them, side by side.

    Raises:
        TypeError: for a ``model``, ``image`` or ``regions`` of another kind.
        ValueError: for an unknown method.
        ModelError: for a layer or class the network does not have, or a random transform.
        DataError: for a picture that cannot be read or that the network fails on, and for regions
            that do not fit it.
        NoRectifierError: if none of ``methods`` applies to the network.
        OpaqueGraphError: if a rectifier may hide where none of them can be applied.

    Example:
        >>> print(explain(resnet50(weights="DEFAULT").eval(), "dog.jpg"))
    """
    network = as_network(model)
    methods = [methods] if isinstance(methods, str) else methods
    check_methods(methods)
    targets = _listed(target)
    # A Sequential is one layer, though it could be gone through.
    layers = [layer] if layer is None or isinstance(layer, (str, nn.Module)) else list(layer)
    if not targets or not layers:
        raise ValueError(f"{'layer' if targets else 'target'} is an empty list: leave it out")
    given = Given.of(network, image, name, regions)
    found = [
        explanation
        for one in layers
        for explanation in _at_layer(network, given, targets, methods, one)
    ]
    if np.ndim(target) == 0 and (layer is None or isinstance(layer, (str, nn.Module))):
        return found[0]
    return Explanations(tuple(found))


def _listed(given: Any) -> list[Any]:
    """Return what was given once or several times, numbers of numpy and of tensors as Python's."""
    several = [given] if np.ndim(given) == 0 else list(given)
    return [one.item() if isinstance(one, (Tensor, np.generic)) else one for one in several]


def _at_layer(
    network: Network,
    given: Given,
    targets: Sequence[str | int],
    methods: Sequence[str],
    layer: Layer,
) -> list[Explanation]:
    """Explain several classes, with Grad-CAM at one layer, from one forward pass."""
    chosen = None if layer is None else find_layer(network.model, layer)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            if any(method in LAYER_METHODS for method in methods):
                forward_pass, found = run_at_layer(network.model, given.x, layer=chosen)
            else:
                forward_pass, found = ForwardPass(network.model, given.x), FoundLayer()
        _check_scores(network, forward_pass.output)
        notes = [str(one.message) for one in caught]
        notes += [_CERTAIN] if forward_pass.output.shape[1] == 1 else []
        return [_one(network, given, forward_pass, found, one, methods, notes) for one in targets]
    except CaptumGuidedError:
        raise
    except Exception as error:  # somebody's network may raise anything, on the way back as well
        raise refusal(network, given, error) from error


def _check_scores(network: Network, output: Tensor) -> None:
    if output.dim() != 2:  # noqa: PLR2004 - (examples, classes)
        raise ModelError(
            f"{network.name} returned shape {tuple(output.shape)}, and what is explained here is "
            "one score for each class, (N, classes)"
        )
    check_class_names(network.classes, output.shape[1], network.name)


def _one(
    network: Network,
    given: Given,
    forward_pass: ForwardPass,
    found: FoundLayer,
    target: str | int,
    methods: Sequence[str],
    notes: Sequence[str],
) -> Explanation:
    scores = forward_pass.output[0].detach()
    classes = _ranked(network, scores)
    index = find_target(target, scores, network.classes)
    chosen = next(one for one in classes if one.index == index)
    assumed = [*given.assumed, *([_PROBABILITIES] if _are_probabilities(scores) else [])]
    contrast = next((one for one in classes if one.index != index), None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        maps, errors = named_maps(forward_pass, index, methods, no_layer=found.reason)
        if not maps:
            raise next(iter(errors.values()))
        main = main_method(maps)
        other: dict[str, Tensor] = {}
        if contrast is not None:
            other, _ = named_maps(forward_pass, contrast.index, [main])
        guided = "guided_backprop" in maps
        ignored = forward_pass.ignored_share(GUIDED, index) if guided else None
    picture, edges = recovery(maps[main], forward_pass.inputs[0])
    last_layer, why = _last_layer(network, forward_pass, found, index, main, maps[main])
    masks = given.masks
    return Explanation(
        image=given.name,
        view=given.view,
        network=network.name,
        weights=network.weights,
        preprocessing=given.preprocessing,
        assumed=tuple(assumed),
        predictions=tuple(classes[:_REPORTED]),
        target=chosen,
        contrast=contrast,
        layer=found.name,
        rectifiers=forward_pass.rectifiers(),
        maps={method: one[0].detach().cpu() for method, one in maps.items()},
        reasons={method: str(error) for method, error in errors.items()},
        shares={method: region_shares(one[0], masks, given.seen) for method, one in maps.items()},
        masks=masks,
        ignored_share=ignored,
        contrast_correlation=_alike(maps[main], other[main]) if other else None,
        input_recovery=picture,
        edge_recovery=edges,
        last_layer=last_layer,
        notes=tuple(dict.fromkeys([*notes, *(str(one.message) for one in caught), *why])),
    )


def _alike(first: Tensor, second: Tensor) -> float | None:
    """Return how alike the magnitudes of two maps of a picture are; None where one is constant."""
    return number_or_none(rank_correlation(first.abs(), second.abs()))


def _last_layer(
    network: Network,
    forward_pass: ForwardPass,
    found: FoundLayer,
    target: int,
    method: str,
    original: Tensor,
) -> tuple[LastLayer | None, list[str]]:
    """Return what the last layer does to the main map, or a note: no report is lost for it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said of the model itself, or of no map of the report
            return (
                after_last_layer(network.model, forward_pass, found, target, method, original),
                [],
            )
    except Exception as error:  # noqa: BLE001 - somebody's network may refuse to be copied
        why = str(error) if isinstance(error, CaptumGuidedError) else brief(error)
        return None, [f"whether the map depends on the last layer was not measured: {why}"]


def _are_probabilities(scores: Tensor) -> bool:
    """Return whether a network has taken the softmax itself."""
    is_one = (scores.double().sum() - 1).abs() < _ROUNDING
    return len(scores) > 1 and bool(is_one and (scores >= 0).all())


def _ranked(network: Network, scores: Tensor) -> list[ScoredClass]:
    values = scores.cpu().double()
    probabilities = values if _are_probabilities(scores) else values.softmax(dim=0)
    return [ScoredClass(i, network.category(i), float(probabilities[i])) for i in by_score(scores)]
