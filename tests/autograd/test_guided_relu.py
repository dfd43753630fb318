"""The rule inside the model: a module under each rule, conversion of a model, and compilation."""

import copy
import shutil

import pytest
import torch
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import mobilenet_v2, resnet18

from captum_guided_ext import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    BackwardRule,
    Deconvolution,
    GuidedBackprop,
    GuidedReLU,
    NoRectifierError,
)

RULES = {"gradient": GRADIENT, "deconvolution": DECONVNET, "guided": GUIDED}
each_rule = pytest.mark.parametrize("rule", RULES)


def gradient(model, x, target=1):
    leaf = x.detach().clone().requires_grad_()
    return torch.autograd.grad(model(leaf)[:, target].sum(), leaf)[0]


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


class Net(nn.Module):
    """Two convolutions with modules as rectifiers, one of them in place."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 6, 3), nn.ReLU6()
        )
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.features(4 * x).mean((2, 3)))


def make():
    return seeded(lambda: (Net().eval(), torch.randn(2, 2, 9, 9)))


# --- the module ---------------------------------------------------------------------------------

# x = (-1, 0, 3, 6, 8), what arrives is (2, 5, -4, 1, 3). The gate is open for 3, 6 and 8, and
# below a ceiling of 6 for 3 only.
BY_HAND = {
    ("gradient", None): [0.0, 0.0, -4.0, 1.0, 3.0],
    ("deconvolution", None): [2.0, 5.0, 0.0, 1.0, 3.0],
    ("guided", None): [0.0, 0.0, 0.0, 1.0, 3.0],
    ("gradient", 6.0): [0.0, 0.0, -4.0, 0.0, 0.0],
    ("deconvolution", 6.0): [2.0, 5.0, 0.0, 1.0, 3.0],
    ("guided", 6.0): [0.0, 0.0, 0.0, 0.0, 0.0],
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("rule", "ceiling"), BY_HAND)
def test_by_hand(rule, ceiling, dtype):
    x = torch.tensor([-1.0, 0.0, 3.0, 6.0, 8.0], dtype=dtype, requires_grad=True)
    arriving = torch.tensor([2.0, 5.0, -4.0, 1.0, 3.0], dtype=dtype)
    out = GuidedReLU(RULES[rule], ceiling=ceiling)(x)
    assert out.dtype == dtype
    assert out.tolist() == [0.0, 0.0, 3.0, 6.0, 8.0 if ceiling is None else 6.0]
    (got,) = torch.autograd.grad(out, x, arriving)
    assert got.dtype == dtype
    assert got.tolist() == BY_HAND[rule, ceiling]


def test_the_default_is_the_guided_rule_without_a_ceiling():
    module = GuidedReLU()
    assert module.rule is GUIDED
    assert module.ceiling is None
    assert repr(module) == "GuidedReLU(guided)"
    assert repr(GuidedReLU(DECONVNET, ceiling=6.0)).startswith("GuidedReLU(deconvolution")


def test_a_rule_of_ones_own():
    # neither clip nor gate: the gradient as it arrives
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    linear = BackwardRule("linear", clips_gradient=False, gated_by_input=False)
    (got,) = torch.autograd.grad(GuidedReLU(linear)(x), x, torch.tensor([-3.0, 5.0]))
    assert got.tolist() == [-3.0, 5.0]


def test_under_the_gradient_rule_it_is_relu():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    assert torch.equal(GuidedReLU(GRADIENT)(x), F.relu(x))
    assert torch.equal(GuidedReLU(GRADIENT, ceiling=6.0)(x), F.relu6(x))
    assert torch.autograd.gradcheck(GuidedReLU(GRADIENT), x)


def test_without_gradients_it_is_a_plain_rectifier():
    with torch.inference_mode():
        assert GuidedReLU()(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


# --- conversion ---------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_converted_model(rule, dtype):
    model, x = make()
    model, x = model.to(dtype), x.to(dtype)
    expected = reference_gradient(model, x, rule, 1)
    assert expected.any()
    converted = GuidedReLU.convert(copy.deepcopy(model), RULES[rule])
    assert torch.equal(converted(x), model(x))
    assert torch.equal(gradient(converted, x), expected)


@each_rule
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2], ids=lambda build: build.__name__)
def test_a_converted_torchvision_network(build, rule):
    model, x = seeded(lambda: (build(num_classes=5).eval(), torch.randn(1, 3, 48, 48)))
    expected = reference_gradient(model, x, rule, 1)
    assert expected.any()
    assert torch.equal(gradient(GuidedReLU.convert(model, RULES[rule]), x), expected)


def test_containers_are_changed_in_place_and_the_rest_is_kept():
    model, _ = make()
    features, conv, last = model.features, model.features[0], model.last
    assert GuidedReLU.convert(model, DECONVNET) is model
    assert model.features is features
    assert model.features[0] is conv
    assert model.last is last
    assert [type(m) for m in features] == [nn.Conv2d, GuidedReLU, nn.Conv2d, GuidedReLU]
    assert [features[1].ceiling, features[3].ceiling] == [None, 6.0]
    assert features[1].rule is features[3].rule is DECONVNET
    assert list(model._modules) == ["features", "last"]


def test_parameters_and_state_are_kept():
    model, _ = make()
    before = dict(model.named_parameters())
    names = list(model.state_dict())
    GuidedReLU.convert(model)
    assert {name: id(p) for name, p in model.named_parameters()} == {
        name: id(p) for name, p in before.items()
    }
    assert list(model.state_dict()) == names


@pytest.mark.parametrize("training", [False, True])
def test_training_mode_is_kept(training):
    model, _ = make()
    model.train(training)
    converted = GuidedReLU.convert(model)
    assert [m.training for m in converted.modules()] == [training] * len(list(model.modules()))


def test_one_module_under_two_names_stays_one_module():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(4, 9), nn.Linear(9, 3)
            self.relu = nn.ReLU()
            self.relu_again = self.relu
            self.inner = nn.Sequential(self.relu)

        def forward(self, x):
            return self.relu_again(self.second(self.inner(self.relu(self.first(x)) - 0.1)))

    model, x = seeded(lambda: (Shared(), torch.randn(8, 4)))
    expected = reference_gradient(model, x, "guided", 1)
    assert expected.any()
    converted = GuidedReLU.convert(model)
    assert isinstance(converted.relu, GuidedReLU)
    assert converted.relu is converted.relu_again is converted.inner[0]
    assert torch.equal(gradient(converted, x), expected)


def test_one_container_under_two_names_stays_one_container():
    part = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
    model = nn.ModuleDict({"one": part, "other": part})
    GuidedReLU.convert(model)
    assert model["one"] is model["other"] is part
    assert isinstance(part[1], GuidedReLU)


def test_modules_in_lists_and_dictionaries_and_none():
    model = nn.Module()
    model.items = nn.ModuleList([nn.ReLU(), nn.ModuleDict({"act": nn.ReLU6()})])
    model.nothing = None
    model.register_module("none", None)
    GuidedReLU.convert(model)
    assert isinstance(model.items[0], GuidedReLU)
    assert model.items[1]["act"].ceiling == 6.0
    assert model.none is None


@pytest.mark.parametrize(("relu", "ceiling"), [(nn.ReLU(), None), (nn.ReLU6(), 6.0)], ids=str)
def test_a_rectifier_itself_is_returned_converted(relu, ceiling):
    converted = GuidedReLU.convert(relu, GRADIENT)
    assert isinstance(converted, GuidedReLU)
    assert converted.rule is GRADIENT
    assert converted.ceiling == ceiling


@pytest.mark.parametrize(
    "model",
    [
        nn.Linear(2, 2),
        nn.Sequential(nn.Linear(2, 2), nn.GELU(), nn.LeakyReLU(), nn.Hardtanh()),
        nn.Sequential(),
        nn.Sequential(GuidedReLU()),
    ],
    ids=["linear", "other activations", "empty", "converted before"],
)
def test_nothing_to_convert(model):
    with pytest.raises(
        NoRectifierError, match=rf"{type(model).__name__} holds no nn\.ReLU or nn\.ReLU6 module"
    ):
        GuidedReLU.convert(model)


def test_functions_stay_as_they_are():
    class Functional(nn.Module):
        def forward(self, x):
            return F.relu(x)

    model = nn.Sequential(nn.ReLU(), Functional())
    GuidedReLU.convert(model, DECONVNET)
    # the function still gates -3, and the module in front of it does not clip what is gone
    x = torch.tensor([[-3.0, 2.0]], requires_grad=True)
    (got,) = torch.autograd.grad(model(x).sum(), x)
    assert got.tolist() == [[0.0, 1.0]]


def test_a_subclass_of_relu_of_the_users_own_is_a_relu():
    class MyReLU(nn.ReLU):
        pass

    assert isinstance(GuidedReLU.convert(nn.Sequential(MyReLU()))[0], GuidedReLU)


def test_a_deep_copy_and_a_saved_state():
    model, x = make()
    converted = GuidedReLU.convert(copy.deepcopy(model))
    again = copy.deepcopy(converted)
    again.load_state_dict(model.state_dict())
    assert torch.equal(gradient(again, x), gradient(converted, x))


# --- compilation --------------------------------------------------------------------------------


@pytest.fixture
def dynamo():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def has_compiler():
    return any(map(shutil.which, ("c++", "g++", "clang++")))


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize(
    "backend",
    [
        "eager",
        "aot_eager",
        pytest.param(
            "inductor",
            marks=pytest.mark.skipif(not has_compiler(), reason="needs a C++ compiler"),
        ),
    ],
)
@each_rule
def test_compiled_as_one_graph(rule, backend):
    model, x = make()
    expected = reference_gradient(model, x, rule, 1)
    converted = GuidedReLU.convert(model, RULES[rule])
    compiled = torch.compile(converted, fullgraph=True, backend=backend)
    got = gradient(compiled, x)
    if backend == "inductor":  # it computes in another order
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
        others = [reference_gradient(make()[0], x, other, 1) for other in RULES if other != rule]
        assert not any(torch.allclose(got, one, rtol=1e-2, atol=1e-7) for one in others)
    else:
        assert torch.equal(got, expected)


@pytest.mark.usefixtures("dynamo")
@each_rule
def test_compiled_bfloat16(rule):
    model, x = make()
    model, x = model.bfloat16(), x.bfloat16()
    expected = reference_gradient(model, x, rule, 1)
    converted = GuidedReLU.convert(model, RULES[rule])
    compiled = torch.compile(converted, fullgraph=True, backend="aot_eager")
    assert torch.equal(gradient(compiled, x), expected)


# --- together with the rest ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "rule"), [(GuidedBackprop, "guided"), (Deconvolution, "deconvolution")]
)
def test_the_attributions_point_out_a_converted_model(method, rule):
    # its functions cannot be looked into: the attribution says so, and the rule inside holds
    model, x = make()
    expected = reference_gradient(model, x, rule, 1)
    converted = GuidedReLU.convert(model, RULES[rule])
    with pytest.warns(UserWarning, match=r"custom autograd functions .*ReLU"):
        assert torch.equal(method(converted).attribute(x, 1), expected)
