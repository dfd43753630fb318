"""Backward rules as data, and which autograd nodes they speak about.

A rectifier receives a gradient ``g`` and has a gate ``x > 0``. Three methods differ in two bits:

=============  ==========================  ==========================  =========================
rule           clips (keeps ``g > 0``)     gated (keeps ``x > 0``)     source
=============  ==========================  ==========================  =========================
``GRADIENT``   no                          yes                         Simonyan et al. 2013
``DECONVNET``  yes                         no                          Zeiler & Fergus 2013
``GUIDED``     yes                         yes                         Springenberg et al. 2014
=============  ==========================  ==========================  =========================

A rectifier with a ceiling (ReLU6, ``clamp(0, 6)``) has the gate ``0 < x < ceiling``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.autograd.graph import Node

__all__ = ["DECONVNET", "GRADIENT", "GUIDED", "BackwardRule", "Role", "classify", "gate", "name_of"]


@dataclass(frozen=True)
class BackwardRule:
    """What a rectifier sends back, as two bits.

    Args:
        name: The rule's name in messages and tables.
        clips_gradient: Keep only the positive part of the gradient that arrives.
        gated_by_input: Keep the gradient only where the rectifier's input was positive.
        extends_to_activations: Non-standard, from no paper: treat GELU, SiLU and the other
            activations likewise, ``max(g, 0) * f'(x)`` where ``x > 0``.
            Default: False, they keep their gradient.
    """

    name: str
    clips_gradient: bool
    gated_by_input: bool
    extends_to_activations: bool = False

    @property
    def is_gradient(self) -> bool:
        """Whether this rule is autograd's own, so that nothing is overridden."""
        return self.gated_by_input and not self.clips_gradient

    def __call__(self, passed: Tensor, arrived: Tensor, gate: Tensor | None = None) -> Tensor:
        """Return what the node sends back.

        Args:
            passed: What autograd's own derivative sends back, ``arrived * f'(x)``.
            arrived: The gradient that reached the node, of the same shape.
            gate: Where ``x > 0``, for a node whose own derivative does not vanish elsewhere.
        """
        gradient = passed if self.gated_by_input else arrived
        if self.gated_by_input and gate is not None:
            gradient = torch.where(gate, gradient, 0)
        return gradient.clamp(min=0) if self.clips_gradient else gradient


GRADIENT = BackwardRule("gradient", clips_gradient=False, gated_by_input=True)
DECONVNET = BackwardRule("deconvnet", clips_gradient=True, gated_by_input=False)
GUIDED = BackwardRule("guided", clips_gradient=True, gated_by_input=True)


class Role(enum.Enum):
    """What an autograd node is to a backward rule."""

    RECTIFIER = "overridden"
    ACTIVATION = "left alone"
    OPAQUE = "opaque"  # hides its operations, or is known to hide a rectifier
    IN_PLACE = "in place"  # wrote to a view, and this version of torch cannot say what
    FUNCTION = "custom"  # somebody's own autograd.Function: nobody can look inside


# Autograd node -> the activation's name, and the saved attribute whose sign is its input's (None:
# there is none). These are the ones for which no paper gives a guided rule.
_ACTIVATIONS: dict[str, tuple[str, str | None]] = {
    "EluBackward0": ("ELU", "self_or_result"),
    "GeluBackward0": ("GELU", "self"),
    "GluBackward0": ("GLU", None),
    "HardshrinkBackward0": ("Hardshrink", "self"),
    "HardsigmoidBackward0": ("Hardsigmoid", "self"),
    "HardswishBackward0": ("Hardswish", "self"),
    "HardtanhBackward0": ("Hardtanh", "self"),
    "LeakyReluBackward0": ("LeakyReLU", "self"),
    "LogSigmoidBackward0": ("LogSigmoid", "self"),
    "MishBackward0": ("Mish", "self"),
    "PreluKernelBackward0": ("PReLU", "self"),
    "RreluWithNoiseBackward0": ("RReLU", "self"),
    "SigmoidBackward0": ("Sigmoid", "result"),
    "SiluBackward0": ("SiLU", "self"),
    "SoftplusBackward0": ("Softplus", "self"),
    "SoftshrinkBackward0": ("Softshrink", "self"),
    "TanhBackward0": ("Tanh", "result"),
    "ThresholdBackward0": ("Threshold", "self"),
}

