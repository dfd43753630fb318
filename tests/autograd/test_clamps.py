"""Clamps at 0 that are no activations: left alone where they stand so, or as the caller says."""

import captum.attr
import pytest
import quiet
import torch
from arithmetic import CLAMPS, clamped, relu6, variance
from messages import warned
from methods import METHODS, NEURON_METHODS, assert_equal, assert_right, both_rules, captums_cam
from networks import Conv, make
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg


class WithAClamp(nn.Module):
    """Does something with a feature map by means of a clamp, between convolutions and a ReLU."""

    def __init__(self, function, clamp=torch.clamp, six=F.relu6):
        super().__init__()
        self.function = lambda h: function(h, clamp, six)
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.relu, self.head = nn.ReLU(), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.relu(self.second(self.function(self.first(x)))).mean((2, 3)))


@both_rules
@pytest.mark.parametrize("name", CLAMPS)
def test_no_activation(name, rule):
    function, label, where = CLAMPS[name]
    model, x = make(lambda: WithAClamp(function))
    by_hand, _ = make(lambda: WithAClamp(function, clamped, relu6))
    found = rf"no activations where they stand: 1 {label} {where}\. Pass override=\['{label}'\]"
    found = found.replace("(", r"\(").replace(")", r"\)")
    assert_right(model, x, rule, eager=by_hand, calls=2, warns=found)
    report = cg.rectifiers(model, x)
    assert (report.overridden, report.left_alone) == ({"ReLU": 1}, {label: 1})


@both_rules
@pytest.mark.parametrize("name", [name for name, row in CLAMPS.items() if row[1] != "ReLU6"])
def test_captums_right_answers_are_kept(name, rule):
    # Captum hooks the nn.ReLU, and clamps keep their gradient
    model, x = make(lambda: WithAClamp(CLAMPS[name][0]))
    with quiet.captum():
        expected = getattr(captum.attr, METHODS[rule].__name__)(model).attribute(x, target=1)
    got, _ = warned(lambda: METHODS[rule](model).attribute(x, target=1))
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-8)


@both_rules
@pytest.mark.parametrize("name", CLAMPS)
def test_the_caller_decides_otherwise(name, rule):
    function, label, _ = CLAMPS[name]
    model, x = make(lambda: WithAClamp(function))
    if label == "ReLU by maximum":  # the reference knows calls of rectifiers only
        eager, _ = make(lambda: WithAClamp(function))
        eager.function = OVERRIDDEN[name]
    else:
        eager = model
    assert_right(model, x, rule, eager=eager, override=[label])
    assert_right(model, x, rule, eager=eager, override={label: True})
    assert cg.rectifiers(model, x, override=label).overridden == {"ReLU": 1, label: 1}


OVERRIDDEN = {
    "hard-swish by arithmetic": lambda h: h * torch.minimum(F.relu(h + 3), torch.tensor(6.0)) / 6,
    "a root, guarded by arithmetic": lambda h: h / (F.relu(variance(h)) + 0.01).sqrt(),
}


@both_rules
def test_the_caller_has_an_activation_left_alone(rule):
    model, x = make(lambda: Conv(lambda x: x.clamp(min=0) + F.relu(x - 0.1)))
    by_hand, _ = make(lambda: Conv(lambda x: clamped(x) + F.relu(x - 0.1)))
    assert_right(model, x, rule, eager=by_hand, override={"clamp(min=0)": False})


@both_rules
def test_every_class_takes_it(rule):
    model, x = make(lambda: WithAClamp(CLAMPS["a logarithm"][0]))
    options = {"override": ["clamp(min=0)"]}
    expected = reference_gradient(model, x, rule, 1)
    assert_equal(cg.ForwardPass(model, x, **options).input_gradients(rule, 1), (expected,))
    if rule == "guided":
        got = cg.GuidedGradCam(model, "first", **options).attribute(x, 1)
        torch.testing.assert_close(got, expected * captums_cam(model, model.first, x, 1))

    def neuron(x):
        return model.relu(model.second(model.function(model.first(x))))[:, :, 1, 1]

    got = NEURON_METHODS[rule](model, model.relu, **options).attribute(x, (2, 1, 1))
    assert_equal(got, reference_gradient(neuron, x, rule, 2))


