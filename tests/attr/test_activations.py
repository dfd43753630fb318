"""Other activations: refused alone, left alone beside rectifiers, or under the extension."""

import pytest
import torch
from messages import warned
from methods import METHODS, assert_right, both_rules, captums_cam, captums_map, plain_gradient
from networks import Conv, make, mixed, perceptron
from reference import rectifier_calls, reference_gradient
from topologies import checkpointed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext import NoRectifierError


def test_both_errors_are_value_errors():
    assert issubclass(NoRectifierError, ValueError)
    assert issubclass(cg.OpaqueGraphError, ValueError)


@both_rules
@pytest.mark.parametrize(
    "activation",
    [
        nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU(), nn.Hardswish(), nn.Softplus(), nn.Mish(),
        nn.Sigmoid(),
    ],
    ids=str,
)  # fmt: skip
def test_without_a_rectifier_the_error_names_the_activation(activation, rule):
    model, x = make(lambda: Conv(activation))
    with pytest.raises(NoRectifierError, match=type(activation).__name__):
        METHODS[rule](model).attribute(x, target=1)
    # where Captum calls the plain gradient by the method's name
    assert torch.equal(captums_map(rule, model, x, 1), plain_gradient(model, x))


@both_rules
@pytest.mark.parametrize(
    "arithmetic",
    [
        lambda x: x,
        lambda x: x.clamp(min=0.1),
        lambda x: x.clamp(min=-0.1, max=0.1),
        lambda x: x.clamp(max=0.1),
        lambda x: x.clamp_min(1e-12),
        nn.Hardtanh(),
    ],
    ids=["nothing", "floor", "both ways", "ceiling", "clamp_min", "hardtanh"],
)
def test_a_clamp_with_another_floor_is_no_rectifier(arithmetic, rule):
    model, x = make(lambda: Conv(arithmetic))
    with pytest.raises(NoRectifierError):
        METHODS[rule](model).attribute(x, target=1)


@both_rules
def test_a_clamp_with_another_floor_next_to_a_rectifier_is_left_alone(rule):
    model, x = make(lambda: Conv(lambda x: F.relu(x.clamp(min=-0.1, max=0.4)) + 0.05))
    assert_right(model, x, rule)


