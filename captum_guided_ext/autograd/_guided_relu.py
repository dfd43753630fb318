"""The rule inside the model: a ReLU module whose backward follows it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from captum_guided_ext.autograd._forward_pass import rectifiers
from captum_guided_ext.autograd._path import listed
from captum_guided_ext.autograd._rules import GUIDED, BackwardRule, as_rule
from captum_guided_ext.autograd._second_look import Buffers
from captum_guided_ext.errors import ModelError, NoRectifierError, warn_user


class _RuledReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float | None, clips: bool, gated: bool) -> Tensor:
        gate = x > 0 if ceiling is None else (x > 0) & (x < ceiling)
        ctx.save_for_backward(gate)
        ctx.clips, ctx.gated = clips, gated
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (gate,) = ctx.saved_tensors
        if ctx.gated:
            gradient = torch.where(gate, gradient, 0)
        return gradient.clamp(min=0) if ctx.clips else gradient, None, None, None


class GuidedReLU(nn.Module):
    """``nn.ReLU`` or ``nn.ReLU6`` with a backward pass that follows a rule.

    For people who want the rule inside the model, under ``torch.compile(fullgraph=True)`` for
    instance. Everybody else uses :class:`~captum_guided_ext.GuidedBackprop`, which needs no
    change to the model.

    Args:
        rule: What is sent back: a rule or its name. Default: ``GUIDED``.
        ceiling: The largest output, 6 for a ReLU6. Default: None, no ceiling.
        inplace: Write to the input, as ``nn.ReLU(inplace=True)`` does. Default: False.

    Shape:
        Input and output: any shape, the same.
    """

    def __init__(
        self,
        rule: BackwardRule | str = GUIDED,
        *,
        ceiling: float | None = None,
        inplace: bool = False,
    ) -> None:
        super().__init__()
        self.rule = as_rule(rule)
        self.ceiling = ceiling
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` clamped to [0, ceiling]."""
        rule = self.rule
        out: Tensor = _RuledReLU.apply(x, self.ceiling, rule.clips_gradient, rule.gated_by_input)
        return x.copy_(out) if self.inplace else out

    def extra_repr(self) -> str:
        """Return the rule's name for the module's printed form."""
        return f"{self.rule.name}, inplace=True" if self.inplace else self.rule.name

    @classmethod
    def convert(
        cls,
        module: nn.Module,
        rule: BackwardRule | str = GUIDED,
        *,
        example_inputs: Tensor | tuple[Tensor, ...] | None = None,
        strict: bool = False,
    ) -> nn.Module:
        """Turn every rectifier module in ``module`` into a ``GuidedReLU``, and return it.

        Rectifier modules are ``nn.ReLU``, ``nn.ReLU6``, ``nn.Hardtanh(0, c)`` and
        ``nn.Threshold(0, 0)``; a subclass with a ``forward`` of its own is another function, and
        is left alone. They stay the same objects, with their hooks and whatever refers to them, and
        become of another class: convert a copy where the model is still needed as it is.

        **Rectifiers that are no modules stay as they are**: ``F.relu``, ``x.clamp(min=0)``, what
        is inside a script or an ``nn.RNN``; of densenet121, the last ReLU. With ``example_inputs``
        the graph is looked at, and they are named; without, nothing can tell.

        Args:
            module: A module, or a rectifier itself.
            rule: What is sent back: a rule or its name. Default: ``GUIDED``.
            example_inputs: What the model takes, for one forward pass of the converted model.
                Default: None, do not look.
            strict: Raise instead of warn where ``example_inputs`` show a rectifier that is not
                converted; the model is then as it was. Default: False.

        Raises:
            NoRectifierError: if there is no such module.
            ModelError: if ``strict``, and a rectifier is no module.

        Warns:
            UserWarning: if ``example_inputs`` show a rectifier that is not converted.
        """
        rule = as_rule(rule)
        found = [(one, ceiling) for one in module.modules() for ceiling in _ceilings(one)]
        if not found:
            raise NoRectifierError(
                f"{type(module).__name__} holds no nn.ReLU or nn.ReLU6 module to convert; "
                "GuidedBackprop also finds rectifiers called as functions"
            )
        before = [(one, type(one), dict(vars(one))) for one, _ in found]
        buffers = Buffers(module.modules())
        try:
            for one, ceiling in found:
                one.__class__ = _ruled(cls, type(one))  # type: ignore[arg-type]
                one.rule, one.ceiling = rule, ceiling  # type: ignore[assignment]
            if example_inputs is not None:
                _check_the_rest(module, example_inputs, strict=strict)
                buffers.put_back()
        except BaseException:
            buffers.put_back()
            for one, kind, attributes in before:
                one.__class__ = kind
                vars(one).clear()
                vars(one).update(attributes)
            raise
        return module


@cache
def _ruled(guided: type[Any], kind: type[Any]) -> type[Any]:
    """Return the class that a rectifier becomes; one of the user's own keeps its members."""
    if kind.__module__.startswith("torch."):
        return guided
    members = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    return type(kind.__name__, (guided, kind), members)


def _ceilings(module: nn.Module) -> list[float | None]:
    """Return the ceiling of a rectifier module, None where it has none, in a list; else nothing."""
    forward = getattr(type(module), "forward", None)
    if "forward" in vars(module):  # one of the instance's own
        return []
    if forward is nn.ReLU.forward:
        return [None]
    if isinstance(module, nn.Hardtanh) and forward in (nn.Hardtanh.forward, nn.ReLU6.forward):
        return [float(module.max_val)] if module.min_val == 0 else []
    if isinstance(module, nn.Threshold) and forward is nn.Threshold.forward:
        return [None] if module.threshold == 0 == module.value else []
    return []


def _check_the_rest(module: nn.Module, inputs: Any, *, strict: bool) -> None:
    report = rectifiers(module, inputs)
    opaque = {
        label: count for label, count in report.opaque.items() if label != _RuledReLU.__name__
    }
    if not report.overridden and not opaque:
        return
    rest = {**report.overridden, **opaque}
    message = (
        f"{type(module).__name__} has rectifiers, or parts that may hide one, that are no modules "
        f"and were not converted: {listed(rest)}. They send back the plain gradient. Write them as "
        "modules, or use GuidedBackprop, which needs no modules"
    )
    if strict:
        raise ModelError(message)
    warn_user(message)
