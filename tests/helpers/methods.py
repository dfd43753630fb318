"""The two methods and their rules, and what tests assert of a map: the reference's, bit for bit."""

import re

import captum.attr
import pytest
import quiet
import torch
from chance import as_tuple
from messages import warned
from reference import reference_gradient

import captum_guided_ext as cg

METHODS = {"guided": cg.GuidedBackprop, "deconvolution": cg.Deconvolution}
NEURON_METHODS = {"guided": cg.NeuronGuidedBackprop, "deconvolution": cg.NeuronDeconvolution}
RULES = {"gradient": cg.GRADIENT, "deconvolution": cg.DECONVNET, "guided": cg.GUIDED}

both_rules = pytest.mark.parametrize("rule", METHODS)
each_rule = pytest.mark.parametrize("rule", RULES)


def plain_gradient(model, x, target=1):
    """Return autograd's own gradient."""
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


def captums_map(rule, model, x, target=None, **arguments):
    """Return the map of Captum's class of the same name."""
    with quiet.captum():
        method = getattr(captum.attr, METHODS[rule].__name__)(model)
        return method.attribute(x, target=target, **arguments)


def captums_cam(model, layer, x, target, mode="nearest"):
    """Return Captum's Grad-CAM, for which no rule matters, laid over the input."""
    cam = captum.attr.LayerGradCam(model, layer).attribute(x, target, relu_attributions=True)
    return captum.attr.LayerAttribution.interpolate(cam, tuple(x.shape[2:]), mode)


def assert_equal(got, expected):
    """Compare maps, or tuples or dictionaries of them, in every bit; none asks for a gradient."""
    assert type(got) is type(expected)
    if isinstance(expected, dict):
        assert got.keys() == expected.keys()
        got, expected = tuple(got.values()), tuple(expected.values())
    if isinstance(expected, tuple):
        for one, wanted in zip(got, expected, strict=True):
            assert_equal(one, wanted)
    elif isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype
        assert not got.requires_grad
        assert torch.equal(got, expected)
    else:
        assert got == expected


def assert_right(
    model, x, rule, *, eager=None, target=1, extra=None, calls=1, warns=None, **options
):
    """The map of ``model`` is the reference's map of ``eager``, in every one of several calls.

    ``warns`` is what the only warning of each call says; None stands for no warning.
    """

    def attribute():
        method = METHODS[rule](model, **options)
        return method.attribute(x, target=target, additional_forward_args=extra)

    expected = reference_gradient(eager or model, x, rule, target, extra)
    assert all(one.any() for one in as_tuple(expected))
    for _ in range(calls):
        if warns is None:
            got = attribute()
        else:
            got, (message,) = warned(attribute)
            assert re.search(warns, message)
        assert_equal(got, expected)
