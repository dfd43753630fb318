"""The rule inside the model: a module under each rule, conversion of a model, and compilation."""

import copy
import shutil

import pytest
import torch
from messages import warned
from methods import METHODS, RULES, both_rules, each_rule, plain_gradient
from networks import TwoParts, make
from reference import reference_gradient
from topologies import TOPOLOGIES
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import densenet121, mobilenet_v2, resnet18
from unchanged import nothing_changed

import captum_guided_ext as cg
from captum_guided_ext import GuidedReLU


def two_relus():
    """Build a network with an in-place ReLU and a ReLU6, and an input that meets its ceiling."""
    return make(
        lambda: TwoParts(nn.ReLU(inplace=True), nn.ReLU6()),
        draw=lambda shape: 30 * torch.randn(shape),
    )


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
    assert module.rule is cg.GUIDED
    assert module.ceiling is None
    assert repr(module) == "GuidedReLU(guided)"
    assert repr(GuidedReLU(cg.DECONVNET, ceiling=6.0)).startswith("GuidedReLU(deconvolution")


def test_a_rule_of_ones_own():
    # neither clip nor gate: the gradient as it arrives
    x = torch.tensor([-1.0, 2.0], requires_grad=True)
    linear = cg.BackwardRule("linear", clips_gradient=False, gated_by_input=False)
    (got,) = torch.autograd.grad(GuidedReLU(linear)(x), x, torch.tensor([-3.0, 5.0]))
    assert got.tolist() == [-3.0, 5.0]


def test_under_the_gradient_rule_it_is_relu():
    x = torch.randn(50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    assert torch.equal(GuidedReLU(cg.GRADIENT)(x), F.relu(x))
    assert torch.equal(GuidedReLU(cg.GRADIENT, ceiling=6.0)(x), F.relu6(x))
    assert torch.autograd.gradcheck(GuidedReLU(cg.GRADIENT), x)


def test_without_gradients_it_is_a_plain_rectifier():
    with torch.inference_mode():
        assert GuidedReLU()(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]


# --- conversion ---------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_converted_model(rule, dtype):
    model, x = (one.to(dtype) for one in two_relus())
    expected = reference_gradient(model, x, rule, 1)
    assert expected.any()
    converted = GuidedReLU.convert(copy.deepcopy(model), RULES[rule])
    assert torch.equal(converted(x), model(x))
    assert torch.equal(plain_gradient(converted, x), expected)


@each_rule
@pytest.mark.parametrize("build", [resnet18, mobilenet_v2], ids=lambda build: build.__name__)
def test_a_converted_torchvision_network(build, rule):
    model, x = make(lambda: build(num_classes=5), (1, 3, 48, 48))
    expected = reference_gradient(model, x, rule, 1)
    assert expected.any()
    assert torch.equal(plain_gradient(GuidedReLU.convert(model, RULES[rule]), x), expected)


@pytest.mark.parametrize("training", [False, True])
def test_rectifiers_are_changed_in_place_and_the_rest_is_kept(training):
    model, _ = two_relus()
    model.train(training)
    kept = [model.first, model.first[0], model.second, model.second[0], model.head]
    parameters = {name: id(p) for name, p in model.named_parameters()}
    state = list(model.state_dict())
    assert GuidedReLU.convert(model, cg.DECONVNET) is model
    assert list(model._modules) == ["first", "second", "head"]
    assert [model.first, model.first[0], model.second, model.second[0], model.head] == kept
    assert type(model.first[1]) is type(model.second[1]) is GuidedReLU
    assert [model.first[1].ceiling, model.second[1].ceiling] == [None, 6.0]
    assert model.first[1].rule is model.second[1].rule is cg.DECONVNET
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert list(model.state_dict()) == state
    assert {m.training for m in model.modules()} == {training}


def test_one_module_under_several_names_stays_one_module():
    model, x = TOPOLOGIES["one module in parallel branches"].make()
    model.inner = nn.Sequential(model.middle.relus[0])
    expected = reference_gradient(model, x, "guided", 1)
    assert expected.any()
    GuidedReLU.convert(model)
    one, other, another = model.middle.relus
    assert isinstance(one, GuidedReLU)
    assert one is other is another is model.inner[0]
    assert torch.equal(plain_gradient(model, x), expected)


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
    converted = GuidedReLU.convert(relu, cg.GRADIENT)
    assert isinstance(converted, GuidedReLU)
    assert converted.rule is cg.GRADIENT
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
        cg.NoRectifierError, match=rf"{type(model).__name__} holds no nn\.ReLU or nn\.ReLU6 module"
    ):
        GuidedReLU.convert(model)


