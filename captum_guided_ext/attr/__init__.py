"""The attribution classes, with the names and signatures of ``captum.attr``."""

from captum_guided_ext.attr._core.guided_backprop_deconvnet import Deconvolution, GuidedBackprop
from captum_guided_ext.attr._core.guided_grad_cam import GuidedGradCam
from captum_guided_ext.attr._core.neuron.neuron_guided_backprop_deconvnet import (
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from captum_guided_ext.attr._utils.layers import FoundLayer as FoundLayer
from captum_guided_ext.attr._utils.layers import find_layer as find_layer
from captum_guided_ext.attr._utils.layers import run_at_layer as run_at_layer
from captum_guided_ext.attr._utils.methods import LAYER_METHODS as LAYER_METHODS
from captum_guided_ext.attr._utils.methods import METHODS as METHODS
from captum_guided_ext.attr._utils.methods import check_methods as check_methods
from captum_guided_ext.attr._utils.methods import method_title as method_title
from captum_guided_ext.attr._utils.methods import named_maps as named_maps
from captum_guided_ext.attr._utils.with_rule import follows_a_rule as follows_a_rule
from captum_guided_ext.attr._utils.with_rule import with_rule

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = [
    "Deconvolution",
    "GuidedBackprop",
    "GuidedGradCam",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "with_rule",
]
