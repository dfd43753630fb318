"""Rectifiers spelled by arithmetic: what is one gets the rule, what is none keeps its gradient."""

import re

import pytest
import torch
from arithmetic import HINTED, NONE, SPELLED, zeros
from messages import warned
from methods import METHODS, assert_right, both_rules, plain_gradient
from networks import Conv, make
from reference import reference_gradient
from topologies import Between
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg

each_spelling = pytest.mark.parametrize("name", SPELLED)


def both(name):
    """Build the network with a spelling, the one with the call that it stands for, and an input."""
    spelled, called = SPELLED[name]
    (model, x), (by_hand, _) = make(lambda: Between(spelled)), make(lambda: Between(called))
    return model, by_hand, x


@both_rules
@each_spelling
def test_behind_a_real_relu(name, rule):
    model, by_hand, x = both(name)
    plain = reference_gradient(Between(torch.nn.Identity()), x, rule, 1)
    assert not torch.equal(reference_gradient(by_hand, x, rule, 1), plain)
    assert_right(model, x, rule, eager=by_hand, calls=3)


@each_spelling
def test_the_plain_gradient_stays_autograds_own(name):
    model, _, x = both(name)
    x[:, :, 2:4] = 0.0  # with exact zeros, where maximum and the others have another derivative
    model.second.bias.data.zero_()
    (got,) = cg.ForwardPass(model, x).input_gradients("gradient", 1)
    assert torch.equal(got, plain_gradient(model, x))


def test_zeros_meet_the_gate():
    x = torch.tensor([[-1.0, 0.0, 2.0]])
    forward_pass = cg.ForwardPass(lambda x: torch.maximum(2 * x, zeros(x)), x)
    for target, expected in ((1, [0.0, 0.0, 0.0]), (2, [0.0, 0.0, 2.0])):
        (got,) = forward_pass.input_gradients("guided", target)
        assert got.tolist() == [expected]


@each_spelling
def test_it_is_reported_and_costs_a_second_run_in_the_first_call_only(name):
    model, _, x = both(name)
    report = cg.rectifiers(model, x)
    assert sum(report.overridden.values()) == 3
    assert not report.left_alone
    assert not report.opaque
    first = model.runs
    assert first in (1, 2)
    for _ in range(3):
        cg.GuidedBackprop(model).attribute(x, 1)
    assert model.runs == first + 3


def test_the_name_of_a_spelling():
    x = torch.randn(2, 6)
    report = cg.rectifiers(lambda x: torch.maximum(2 * x, zeros(x)) - x, x)
    assert report.overridden == {"ReLU by maximum": 1}

    def with_a_ceiling(x):
        x = 2 * x
        return torch.where(x >= 2, 2.0, x * ((x > 0) & (x < 2)))

    with_ceiling = cg.rectifiers(with_a_ceiling, x)
    assert with_ceiling.overridden == {"ReLU by where, ceiling 2": 1}


@both_rules
@pytest.mark.parametrize("name", NONE)
def test_what_is_no_rectifier_keeps_its_gradient(name, rule):
    model, x = make(lambda: Between(NONE[name]))
    assert_right(model, x, rule, calls=2)


@pytest.mark.parametrize("values", [-1.0, 1.0, 0.0])
@pytest.mark.parametrize("size", [1, 2])
def test_the_data_of_a_batch_do_not_make_a_rectifier(values, size):
    # all of a mask, or of another argument, may happen to be zeros or ones
    x, other = torch.full((size, 4), 0.5), torch.full((size, 4), values)

    def network(x, other):
        return F.relu(torch.maximum(x - 1, other) + 2) * (other > 0).float()

    report = cg.rectifiers(network, x, other)
    assert report.overridden == {"ReLU": 1}


def test_a_batch_does_not_change_the_map_of_an_image():
    model, x = make(lambda: Between(SPELLED["where(x > 0, x, 0)"][0]), (4, 3, 8, 8))
    whole = cg.GuidedBackprop(model).attribute(x, 1)
    for one in range(4):
        alone = cg.GuidedBackprop(model).attribute(x[one : one + 1], 1)
        torch.testing.assert_close(alone, whole[one : one + 1], rtol=1e-4, atol=1e-7)


@both_rules
@pytest.mark.parametrize("name", HINTED)
def test_what_has_the_values_of_a_relu_is_warned_of(name, rule):
    function, named = HINTED[name]
    model, x = make(lambda: Between(function))
    for _ in range(2):
        _, (message,) = warned(lambda: METHODS[rule](model).attribute(x, 1))
        assert re.search(f"may be ReLUs, spelled by arithmetic: 1 {named}", message)
        assert "write them as torch.relu" in message


def test_without_a_real_relu_they_are_named_by_the_error():
    function, named = HINTED["assignment by indices"]
    model, x = make(lambda: Conv(function))
    with pytest.raises(cg.NoRectifierError, match=named):
        cg.GuidedBackprop(model).attribute(x, 1)


def test_values_that_contradict_the_operations_are_refused():
    # .data is written to behind autograd's back, between the comparison and the product
    def network(x):
        h = F.relu(x) - 0.5
        mask = h > 0
        h.data.add_(1.0)
        return h * mask

    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    with pytest.raises(cg.OpaqueGraphError, match=r"1 a ReLU by mul \(test_spellings\.py:\d+\)"):
        cg.GuidedBackprop(network).attribute(x, 1)


def test_other_arguments_are_no_constants_however_they_are_held():
    def network(x, others):
        return F.relu(torch.maximum(x - 1, others["one"][0]) + 2)

    report = cg.rectifiers(network, torch.full((2, 4), 0.5), {"one": [torch.zeros(2, 4)]})
    assert report.overridden == {"ReLU": 1}


class Threshold(nn.Module):
    """Keeps what is above a number that may change; at 0 it is a ReLU."""

    def __init__(self):
        super().__init__()
        self.level = 0.5

    def forward(self, x):
        return torch.where(x > self.level, x, 0)


@both_rules
def test_what_was_none_becomes_a_rectifier_under_the_same_graph(rule):
    model, x = make(lambda: Between(Threshold()))
    assert_right(model, x, rule, calls=2)
    model.function.level = 0
    by_hand, _ = make(lambda: Between(F.relu))
    assert_right(model, x, rule, eager=by_hand, calls=2)


def test_a_change_of_the_model_is_looked_at_again():
    model, x = make(lambda: Between(lambda h: h))
    assert_right(model, x, "guided")
    model.function = SPELLED["x * (x > 0)"][0]
    by_hand, _ = make(lambda: Between(F.relu))
    assert_right(model, x, "guided", eager=by_hand, calls=2)


@pytest.mark.parametrize("name", ["maximum with zeros", "x * (x > 0).type_as(x)", "(x + |x|) / 2"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_under_every_precision(name, dtype):
    model, by_hand, x = (one.to(dtype) for one in both(name))
    assert_right(model, x, "guided", eager=by_hand)
