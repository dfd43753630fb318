"""Guided backprop, deconvolution and Guided Grad-CAM, right on every network or it says so."""

from captum_guided_ext.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    with_rule,
)
from captum_guided_ext.autograd import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    BackwardRule,
    ForwardPass,
    GuidedReLU,
    RectifierReport,
    rectifiers,
)
from captum_guided_ext.errors import NoRectifierError, OpaqueGraphError
from captum_guided_ext.evaluation import benchmark, compare
from captum_guided_ext.metrics import (
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity_max,
)

__version__ = "0.1.0"

__all__ = [
    "DECONVNET",
    "GRADIENT",
    "GUIDED",
    "BackwardRule",
    "Deconvolution",
    "ForwardPass",
    "GuidedBackprop",
    "GuidedGradCam",
    "GuidedReLU",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "NoRectifierError",
    "OpaqueGraphError",
    "RectifierReport",
    "benchmark",
    "compare",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "rectifiers",
    "sensitivity_max",
    "with_rule",
]
