"""The rule inside the model: a ReLU module whose backward follows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_guided_ext.autograd._rules import GUIDED, BackwardRule, as_rule
from captum_guided_ext.errors import NoRectifierError

if TYPE_CHECKING:
    from typing_extensions import Self


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

    Shape:
        Input and output: any shape, the same.
    """

    def __init__(self, rule: BackwardRule | str = GUIDED, *, ceiling: float | None = None) -> None:
        super().__init__()
        self.rule = as_rule(rule)
        self.ceiling = ceiling

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` clamped to [0, ceiling]."""
        rule = self.rule
        out: Tensor = _RuledReLU.apply(x, self.ceiling, rule.clips_gradient, rule.gated_by_input)
        return out

    def extra_repr(self) -> str:
        """Return the rule's name for the module's printed form."""
        return self.rule.name

    @classmethod
    def convert(cls, module: nn.Module, rule: BackwardRule | str = GUIDED) -> nn.Module:
        """Replace every ``nn.ReLU`` and ``nn.ReLU6`` in ``module``, and return it.

        In the manner of ``nn.SyncBatchNorm.convert_sync_batchnorm``: containers are changed in
        place, so convert a copy where the model is still needed as it is. Calls of ``F.relu`` are
        no modules and stay as they are; ``rectifiers(model, inputs)`` lists them.

        Raises:
            NoRectifierError: if there is no such module to replace.
        """
        converted, count = cls._convert(module, as_rule(rule), {})
        if count == 0:
            raise NoRectifierError(
                f"{type(module).__name__} holds no nn.ReLU or nn.ReLU6 module to convert; "
                "GuidedBackprop also finds rectifiers called as functions"
            )
        return converted

    @classmethod
    def _convert(
        cls, module: nn.Module, rule: BackwardRule, done: dict[nn.Module, Self]
    ) -> tuple[nn.Module, int]:
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            ceiling = 6.0 if isinstance(module, nn.ReLU6) else None
            guided = cls(rule, ceiling=ceiling).train(module.training)
            return done.setdefault(module, guided), 1
        count = 0
        for name, child in list(module._modules.items()):  # noqa: SLF001 - named_children() skips a module's second name
            if child is None:
                continue
            converted, found = cls._convert(child, rule, done)
            setattr(module, name, converted)
            count += found
        return module, count