def test_functions_stay_as_they_are():
    class Functional(nn.Module):
        def forward(self, x):
            return F.relu(x)

    model = nn.Sequential(nn.ReLU(), Functional())
    GuidedReLU.convert(model, cg.DECONVNET)
    # the function still gates -3, and the module in front of it does not clip what is gone
    x = torch.tensor([[-3.0, 2.0]], requires_grad=True)
    (got,) = torch.autograd.grad(model(x).sum(), x)
    assert got.tolist() == [[0.0, 1.0]]


def test_a_subclass_of_relu_of_the_users_own_is_a_relu():
    class MyReLU(nn.ReLU):
        pass

    assert isinstance(GuidedReLU.convert(nn.Sequential(MyReLU()))[0], GuidedReLU)


class Leaky(nn.ReLU):
    """A function of its own, under the name of a ReLU."""

    def forward(self, x):
        return F.leaky_relu(x, 0.3)


def test_a_subclass_with_a_forward_of_its_own_is_another_function():
    model, x = make(lambda: TwoParts(Leaky(), nn.ReLU()))
    expected = reference_gradient(model, x, "guided", 1)
    converted = GuidedReLU.convert(model)
    assert type(converted.first[1]) is Leaky
    assert torch.equal(plain_gradient(converted, x), expected)
    own = nn.ReLU()
    own.forward = lambda x: F.leaky_relu(x, 0.3)
    with pytest.raises(cg.NoRectifierError):
        GuidedReLU.convert(nn.Sequential(own))


def test_hooks_and_whatever_refers_to_a_module_move_along():
    model, x = make(lambda: TwoParts(nn.ReLU(), nn.ReLU()))
    kept, relu = [], model.first[1]
    model.reference = (relu,)
    relu.note = "the caller's own"
    relu.register_forward_pre_hook(lambda _module, args: (args[0] + 0.1,))
    handle = relu.register_forward_hook(lambda *_: kept.append(1))
    relu.register_full_backward_hook(lambda *_: kept.append(2))
    expected = reference_gradient(model, x, "guided", 1)
    kept.clear()
    GuidedReLU.convert(model)
    assert torch.equal(plain_gradient(model, x), expected)
    assert kept == [1, 2]
    assert model.reference == (relu,)
    assert relu.note == "the caller's own"
    handle.remove()
    model(x)
    assert kept == [1, 2]


class AsStatements(nn.Module):
    """Calls its in-place rectifiers as statements."""

    def __init__(self, act):
        super().__init__()
        self.first, self.second, self.act = nn.Linear(6, 8), nn.Linear(8, 3), act

    def forward(self, x):
        h = self.first(x)
        self.act(h)
        self.act(h[:, 2:])
        return self.second(h - 0.1)


IN_PLACE = {
    "nn.ReLU": lambda: nn.ReLU(inplace=True),
    "nn.ReLU6": lambda: nn.ReLU6(inplace=True),
    "nn.Hardtanh(0, 0.5)": lambda: nn.Hardtanh(0, 0.5, inplace=True),
    "nn.Threshold(0, 0)": lambda: nn.Threshold(0, 0, inplace=True),
}


@each_rule
@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_stays_in_place(name, rule):
    model, x = make(lambda: AsStatements(IN_PLACE[name]()), (4, 6))
    expected = reference_gradient(model, x, rule, 1)
    output = model(x)
    converted = GuidedReLU.convert(model, RULES[rule])
    assert "inplace=True" in repr(converted.act)
    assert torch.equal(converted(x), output)
    assert torch.equal(plain_gradient(converted, x), expected)


@each_rule
@pytest.mark.parametrize("act", [nn.ReLU6, lambda: nn.Hardtanh(0, 0.5), lambda: nn.Threshold(0, 0)])
def test_every_rectifier_module(act, rule):
    model, x = make(lambda: TwoParts(act(), act()))
    expected = reference_gradient(model, x, rule, 1)
    assert torch.equal(plain_gradient(GuidedReLU.convert(model, rule), x), expected)


@pytest.mark.parametrize(
    "act", [nn.Hardtanh(), nn.Hardtanh(0.1, 1), nn.Threshold(0, 5), nn.Threshold(1, 0)]
)
def test_their_other_settings_are_no_rectifiers(act):
    model = nn.Sequential(act, nn.ReLU())
    GuidedReLU.convert(model)
    assert model[0] is act
    assert type(act) is not GuidedReLU


