"""Beside Captum, each case in which Captum is not right: ours is the reference, Captum's is not."""

import captum.attr
import pytest
import quiet
import torch
from messages import fails
from methods import METHODS, assert_equal, both_rules, captums_cam, captums_map
from networks import Conv, TwoParts, make, perceptron
from places import captums_testing
from reference import reference_gradient
from topologies import TOPOLOGIES, compiled_by_eager, has_run, trace
from torch import nn
from torchvision.models import mobilenet_v2

import captum_guided_ext as cg

small = captums_testing("helpers.basic_models")


def ours(rule, model, inputs, target=None, **arguments):
    return METHODS[rule](model).attribute(inputs, target=target, **arguments)


def distance(got, expected):
    """How far apart two maps are, relative to the second."""
    return ((got - expected).norm() / expected.norm()).item()


def assert_captum_differs(rule, model, x, eager=None, target=1):
    expected = reference_gradient(eager or model, x, rule, target)
    assert expected.any()
    assert torch.equal(ours(rule, model, x, target), expected)
    assert distance(captums_map(rule, model, x, target), expected) > 0.1


# --- topologies -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("nn.ReLU", METHODS),
        ("one module in parallel branches", ["guided"]),
        ("three modules in parallel branches", METHODS),
    ],
)
def test_no_difference_where_every_rectifier_is_a_module_of_its_own(name, rules):
    model, x = TOPOLOGIES[name].make()
    for rule in rules:
        assert torch.equal(captums_map(rule, model, x, 1), reference_gradient(model, x, rule, 1))


@both_rules
@pytest.mark.parametrize(
    "name",
    [
        "F.relu", "torch.relu", "Tensor.relu", "Tensor.clamp(min=0)", "nn.ReLU6",
        "nn.Hardtanh(0, 0.5)", "nn.Threshold(0, 0)", "skip branch", "skip branches around modules",
    ],
)  # fmt: skip
def test_captum_differs_on(name, rule):
    assert_captum_differs(rule, *TOPOLOGIES[name].make())


@both_rules
def test_captum_differs_on_mobilenet(rule):
    assert_captum_differs(rule, *make(lambda: mobilenet_v2(num_classes=5), (1, 3, 64, 64)))


def test_captum_differs_on_deconvnet_of_one_module_in_parallel_branches():
    model, x = TOPOLOGIES["one module in parallel branches"].make()
    assert_captum_differs("deconvolution", model, x)


@both_rules
@pytest.mark.parametrize("wrap", [trace, has_run(compiled_by_eager)], ids=["traced", "compiled"])
@pytest.mark.usefixtures("dynamo")
def test_captum_differs_on_a_wrapped_module(wrap, rule):
    model, x = make(TwoParts)
    assert_captum_differs(rule, wrap(model, x), x, eager=model)


@pytest.mark.parametrize("name", ["F.relu", "nn.ReLU6", "skip branches around modules"])
def test_captum_differs_on_guided_grad_cam(name):
    model, x = TOPOLOGIES[name].make()
    layer = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    with quiet.captum():
        captums = captum.attr.GuidedGradCam(model, layer).attribute(x, 1)
    expected = reference_gradient(model, x, "guided", 1) * captums_cam(model, layer, x, 1)
    assert expected.any()
    assert torch.equal(cg.GuidedGradCam(model, layer).attribute(x, 1), expected)
    assert distance(captums, expected) > 0.1


# --- Captum's own small models that call their rectifiers as functions --------------------------

TWO = (torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0]]))


@pytest.mark.parametrize(
    ("model", "inputs", "extra"),
    [
        (small.BasicModel2(), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), None),
        (small.BasicModel2(), (torch.tensor([3.0]), torch.tensor([1.0])), None),
        (small.BasicModel3(), (torch.tensor([[3.0]]), torch.tensor([[1.0]])), None),
        (small.BasicModel4_MultiArgs(), TWO, (torch.tensor([[2.0, 4.0]]), 1)),
        (small.BasicModel4_MultiArgs(), TWO, (2, 0)),
        (small.BasicModel5_MultiArgs(), TWO, ([1, 2], 1)),
    ],
)
def test_captum_differs_on_its_functional_models(model, inputs, extra):
    different = []
    for rule in METHODS:
        expected = reference_gradient(model, inputs, rule, None, extra)
        assert_equal(ours(rule, model, inputs, additional_forward_args=extra), expected)
        captums = captums_map(rule, model, inputs, additional_forward_args=extra)
        different += [not torch.equal(*pair) for pair in zip(captums, expected, strict=True)]
    assert any(different)


@both_rules
def test_captum_differs_where_a_negative_gradient_reaches_a_function(rule):
    # 1 - relu(1 - x): what arrives at the rectifier is -1
    inputs = torch.tensor([[0.5, 2.0]])
    with pytest.warns(UserWarning, match="reached 1 of 1 rectifiers, .* negative"):
        assert not ours(rule, small.BasicModel(), inputs, 0).any()
    assert captums_map(rule, small.BasicModel(), inputs, 0).any()


