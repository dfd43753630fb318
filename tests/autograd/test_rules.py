"""Rules by name, wherever a rule is asked for."""

import captum.attr
import pytest
import torch
from methods import RULES
from networks import make, perceptron
from torch import nn

from captum_guided_ext import ForwardPass, GuidedReLU, with_rule

NET, X = make(lambda: perceptron(features=3, classes=2), (4, 3))


def test_the_names_are_the_methods_words():
    assert [rule.name for rule in RULES.values()] == ["gradient", "deconvolution", "guided"]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_and_its_name_are_one(rule):
    forward_pass = ForwardPass(NET, X, layer=NET[2])
    for ask in (
        lambda r: forward_pass.input_gradients(r, 1)[0],
        lambda r: torch.tensor(forward_pass.ignored_share(r, 1)),
        lambda r: forward_pass.neuron_gradients(r, 1)[0],
        lambda r: with_rule(captum.attr.InputXGradient(NET), r).attribute(
            X.clone().requires_grad_(), 1
        ),
    ):
        assert torch.equal(ask(rule), ask(rule.name))
    assert GuidedReLU(rule.name).rule is rule
    converted = GuidedReLU.convert(nn.Sequential(nn.ReLU()), rule.name)
    assert converted[0].rule is rule


@pytest.mark.parametrize(
    "ask",
    [
        lambda r: ForwardPass(NET, X).input_gradients(r, 1),
        lambda r: ForwardPass(NET, X).ignored_share(r, 1),
        lambda r: ForwardPass(NET, X, layer=NET[2]).neuron_gradients(r, 1),
        lambda r: with_rule(captum.attr.Saliency(NET), r),
        GuidedReLU,
        lambda r: GuidedReLU.convert(nn.Sequential(nn.ReLU()), r),
    ],
)
def test_what_is_no_rule_is_named(ask):
    with pytest.raises(ValueError, match="no rule is called 'guide'; the nearest is guided"):
        ask("guide")
    with pytest.raises(ValueError, match="'xyz'; choose from gradient, deconvolution, guided"):
        ask("xyz")
    with pytest.raises(TypeError, match="a rule is a BackwardRule or its name, not int"):
        ask(3)
