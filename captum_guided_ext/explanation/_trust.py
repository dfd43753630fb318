"""How far a map is the picture itself, and whether the network's last layer matters to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

from captum_guided_ext.attr import LAYER_METHODS
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics import (
    RandomizedCopy,
    edge_recovery,
    input_recovery,
    rank_correlation,
    strength,
)

if TYPE_CHECKING:
    from torch import Tensor

    from captum_guided_ext.attr import FoundLayer
    from captum_guided_ext.autograd import ForwardPass


class LastLayer(NamedTuple):
    """The map after the last layer's weights were permuted.

    Attributes:
        name: The layer's dotted name.
        correlation: Spearman's rank correlation of the strengths of its places with those of the
            map as it was; None where either is the same everywhere.
    """

    name: str
    correlation: float | None


def recovery(attribution: Tensor, x: Tensor) -> tuple[float | None, float | None]:
    """Return how far a map is the input, and its strength the input's edges; None for neither."""
    found = input_recovery(attribution, x), edge_recovery(attribution, x)
    picture, edges = (number_or_none(one) for one in found)
    return picture, edges


def after_last_layer(
    model: object,
    forward_pass: ForwardPass,
    found: FoundLayer,
    target: int,
    method: str,
    original: Tensor,
) -> LastLayer | None:
    """Return what permuting the last layer's weights does to a map: one pass of a copy.

    None for a model that is no module, whose weights nobody can see. It is the first step of the
    first draw of ``captum-guided sanity``.

    Args:
        model: The model.
        forward_pass: Of it as it is.
        found: Grad-CAM's layer.
        target: The class that is explained.
        method: The method, one of the named ones.
        original: Its map.

    Raises:
        ValueError: for a model that cannot be copied, or has no weights.
    """
    if not isinstance(model, nn.Module):
        return None
    (x,) = forward_pass.inputs
    copied = RandomizedCopy(model, "permuted", seed=0)
    if all(one.requires_grad for one in model.parameters() if one.is_floating_point()):
        copied.find_layers(forward_pass.output, "cascading", of_copy=False)
    else:  # that pass did not see those that are frozen
        copied.find_layers_by(x, None, "cascading")
    name = copied.layers[0]
    copied.randomize(name, draw=0)
    layer = found.module if method in LAYER_METHODS else None
    methods = MethodSet(model, [method], layer=layer).rebound(copied.model, copied.memo)
    maps, _ = methods.maps(methods.forward_pass(x), target, methods.seeds(0, [0], [0]))
    if method not in maps:
        return LastLayer(name, None)
    return LastLayer(
        name, number_or_none(rank_correlation(strength(original), strength(maps[method])))
    )


def number_or_none(found: Tensor) -> float | None:
    """Return the only number of a tensor; None where it is NaN."""
    value = float(found)
    return None if math.isnan(value) else value
