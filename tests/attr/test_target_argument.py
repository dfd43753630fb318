"""Which score is explained: targets of every form, and errors that say what there is."""

import captum.attr
import pytest
import quiet
import torch
from messages import fails
from methods import METHODS, both_rules
from networks import TwoParts, make, perceptron

import captum_guided_ext as cg

NET, X = make(lambda: perceptron(features=4, hidden=9, classes=5), (3, 4))


def out_of_range(named):
    return [f"target {named} is out of range", "0 ... 4 (5 classes)"]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (None, ["target is missing", "shape (3, 5)", "target=0 ... 4 (5 classes)"]),
        (5, out_of_range("5")),
        (-6, out_of_range("-6")),
        (torch.tensor(5), out_of_range("5")),
        (torch.tensor([7]), out_of_range("7")),
        (torch.tensor([0, 1, 9]), out_of_range("9")),
        ([0, 1, 9], out_of_range("9")),
        ([0, -7, 2], out_of_range("-7")),
        ((5,), out_of_range("(5,)")),
        ([(0,), (5,), (1,)], out_of_range("(5,)")),
        ([0, 1], ["target [0, 1]", "shape (3, 5)", "length"]),
        (torch.tensor([0, 1]), ["target tensor([0, 1])", "shape (3, 5)"]),
        ([], ["target []", "shape (3, 5)"]),
        (1.5, ["target 1.5", "shape (3, 5)", "float"]),
        ("cat", ["target 'cat'", "shape (3, 5)", "str"]),
        (torch.tensor(1.0), ["dtype torch.float32", "class indices are integers"]),
        (torch.tensor([0.0, 1.0, 2.0]), ["dtype torch.float32", "class indices are integers"]),
        (torch.tensor([1j]), ["dtype torch.complex64", "class indices are integers"]),
        ((0, 1), ["target (0, 1)", "shape (3, 5)"]),
        ([(0, 1), (1, 1), (2, 1)], ["target [(0, 1), (1, 1), (2, 1)]", "shape (3, 5)"]),
        ([0.0, 1.0, 2.0], ["target [0.0, 1.0, 2.0]", "shape (3, 5)"]),
    ],
    ids=str,
)
@both_rules
def test_a_target_that_does_not_fit(rule, target, words):
    with fails(ValueError, *words):
        METHODS[rule](NET).attribute(X, target=target)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ((5, 0), ["target (5, 0) is out of range", "0 ... 4 x 0 ... 1"]),
        ([(0, 0), (0, 2), (0, 1)], ["target (0, 2) is out of range", "0 ... 4 x 0 ... 1"]),
        (None, ["target is missing", "10 values per example", "0 ... 4 x 0 ... 1"]),
        (1, ["target 1", "shape (3, 5, 2)"]),
        ((1,), ["target (1,)", "(3, 5, 2)", "one index for each dimension"]),
    ],
    ids=str,
)
def test_a_target_that_does_not_fit_an_output_of_more_dimensions(target, words):
    with fails(ValueError, *words):
        cg.GuidedBackprop(lambda x: torch.stack([NET(x), -NET(x)], dim=2)).attribute(X, target)


@pytest.mark.parametrize("target", [None, 5, -6, (5,), (0, 1), [0, 1, 2], 1.5], ids=str)
@pytest.mark.parametrize("ours", [cg.GuidedBackprop, cg.GuidedGradCam], ids=lambda c: c.__name__)
def test_who_catches_captums_error_catches_this_one(ours, target):
    theirs = getattr(captum.attr, ours.__name__)
    model, x = make(TwoParts)
    arguments = (model,) if ours is cg.GuidedBackprop else (model, model.second)
    with pytest.raises(Exception) as of_captum, quiet.captum():  # noqa: PT011 - which it is, is asked
        theirs(*arguments).attribute(x, target=target)
    with pytest.raises(type(of_captum.value)) as raised:
        ours(*arguments).attribute(x, target=target)
    assert isinstance(raised.value, (cg.TargetError, ValueError))


@pytest.mark.parametrize("selector", [7, (9, 0, 0), (0, 0, 0, 0)], ids=str)
def test_who_catches_captums_error_of_a_neuron_catches_this_one(selector):
    model, x = make(TwoParts)
    with pytest.raises((AssertionError, IndexError)) as of_captum, quiet.captum():
        captum.attr.NeuronGuidedBackprop(model, model.second).attribute(x, selector)
    with pytest.raises(type(of_captum.value)) as raised:
        cg.NeuronGuidedBackprop(model, model.second).attribute(x, selector)
    assert isinstance(raised.value, cg.TargetError)


@pytest.mark.parametrize(
    "ask",
    [
        lambda m, x, t: cg.GuidedGradCam(m, "second").attribute(x, t),
        lambda m, x, t: cg.ForwardPass(m, x).input_gradients(cg.GUIDED, t),
        lambda m, x, t: cg.ForwardPass(m, x, layer=m.second).layer_gradients(t),
        lambda m, x, t: cg.ForwardPass(m, x).ignored_share(cg.GUIDED, t),
    ],
    ids=["GuidedGradCam", "input_gradients", "layer_gradients", "ignored_share"],
)
def test_every_class_checks_its_target(ask):
    model, x = make(TwoParts)
    with fails(ValueError, "target is missing", "4 classes"):
        ask(model, x, None)
    with fails(ValueError, "target 8 is out of range", "0 ... 3 (4 classes)"):
        ask(model, x, 8)
