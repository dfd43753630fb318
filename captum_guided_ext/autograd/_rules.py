"""Backward rules as data.

A rectifier receives a gradient ``g`` and has a gate ``x > 0``. Three methods differ in two bits:

=============  ==========================  ==========================  =========================
rule           clips (keeps ``g > 0``)     gated (keeps ``x > 0``)     source
=============  ==========================  ==========================  =========================
gradient       no                          yes                         Simonyan et al. 2013
deconvolution  yes                         no                          Zeiler & Fergus 2013
guided         yes                         yes                         Springenberg et al. 2014
=============  ==========================  ==========================  =========================

They are the constants ``GRADIENT``, ``DECONVNET`` and ``GUIDED``; wherever a rule is asked for, its
name does as well.

A rectifier with a ceiling (ReLU6, ``clamp(0, 6)``) has the gate ``0 < x < ceiling``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from captum_guided_ext.errors import nearest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class BackwardRule:
    """What a rectifier sends back, as two bits.

    Args:
        name: The rule's name in messages and tables.
        clips_gradient: Keep only the positive part of the gradient that arrives.
        gated_by_input: Keep the gradient only where the rectifier's input was positive.
        extends_to_activations: Non-standard, from no paper: treat GELU, SiLU and the other
            element-wise activations likewise, ``max(g, 0) * f'(x)`` where ``x > 0``; under a
            rule without the gate, ``max(g, 0)``. Default: False, they keep their gradient.
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
"""Autograd's own: keep the gradient where the input was positive (Simonyan et al. 2013)."""
DECONVNET = BackwardRule("deconvolution", clips_gradient=True, gated_by_input=False)
"""Keep what is positive of the gradient, whatever the input was (Zeiler & Fergus 2013)."""
GUIDED = BackwardRule("guided", clips_gradient=True, gated_by_input=True)
"""Keep what is positive of the gradient where the input was positive (Springenberg et al. 2014)."""
_NAMED = {rule.name: rule for rule in (GRADIENT, DECONVNET, GUIDED)}


def as_rule(rule: BackwardRule | str) -> BackwardRule:
    """Return the rule that is meant: itself, or the one of that name.

    Raises:
        TypeError: for what is neither.
        ValueError: for an unknown name, with the choices.
    """
    if isinstance(rule, BackwardRule):
        return rule
    if not isinstance(rule, str):
        raise TypeError(f"a rule is a BackwardRule or its name, not {type(rule).__name__}")
    if rule not in _NAMED:
        raise ValueError(f"no rule is called {rule!r}{nearest(rule, _NAMED, otherwise=None)}")
    return _NAMED[rule]
