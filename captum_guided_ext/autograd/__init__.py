"""All that touches the autograd graph: rules, rectifiers, and one forward pass that answers.

A rule never touches the model. After the forward pass autograd has recorded every call of a
rectifier as a node; ``_path`` walks from the outputs to the inputs, and hooks exactly the
rectifiers' nodes on the way while ``torch.autograd.grad`` runs. What a user needs of this room is
at the top of the package.
"""

from captum_guided_ext.autograd._checks import (
    check_finite,
    check_inputs,
    check_maps,
    select_target,
    warn_of_zero,
)
from captum_guided_ext.autograd._fast_copy import FastCheck, FastCopy, checked_copy
from captum_guided_ext.autograd._forward_pass import ForwardPass, Override, rectifiers
from captum_guided_ext.autograd._guided_relu import GuidedReLU
from captum_guided_ext.autograd._modules import modules_of
from captum_guided_ext.autograd._outputs import check_output, output_of, returning_tensors
from captum_guided_ext.autograd._path import Flow, RectifierReport, listed
from captum_guided_ext.autograd._recording import Call, modules_called
from captum_guided_ext.autograd._rules import DECONVNET, GRADIENT, GUIDED, BackwardRule, as_rule
from captum_guided_ext.autograd._scripts import is_module as is_scripted
from captum_guided_ext.autograd._second_look import Buffers
from captum_guided_ext.autograd._uses import Use, leaf_uses, memory_of, memory_used
from captum_guided_ext.autograd._wrapped import deep_copy, opened

__all__ = [
    "DECONVNET",
    "GRADIENT",
    "GUIDED",
    "BackwardRule",
    "Buffers",
    "Call",
    "FastCheck",
    "FastCopy",
    "Flow",
    "ForwardPass",
    "GuidedReLU",
    "Override",
    "RectifierReport",
    "Use",
    "as_rule",
    "check_finite",
    "check_inputs",
    "check_maps",
    "check_output",
    "checked_copy",
    "deep_copy",
    "is_scripted",
    "leaf_uses",
    "listed",
    "memory_of",
    "memory_used",
    "modules_called",
    "modules_of",
    "opened",
    "output_of",
    "rectifiers",
    "returning_tensors",
    "select_target",
    "warn_of_zero",
]