class Aside(nn.Module):
    """A rectifier that never sees the input."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(5))
        self.fc = nn.Linear(6, 5)

    def forward(self, x):
        return self.fc(x) + F.relu(self.bias)


class OtherHead(nn.Linear):
    """A rectifier that never sees the target."""

    def forward(self, x):
        scores = super().forward(x)
        F.relu(scores)
        return scores


@both_rules
@pytest.mark.parametrize(
    "build",
    [Aside, lambda: nn.Sequential(Aside(), nn.Linear(5, 4)), lambda: OtherHead(6, 4)],
    ids=["of the output", "of a layer", "another head"],
)
def test_a_rectifier_off_the_way_from_target_to_input_does_not_count(build, rule):
    model, x = make(build, (2, 6))
    assert rectifier_calls(model, x) == ["relu"]
    with pytest.raises(NoRectifierError):
        METHODS[rule](model).attribute(x, target=1)


class Extended(torch.autograd.Function):
    """The extension as it is stated: max(g, 0) * f'(x) where x > 0, and for DeconvNet max(g, 0)."""

    @staticmethod
    def forward(ctx, x, f, rule):
        ctx.save_for_backward(x)
        ctx.f, ctx.rule = f, rule
        return f(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.clamp(min=0)
        if ctx.rule == "guided":
            with torch.enable_grad():
                leaf = x.detach().clone().requires_grad_()
                (slope,) = torch.autograd.grad(ctx.f(leaf).sum(), leaf)
            g = g * slope * (x > 0)
        return g, None, None


@both_rules
@pytest.mark.parametrize(
    ("after", "named"),
    [
        (nn.Hardswish(), "Hardswish"),
        (nn.GELU(), "GELU"),
        (nn.LeakyReLU(), "LeakyReLU"),
        (nn.PReLU(), "PReLU"),
        # a function of the user's own, into which nobody can see
        (lambda x: Extended.apply(x, F.gelu, "guided"), "Extended"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_warning_names_what_is_left_alone(after, named, rule):
    model, x = make(lambda: Conv(lambda x: after(F.relu(x) - 0.1)))
    assert_right(model, x, rule, warns=named)


@both_rules
def test_the_warning_counts_them(rule):
    message = (
        f"^the {rule} rule is defined for rectifiers only: overrode 1 ReLU; left alone, with their "
        r"own gradient: (2 GELU, 1 Hardswish|1 Hardswish, 2 GELU)\.$"
    )
    assert_right(*make(mixed, (3, 4)), rule, warns=message)


def test_the_gradient_rule_says_nothing_of_them():
    forward_pass = cg.ForwardPass(*make(mixed, (3, 4)))
    assert warned(lambda: forward_pass.input_gradients(cg.GRADIENT, 1))[1] == []


def test_glu_keeps_its_gradient_under_the_extension_too():
    model, x = make(
        lambda: nn.Sequential(nn.Linear(6, 8), nn.GLU(), *perceptron(features=4)), (4, 6)
    )
    said = "left alone, with their own gradient: 1 GLU"
    assert_right(model, x, "deconvolution", warns=said, extend_to_activations=True)


ACTIVATIONS = {
    "GELU": F.gelu,
    "GELU(tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "SiLU": F.silu,
    "ELU": F.elu,
    "ELU(2.5)": lambda x: F.elu(x, 2.5),
    "SELU": F.selu,
    "CELU": F.celu,
    "LeakyReLU": F.leaky_relu,
    "LeakyReLU(0.3)": lambda x: F.leaky_relu(x, 0.3),
    "PReLU": lambda x: F.prelu(x, torch.tensor([0.4])),
    "Hardswish": F.hardswish,
    "Hardsigmoid": F.hardsigmoid,
    "Softplus": F.softplus,
    "Mish": F.mish,
    "Sigmoid": torch.sigmoid,
    "LogSigmoid": F.logsigmoid,
    "Tanh": torch.tanh,
    "Hardtanh": F.hardtanh,
    "Softshrink": lambda x: F.softshrink(x, 0.1),
    "Hardshrink": lambda x: F.hardshrink(x, 0.1),
}
IN_PLACE = {
    "ELU in place": (F.elu, lambda x: F.elu(x, inplace=True)),
    "SiLU in place": (F.silu, lambda x: F.silu(x, inplace=True)),
    "LeakyReLU in place": (F.leaky_relu, lambda x: F.leaky_relu(x, inplace=True)),
    "Sigmoid in place": (torch.sigmoid, lambda x: x.sigmoid_()),
    "Tanh in place": (torch.tanh, lambda x: x.tanh_()),
    "Hardswish in place": (F.hardswish, lambda x: F.hardswish(x, inplace=True)),
    "Mish in place": (F.mish, lambda x: F.mish(x, inplace=True)),
}
CASES = {name: (f, f) for name, f in ACTIVATIONS.items()} | IN_PLACE


@pytest.mark.parametrize("wrap", ["plain", "checkpoint"])
@both_rules
@pytest.mark.parametrize("name", CASES)
def test_the_extension(name, rule, wrap):
    f, written = CASES[name]

    def network(act):
        return make(lambda: Conv(lambda x: act(x * 3)))  # wide enough for slopes to differ

    model, x = network(written)
    expected = plain_gradient(network(lambda x: Extended.apply(x, f, rule))[0], x, 2)
    assert expected.any()
    called = model if wrap == "plain" else checkpointed(model)
    got = METHODS[rule](called, extend_to_activations=True).attribute(x, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(got, plain_gradient(model, x, 2), rtol=1e-3, atol=1e-7)


def test_the_extension_says_nothing_and_leaves_rectifiers_as_they_are():
    model, x = make(lambda: Conv(lambda x: F.gelu(F.relu(x) - 0.1)))
    slow, _ = make(lambda: Conv(lambda x: Extended.apply(F.relu(x) - 0.1, F.gelu, "guided")))
    expected = reference_gradient(slow, x, "guided", 2)
    got = cg.GuidedBackprop(model, extend_to_activations=True).attribute(x, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    without, (message,) = warned(lambda: cg.GuidedBackprop(model).attribute(x, 2))
    assert "left alone, with their own gradient: 2 GELU" in message
    assert not torch.allclose(got, without, rtol=1e-3, atol=1e-7)


@both_rules
def test_the_extension_changes_nothing_where_there_are_rectifiers_only(rule):
    assert_right(*make(Conv), rule, extend_to_activations=True)


def test_the_extension_in_the_other_classes():
    model, x = make(lambda: Conv(F.silu))
    slow, _ = make(lambda: Conv(lambda x: Extended.apply(x, F.silu, "guided")))
    got = cg.GuidedGradCam(model, "second", extend_to_activations=True).attribute(x, 0)
    cam = captums_cam(model, model.second, x, 0)
    assert cam.any()
    torch.testing.assert_close(got, plain_gradient(slow, x, 0) * cam, rtol=1e-5, atol=1e-9)

    def neuron(x):
        return slow.second(slow.act(slow.first(x)))[:, :, 2, 2]

    method = cg.NeuronGuidedBackprop(model, "second", extend_to_activations=True)
    expected = plain_gradient(neuron, x, 1)
    torch.testing.assert_close(method.attribute(x, (1, 2, 2)), expected, rtol=1e-5, atol=1e-7)


class Relu(torch.autograd.Function):
    """A leaky function under the name of autograd's own."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.where(x > 0, x, 0.3 * x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return torch.where(x > 0, gradient, 0.3 * gradient)


class CompiledFunction(Relu):
    """As above, under the name that hides compiled code."""


@both_rules
@pytest.mark.parametrize("function", [Relu, CompiledFunction])
def test_a_name_proves_nothing(function, rule):
    model, x = make(lambda: Conv(lambda x: F.relu(function.apply(x) + 0.1)))
    by_hand, _ = make(lambda: Conv(lambda x: F.relu(F.leaky_relu(x, 0.3) + 0.1)))
    named = rf"custom autograd functions .*2 {function.__name__}\)"
    assert_right(model, x, rule, eager=by_hand, warns=named)
    assert cg.rectifiers(model, x).opaque == {function.__name__: 2}
