"""What stands for a setting: the same words for the same one, others for another."""

import functools

import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from networks import Conv, seeded

import captum_guided_ext as cg
from captum_guided_ext.output import described

METHODS = {
    "rule": lambda net, one: cg.with_rule(Saliency(net), cg.GUIDED if one else cg.DECONVNET),
    "layer": lambda net, one: cg.GuidedGradCam(net, net.first if one else net.second),
    "factor": lambda net, one: IntegratedGradients(net, multiply_by_inputs=one),
    "baseline": lambda net, one: functools.partial(
        IntegratedGradients(net).attribute, baselines=torch.full((1, 3, 8, 8), float(one))
    ),
}


@pytest.mark.parametrize("setting", METHODS)
def test_a_method_with_other_settings_has_other_words(setting):
    words, again, other = (
        described(METHODS[setting](seeded(Conv), one)) for one in (True, True, False)
    )
    assert words == again
    assert words != other
    assert "0x" not in words
