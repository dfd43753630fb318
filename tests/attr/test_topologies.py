"""Guided backprop and DeconvNet, bit for bit, on every way a rectifier can stand in a network."""

import itertools

import pytest
import torch
from arithmetic import SPELLED
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
BY_HAND = RECTIFIERS | {name: by_hand for name, (_, by_hand) in SPELLED.items()}
RECTIFIERS = RECTIFIERS | {name: spelled for name, (spelled, _) in SPELLED.items()}

layers = st.tuples(
    st.integers(2, 9),  # width
    st.one_of(st.sampled_from(sorted(SPELLED)), st.sampled_from(["none", *sorted(SPELLINGS)])),
    st.booleans(),  # a skip branch around the rectifier
    st.booleans(),  # the rectifier sees a slice of the channels only
)


class Random(nn.Module):
    """Linear or convolutional layers, rectified as the drawn description says."""

    def __init__(self, description, *, convolutional, rectifiers=RECTIFIERS):
        super().__init__()
        self.description, self.rectifiers = description, rectifiers
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
                x = torch.cat([self.rectifiers[spelling](y[:, :1]), y[:, 1:]], 1)
            else:
                x = self.rectifiers[spelling](y)
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
    def build(rectifiers):
        return make(
            lambda: Random(description, convolutional=convolutional, rectifiers=rectifiers),
            (batch, 3, 5, 5) if convolutional else (batch, 3),
            seed=seed,
        )

    (model, x), (by_hand, _) = build(RECTIFIERS), build(BY_HAND)
    rectified = any(spelling != "none" for _, spelling, *_ in description)
    for rule, method in METHODS.items():
        expected = reference_gradient(by_hand, x, rule, 1)
        assume(expected.flatten(1).any(1).all())  # a map of zeros has a warning of its own
        if rectified:
            got = method(model).attribute(x, target=1)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
        else:
            with pytest.raises(NoRectifierError):
                method(model).attribute(x, target=1)
