"""Warnings come once, at the caller's own line, and say what is the matter."""

import functools
import re
import warnings
from pathlib import Path

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from hand_worked import filled
from messages import warned
from methods import METHODS, NEURON_METHODS, both_rules
from networks import TwoParts, make, mixed, perceptron
from topologies import Encoder, Recurrent
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg


def with_both():
    return perceptron(nn.BatchNorm1d(8), nn.Dropout(0.2))


TRAINED = {
    "batch norm": (lambda: perceptron(nn.BatchNorm1d(8)), (8, 6), "BatchNorm1d"),
    "batch norm and dropout": (with_both, (8, 6), "BatchNorm1d, Dropout"),
    "dropout in an rnn": (lambda: Recurrent(num_layers=2, dropout=0.2), None, "RNN"),
    "dropout in attention": (lambda: Encoder(dropout=0.1), None, "Dropout, MultiheadAttention"),
}


@pytest.mark.parametrize("case", TRAINED)
@both_rules
def test_training_mode_warns_once(rule, case):
    build, shape, named = TRAINED[case]
    model, x = make(build, shape)
    assert warned(lambda: METHODS[rule](model).attribute(x, target=1))[1] == []
    model.train()
    for call in (
        lambda: METHODS[rule](model).attribute(x, target=1),
        lambda: METHODS[rule](model.forward).attribute(x, target=1),
    ):
        message, *others = warned(call)[1]
        assert f"in training mode with {named}: " in message
        assert "Call model.eval() first." in message
        assert not any("training mode" in other for other in others)


def test_only_the_part_in_training_mode_counts():
    torch.manual_seed(0)  # what is dropped decides whether a map is zero, which is said as well
    model, x = make(with_both, (8, 6))
    model[3].train()
    (message,) = warned(lambda: cg.GuidedBackprop(model).attribute(x, target=1))[1]
    assert "training mode with Dropout: " in message


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (perceptron, (4, 6)),
        (lambda: perceptron(nn.Dropout(0.0)), (4, 6)),
        (lambda: Recurrent(num_layers=2), None),
    ],
    ids=["without", "dropout of nothing", "rnn"],
)
def test_training_mode_without_chance_is_no_matter(build, shape):
    model, x = make(build, shape)
    model.train()
    assert warned(lambda: cg.GuidedBackprop(model).attribute(x, target=1))[1] == []


def test_training_mode_warns_in_every_class():
    model, x = make(lambda: nn.Sequential(TwoParts(), nn.Dropout(0.1)))
    model.train()
    for call in (
        lambda: cg.GuidedGradCam(model, "0.first").attribute(x, 1),
        lambda: cg.NeuronGuidedBackprop(model, "0.head").attribute(x, 0),
        lambda: cg.rectifiers(model, x),
    ):
        messages = warned(call)[1]
        assert len([m for m in messages if "training mode with Dropout" in m]) == 1


def linear_network(*weights):
    """Linear layers of these weights with ReLUs in between."""
    layers = []
    for rows in weights:
        layers += [filled(nn.Linear(len(rows[0]), len(rows), bias=False), rows), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def zero_map(method, model, x):
    got, (message,) = warned(lambda: method(model).attribute(x, 0))
    assert not got.any()
    return message


@both_rules
def test_why_a_map_is_zero_all_negative(rule):
    # the score is minus the sum of two rectified values: only -1 arrives at either rectifier
    model, x = linear_network([[1.0, 0.0], [0.0, 1.0]], [[-1.0, -1.0]]), torch.ones(1, 2)
    assert re.fullmatch(
        rf"the {rule} attribution is zero everywhere: a gradient reached 1 of 1 "
        r"rectifiers, and 1 of .* negative .*, which the rule drops\.",
        zero_map(METHODS[rule], model, x),
    )
    # +1 arrives at the last rectifier, and -2 at the first
    model, x = linear_network([[-1.0]], [[-2.0]], [[1.0]]), -torch.ones(1, 1)
    model[2].bias = nn.Parameter(torch.tensor([5.0]))
    message = zero_map(METHODS[rule], model, x)
    assert re.search(r"reached 2 of 2 rectifiers, and 1 of .* negative .* drops", message)


def test_why_a_map_is_zero_gates():
    # -1 arrives where the gate is open, 1 where it is shut: nothing is left for guided backprop
    model, x = linear_network([[1.0], [-1.0]], [[-1.0, 1.0]]), torch.ones(1, 1)
    message = zero_map(cg.GuidedBackprop, model, x)
    assert "a gradient reached 1 of 1 rectifiers, and what was positive met closed" in message
    assert "negative" not in message
    # for DeconvNet the 1 goes through the shut gate
    got, messages = warned(lambda: cg.Deconvolution(model).attribute(x, target=0))
    assert got.tolist() == [[-1.0]]
    assert messages == []


def test_only_the_examples_that_are_zero_are_named():
    # x > 0 opens the gate to +1, x < 0 the gate to -1
    model = linear_network([[1.0], [-1.0]], [[1.0, -1.0]])
    x = torch.tensor([[1.0], [-1.0], [2.0], [-3.0]])
    got, (message,) = warned(lambda: cg.GuidedBackprop(model).attribute(x, target=0))
    assert got.tolist() == [[1.0], [0.0], [1.0], [0.0]]
    assert "zero everywhere in example 1, 3: a gradient reached 1 of 1" in message


def test_each_example_that_is_zero_has_its_own_reason():
    x = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    _, (flat, negative) = warned(
        lambda: cg.GuidedBackprop(lambda x: -F.relu(x).sum(1)).attribute(x)
    )
    assert flat == (
        "the guided attribution is zero everywhere in example 0: the plain gradient is zero too, "
        "the score does not change with the input."
    )
    assert "in example 1: a gradient reached 1 of 1 rectifiers, and 1 of those" in negative
    assert "nothing but negative values" in negative


def test_many_examples_that_are_zero_are_cut_short():
    message = zero_map(cg.GuidedBackprop, linear_network([[1.0]], [[-1.0]]), torch.ones(9, 1))
    assert "zero everywhere in example 0, 1, 2, 3, 4, ...: a gradient" in message


def test_a_map_that_is_zero_in_one_input_of_two_is_no_matter():
    model, x = make(perceptron, (3, 6))

    def minus(a, b):
        return model(a) - F.relu(b).sum(1, keepdim=True)

    (first, second), messages = warned(
        lambda: cg.GuidedBackprop(minus).attribute((x, x.abs()), target=1)
    )
    assert first.flatten(1).any(1).all()
    assert not second.any()
    assert messages == []


@both_rules
def test_a_neurons_map_of_zeros(rule):
    model = linear_network([[1.0], [1.0]], [[-1.0, -2.0], [1.0, 1.0]])
    message = zero_map(lambda model: NEURON_METHODS[rule](model, "2"), model, torch.ones(2, 1))
    assert re.match(
        rf"the {rule} attribution is zero everywhere in example 0, 1: .* negative", message
    )


def one_channel(weight=1.0, score=1.0):
    conv = filled(nn.Conv2d(1, 1, 1, bias=False), [[[[weight]]]])
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), filled(nn.Linear(4, 1), [[score] * 4]))


