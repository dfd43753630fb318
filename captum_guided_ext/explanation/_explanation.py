"""Explaining one prediction: the maps, the regions that carry them, and how far to believe them."""

from __future__ import annotations

import platform
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import captum
import numpy as np
import torch

import captum_guided_ext
from captum_guided_ext.attr._utils.layers import default_layer, resolve_layer
from captum_guided_ext.attr._utils.methods import LAYER_METHODS, METHODS, named_maps
from captum_guided_ext.autograd._forward_pass import ForwardPass
from captum_guided_ext.autograd._rules import GUIDED
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks._targets import find_target
from captum_guided_ext.pictures._regions import grid_regions, region_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor

    from captum_guided_ext.autograd._path import RectifierReport
    from captum_guided_ext.networks._network import Network
    from captum_guided_ext.pictures._regions import RegionShare

__all__ = [
    "DEFAULT_METHODS",
    "Explanation",
    "ScoredClass",
    "explain",
    "main_method",
    "rank_correlation",
]

DEFAULT_METHODS = tuple(method for method in METHODS if method != "input_x_gradient")
_REPORTED = 5  # classes in the list of predictions


@dataclass(frozen=True)
class ScoredClass:
    """A class with the probability the network gives it, 0 to 1."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True)
class Explanation:
    """What was found about one prediction.

    Attributes:
        image: The picture's name.
        view: What the network saw of it, RGB.
        network: The network's name.
        weights: Where its weights are from.
        predictions: The five most probable classes, most probable first.
        target: The class that is explained.
        contrast: The class the map is compared with: the most probable other one. None for a
            network with one class.
        layer: The layer of Grad-CAM, or None where no method needs one.
        rectifiers: What lies between prediction and image.
        maps: The map of each method, of shape (C, H, W), on the CPU.
        reasons: Why a method that was asked for does not apply.
        shares: What each region holds, by method.
        masks: The regions, (H, W) each.
        ignored_share: Of the gradient the rectifiers let pass, the share of magnitude that was
            negative and ignored by guided backprop; None where that does not apply.
        contrast_correlation: Spearman's rank correlation of the main map with the one for
            ``contrast``; None where either is constant.
        notes: What the methods warned of.
    """

    image: str
    view: Image
    network: str
    weights: str
    predictions: tuple[ScoredClass, ...]
    target: ScoredClass
    contrast: ScoredClass | None
    layer: str | None
    rectifiers: RectifierReport
    maps: Mapping[str, Tensor]
    reasons: Mapping[str, str]
    shares: Mapping[str, Sequence[RegionShare]]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    ignored_share: float | None
    contrast_correlation: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures, ready for JSON, with the versions it was made by."""
        return {
            "image": self.image,
            "network": {"name": self.network, "weights": self.weights, "layer": self.layer},
            "predictions": [vars(prediction) for prediction in self.predictions],
            "target": vars(self.target),
            "rectifiers": vars(self.rectifiers),
            "regions": {
                method: [
                    {
                        "name": share.name,
                        "attribution_share": share.attribution,
                        "area_share": share.area,
                        "holds_more": share.holds_more,
                    }
                    for share in shares
                ]
                for method, shares in self.shares.items()
            },
            "limits": {
                "negative_gradient_ignored": self.ignored_share,
                "other_class": self.contrast and vars(self.contrast),
                "rank_correlation_with_other_class": self.contrast_correlation,
                "probability_of_target": self.target.probability,
            },
            "methods": {"main": main_method(self.maps), "not_applicable": dict(self.reasons)},
            "notes": list(self.notes),
            "versions": {
                "captum_guided_ext": captum_guided_ext.__version__,
                "captum": captum.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }


def explain(
    network: Network,
    image: Image,
    *,
    name: str = "picture",
    target: str = "top1",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: str | None = None,
    regions: Mapping[str, npt.NDArray[np.bool_]] | None = None,
) -> Explanation:
    """Explain one prediction of a network, from a single forward pass.

    Args:
        network: The network, with its preprocessing.
        image: The picture, of any size and mode.
        name: What to call the picture.
        target: "top1", "top2", ..., a class index or a class name. Default: the prediction.
        methods: Names from :data:`captum_guided_ext.attr.METHODS`. Default: all but
            ``input_x_gradient``.
        layer: The dotted name of Grad-CAM's layer. Default: the last feature map with more than
            one position.
        regions: Masks of the picture *as the network sees it*, (H, W) each. Default: a 3 x 3
            grid.

    Raises:
        ModelError: for a layer or class the network does not have.
        NoRectifierError: if none of ``methods`` applies to the network.
        OpaqueGraphError: likewise.
    """
    x = network.prepare(image).unsqueeze(0).to(network.device)
    errors: dict[str, ValueError] = {}
    module = None
    if any(method in LAYER_METHODS for method in methods):
        try:
            layer = layer or default_layer(network.model, x)
            module = resolve_layer(network.model, layer)
        except ModelError as error:
            if layer is not None:
                raise
            errors = {method: error for method in methods if method in LAYER_METHODS}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        forward_pass = ForwardPass(network.model, x, layer=module)
        classes = _ranked(network, forward_pass.output[0].detach())
        index = find_target(target, forward_pass.output[0].detach(), network.categories)
        chosen = next(one for one in classes if one.index == index)
        contrast = next((one for one in classes if one.index != index), None)
        maps, inapplicable = named_maps(
            forward_pass, index, [m for m in methods if m not in errors]
        )
        errors |= inapplicable
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
        layer=None if module is None else layer,
        rectifiers=forward_pass.rectifiers(),
        maps={method: one[0].detach().cpu() for method, one in maps.items()},
        reasons={method: str(error) for method, error in errors.items()},
        shares={method: region_shares(one[0], masks) for method, one in maps.items()},
        masks=masks,
        ignored_share=ignored,
        contrast_correlation=rank_correlation(maps[main], other[main]) if other else None,
        notes=tuple(dict.fromkeys(str(warning.message) for warning in caught)),
    )


def main_method(maps: Mapping[str, Tensor]) -> str:
    """Return the method a report speaks about: guided backprop where it applies."""
    return "guided_backprop" if "guided_backprop" in maps else next(iter(maps))


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
    order = probabilities.argsort(descending=True).tolist()
    return [ScoredClass(i, network.category(i), float(probabilities[i])) for i in order]