def test_example_inputs_show_what_no_module_covers():
    model, x = make(lambda: densenet121(num_classes=5), (1, 3, 64, 64))
    _, (message,) = warned(lambda: GuidedReLU.convert(model, example_inputs=x))
    assert "DenseNet has rectifiers" in message
    assert "were not converted: 1 ReLU." in message
    model, x = make(lambda: resnet18(num_classes=5), (1, 3, 64, 64))
    GuidedReLU.convert(model, example_inputs=x)  # all are modules: no warning


@pytest.mark.parametrize("inside", ["a function", "a script", "a list"])
def test_parts_that_no_module_covers(inside):
    model, x = make(lambda: TwoParts(nn.ReLU(), nn.ReLU()))
    if inside == "a function":
        model.second[1].forward = F.relu
    elif inside == "a script":
        model.second = torch.jit.script(model.second)
    else:
        held = [nn.ReLU()]
        model.second[1] = nn.Identity()
        model.second[1].forward = lambda x: held[0](1.0 * x)
    _, (message,) = warned(lambda: GuidedReLU.convert(model, example_inputs=(x,)))
    assert "were not converted: 1 ReLU." in message


@pytest.mark.parametrize("failing", [False, True])
def test_strict_leaves_the_model_as_it_was(failing):
    model, x = make(lambda: TwoParts(nn.ReLU(inplace=True), nn.ReLU6()))
    model.second[1].forward = F.relu6
    with nothing_changed(model, x):
        if failing:
            with pytest.raises(RuntimeError):
                GuidedReLU.convert(model, example_inputs=x[:, :2])
        else:
            with pytest.raises(
                cg.ModelError, match=r"were not converted: 1 ReLU6\. .*plain gradient"
            ):
                GuidedReLU.convert(model, example_inputs=x, strict=True)
    assert type(model.first[1]) is nn.ReLU


class Gained(nn.ReLU):
    """Has a member that its model reads."""

    @property
    def gain(self):
        return 1.5


def test_a_subclass_keeps_its_members():
    model, x = make(lambda: TwoParts(Gained(), nn.ReLU()))
    expected = reference_gradient(model, x, "guided", 1)
    GuidedReLU.convert(model)
    assert model.first[1].gain == 1.5
    assert isinstance(model.first[1], Gained)
    assert torch.equal(plain_gradient(copy.deepcopy(model), x), expected)


def test_a_look_leaves_the_buffers_of_a_model_in_training():
    model, x = make(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()))
    model.train()
    before = [buffer.clone() for buffer in model.buffers()]
    with pytest.warns(UserWarning, match="training mode"):
        GuidedReLU.convert(model, example_inputs=x)
    for buffer, expected in zip(model.buffers(), before, strict=True):
        assert torch.equal(buffer, expected)


def test_a_deep_copy_and_a_saved_state():
    model, x = two_relus()
    converted = GuidedReLU.convert(copy.deepcopy(model))
    again = copy.deepcopy(converted)
    again.load_state_dict(model.state_dict())
    assert torch.equal(plain_gradient(again, x), plain_gradient(converted, x))


# --- compilation --------------------------------------------------------------------------------

needs_compiler = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="needs a C++ compiler"
)


@pytest.mark.usefixtures("dynamo")
@pytest.mark.parametrize(
    ("backend", "dtype"),
    [
        ("eager", torch.float32),
        ("aot_eager", torch.float32),
        ("aot_eager", torch.bfloat16),
        pytest.param("inductor", torch.float32, marks=needs_compiler),
    ],
)
@each_rule
def test_compiled_as_one_graph(rule, backend, dtype):
    model, x = (one.to(dtype) for one in two_relus())
    expected = {name: reference_gradient(model, x, name, 1) for name in RULES}
    converted = GuidedReLU.convert(model, RULES[rule])
    got = plain_gradient(torch.compile(converted, fullgraph=True, backend=backend), x)
    if backend == "inductor":  # it computes in another order
        torch.testing.assert_close(got, expected.pop(rule), rtol=1e-4, atol=1e-7)
        others = expected.values()
        assert not any(torch.allclose(got, one, rtol=1e-2, atol=1e-7) for one in others)
    else:
        assert torch.equal(got, expected[rule])


# --- together with the rest ---------------------------------------------------------------------


@both_rules
def test_the_attributions_point_out_a_converted_model(rule):
    # its functions cannot be looked into: the attribution says so, and the rule inside holds
    model, x = two_relus()
    expected = reference_gradient(model, x, rule, 1)
    converted = GuidedReLU.convert(model, RULES[rule])
    with pytest.warns(UserWarning, match=r"custom autograd functions .*ReLU"):
        assert torch.equal(METHODS[rule](converted).attribute(x, 1), expected)
