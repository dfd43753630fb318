"""Captum's seam: a backward rule *is* a ``gradient_func``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from captum_guided_ext.autograd import ForwardPass

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd import BackwardRule, Override


def rule_gradient_func(
    rule: BackwardRule, *, warn_if_zero: bool = False, override: Override = ()
) -> Callable[..., tuple[Tensor, ...]]:
    """Return a function of the form of ``captum._utils.gradient.compute_gradients``.

    Args:
        rule: What the rectifiers send back.
        warn_if_zero: Warn of examples whose map is zero everywhere, with the reason.
        override: As in :class:`ForwardPass`.
    """
    return partial(_compute_rule_gradients, rule=rule, warn_if_zero=warn_if_zero, override=override)


def _compute_rule_gradients(
    forward_fn: Callable[..., Any],
    inputs: Tensor | tuple[Tensor, ...],
    target_ind: TargetType = None,
    additional_forward_args: object = None,
    *,
    rule: BackwardRule,
    warn_if_zero: bool,
    override: Override,
) -> tuple[Tensor, ...]:
    forward_pass = ForwardPass(forward_fn, inputs, additional_forward_args, override=override)
    return forward_pass.input_gradients(
        rule, target_ind, warn_if_zero=warn_if_zero, retain_graph=False
    )
