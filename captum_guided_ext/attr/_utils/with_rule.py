"""Any Captum gradient attribution under a backward rule."""

from __future__ import annotations

import copy
import inspect
from typing import TYPE_CHECKING, Any

from captum.attr import (
    LRP,
    Attribution,
    DeepLift,
    GradientAttribution,
    GuidedGradCam,
    NoiseTunnel,
)
from captum.attr import Deconvolution as CaptumDeconvolution
from captum.attr import GuidedBackprop as CaptumGuidedBackprop

from captum_guided_ext._captum import InternalAttribution
from captum_guided_ext.attr._core import guided_grad_cam
from captum_guided_ext.attr._core.guided_backprop_deconvnet import RuleAttribution
from captum_guided_ext.attr._utils.gradient import rule_gradient_func
from captum_guided_ext.autograd import as_rule

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from captum_guided_ext.autograd import BackwardRule

    AttributionT = TypeVar("AttributionT", bound=Attribution)

_REASONS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (
        NoiseTunnel,
        "takes its gradients from the method inside: NoiseTunnel(with_rule(method, rule))",
    ),
    ((RuleAttribution, CaptumGuidedBackprop, CaptumDeconvolution), "is a rule by itself"),
    ((GuidedGradCam, guided_grad_cam.GuidedGradCam), "is the guided rule by definition"),
    ((DeepLift, LRP), "overrides activations in a way of its own, and two ways do not add up"),
    (InternalAttribution, "builds a gradient function of its own and would ignore the rule"),
)


def with_rule(attribution: AttributionT, rule: BackwardRule | str) -> AttributionT:
    """Return a copy of a Captum gradient attribution whose gradients follow ``rule``.

    Works for every method that asks ``self.gradient_func`` for its gradients: ``Saliency``,
    ``InputXGradient``, ``IntegratedGradients``, ``GradientShap``, and ``NoiseTunnel`` around any
    of them. What such a map means is the caller's to say: integrated guided gradients, for one,
    do not add up to the difference of the scores.

    Args:
        attribution: The method; it is not changed.
        rule: ``GRADIENT``, ``DECONVNET``, ``GUIDED``, their names ("gradient", "deconvolution",
            "guided"), or a rule of your own.

    Raises:
        TypeError: for a method that would ignore the rule, saying which way there is; by the copy's
            ``attribute``, if it returns without having asked for gradients.
        ValueError: for an unknown name of a rule.

    Example:
        >>> with_rule(IntegratedGradients(model), GUIDED).attribute(images, target=340)
    """
    name = type(attribution).__name__
    for kind, reason in _REASONS:
        if isinstance(attribution, kind):
            raise TypeError(f"with_rule does not apply to {name}: it {reason}")
    if not isinstance(attribution, GradientAttribution):
        raise TypeError(f"with_rule needs a gradient attribution, and {name} takes no gradients")
    ruled = copy.copy(attribution)
    ruled.gradient_func = _Asked(rule_gradient_func(as_rule(rule)))
    ruled.attribute = _Following(ruled)
    return ruled


class _Asked:
    """A gradient function that knows whether it has been called."""

    def __init__(self, gradient_func: Callable[..., Any]) -> None:
        self._gradient_func = gradient_func
        self.was_called = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.was_called = True
        return self._gradient_func(*args, **kwargs)


class _Following:
    """The method's ``attribute``, that raises if it returns and has never asked for gradients.

    Called as a function of the method itself, by Captum's ``NoiseTunnel``, it is ``__wrapped__``.
    """

    def __init__(self, method: Attribution) -> None:
        self._method = method
        self.__doc__ = type(method).attribute.__doc__
        self.__signature__ = inspect.signature(type(method).attribute.__get__(method))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(self._method, *args, **kwargs)

    def __wrapped__(self, method: Attribution, /, *args: Any, **kwargs: Any) -> Any:
        attributions = type(method).attribute(method, *args, **kwargs)
        if not method.gradient_func.was_called:
            raise TypeError(
                f"with_rule does not apply to {type(method).__name__}: its attribute() never asks "
                "self.gradient_func for gradients, and so ignored the rule. Have it call "
                "self.gradient_func(forward_func, inputs, target, additional_forward_args)"
            )
        return attributions