@pytest.mark.parametrize(
    ("options", "layer", "reason"),
    [
        ({"score": -1.0}, "0", "at every position the layer speaks against the target"),
        ({"weight": -1.0}, "0", "the score's gradient at the layer is zero"),
        ({"weight": -1.0}, "1", "the layer's activation is zero"),
        ({"score": 0.0}, "1", "the score's gradient at the layer is zero"),
    ],
)
def test_why_a_cam_is_zero(options, layer, reason):
    method = cg.GuidedGradCam(one_channel(**options), layer)
    got, (of_cam, of_guided) = warned(lambda: method.attribute(torch.ones(1, 1, 2, 2), 0))
    assert not got.any()
    assert of_cam.startswith(f"the Grad-CAM is zero everywhere: {reason}")
    # the guided map is zero as well, and says so for itself
    assert of_guided.startswith("the guided attribution is zero everywhere: ")


def test_a_cam_that_is_zero_in_one_example():
    x = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2)])
    messages = warned(lambda: cg.GuidedGradCam(one_channel(), "1").attribute(x, 0))[1]
    said = "the Grad-CAM is zero everywhere in example 1: the layer's activation is zero."
    assert messages[0] == said


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: cg.GuidedGradCam(m, "first").attribute(x, 1),
        lambda m, x: cg.NeuronGuidedBackprop(m, "second").attribute(x, (1, 0, 0)),
        lambda m, x: cg.with_rule(Saliency(m), cg.GUIDED).attribute(x.requires_grad_(), 1),
        lambda m, x: cg.ForwardPass(m, x).input_gradients(cg.GUIDED, 1),
        lambda m, x: cg.ForwardPass(m, x).ignored_share(cg.DECONVNET, 1),
        lambda m, x: NoiseTunnel(cg.GuidedBackprop(m)).attribute(x, nt_samples=2, target=1),
        lambda m, x: torch.no_grad()(cg.GuidedBackprop(m).attribute)(x, target=1),
        lambda m, x: cg.GuidedBackprop.attribute.__wrapped__(cg.GuidedBackprop(m), x, 1),
    ],
    ids=[
        "GuidedGradCam", "NeuronGuidedBackprop", "with_rule", "input_gradients", "ignored_share",
        "NoiseTunnel", "no_grad", "unwrapped",
    ],
)  # fmt: skip
def test_one_warning_at_the_callers_line_in_every_class(call):
    model, x = make(lambda: TwoParts(nn.GELU()))
    (message,) = [m for m in warned(call, model, x)[1] if "zero everywhere" not in m]
    assert "overrode 1 ReLU; left alone, with their own gradient: 1 GELU" in message


def test_a_warning_at_another_line_is_noticed():
    with pytest.raises(AssertionError):
        warned(lambda: warnings.warn("of the line that calls this one", stacklevel=2))


@pytest.mark.parametrize("beside", [cg, torch], ids=lambda module: module.__name__)
def test_a_file_whose_path_begins_like_the_packages_is_the_users(beside):
    model, x = make(mixed, (3, 4))
    folder = str(Path(beside.__file__).parent) + "_experiments"
    code = compile("call()", f"{folder}/script.py", "exec")
    # a partial, so that no frame of this file lies in between
    call = functools.partial(cg.GuidedBackprop(model).attribute, x, target=1)
    with pytest.warns(UserWarning, match="rectifiers only") as record:
        exec(code, {"call": call})
    assert [w.filename for w in record] == [f"{folder}/script.py"]