def test_captum_differs_where_a_negative_gradient_reaches_a_function_of_two_inputs():
    inputs = (torch.tensor([[0.1, 0.3]]), torch.tensor([[0.1, 0.2]]))
    with pytest.warns(UserWarning, match="zero everywhere: "):
        assert not ours("deconvolution", small.BasicModel6_MultiTensor(), inputs)[0].any()
    assert captums_map("deconvolution", small.BasicModel6_MultiTensor(), inputs)[0].any()


# --- what Captum says nothing of --------------------------------------------------------------

CANNOT_BE_LAID = "a layer map of shape (2, 1) cannot be laid over an input of shape (2, 3, 8, 8)"


@pytest.mark.parametrize(
    ("layer", "mode", "words"),
    [
        ("second", "bilinaer", ["'bilinaer' is none of ", "bilinear"]),
        ("last", "nearest", [CANNOT_BE_LAID, "convolutional layer", "reshape_transform="]),
    ],
    ids=["misspelled mode", "layer that cannot be laid over the input"],
)
def test_captum_returns_an_empty_tensor(layer, mode, words):
    model, x = make(lambda: Conv(nn.ReLU()))
    nn.init.constant_(model.last.bias, 9)  # so that the map itself is not zero
    captums = captum.attr.GuidedGradCam(model, model.get_submodule(layer))
    with quiet.captum(), pytest.warns(UserWarning, match="Couldn't appropriately interpolate"):
        assert captums.attribute(x, 2, interpolate_mode=mode).numel() == 0
    with fails(ValueError, *words):
        cg.GuidedGradCam(model, layer).attribute(x, 2, interpolate_mode=mode)


@both_rules
def test_captum_says_nothing_of_a_map_of_zeros(rule):
    model, x = make(perceptron, (2, 6))
    with torch.no_grad():
        model[2].weight.abs_().neg_()
    assert not captums_map(rule, model, x, 1).any()
    with pytest.warns(UserWarning, match="zero everywhere in example 0, 1: .* negative"):
        assert not ours(rule, model, x, 1).any()


@both_rules
def test_captum_says_nothing_of_nan_in_the_input(rule):
    model, x = make(lambda: Conv(nn.ReLU()))
    x[1, 2, 3, 4] = torch.nan
    assert model(x).isnan().any()
    assert captums_map(rule, model, x, 2).isfinite().all()
    with fails(ValueError, "inputs[0] holds NaN ", "first at index (1, 2, 3, 4)"):
        ours(rule, model, x, 2)


@both_rules
def test_captum_says_nothing_of_infinity_in_the_map(rule):
    model, x = perceptron(features=2), torch.ones(1, 2)
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1e20)
    assert captums_map(rule, model, x, 0).isinf().all()
    words = f"the {rule} attribution of inputs[0] holds NaN or infinity in 2 of 2 places"
    with fails(ValueError, words, "index (0, 0)"):
        ours(rule, model, x, 0)


# --- what Captum does to the caller's tensors and takes ----------------------------------------


def test_captum_leaves_hooks_on_an_input_that_a_rectifier_takes():
    model, x = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.tensor([[1.0, -2.0, 3.0]])
    nn.init.constant_(model[1].weight, 2.0)
    expected = torch.tensor([[2.0, 0.0, 2.0]])  # the gate of -2 is shut
    for _ in range(2):
        ours("deconvolution", model, x, 0)
        assert torch.equal(ours("guided", model, x, 0), expected)
    assert torch.equal(captums_map("guided", model, x, 0), expected)
    captums_map("deconvolution", model, x, 0)
    assert not torch.equal(captums_map("guided", model, x, 0), expected)


def test_captum_explains_a_further_argument_that_is_also_an_input():
    model, x = small.BasicModel_MultiLayer(), torch.ones(2, 3)
    copy = x.clone()
    expected = ours("guided", model, x, 0, additional_forward_args=copy)
    for explain, argument, factor in ((captums_map, copy, 1), (ours, x, 1), (captums_map, x, 2)):
        got = explain("guided", model, x, 0, additional_forward_args=argument)
        assert torch.equal(got, factor * expected)


@both_rules
def test_captum_leaves_the_input_requiring_a_gradient_after_an_error(rule):
    model, x = make(lambda: Conv(nn.ReLU()))
    with pytest.raises(IndexError):
        captums_map(rule, model, x, 99)
    assert x.requires_grad
    x = x.detach()
    with pytest.raises(ValueError, match="out of range"):
        ours(rule, model, x, 99)
    assert not x.requires_grad


def test_captum_takes_modules_only():
    model, x = make(lambda: Conv(nn.ReLU()))
    with pytest.raises(AssertionError, match=r"must be an instance of torch\.nn\.Module"):
        captums_map("guided", model.forward, x, 2)
    assert_equal(ours("guided", model.forward, x, 2), reference_gradient(model, x, "guided", 2))
