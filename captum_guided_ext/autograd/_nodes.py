"""Which autograd nodes a backward rule speaks about."""

from __future__ import annotations

import enum
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import BackwardCFunction

from captum_guided_ext.autograd._spellings import SpelledRectifier

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.graph import Node


class Role(enum.Enum):
    """What an autograd node is to a backward rule."""

    RECTIFIER = "overridden"
    ACTIVATION = "left alone"
    GATED_UNIT = "left alone too"  # GLU: its input has twice the places of its output
    CLAMP = "no activation"  # a clamp at 0 that guards a number or gates its own input
    ALIKE = "alike"  # returned what a rectifier would have, whatever it is
    SUSPECT = "arithmetic"  # may spell a rectifier, which only a look at the call can tell
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

_OTHERS = {
    "Glu": (Role.GATED_UNIT, "GLU"),
    "DifferentiableGraph": (Role.OPAQUE, "a scripted module (torch.jit.script)"),
}
# autograd.Functions of torch's own, which are Python classes as a user's are.
_FUNCTIONS_OF_TORCH = {
    "CompiledFunction": (Role.OPAQUE, "a compiled function (torch.compile)"),
    "CheckpointFunction": (
        Role.OPAQUE,
        "a reentrant checkpoint (use checkpoint(use_reentrant=False))",
    ),
}
# Operations by which a rectifier can be spelled; Mul and the clamps only in some forms.
_SPELL_RECTIFIERS = frozenset((
    "Abs", "Addcmul", "Amax", "Cummax", "Fmax", "Fmin", "ForeachClampMin", "ForeachMaximum",
    "Gather", "Hypot", "IndexFill", "IndexPut", "Lerp", "MaskedFill", "MaskedScatter", "Max",
    "Maximum", "Median", "Minimum", "Sgn", "Sign", "Sort", "Sqrt", "Topk", "Where",
))  # fmt: skip
_RELU6_CEILING = 6
_SIGMOID_AT_0 = 0.5  # Sigmoid keeps what it returned
_FUSED_RNNS = ("CudnnRnn", "MiopenRnn")
_RNN_RELU_MODE = 0  # cuDNN's and MIOpen's number for a vanilla RNN with ReLU
# Operations of which some nodes are more than algebra to a rule.
_TELLING = frozenset((
    *_ACTIVATIONS, *_OTHERS, *_FUSED_RNNS, *_SPELL_RECTIFIERS,
    "Clamp", "ClampMax", "ClampMin", "CopySlices", "Mul", "Pow", "Relu",
))  # fmt: skip

# Functions of torch itself that move tensors between devices and processes, and rectify nothing.
_TRANSPARENT_MODULES = ("torch.nn.parallel.", "torch.nn.modules._functions", "torch.distributed.")


def operation_of(node: Node) -> str:
    """Return the operation a node is the backward of: "Relu" for ``ReluBackward0``.

    The C++ namespace in front differs between versions, the number behind between overloads:
    ``threshold_`` is ``ThresholdBackward1``.
    """
    return _operation(node.name())


@cache  # a network has hundreds of nodes, and torch a few hundred names
def _operation(name: str) -> str:
    name = name.rpartition("::")[2]
    return name.rpartition("Backward")[0] or name


@cache
def _is_algebra(name: str) -> bool:
    """Whether a node of torch's own with that name is nothing to a rule, whatever it has saved."""
    return _operation(name) not in _TELLING and "CppNode" not in name


def classify(node: Node) -> tuple[Role, str] | None:  # noqa: PLR0911 - a table
    """Return what ``node`` is to a rule, with a name for people; None where it is plain algebra.

    Only scalar ``_saved_*`` attributes are read: a saved tensor may set off the recomputation
    of a checkpoint.
    """
    name = node.name()
    if _is_algebra(name) and not _is_a_function(node):
        return None
    operation = _operation(name)
    if _is_a_function(node) or "CppNode" in name:
        return _classify_function(operation, node)
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
    return (Role.SUSPECT, operation) if _may_spell_a_rectifier(operation, node) else None


