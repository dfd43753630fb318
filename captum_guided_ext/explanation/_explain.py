"""Explaining one prediction: the maps, the regions that carry them, and how far to believe them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

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
from captum_guided_ext.errors import DataError, ModelError
from captum_guided_ext.explanation._explanation import Explanation, ScoredClass, main_method
from captum_guided_ext.explanation._shares import region_shares
from captum_guided_ext.networks import Network, by_score, find_target
from captum_guided_ext.pictures import grid_regions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor

    from captum_guided_ext.pictures import Mask

DEFAULT_METHODS = tuple(method for method in METHODS if method != "input_x_gradient")
_REPORTED = 5  # classes in the list of predictions


def explain(
    network: Network,
    image: Image,
    *,
    name: str = "picture",
    target: str = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: str | None = None,
    regions: Mapping[str, Mask] | None = None,
) -> Explanation:
    """Explain one prediction of a network, from a single forward pass.

    Args:
        network: The network, with its preprocessing.
        image: The picture, of any size and mode.
        name: What to call the picture.
        target: "prediction" (the same as "top1"), "top2", ..., a class index or a class name.
            Default: "prediction".
        methods: Names from :data:`captum_guided_ext.attr.METHODS`. Default: all but
            ``input_x_gradient``.
        layer: The dotted name of Grad-CAM's layer. Default: the last feature map with more than
            one position.
        regions: Masks of the picture *as the network sees it*, (H, W) each. Default: a 3 x 3
            grid.

    Raises:
        TypeError: for a ``network`` or ``image`` of another kind.
        ValueError: for an unknown method.
        ModelError: for a layer or class the network does not have.
        DataError: for regions that do not fit the picture.
        NoRectifierError: if none of ``methods`` applies to the network.
        OpaqueGraphError: if a rectifier may hide where none of them can be applied.
    """
    if not isinstance(network, Network):
        raise TypeError(
            f"network must be a Network, not {type(network).__name__}: wrap a module as "
            'Network("name", module), with its preprocessing'
        )
    methods = [methods] if isinstance(methods, str) else methods
    check_methods(methods)
    if regions is not None and not regions:
        raise DataError("regions is empty: leave it out for a 3 x 3 grid")
    x = network.prepare(image).unsqueeze(0).to(network.device)
    found = None if layer is None else find_layer(network.model, layer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if any(method in LAYER_METHODS for method in methods):
            forward_pass, found = run_at_layer(network.model, x, layer=found)
        else:
            forward_pass, found = ForwardPass(network.model, x), FoundLayer()
        if forward_pass.output.dim() != 2:  # noqa: PLR2004 - (examples, classes)
            raise ModelError(
                f"{network.name} returned shape {tuple(forward_pass.output.shape)}, and what is "
                "explained here is one score for each class, (N, classes)"
            )
        scores = forward_pass.output[0].detach()
        classes = _ranked(network, scores)
        index = find_target(target, scores, network.classes)
        chosen = next(one for one in classes if one.index == index)
        contrast = next((one for one in classes if one.index != index), None)
        maps, errors = named_maps(forward_pass, index, methods, no_layer=found.reason)
        if not maps:
            raise next(iter(errors.values()))
        main = main_method(maps)
        other: dict[str, Tensor] = {}
        if contrast is not None:
            other, _ = named_maps(forward_pass, contrast.index, [main])
        guided = "guided_backprop" in maps
        ignored = forward_pass.ignored_share(GUIDED, index) if guided else None
    masks = grid_regions(*x.shape[2:]) if regions is None else regions
    return Explanation(
        image=name,
        view=network.view(image),
        network=network.name,
        weights=network.weights,
        predictions=tuple(classes[:_REPORTED]),
        target=chosen,
        contrast=contrast,
        layer=found.name,
        rectifiers=forward_pass.rectifiers(),
        maps={method: one[0].detach().cpu() for method, one in maps.items()},
        reasons={method: str(error) for method, error in errors.items()},
        shares={method: region_shares(one[0], masks) for method, one in maps.items()},
        masks=masks,
        ignored_share=ignored,
        contrast_correlation=rank_correlation(maps[main], other[main]) if other else None,
        notes=tuple(dict.fromkeys(str(warning.message) for warning in caught)),
    )


def rank_correlation(first: Tensor, second: Tensor) -> float | None:
    """Return Spearman's rank correlation of the absolute values of two maps; ties share a rank.

    Args:
        first: A map of any shape.
        second: A map of the same shape.

    Returns:
        A number from -1 to 1, or None where one of them is constant.
    """
    ranks = np.stack([_ranks(first), _ranks(second)])
    return float(np.asarray(np.corrcoef(ranks))[0, 1]) if ranks.std(axis=1).all() else None


def _ranks(values: Tensor) -> npt.NDArray[np.float64]:
    magnitudes = values.detach().abs().flatten().double().cpu().numpy()
    _, place, counts = np.unique(magnitudes, return_inverse=True, return_counts=True)
    shared: npt.NDArray[np.float64] = counts.cumsum() - (counts - 1) / 2
    return shared[place]


def _ranked(network: Network, scores: Tensor) -> list[ScoredClass]:
    probabilities = scores.cpu().double().softmax(dim=0)
    return [ScoredClass(i, network.category(i), float(probabilities[i])) for i in by_score(scores)]
