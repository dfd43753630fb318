"""Guided Grad-CAM."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import GradientAttribution

from captum_guided_ext import _captum
from captum_guided_ext.attr._utils.cam import check_interpolate_mode, grad_cam, lay_over
from captum_guided_ext.attr._utils.layers import resolve_layer
from captum_guided_ext.autograd import GUIDED, ForwardPass, Override

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from captum_guided_ext._captum import TargetType


class GuidedGradCam(GradientAttribution):  # type: ignore[misc]  # Captum's classes are untyped
    """Guided backpropagation times the upsampled Grad-CAM of a layer.

    Selvaraju et al. 2017, arXiv:1610.02391. Costs one forward pass, where Captum makes two.

    Args:
        model: A module or any callable that returns a tensor of shape (N, ...), or
            what holds one (see :class:`~captum_guided_ext.ForwardPass`).
        layer: Usually the last convolutional layer, as a module or by its dotted name. If it is
            called more than once in a forward pass, its last call counts, as in Captum.
        device_ids: The order of a ``DataParallel`` model's devices, where ``model`` is a function
            around it.
        reshape_transform: Turns the layer's output into shape (N, C, H, W), for layers that hold
            tokens: ``lambda t: t[:, 1:].transpose(1, 2).unflatten(2, (14, 14))``. Default: None.
        extend_to_activations: As in :class:`~captum_guided_ext.GuidedBackprop`.
        override: As in :class:`~captum_guided_ext.GuidedBackprop`.

    Raises:
        ValueError: if ``model`` has no such layer; the message names the nearest.

    Differs from Captum on purpose:
        A map that cannot be laid over an input, or a misspelled ``interpolate_mode``, is an error;
        Captum warns and returns an empty tensor. Rectifiers are found in whatever style they are
        called, see :class:`~captum_guided_ext.GuidedBackprop`.

    Example:
        >>> GuidedGradCam(model, "layer4").attribute(images, 340, interpolate_mode="bilinear")
    """

    def __init__(
        self,
        model: Callable[..., Any],
        layer: nn.Module | str,
        device_ids: list[int] | None = None,
        *,
        reshape_transform: Callable[[Tensor], Tensor] | None = None,
        extend_to_activations: bool = False,
        override: Override = (),
    ) -> None:
        GradientAttribution.__init__(self, model)
        self.layer = resolve_layer(model, layer)
        self.device_ids = device_ids
        self.reshape_transform = reshape_transform
        self._override = override
        self._rule = dataclasses.replace(GUIDED, extends_to_activations=extend_to_activations)

    @_captum.log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        target: TargetType = None,
        additional_forward_args: object = None,
        interpolate_mode: str = "nearest",
        attribute_to_layer_input: bool = False,
    ) -> Tensor | tuple[Tensor, ...]:
        """Return the attribution of each input value.

        Args:
            inputs: A floating-point tensor or a tuple of them, of shape (N, C, ...) with as many
                dimensions as the layer's map.
            target: As in :meth:`GuidedBackprop.attribute`.
            additional_forward_args: As in :meth:`GuidedBackprop.attribute`. Default: None.
            interpolate_mode: How the layer's map is laid over the input: "nearest",
                "nearest-exact", "area", "linear" (3-D only), "bilinear", "bicubic" (4-D only) or
                "trilinear" (5-D only). The paper uses "bilinear". Default: "nearest".
            attribute_to_layer_input: Use what the layer takes instead of what it returns.
                Default: False.

        Returns:
            A tensor of the shape of ``inputs``, or a tuple of them for a tuple.

        Raises:
            ValueError: for a layer that was not called, whose map cannot be laid over an input,
                or an unknown ``interpolate_mode``; and as :meth:`GuidedBackprop.attribute`.

        Warns:
            UserWarning: if the map of an example is zero everywhere, with the reason; and as
                :meth:`GuidedBackprop.attribute`.
        """
        check_interpolate_mode(interpolate_mode)
        forward_pass = ForwardPass(
            self.forward_func,
            inputs,
            additional_forward_args,
            layer=self.layer,
            at_layer_input=attribute_to_layer_input,
            device_ids=self.device_ids,
            override=self._override,
        )
        with torch.inference_mode(False), torch.no_grad():  # noqa: FBT003
            cam = grad_cam(*forward_pass.layer_gradients(target), self.reshape_transform)
            laid = [lay_over(cam, x, interpolate_mode) for x in forward_pass.inputs]
            guided = forward_pass.input_gradients(
                self._rule, target, warn_if_zero=True, retain_graph=False
            )
            products = tuple(g * m for g, m in zip(guided, laid, strict=True))
        formatted: Tensor | tuple[Tensor, ...] = _captum.format_output(
            _captum.is_tuple(inputs), products
        )
        return formatted
