"""The reference itself: against arithmetic done by hand, against Captum, and made wrong."""

import math

import pytest
import quiet
import reference
import torch
from captum.attr import Deconvolution, GuidedBackprop, Saliency
from hand_worked import MAPS, X, three_layers
from networks import make, perceptron
from reference import RULES, gate_of, rectifier_calls, reference_gradient
from topologies import RELU6S, RELUS
from torch import nn


def disagreements_with_hand():
    network = three_layers()
    return {
        (rule, target)
        for rule, maps in MAPS.items()
        for target, expected in maps.items()
        if reference_gradient(network, X, rule, target).tolist() != expected
    }


def test_agrees_with_arithmetic_by_hand():
    assert disagreements_with_hand() == set()


@pytest.mark.parametrize(
    ("rule", "other"), [(rule, other) for rule in RULES for other in RULES if rule != other]
)
def test_a_rule_in_the_place_of_another_is_noticed(rule, other, monkeypatch):
    monkeypatch.setitem(reference.RULES, rule, RULES[other])
    assert (rule, 1) in disagreements_with_hand()


def test_an_open_gate_is_noticed(monkeypatch):
    monkeypatch.setattr(
        reference, "gate_of", lambda x, ceiling: torch.ones_like(x, dtype=torch.bool)
    )
    gated = ("gradient", "guided")
    assert disagreements_with_hand() == {(rule, target) for rule in gated for target in (0, 1)}


@pytest.mark.parametrize(
    ("x", "ceiling", "is_open"),
    [
        (-1.0, math.inf, False),
        (0.0, math.inf, False),
        (-0.0, math.inf, False),
        (1e-30, math.inf, True),
        (5.9, 6.0, True),
        (6.0, 6.0, False),
        (7.0, 6.0, False),
        (7.0, math.inf, True),
    ],
)
def test_the_gate_is_open_strictly_between_zero_and_the_ceiling(x, ceiling, is_open):
    assert gate_of(torch.tensor(x), ceiling).item() is is_open


@pytest.mark.parametrize("name", [*RELUS, *RELU6S])
def test_every_spelling_is_one_rectifier_with_its_own_values(name):
    rectify = (RELUS | RELU6S)[name]
    ceiling = 6.0 if name in RELU6S else math.inf
    x = torch.tensor([[-1.0, 0.5, 3.0, 7.0]])
    arriving = torch.tensor([[2.0, -3.0, 5.0, 4.0]])

    def model(x):
        return (rectify(x + 0) * arriving).sum(1)

    assert len(rectifier_calls(model, x)) == 1
    with reference.RectifierMode("guided"):
        given = x + 0
        under_the_mode = rectify(given)
    assert torch.equal(under_the_mode, rectify(x + 0))
    in_place = name.split("(")[0].endswith("_") or "inplace=True" in name
    assert torch.equal(given, under_the_mode) is in_place
    for rule, expected in {
        "gradient": [0.0, -3.0, 5.0, 4.0 if math.isinf(ceiling) else 0.0],
        "deconvolution": [2.0, 0.0, 5.0, 4.0],
        "guided": [0.0, 0.0, 5.0, 4.0 if math.isinf(ceiling) else 0.0],
    }.items():
        assert reference_gradient(model, x, rule).tolist() == [expected]


@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: x.clamp(min=0.1),
        lambda x: x.clamp(-1, 1),
        lambda x: x.clamp(max=0),
        lambda x: x.clamp_min(1e-12),
        nn.Hardtanh(),
        nn.Threshold(0.0, 1.0),
        nn.Threshold(1.0, 0.0),
        nn.LeakyReLU(),
        nn.GELU(),
    ],
)
def test_anything_else_is_left_alone(arithmetic):
    x = torch.tensor([[-1.0, 0.5, 3.0]])
    assert rectifier_calls(arithmetic, x) == []


