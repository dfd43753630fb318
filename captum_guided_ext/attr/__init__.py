"""The attribution classes, with the names and signatures of ``captum.attr``."""

from captum_guided_ext.attr._core.guided_backprop_deconvnet import Deconvolution, GuidedBackprop
from captum_guided_ext.attr._core.guided_grad_cam import GuidedGradCam
from captum_guided_ext.attr._core.neuron.neuron_guided_backprop_deconvnet import (
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from captum_guided_ext.attr._utils.with_rule import with_rule

__all__ = [
    "Deconvolution",
    "GuidedBackprop",
    "GuidedGradCam",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "with_rule",
]
