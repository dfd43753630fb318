"""Guided backpropagation and deconvolution."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from captum.attr import GradientAttribution

from captum_guided_ext import _captum
from captum_guided_ext.attr._utils.gradient import rule_gradient_func
from captum_guided_ext.autograd import DECONVNET, GUIDED, BackwardRule, Override

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from captum_guided_ext._captum import TargetType


class RuleAttribution(GradientAttribution):  # type: ignore[misc]  # Captum's classes are untyped
    """The gradient of a target's score at the input, with every rectifier following a rule.

    Rectifiers are found on the autograd graph, in whatever style the model calls them; the model
    itself is not touched. A model is run once. Where its graph may hide a rectifier (in place on a
    view, or spelled by arithmetic) it is run twice in the first call, which is remembered; and it
    is run again where a map is zero everywhere, to say why.

    Args:
        model: A module or any callable that returns a tensor of shape (N, ...), or
            what holds one (see :class:`~captum_guided_ext.ForwardPass`).
        extend_to_activations: **Non-standard**, from no paper: let GELU, SiLU and the other
            smooth or leaky activations follow the rule too, sending back
            ``max(g, 0) * f'(x)`` where ``x > 0`` for guided backprop, ``max(g, 0)`` for
            deconvolution. GLU keeps its gradient. Default: False.
        override: Clamps at 0 to override wherever they stand, by the labels that
            :func:`~captum_guided_ext.rectifiers` prints, ``["clamp(min=0)"]``; or a mapping from
            such labels to whether they are overridden. Default: by where they stand. A clamp on the
            input, in front of a root, a logarithm or a division, or multiplied with what it was
            made from (a gate, as in a hard-swish) is no activation and keeps its gradient.

    Differs from Captum on purpose:
        Captum hooks ``nn.ReLU`` modules and returns the plain gradient where a network calls its
        rectifiers otherwise; here the numbers are the method's, or an error is raised. No
        warning is given for hooks or for ``requires_grad``, which are not the caller's concern.
    """

    rule: ClassVar[BackwardRule]

    def __init__(
        self,
        model: Callable[..., Any],
        *,
        extend_to_activations: bool = False,
        override: Override = (),
    ) -> None:
        GradientAttribution.__init__(self, model)
        self.model = model
        rule = self.rule
        if extend_to_activations:
            rule = dataclasses.replace(rule, extends_to_activations=True)
        self.gradient_func = rule_gradient_func(rule, warn_if_zero=True, override=override)

    @_captum.log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: object = None,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the attribution of each input value.

        Args:
            inputs: A floating-point tensor or a tuple of them, the examples along dimension 0.
                They are only read.
            target: Which output to explain: a class index, a tuple of indices for outputs of
                more than two dimensions, or a list or 1-D tensor with one per example. Default:
                None, for a model with one output per example.
            additional_forward_args: One value or a tuple of them, passed to the model behind the
                inputs. Default: None.

        Returns:
            A tensor of the shape and type of ``inputs``, or a tuple of them for a tuple.

        Raises:
            NoRectifierError: if no rectifier lies between the output and the inputs.
            OpaqueGraphError: if a part of the network may hide one.
            TypeError: for inputs or outputs that are no floating-point tensors.
            ValueError: for a missing or impossible target, an input that is detached inside the
                model, NaN or infinity in the inputs or the attributions.

        Warns:
            UserWarning: if other activations, or clamps that are none, lie on the path and keep
                their own gradient; if arithmetic may spell a ReLU that could not be told; if the
                map of an example is zero everywhere, with the reason; if the model is in
                training mode with batch norm or dropout.
        """
        gradients = self.gradient_func(self.forward_func, inputs, target, additional_forward_args)
        formatted: Tensor | tuple[Tensor, ...] = _captum.format_output(
            _captum.is_tuple(inputs), gradients
        )
        return formatted


class GuidedBackprop(RuleAttribution):
    """Guided backpropagation (Springenberg et al. 2014, arXiv:1412.6806).

    Rectifiers send back ``g`` where ``g > 0`` and ``x > 0``. See :class:`RuleAttribution` for
    the arguments, the errors, and where it differs from ``captum.attr.GuidedBackprop``.

    Example:
        >>> attribution = GuidedBackprop(model).attribute(images, target=340)
    """

    rule = GUIDED


class Deconvolution(RuleAttribution):
    """Deconvolution, the DeconvNet of Zeiler & Fergus 2013, arXiv:1311.2901.

    Rectifiers send back ``g`` where ``g > 0``, whatever their input was. See
    :class:`RuleAttribution` for the arguments, the errors, and where it differs from
    ``captum.attr.Deconvolution``.

    Example:
        >>> attribution = Deconvolution(model).attribute(images, target=340)
    """

    rule = DECONVNET