def test_an_in_place_rectifier_on_a_view_reaches_only_the_view():
    # (1, -2 | -3, 4): the first half is rectified, the second passes on what arrives
    x, g = torch.tensor([[1.0, -2.0, -3.0, 4.0]]), torch.tensor([-1.0, 5.0, -6.0, 7.0])

    def model(x):
        y = x + 0
        y[:, :2].relu_()
        return (y * g).sum(1)

    assert reference_gradient(model, x, "gradient").tolist() == [[-1.0, 0.0, -6.0, 7.0]]
    assert reference_gradient(model, x, "deconvolution").tolist() == [[0.0, 5.0, -6.0, 7.0]]
    assert reference_gradient(model, x, "guided").tolist() == [[0.0, 0.0, -6.0, 7.0]]


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "shape"),
    [(lambda: perceptron(nn.Linear(8, 8), nn.ReLU()), (4, 6)), (convolutions, (2, 3, 12, 12))],
    ids=["perceptron", "convolutions"],
)
def test_agrees_with_captum_where_captum_sees_every_rectifier(build, shape):
    model, x = make(build, shape)
    with quiet.captum():
        captums = {
            "gradient": Saliency(model).attribute(x, target=1, abs=False),
            "deconvolution": Deconvolution(model).attribute(x, target=1),
            "guided": GuidedBackprop(model).attribute(x, target=1),
        }
    for rule, expected in captums.items():
        assert torch.equal(reference_gradient(model, x, rule, target=1), expected)
    assert len({tuple(m.flatten().tolist()) for m in captums.values()}) == 3


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_loop_is_the_recurrence_torch_computes(batch_first, bidirectional):
    options = {"batch_first": batch_first, "bidirectional": bidirectional}
    rnn, x = make(lambda: nn.RNN(3, 4, 2, nonlinearity="relu", **options), (2, 5, 3))
    with reference.RectifierMode("gradient") as mode:
        output, state = rnn(x)
    steps, layers, directions = (5 if batch_first else 2), 2, (2 if bidirectional else 1)
    assert len(mode.calls) == steps * layers * directions
    assert torch.equal(output, rnn(x)[0])
    assert torch.equal(state, rnn(x)[1])
    (true_gradient,) = torch.autograd.grad(rnn(x.requires_grad_())[0][..., 1].sum(), x)

    def model(x):
        return rnn(x)[0][..., 1].sum(1)

    assert torch.equal(reference_gradient(model, x, "gradient"), true_gradient)


def test_the_loop_rectifies_by_hand():
    # h1 = relu(1 * 2) = 2, h2 = relu(-1 * 2 + 1 * 1) = relu(-1) = 0, the score: -h1 + 3 * h2.
    # To h2 arrives 3, to h1 arrives -1 and what h2 sends on, times the recurrent weight -1.
    #   gradient   h2 is shut: x2 gets 0; h1 is open and sends on -1
    #   deconvnet  h2 sends 3: x2 gets 3; h1 gets -1 - 3 = -4, clipped: 0
    #   guided     h2 is shut: x2 gets 0; h1 gets -1, clipped: 0
    rnn = nn.RNN(1, 1, nonlinearity="relu", bias=False, batch_first=True)
    nn.init.constant_(rnn.weight_ih_l0, 1.0)
    nn.init.constant_(rnn.weight_hh_l0, -1.0)

    def model(x):
        h = rnn(x)[0][..., 0]
        return -h[:, 0] + 3 * h[:, 1]

    x = torch.tensor([[[2.0], [1.0]]])
    assert reference_gradient(model, x, "gradient").flatten().tolist() == [-1.0, 0.0]
    assert reference_gradient(model, x, "deconvolution").flatten().tolist() == [0.0, 3.0]
    assert reference_gradient(model, x, "guided").flatten().tolist() == [0.0, 0.0]


def test_the_transformer_layer_shows_its_rectifier():
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True).eval()
    assert rectifier_calls(layer, torch.randn(2, 3, 4)) == ["relu"]