def _classify_function(operation: str, node: Any) -> tuple[Role, str] | None:
    """Look at an ``autograd.Function``, whose name, be it ``Relu``, proves nothing."""
    if not _is_a_function(node):
        return Role.FUNCTION, operation
    source = type(node)._forward_cls  # noqa: SLF001
    if source is SpelledRectifier:
        return Role.RECTIFIER, node.label
    if source.__module__.startswith(_TRANSPARENT_MODULES):
        return None
    if source.__module__.startswith("torch.") and operation in _FUNCTIONS_OF_TORCH:
        return _FUNCTIONS_OF_TORCH[operation]
    return Role.FUNCTION, operation


def _is_a_function(node: Any) -> bool:
    """Whether ``node`` is that of an ``autograd.Function`` written in Python."""
    return isinstance(node, BackwardCFunction)


def is_spelled(node: Node) -> bool:
    """Whether ``node`` was put around arithmetic that spells a rectifier."""
    return getattr(type(node), "_forward_cls", None) is SpelledRectifier


def scale_of(node: Any) -> float:
    """Return what a rectifier multiplies its result with: (x + |x|) is twice the ReLU of x."""
    return float(node.scale) if is_spelled(node) else 1.0


def saved(node: Node, attribute: str) -> float | None:
    """Return a number that a node has saved; None for what it has not, or a tensor."""
    if hasattr(node, f"_raw_saved_{attribute}"):
        return None  # the floor of clamp(min=tensor), say
    value: float | None = getattr(node, f"_saved_{attribute}", None)
    return value


def _may_spell_a_rectifier(operation: str, node: Node) -> bool:
    if operation in ("Clamp", "ClampMin", "ClampMax"):
        bounds = [bound for bound in ("min", "max") if hasattr(node, f"_raw_saved_{bound}")]
        return bool(bounds) or saved(node, "max") == 0
    if operation == "Mul":  # by a mask, perhaps
        constant = [child is None for child, _ in node.next_functions]
        return constant.count(True) == 1 and _may_be_a_mask(
            node, "other" if constant[1] else "self"
        )
    if operation == "Pow":
        exponent = saved(node, "exponent")
        return exponent is None or not float(exponent).is_integer()
    return operation in _SPELL_RECTIFIERS


def _may_be_a_mask(node: Any, attribute: str) -> bool:
    """Whether a saved factor may have the shape of the product, without unpacking it."""
    kept = getattr(node, f"_raw_saved_{attribute}", None)
    # Older torch cannot say what is kept; a hook, as a checkpoint's, would compute it again.
    if kept is None or getattr(kept, "unpack_hook", kept) is not None:
        return True
    return tuple(kept.data.shape) == tuple(node._input_metadata[0].shape)  # noqa: SLF001


def _rectifier_label(operation: str, node: Node) -> str | None:  # noqa: PLR0911 - a table
    if operation == "Relu":
        return "ReLU"
    if operation == "LeakyRelu" and saved(node, "negative_slope") == 0:
        return "LeakyReLU(0)"
    if operation == "Elu" and saved(node, "alpha") == 0 and saved(node, "scale") == 1:
        return "ELU(0)"
    if operation == "RreluWithNoise" and saved(node, "lower") == 0 == saved(node, "upper"):
        return "RReLU(0, 0)"
    if operation == "Threshold" and saved(node, "threshold") == 0:
        return "Threshold(0)"
    if operation == "Hardtanh" and saved(node, "min_val") == 0:
        ceiling = saved(node, "max_val")
        return "ReLU6" if ceiling == _RELU6_CEILING else f"Hardtanh(0, {ceiling})"
    if operation in ("Clamp", "ClampMin") and saved(node, "min") == 0:
        ceiling = saved(node, "max")
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


@cache
def _clamp_passes_at_its_floor() -> bool:
    """Whether this torch's derivative of ``clamp`` at exactly its floor is 1 (it differs)."""
    with torch.inference_mode(False), torch.enable_grad():  # noqa: FBT003
        zero = torch.zeros(1, requires_grad=True)
        return bool(torch.autograd.grad(zero.clamp(min=0), zero)[0])


def gate(node: Node) -> Tensor | None:
    """Return the gate of ``node``; None where it is where its own derivative does not vanish.

    Reads a saved tensor, outside of any backward pass: where checkpointing did not keep it, its
    part of the model is computed again, once for each such node.
    """
    operation = operation_of(node)
    if operation == "Relu" or is_spelled(node):
        return None  # there, or its derivative is ours
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