_OPAQUE = {
    "DifferentiableGraphBackward": "a scripted module (torch.jit.script)",
    "CompiledFunctionBackward": "a compiled function (torch.compile)",
    "CheckpointFunctionBackward": "a reentrant checkpoint (use checkpoint(use_reentrant=False))",
}
_RELU6_CEILING = 6
_FUSED_RNNS = ("CudnnRnnBackward0", "MiopenRnnBackward0")
_RNN_RELU_MODE = 0  # cuDNN's and MIOpen's number for a vanilla RNN with ReLU

# Functions of torch itself that move tensors between devices and processes, and rectify nothing.
_TRANSPARENT_MODULES = ("torch.nn.parallel.", "torch.nn.modules._functions", "torch.distributed.")


def name_of(node: Node) -> str:
    """Return the node's class name without the C++ namespaces, which differ between versions."""
    return node.name().rpartition("::")[2]


def classify(node: Node) -> tuple[Role, str] | None:
    """Return what ``node`` is to a rule, with a name for people; None where it is plain algebra.

    Only scalar ``_saved_*`` attributes are read: a saved tensor may set off the recomputation
    of a checkpoint.
    """
    name = name_of(node)
    if (rectifier := _rectifier_label(name, node)) is not None:
        return Role.RECTIFIER, rectifier
    if name in _ACTIVATIONS:
        return Role.ACTIVATION, _ACTIVATIONS[name][0]
    if name == "CopySlices":
        return _classify_copy_slices(node)
    if name in _FUSED_RNNS and getattr(node, "_saved_mode", None) == _RNN_RELU_MODE:
        return Role.OPAQUE, "a fused ReLU RNN (set torch.backends.cudnn.enabled = False)"
    if name in _OPAQUE:
        return Role.OPAQUE, _OPAQUE[name]
    return (Role.FUNCTION, name) if _is_custom(node) else None


def _rectifier_label(name: str, node: Node) -> str | None:
    def saved(attribute: str) -> float | None:
        value: float | None = getattr(node, f"_saved_{attribute}", None)
        return value

    if name == "ReluBackward0":
        return "ReLU"
    if name == "ThresholdBackward0" and saved("threshold") == 0:
        return "Threshold(0)"
    if name == "HardtanhBackward0" and saved("min_val") == 0:
        ceiling = saved("max_val")
        return "ReLU6" if ceiling == _RELU6_CEILING else f"Hardtanh(0, {ceiling})"
    if name in ("ClampBackward1", "ClampMinBackward0") and saved("min") == 0:
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
        return not type(node).__module__.startswith(_TRANSPARENT_MODULES)
    return "CppNode" in node.name()


def _clamp_passes_at_its_floor() -> bool:
    """Whether this torch's derivative of ``clamp`` at exactly its floor is 1 (it differs)."""
    with torch.inference_mode(mode=False), torch.enable_grad():
        zero = torch.zeros(1, requires_grad=True)
        return bool(torch.autograd.grad(zero.clamp(min=0), zero)[0])


def gate(node: Node) -> Tensor | None:
    """Return where the input of ``node`` was positive; None where its own derivative says so.

    Reads a saved tensor, outside of any backward pass: where checkpointing did not keep it, its
    part of the model is computed again, once for each such node.
    """
    name = name_of(node)
    if _rectifier_label(name, node) is None:
        saved = _ACTIVATIONS[name][1]
    else:
        saved = "self" if name.startswith("Clamp") and _clamp_passes_at_its_floor() else None
    if saved is None:
        return None
    kept: Tensor = getattr(node, f"_saved_{saved}")
    return kept > (0.5 if name == "SigmoidBackward0" else 0)