@both_rules
@pytest.mark.parametrize(
    "on_input",
    [
        lambda x, clamp: clamp(x, 0, 1),
        lambda x, clamp: (clamp(x, 0, 1) - 0.4) / 0.2,
        lambda x, clamp: clamp(x[:, :, 1:].transpose(2, 3).contiguous(), 0),
    ],
    ids=["a range", "normalised", "of a part"],
)
def test_on_the_input(on_input, rule):
    model, x = make(Conv)
    assert_right(
        lambda x: model(on_input(x, torch.clamp)),
        x,
        rule,
        eager=lambda x: model(on_input(x, clamped)),
        warns="no activations where they stand: 1 clamp.* on the input",
    )


ACTIVATIONS = {
    "between convolutions": lambda x: x.clamp(min=0),
    "scaled": lambda x: x.clamp(min=0) / 3 + 1,
    "with a root beside it": lambda x: (h := x.clamp(min=0)) + (h + 0.1).sqrt(),
    "with a scale of its own mean": lambda x: (h := F.relu6(x)) * torch.exp(h.mean()),
    "divided by another": lambda x: x.clamp(min=0) / (x.detach().abs() + 1),
    "a half of the channels weighs the other": lambda x: torch.cat(
        [x[:, :3].clamp(min=0) * x[:, 3:], x[:, 3:]], 1
    ),
    "squared": lambda x: x.clamp(min=0) ** 2,
    "in front of a mean and a root": lambda x: (
        x * (x.clamp(min=0).mean() + 0.1).detach().sqrt() + x.clamp(min=0)
    ),
    "nn.ReLU in front of a root": lambda x: (F.relu(x) + 0.01).sqrt(),
    "nn.ReLU as a gate": lambda x: x * F.relu(x),
    "ReLU6 in front of a logarithm": lambda x: torch.log1p(F.relu6(x)),
}


@both_rules
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_one(name, rule):
    model, x = make(lambda: Conv(ACTIVATIONS[name]))
    assert_right(model, x, rule)


@both_rules
def test_a_decomposed_network_has_the_map_of_the_eager_one(rule):
    class Net(nn.Module):
        """Hard-swish and squeeze-and-excitation, as in MobileNetV3."""

        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
            self.swish, self.scale, self.relu = nn.Hardswish(), nn.Hardsigmoid(), nn.ReLU()
            self.squeeze, self.head = nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x):
            h = self.swish(self.first(x))
            h = h * self.scale(self.squeeze(h.mean((2, 3))))[:, :, None, None]
            return self.head(self.relu(self.second(h)).mean((2, 3)))

    model, x = make(Net)
    decomposed = torch.export.export(model, (x,)).run_decompositions().module()
    eager, (message,) = warned(lambda: METHODS[rule](model).attribute(x, 1))
    assert "1 Hardswish, 1 Hardsigmoid" in message
    got, (message,) = warned(lambda: METHODS[rule](decomposed).attribute(x, 1))
    assert "2 clamp(min=0) as a gate" in message
    torch.testing.assert_close(got, eager, rtol=1e-4, atol=1e-8)


def test_a_label_that_is_not_there():
    model, x = make(lambda: Conv(lambda x: x.clamp(min=0)))
    with pytest.raises(cg.ModelError, match=r"'clamp\(0, 6\)'.* choose from clamp\(min=0\)"):
        cg.GuidedBackprop(model, override=["clamp(0, 6)"]).attribute(x, 1)
    model, x = make(Conv)
    with pytest.raises(cg.ModelError, match=r"'ReLU'.* there is none"):
        cg.GuidedBackprop(model, override=["ReLU"]).attribute(x, 1)


def test_nothing_but_a_clamp_that_is_no_activation():
    model, x = make(lambda: nn.Conv2d(3, 2, 3))
    with pytest.raises(cg.NoRectifierError, match=r"1 clamp\(0, 1\) on the input"):
        cg.GuidedBackprop(lambda x: model(x.clamp(0, 1)).mean((2, 3))).attribute(x, 1)
