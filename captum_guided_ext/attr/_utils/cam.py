"""From a layer's gradient and activation to a class activation map laid over the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from captum.attr import LayerAttribution

from captum_guided_ext.autograd import check_maps, warn_of_zero
from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_MODES = {  # dimensions of the feature map -> what torch.nn.functional.interpolate offers for it
    3: ("nearest", "nearest-exact", "area", "linear"),
    4: ("nearest", "nearest-exact", "area", "bilinear", "bicubic"),
    5: ("nearest", "nearest-exact", "area", "trilinear"),
}


def check_interpolate_mode(mode: str, dimensions: int | None = None) -> None:
    """Raise ``ValueError`` with the choices, if ``mode`` is none for a map of ``dimensions``."""
    choices = _MODES[dimensions] if dimensions in _MODES else sorted(set(sum(_MODES.values(), ())))
    if mode not in choices:
        where = f" for a {dimensions}-D feature map" if dimensions in _MODES else ""
        raise ValueError(f"interpolate_mode {mode!r} is none of {', '.join(choices)}{where}")


def grad_cam(
    gradient: Tensor,
    activation: Tensor,
    reshape_transform: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return the Grad-CAM of a layer (Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2).

    Args:
        gradient: The score's gradient at the layer, of the shape of ``activation``.
        activation: The layer's output, of shape (N, C, ...).
        reshape_transform: Turns both into that shape, for layers with tokens, (N, T, C).

    Returns:
        The map, non-negative, of shape (N, 1, ...). Warns where it is zero everywhere.
    """
    if reshape_transform is not None:
        gradient, activation = reshape_transform(gradient), reshape_transform(activation)
    spatial = tuple(range(2, gradient.dim()))
    weights = gradient.mean(dim=spatial, keepdim=True) if spatial else gradient
    cam = F.relu((weights * activation).sum(dim=1, keepdim=True))
    if zero := check_maps({"the Grad-CAM": cam}):
        reason = _why_zero(gradient[zero], activation[zero])
        warn_of_zero("the Grad-CAM", zero, reason, batch=len(cam))
    return cam


def _why_zero(gradient: Tensor, activation: Tensor) -> str:
    if not gradient.any():
        return "the score's gradient at the layer is zero"
    if not activation.any():
        return "the layer's activation is zero"
    return (
        "at every position the layer speaks against the target (the weighted sum of its channels "
        "is negative), and Grad-CAM keeps positive evidence only"
    )


def lay_over(cam: Tensor, x: Tensor, mode: str) -> Tensor:
    """Return ``cam``, of shape (N, 1, ...), interpolated to the positions of the input ``x``.

    Raises:
        ValueError: if the two have different numbers of dimensions or examples, or ``mode`` is
            none of ``torch.nn.functional.interpolate``'s for them.
    """
    if cam.dim() != x.dim() or cam.dim() not in _MODES or len(cam) != len(x):
        raise ModelError(
            f"a layer map of shape {tuple(cam.shape)} cannot be laid over an input of shape "
            f"{tuple(x.shape)}: both need the same examples and one to three spatial dimensions. "
            "Choose a convolutional layer, pass reshape_transform= for a layer with tokens, or "
            "pass an input that is no image among additional_forward_args"
        )
    check_interpolate_mode(mode, cam.dim())
    laid: Tensor = LayerAttribution.interpolate(cam, tuple(x.shape[2:]), interpolate_mode=mode)
    return laid
