"""Which layer of a network is meant: the one named, or the one Grad-CAM is for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import nn

from captum_guided_ext.autograd import ForwardPass, is_scripted, modules_of
from captum_guided_ext.errors import ModelError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from captum_guided_ext.autograd import Call


_FEW = 30  # layers that a line can list


def resolve_layer(model: object, layer: nn.Module | str) -> nn.Module:
    """Return ``layer`` of ``model``, given as the module itself or by its dotted name.

    Wrappers (``torch.compile``, ``DataParallel``) need not be named.

    Raises:
        ModelError: if ``model`` has no such layer; the message names the nearest ones.
        TypeError: if a name is given and ``model`` is not a module.
    """
    if isinstance(layer, nn.Module):
        return layer
    if not isinstance(layer, str):
        raise TypeError(f"a layer is a module or its dotted name, not {type(layer).__name__}")
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"layer {layer!r} is a name, and {type(model).__name__} is no nn.Module to look it up "
            "in: pass the layer itself"
        )
    named: dict[str, nn.Module] = {name: module for name, module in model.named_modules() if name}
    for name, module in list(named.items()):
        named.setdefault(_without_wrappers(name), module)
    if layer not in named:
        near = nearest(layer, named, otherwise=None if len(named) <= _FEW else 5)
        where = " (model.named_modules() lists them)" if len(named) > _FEW else ""
        raise ModelError(f"{type(model).__name__} has no layer {layer!r}{near}{where}")
    return named[layer]


class FoundLayer(NamedTuple):
    """The layer for Grad-CAM, or why there is none.

    Attributes:
        module: The layer.
        name: Its dotted name, where it is known.
        reason: Why there is none.
    """

    module: nn.Module | None = None
    name: str | None = None
    reason: str = ""


def find_layer(model: object, layer: nn.Module | str) -> FoundLayer:
    """Return a layer with its dotted name, which is looked up for a module.

    Raises:
        ModelError: if there is no layer of that name.
        TypeError: if a name is given and ``model`` is not a module.
    """
    module = resolve_layer(model, layer)
    named = model.named_modules() if isinstance(model, nn.Module) else ()
    known = (name for name, one in named if one is module and name)
    return FoundLayer(module, layer if isinstance(layer, str) else next(known, None))


def run_at_layer(
    model: Callable[..., Any],
    x: Tensor,
    additional_forward_args: object = None,
    layer: FoundLayer | None = None,
) -> tuple[ForwardPass, FoundLayer]:
    """Run a model once for methods that need a layer, and say which it is, or why there is none.

    Args:
        model: A module or any callable.
        x: What it takes.
        additional_forward_args: As in Captum.
        layer: Where it is known already. Default: the one that Grad-CAM is meant for (see
            :func:`last_feature_map`), found in this very forward pass.
    """
    if layer is None:
        if not isinstance(model, nn.Module):
            why = "a model that is no nn.Module has no layers to choose from: name one"
            layer = FoundLayer(reason=why)
        elif x.ndim != 4:  # noqa: PLR2004
            why = f"the input must be pictures (N, C, H, W), not {tuple(x.shape)}"
            layer = FoundLayer(reason=why)
        elif any(map(is_scripted, modules_of(model))):
            why = "TorchScript hides what its layers return: name one (--layer)"
            layer = FoundLayer(reason=why)
    if layer is not None:
        return ForwardPass(model, x, additional_forward_args, layer=layer.module), layer
    choose = partial(last_feature_map, picture=x.shape)
    forward_pass = ForwardPass(model, x, additional_forward_args, choose_layer=choose)
    found = FoundLayer(forward_pass.layer, forward_pass.layer_name, forward_pass.no_layer)
    return forward_pass, found


def last_feature_map(
    calls: Sequence[tuple[str, Call]], output: Tensor, *, picture: Sequence[int]
) -> Call:
    """Return the call of the layer that Grad-CAM is meant for: the last feature map.

    That is the last module to finish (so the outermost of those that return the same tensor) which

    * returns one tensor ``(N, C, h, w)`` with ``h * w > 1``, laid out as the picture is: a
      channels-last ``(N, h, w, C)`` is none;
    * holds parameters, so that pooling, dropout and activations behind it do not count. The step
      that brings a channels-last map back to ``(N, C, h, w)``, as in Swin, counts too;
    * is not a map of class scores: as many channels as the network has outputs, and no module with
      parameters of its own behind it. SqueezeNet's last convolution is one; what it reads is
      taken. It is taken itself only where the network has no other map.

    Args:
        calls: The calls of the network's modules, by name, in the order in which they ended.
        output: What the network returned.
        picture: The shape of what it took, ``(N, C, H, W)``.

    Raises:
        ModelError: if there is none, or if the network goes on with tokens ``(N, T, D)`` after it,
            as ViT does: the map of its patches is no map of features.
    """
    classes = output.shape[1] if output.ndim > 1 else None
    last_parameters = max(
        (i for i, (_, call) in enumerate(calls) if _holds_its_own(call.module)), default=-1
    )
    features = scores = None
    off_map: tuple[int, ...] | None = None
    for index, (_, call) in enumerate(calls):
        if _is_map(call.shape, picture) and not _is_channels_last(call.module):
            if call.shape[1] == classes and index >= last_parameters:
                scores = scores or call
            elif off_map is not None or _holds_parameters(call.module):
                features, off_map = call, None
        elif _has_positions(call.shape) and _holds_parameters(call.module):
            off_map = call.shape
    if off_map is not None:
        raise ModelError(
            f"the network ends on outputs of shape {off_map}, which are no map of the picture: "
            "name a layer (--layer) whose output is (N, C, H, W), or bring its tokens to that shape"
        )
    found = features or scores
    if found is None:
        raise ModelError(
            "no layer returns a feature map (N, C, H, W) with H * W > 1: name one (--layer)"
        )
    return found


def _holds_its_own(module: nn.Module) -> bool:
    return any(one is not None for one in module._parameters.values())  # noqa: SLF001


def _holds_parameters(module: nn.Module) -> bool:
    # Several times as fast as module.parameters(), which makes names.
    return _holds_its_own(module) or any(map(_holds_parameters, module.children()))


def _is_channels_last(module: nn.Module) -> bool:
    """Whether a module is of a kind that takes the last dimension for the channels."""
    # By the very type: torchvision's LayerNorm2d, a LayerNorm, takes channels first.
    return type(module) is nn.Linear or (
        type(module) is nn.LayerNorm and len(module.normalized_shape) == 1
    )


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))


def _is_map(shape: Sequence[int], picture: Sequence[int]) -> bool:
    """Whether ``shape`` is ``(N, C, h, w)`` of several positions with the picture's proportions."""
    if len(shape) != 4 or shape[2] * shape[3] <= 1:  # noqa: PLR2004
        return False
    (height, width), (whole_height, whole_width) = shape[2:], picture[2:]
    if whole_height == whole_width:
        return height == width
    return 0.5 <= height * whole_width / (width * whole_height) <= 2  # noqa: PLR2004 - rounding


def _has_positions(shape: Sequence[int]) -> bool:
    """Whether ``shape`` may be tokens ``(N, T, D)`` or a channels-last map, more than one place."""
    return (len(shape) == 3 and shape[1] > 1) or (  # noqa: PLR2004
        len(shape) == 4 and shape[1] * shape[2] > 1 and shape[2] * shape[3] > 1  # noqa: PLR2004
    )
