"""Guided backpropagation and deconvolution of a single neuron."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from captum.attr import GradientAttribution, NeuronAttribution

from captum_guided_ext import _captum
from captum_guided_ext.attr._utils.layers import resolve_layer
from captum_guided_ext.autograd import DECONVNET, GUIDED, BackwardRule, ForwardPass, Override

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


class NeuronRuleAttribution(NeuronAttribution, GradientAttribution):  # type: ignore[misc]
    """The gradient of one neuron at the input, with every rectifier below following a rule.

    Args:
        model: A module or any callable.
        layer: The neuron's layer, as a module or by its dotted name. If it is called more than
            once in a forward pass, its last call counts, as in Captum.
        device_ids: The order of a ``DataParallel`` model's devices, where ``model`` is a function
            around it.
        extend_to_activations: As in :class:`~captum_guided_ext.GuidedBackprop`.
        override: As in :class:`~captum_guided_ext.GuidedBackprop`.

    Raises:
        ValueError: if ``model`` has no such layer; the message names the nearest.
    """

    rule: ClassVar[BackwardRule]

    def __init__(
        self,
        model: Callable[..., Any],
        layer: nn.Module | str,
        device_ids: list[int] | None = None,
        *,
        extend_to_activations: bool = False,
        override: Override = (),
    ) -> None:
        NeuronAttribution.__init__(self, model, resolve_layer(model, layer), device_ids)
        GradientAttribution.__init__(self, model)
        self._override = override
        self._rule = dataclasses.replace(self.rule, extends_to_activations=extend_to_activations)

    @_captum.log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        neuron_selector: int | tuple[int | slice, ...] | Callable[..., Tensor],
        additional_forward_args: object = None,
        attribute_to_neuron_input: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the attribution of each input value to the neuron.

        A neuron below the first activation has nothing to override: every rule gives its
        gradient.

        Args:
            inputs: A floating-point tensor or a tuple of them, the examples along dimension 0.
            neuron_selector: An index for a 2-D layer; a tuple of indices, one for each dimension
                after the first, where a slice stands for the sum of its neurons; or a callable
                that takes the layer's tensor (or tuple of tensors) and returns one value per
                example.
            additional_forward_args: As in :meth:`GuidedBackprop.attribute`. Default: None.
            attribute_to_neuron_input: Select from what the layer takes instead of what it
                returns. Default: False.

        Returns:
            A tensor of the shape and type of ``inputs``, or a tuple of them for a tuple.

        Raises:
            NoRectifierError: if other activations lie below the neuron, and no rectifier.
            OpaqueGraphError: if a part of the network may hide a rectifier.
            ValueError: for a layer that was not called, a selector that does not fit it, and as
                :meth:`GuidedBackprop.attribute`.
        """
        forward_pass = ForwardPass(
            self.forward_func,
            inputs,
            additional_forward_args,
            layer=self.layer,
            at_layer_input=attribute_to_neuron_input,
            device_ids=self.device_ids,
            override=self._override,
        )
        gradients = forward_pass.neuron_gradients(
            self._rule, neuron_selector, warn_if_zero=True, retain_graph=False
        )
        formatted: Tensor | tuple[Tensor, ...] = _captum.format_output(
            _captum.is_tuple(inputs), gradients
        )
        return formatted


class NeuronGuidedBackprop(NeuronRuleAttribution):
    """Guided backpropagation of a neuron (Springenberg et al. 2014, arXiv:1412.6806).

    See :class:`NeuronRuleAttribution` for the arguments and errors.

    Example:
        >>> NeuronGuidedBackprop(model, "layer4").attribute(images, (12, 3, 3))
    """

    rule = GUIDED


class NeuronDeconvolution(NeuronRuleAttribution):
    """Deconvolution of a neuron, as in the DeconvNet of Zeiler & Fergus 2013, arXiv:1311.2901.

    See :class:`NeuronRuleAttribution` for the arguments and errors.

    Example:
        >>> NeuronDeconvolution(model, "layer4").attribute(images, (12, 3, 3))
    """

    rule = DECONVNET
