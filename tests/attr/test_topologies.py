"""Guided backprop and DeconvNet, bit for bit, on every way a rectifier can stand in a network."""

import itertools

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from methods import METHODS, assert_right, both_rules
from networks import make
from reference import rectifier_calls, reference_gradient
from topologies import SPELLINGS, TOPOLOGIES, WholeNumbers
from torch import nn
from unchanged import nothing_changed

from captum_guided_ext import NoRectifierError, rectifiers

each_topology = pytest.mark.parametrize("name", TOPOLOGIES)


@each_topology
def test_the_topology_tells_the_rules_apart(name):
    model, x = TOPOLOGIES[name].make()
    gradient, deconvnet, guided = (
        reference_gradient(model, x, rule, TOPOLOGIES[name].target)
        for rule in ("gradient", "deconvolution", "guided")
    )
    assert guided.flatten(1).any(1).all()
    assert not torch.equal(gradient, deconvnet)
    assert not torch.equal(gradient, guided)
    assert not torch.equal(deconvnet, guided)


@pytest.mark.parametrize("requires_grad", [False, True])
@both_rules
@each_topology
def test_topology(name, rule, requires_grad):
    model, x = TOPOLOGIES[name].make()
    x.requires_grad_(requires_grad)
    with nothing_changed(model, x):
        assert_right(model, x, rule, target=TOPOLOGIES[name].target, calls=2)


def test_exact_zeros_and_sixes_do_reach_the_rectifiers():
    model, x = TOPOLOGIES["Tensor.clamp(0, 6) on exact zeros"].make()
    assert isinstance(model, WholeNumbers)
    first = model.first(x)
    second = model.second(first.clamp(0, 6))
    assert (first == 0).sum() > 50
    assert (second == 0).sum() > 10
    assert (second == 6).any()


@each_topology
def test_every_rectifier_on_the_path_is_reported(name):
    model, x = TOPOLOGIES[name].make()
    report = rectifiers(model, x)
    assert sum(report.overridden.values()) == len(rectifier_calls(model, x.clone()))
    assert not report.left_alone
    assert not report.opaque


RECTIFIERS = {"none": lambda x: x, **SPELLINGS}

layers = st.tuples(
    st.integers(2, 9),  # width
    st.sampled_from(sorted(RECTIFIERS)),
    st.booleans(),  # a skip branch around the rectifier
    st.booleans(),  # the rectifier sees a slice of the channels only
)


class Random(nn.Module):
    """Linear or convolutional layers, rectified as the drawn description says."""

    def __init__(self, description, *, convolutional):
        super().__init__()
        self.description = description
        widths = [3, *(width for width, *_ in description)]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) if convolutional else nn.Linear(a, b)
            for a, b in itertools.pairwise(widths)
        )
        self.head = nn.Linear(widths[-1] * (25 if convolutional else 1), 3)

    def forward(self, x):
        for layer, (_, spelling, skip, in_part) in zip(self.layers, self.description, strict=True):
            y = layer(x)
            if in_part:
                x = torch.cat([RECTIFIERS[spelling](y[:, :1]), y[:, 1:]], 1)
            else:
                x = RECTIFIERS[spelling](y)
            x = x + 0.5 * y if skip else x
        return self.head(x.flatten(1))


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(
    description=st.lists(layers, min_size=1, max_size=4),
    convolutional=st.booleans(),
    batch=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_random_networks(description, convolutional, batch, seed):
    model, x = make(
        lambda: Random(description, convolutional=convolutional),
        (batch, 3, 5, 5) if convolutional else (batch, 3),
        seed=seed,
    )
    rectified = any(spelling != "none" for _, spelling, *_ in description)
    for rule, method in METHODS.items():
        expected = reference_gradient(model, x, rule, 1)
        assume(expected.flatten(1).any(1).all())  # a map of zeros has a warning of its own
        if rectified:
            assert torch.equal(method(model).attribute(x, target=1), expected)
        else:
            with pytest.raises(NoRectifierError):
                method(model).attribute(x, target=1)
