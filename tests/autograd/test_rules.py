"""Rules by name, wherever a rule is asked for."""

import captum.attr
import pytest
import torch
from methods import RULES
from networks import make, perceptron
from torch import nn

from captum_guided_ext import ForwardPass, GuidedReLU, with_rule

NET, X = make(lambda: perceptron(features=3, classes=2), (4, 3))
LEAF = X.clone().requires_grad_()


# whoever takes a rule, and answers with a tensor
ASKED = [
    lambda r: ForwardPass(NET, X).input_gradients(r, 1)[0],
    lambda r: torch.tensor(ForwardPass(NET, X).ignored_share(r, 1)),
    lambda r: ForwardPass(NET, X, layer=NET[2]).neuron_gradients(r, 1)[0],
    lambda r: with_rule(captum.attr.InputXGradient(NET), r).attribute(LEAF, 1),
]
# or with a module
MADE = [GuidedReLU, lambda r: GuidedReLU.convert(nn.Sequential(nn.ReLU()), r)[0]]


def test_the_names_are_the_methods_words():
    assert [rule.name for rule in RULES.values()] == ["gradient", "deconvolution", "guided"]


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_and_its_name_are_one(rule):
    for ask in ASKED:
        assert torch.equal(ask(rule), ask(rule.name))
    for make_module in MADE:
        assert make_module(rule.name).rule is rule


@pytest.mark.parametrize("ask", [*ASKED, *MADE])
def test_what_is_no_rule_is_named(ask):
    with pytest.raises(ValueError, match="no rule is called 'guide'; the nearest is guided"):
        ask("guide")
    with pytest.raises(ValueError, match="'xyz'; choose from gradient, deconvolution, guided"):
        ask("xyz")
    with pytest.raises(TypeError, match="a rule is a BackwardRule or its name, not int"):
        ask(3)
