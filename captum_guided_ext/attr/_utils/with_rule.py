"""Any Captum gradient attribution under a backward rule."""

from __future__ import annotations

import copy
import functools
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
    method: Any = vars(type(attribution)).get(_KIND, type(attribution))
    ruled.__class__ = _following(method)
    ruled.gradient_func = _Asked(rule_gradient_func(as_rule(rule)))
    return ruled


def follows_a_rule(attribution: Attribution) -> bool:
    """Whether :func:`with_rule` made this method."""
    return _KIND in vars(type(attribution))


_KIND = "_kind_without_a_rule"


class _Asked(functools.partial):  # type: ignore[type-arg]  # at runtime it takes none
    """A gradient function that knows whether it has been called."""

    was_called = False

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        self.was_called = True
        return super().__call__(*args, **kwargs)


@functools.cache
def _following(method: Any) -> Any:
    """Return a subclass whose ``attribute`` raises if it returns and has never asked."""
    # Captum's NoiseTunnel calls what its log_usage has wrapped.
    wrapped = getattr(method.attribute, "__wrapped__", method.attribute)

    @functools.wraps(wrapped)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        attributions = wrapped(self, *args, **kwargs)
        if not self.gradient_func.was_called:
            raise TypeError(
                f"with_rule does not apply to {method.__name__}: its attribute() never asks "
                "self.gradient_func for gradients, and so ignored the rule. Have it call "
                "self.gradient_func(forward_func, inputs, target, additional_forward_args)"
            )
        return attributions

    @functools.wraps(checked)
    def attribute(self: Any, *args: Any, **kwargs: Any) -> Any:
        return checked(self, *args, **kwargs)

    def __reduce_ex__(self: Any, _: Any) -> Any:  # noqa: N807 - a class made here has no address
        return _restored, (method, vars(self).copy())

    names = ("__doc__", "__module__", "__qualname__")
    members: dict[str, Any] = {name: getattr(method, name) for name in names}
    members |= {_KIND: method, "attribute": attribute, "__reduce_ex__": __reduce_ex__}
    return type(method.__name__, (method,), members)


def _restored(method: Any, state: dict[str, Any]) -> Any:
    following = _following(method)
    ruled = following.__new__(following)
    vars(ruled).update(state)
    return ruled
