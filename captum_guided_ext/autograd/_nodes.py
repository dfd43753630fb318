"""Which autograd nodes a backward rule speaks about."""

from __future__ import annotations

import enum
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.graph import Node


class Role(enum.Enum):
    """What an autograd node is to a backward rule."""

    RECTIFIER = "overridden"
    ACTIVATION = "left alone"
    GATED_UNIT = "left alone too"  # GLU: its input has twice the places of its output
    OPAQUE = "opaque"  # hides its operations, or is known to hide a rectifier
    IN_PLACE = "in place"  # wrote to a view, and this version of torch cannot say what
    FUNCTION = "custom"  # somebody's own autograd.Function: nobody can look inside


# Autograd operation -> the activation's name: those for which no paper gives a guided rule.
_ACTIVATIONS = {
    "Celu": "CELU",
    "Elu": "ELU",  # SELU too
    "Gelu": "GELU",
    "Hardshrink": "Hardshrink",
    "Hardsigmoid": "Hardsigmoid",
    "Hardswish": "Hardswish",
    "Hardtanh": "Hardtanh",
    "LeakyRelu": "LeakyReLU",
    "LogSigmoid": "LogSigmoid",
    "Mish": "Mish",
    "PreluKernel": "PReLU",
    "RreluWithNoise": "RReLU",
    "Sigmoid": "Sigmoid",
    "Silu": "SiLU",
    "Softplus": "Softplus",
    "Softshrink": "Softshrink",
    "Tanh": "Tanh",
    "Threshold": "Threshold",
}

COMPILED = "a compiled function (torch.compile)"
_OTHERS = {
    "Glu": (Role.GATED_UNIT, "GLU"),
    "DifferentiableGraph": (Role.OPAQUE, "a scripted module (torch.jit.script)"),
    "CompiledFunction": (Role.OPAQUE, COMPILED),
    "CheckpointFunction": (
        Role.OPAQUE,
        "a reentrant checkpoint (use checkpoint(use_reentrant=False))",
    ),
}
_RELU6_CEILING = 6
_SIGMOID_AT_0 = 0.5  # Sigmoid keeps what it returned
_FUSED_RNNS = ("CudnnRnn", "MiopenRnn")
_RNN_RELU_MODE = 0  # cuDNN's and MIOpen's number for a vanilla RNN with ReLU

# Functions of torch itself that move tensors between devices and processes, and rectify nothing.
_TRANSPARENT_MODULES = ("torch.nn.parallel.", "torch.nn.modules._functions", "torch.distributed.")


def operation_of(node: Node) -> str:
    """Return the operation a node is the backward of: "Relu" for ``ReluBackward0``.

    The C++ namespace in front differs between versions, the number behind between overloads:
    ``threshold_`` is ``ThresholdBackward1``.
    """
    return node.name().rpartition("::")[2].rstrip("0123456789").removesuffix("Backward")


def classify(node: Node) -> tuple[Role, str] | None:
    """Return what ``node`` is to a rule, with a name for people; None where it is plain algebra.

    Only scalar ``_saved_*`` attributes are read: a saved tensor may set off the recomputation
    of a checkpoint.
    """
    operation = operation_of(node)
    if (rectifier := _rectifier_label(operation, node)) is not None:
        return Role.RECTIFIER, rectifier
    if operation in _ACTIVATIONS:
        return Role.ACTIVATION, _ACTIVATIONS[operation]
    if operation == "CopySlices":
        return _classify_copy_slices(node)
    if operation in _FUSED_RNNS and getattr(node, "_saved_mode", None) == _RNN_RELU_MODE:
        return Role.OPAQUE, "a fused ReLU RNN (set torch.backends.cudnn.enabled = False)"
    if operation in _OTHERS:
        return _OTHERS[operation]
    return (Role.FUNCTION, operation) if _is_custom(node) else None


def _rectifier_label(operation: str, node: Node) -> str | None:
    def saved(attribute: str) -> float | None:
        if hasattr(node, f"_raw_saved_{attribute}"):
            return None  # a tensor: the floor of clamp(min=tensor), say
        value: float | None = getattr(node, f"_saved_{attribute}", None)
        return value

    if operation == "Relu":
        return "ReLU"
    if operation == "Threshold" and saved("threshold") == 0:
        return "Threshold(0)"
    if operation == "Hardtanh" and saved("min_val") == 0:
        ceiling = saved("max_val")
        return "ReLU6" if ceiling == _RELU6_CEILING else f"Hardtanh(0, {ceiling})"
    if operation in ("Clamp", "ClampMin") and saved("min") == 0:
        ceiling = saved("max")
        return "clamp(min=0)" if ceiling is None else f"clamp(0, {ceiling})"
    return None


def _classify_copy_slices(node: Node) -> tuple[Role, str] | None:
    """Look at what an in-place write to a view did."""
    if not hasattr(node, "_wrapped_node"):
        return Role.IN_PLACE, "an in-place operation on a view"
    wrapped = classify(node._wrapped_node)  # noqa: SLF001
    if wrapped is None or wrapped[0] is not Role.RECTIFIER:
        return wrapped
    return Role.OPAQUE, f"an in-place {wrapped[1]} on a view"


def _is_custom(node: Any) -> bool:
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        function: Any = type(node)
        return not function._forward_cls.__module__.startswith(_TRANSPARENT_MODULES)  # noqa: SLF001
    return "CppNode" in node.name()


@cache
def _clamp_passes_at_its_floor() -> bool:
    """Whether this torch's derivative of ``clamp`` at exactly its floor is 1 (it differs)."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        zero = torch.zeros(1, requires_grad=True)
        return bool(torch.autograd.grad(zero.clamp(min=0), zero)[0])


def gate(node: Node) -> Tensor | None:
    """Return the gate of ``node``; None where it is where its own derivative does not vanish.

    Reads a saved tensor, outside of any backward pass: where checkpointing did not keep it, its
    part of the model is computed again, once for each such node.
    """
    operation = operation_of(node)
    rectifies = _rectifier_label(operation, node) is not None
    if rectifies and not (operation.startswith("Clamp") and _clamp_passes_at_its_floor()):
        return None
    ceiling = getattr(node, "_saved_max", None) if rectifies else None
    # In-place activations keep what they returned, which has the sign of what they took.
    for saved in ("self", "self_or_result", "result"):
        if hasattr(node, f"_raw_saved_{saved}"):
            kept: Tensor = getattr(node, f"_saved_{saved}")
            positive = kept > (_SIGMOID_AT_0 if operation == "Sigmoid" else 0)
            return positive if ceiling is None else positive & (kept < ceiling)
    return None
