"""Which layer of a network is meant: the one named, or the one Grad-CAM is for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_guided_ext.autograd import is_scripted, private_twin
from captum_guided_ext.errors import ModelError, brief, nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FoundLayer", "default_layer", "find_layer", "resolve_layer"]


def resolve_layer(model: object, layer: nn.Module | str) -> nn.Module:
    """Return ``layer`` of ``model``, given as the module itself or by its dotted name.

    Wrappers (``torch.compile``, ``DataParallel``) need not be named.

    Raises:
        ModelError: if ``model`` has no such layer; the message names the nearest ones.
        TypeError: if a name is given and ``model`` is not a module.
    """
    if isinstance(layer, nn.Module):
        return layer
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"layer {layer!r} is a name, and {type(model).__name__} is no nn.Module to look it up "
            "in: pass the layer itself"
        )
    named: dict[str, nn.Module] = {name: module for name, module in model.named_modules() if name}
    for name, module in list(named.items()):
        named.setdefault(_without_wrappers(name), module)
    if layer not in named:
        near = nearest(layer, named, otherwise=5)
        raise ModelError(f"{type(model).__name__} has no layer {layer!r}{near}")
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


def find_layer(model: object, layer: nn.Module | str | None, x: Tensor | None = None) -> FoundLayer:
    """Return the layer that is asked for, or the one that Grad-CAM is meant for.

    Args:
        model: A module or any callable.
        layer: A module of it or its dotted name; None for :func:`default_layer`.
        x: What the model takes, for the default. One example of it is run.

    Raises:
        ModelError: if there is no layer of that name.
        TypeError: if a name is given and ``model`` is not a module.
    """
    if layer is not None:
        module = resolve_layer(model, layer)
        named = model.named_modules() if isinstance(model, nn.Module) else ()
        known = (name for name, one in named if one is module and name)
        return FoundLayer(module, layer if isinstance(layer, str) else next(known, None))
    if not isinstance(model, nn.Module):
        reason = "a model that is no nn.Module has no layers to choose from: name one"
        return FoundLayer(reason=reason)
    if x is None:
        raise TypeError("x is needed where no layer is named: the default one is looked for in it")
    try:
        name = default_layer(model, x)
    except ModelError as error:
        return FoundLayer(reason=str(error))
    return FoundLayer(resolve_layer(model, name), name)


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in ("_orig_mod", "module"))


class _Call(NamedTuple):
    """One call of a submodule that returned one tensor.

    Attributes:
        name: The submodule's dotted name.
        shape: Of what it returned.
        learned: Whether it or a part of it has parameters.
        own_parameters: Whether it has some that belong to no part of it.
        channels_last: Whether it is of a kind that takes the last dimension for the channels.
    """

    name: str
    shape: tuple[int, ...]
    learned: bool
    own_parameters: bool
    channels_last: bool


def default_layer(model: nn.Module, inputs: Tensor) -> str:
    """Return the dotted name of the layer Grad-CAM is meant for: the last feature map.

    That is the last module to finish (so the outermost of those that return the same tensor) which

    * returns one tensor ``(N, C, h, w)`` with ``h * w > 1``, laid out as the picture is: a
      channels-last ``(N, h, w, C)`` is none;
    * holds parameters, so that pooling, dropout and activations behind it do not count. The step
      that brings a channels-last map back to ``(N, C, h, w)``, as in Swin, counts too;
    * is not a map of class scores: as many channels as the network has outputs, and no module with
      parameters of its own behind it. SqueezeNet's last convolution is one; what it reads is
      taken. It is taken itself only where the network has no other map.

    It is looked for in one forward pass of the first example, in eval mode and without gradients,
    of a twin of the model: the model itself is not touched.

    Args:
        model: A classifier of pictures.
        inputs: What it takes, ``(N, 3, H, W)``, on its device.

    Raises:
        ModelError: if there is none; if the network goes on with tokens ``(N, T, D)`` after it, as
            ViT does (the map of its patches is no map of features); or if the forward pass fails.
    """
    if inputs.ndim != 4 or not len(inputs):  # noqa: PLR2004
        raise ModelError(f"the input must be pictures (N, C, H, W), not {tuple(inputs.shape)}")
    if any(map(is_scripted, model.modules())):
        raise ModelError("TorchScript hides what its layers return: name one (--layer)")
    calls, output = _calls(model, inputs[:1])
    classes = output.shape[1] if isinstance(output, Tensor) and output.ndim > 1 else None
    last_parameters = max((i for i, call in enumerate(calls) if call.own_parameters), default=-1)
    features = scores = None
    off_map: tuple[int, ...] | None = None
    for index, call in enumerate(calls):
        if _is_map(call.shape, inputs.shape) and not call.channels_last:
            if call.shape[1] == classes and index >= last_parameters:
                scores = scores or call.name
            elif call.learned or off_map is not None:
                features, off_map = call.name, None
        elif call.learned and _has_positions(call.shape):
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


def _calls(model: nn.Module, inputs: Tensor) -> tuple[list[_Call], Any]:
    """Run the model once; return its submodules' calls in the order they ended, and its output."""
    calls: list[_Call] = []

    def note(name: str, module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            learned = any(True for _ in module.parameters())
            own = any(True for _ in module.parameters(recurse=False))
            # By the very type: torchvision's LayerNorm2d, a LayerNorm, takes channels first.
            last = type(module) is nn.Linear or (
                type(module) is nn.LayerNorm and len(module.normalized_shape) == 1
            )
            calls.append(_Call(name, tuple(output.shape), learned, own, last))

    try:
        twin = private_twin(model)  # the model itself is not touched: other threads may use it
        for name, module in twin.named_modules():
            if name:
                module.register_forward_hook(partial(note, name))
        with torch.no_grad():
            output = twin(inputs)
    except Exception as error:  # the model's own, or of state that its twin does not share
        raise ModelError(
            f"the last feature map could not be looked for ({brief(error)}): name a layer (--layer)"
        ) from error
    return calls, output


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
