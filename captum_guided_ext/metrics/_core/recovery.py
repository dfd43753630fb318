"""How far an attribution is the picture itself, or its edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

from torch import Tensor

from captum_guided_ext.autograd import check_inputs
from captum_guided_ext.methods import edges
from captum_guided_ext.metrics._utils.attributions import check_shapes, per_place
from captum_guided_ext.metrics._utils.correlation import pearson

if TYPE_CHECKING:
    from collections.abc import Callable

AttributionsT = TypeVar("AttributionsT", Tensor, Mapping[str, Tensor])
_PICTURES = 4  # dimensions


def input_recovery(attributions: AttributionsT, inputs: Tensor) -> AttributionsT:
    """Return Pearson's correlation of each attribution with its input, over places and channels.

    Nie et al. 2018 (arXiv:1805.07039) show that guided backprop and deconvolution recover the
    picture, whatever the network has learnt; this says how far. The sign is kept: 1 is the picture,
    -1 its negative, from which the picture can be read as well; so judge by the magnitude, but
    average with the sign to see whether anything remains of chance. An attribution of one channel,
    as Grad-CAM's, is correlated with the mean of the input's channels.

    Args:
        attributions: Of the shape of ``inputs``, or with one channel; or several, by name.
        inputs: What was explained, (N, ...), as the model gets it: scaled otherwise in each
            channel, another correlation comes out.

    Returns:
        Shape (N,), from -1 to 1, or by name. NaN where the attribution or the input is the same
        everywhere.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other shapes, NaN or infinity.

    Example:
        >>> input_recovery(GuidedBackprop(model).attribute(images, target=labels), images)
    """
    return _measured(attributions, inputs, _with_input)


def edge_recovery(attributions: AttributionsT, inputs: Tensor) -> AttributionsT:
    """Return Pearson's correlation of each attribution's strength with the picture's edges.

    A place's strength is the sum of its channels' magnitudes. Its edge is the magnitude of Sobel's
    gradient of the mean of the picture's channels, the map that ``compare`` calls ``edges``.
    Adebayo et al. 2018 (arXiv:1810.03292) found that an edge detector, which knows no network,
    looks much like some attributions. Above 0 the attribution lies on edges, below 0 it avoids
    them.

    Args:
        attributions: As in :func:`input_recovery`.
        inputs: Pictures, (N, C, H, W), as the model gets them.

    Returns:
        As :func:`input_recovery`; NaN where strengths or edges are the same everywhere.

    Raises:
        TypeError: as :func:`input_recovery`.
        ValueError: as :func:`input_recovery`, and for inputs that are no pictures.

    Example:
        >>> edge_recovery({"gradient": gradient, "guided_backprop": guided}, images)
    """
    if isinstance(inputs, Tensor) and inputs.dim() != _PICTURES:
        raise ValueError(
            f"edge_recovery needs pictures, (N, C, H, W), and the inputs have shape "
            f"{tuple(inputs.shape)}: use input_recovery alone"
        )
    return _measured(attributions, inputs, _with_edges)


def _measured(
    attributions: AttributionsT, inputs: Tensor, measure: Callable[[Tensor, Tensor], Tensor]
) -> AttributionsT:
    if not isinstance(inputs, Tensor):
        raise TypeError(f"inputs must be a tensor, not {type(inputs).__name__}")
    check_inputs(inputs)
    named = attributions if isinstance(attributions, Mapping) else {"": attributions}
    for name, one in named.items():
        check_shapes(name, (one,), (inputs,))
    if isinstance(attributions, Mapping):
        return {name: measure(one, inputs) for name, one in attributions.items()}
    return measure(attributions, inputs)


def _with_input(attribution: Tensor, x: Tensor) -> Tensor:
    if attribution.shape != x.shape:  # one channel
        x = x.detach().double().mean(dim=1, keepdim=True)
    return pearson(attribution, x)


def _with_edges(attribution: Tensor, x: Tensor) -> Tensor:
    return pearson(per_place(attribution), edges(x.detach()))
