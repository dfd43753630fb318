"""Beside Captum, where Captum is right: the same signatures and, in every bit, the same numbers."""

import copy
import inspect
import warnings
from functools import partial

import captum.attr
import pytest
import quiet
import torch
from methods import as_tuple, assert_equal
from networks import perceptron, seeded
from places import captums_testing
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import resnet18

import captum_guided_ext.attr

small = captums_testing("helpers.basic_models")
rand_like = captums_testing("helpers.basic").rand_like
NAMES = [
    "GuidedBackprop", "Deconvolution", "GuidedGradCam", "NeuronGuidedBackprop",
    "NeuronDeconvolution",
]  # fmt: skip
OPEN = 2  # a seed that leaves some rectifiers of every model open
of_the_input = pytest.mark.parametrize("name", NAMES[:2])
of_a_neuron = pytest.mark.parametrize("name", NAMES[3:])


def theirs(name, *model, **arguments):
    with quiet.captum():
        return getattr(captum.attr, name)(*model).attribute(**arguments)


def ours(name, *model, **arguments):
    return getattr(captum_guided_ext.attr, name)(*model).attribute(**arguments)


def assert_same(name, *model, **arguments):
    """Captum's numbers and ours agree in every bit, and are not zero."""
    expected = theirs(name, *model, **arguments)
    assert any(one.any() for one in as_tuple(expected))
    assert_equal(ours(name, *model, **arguments), expected)


def positive(*shape):
    """Evenly spread numbers above 0, which keep most of the small models' rectifiers open."""
    return rand_like(torch.empty(shape)) * 4 + 0.5


# --- signatures -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["__init__", "attribute"])
@pytest.mark.parametrize("name", NAMES)
def test_the_signature_begins_with_captums(name, method):
    captums, own = (
        list(inspect.signature(getattr(getattr(module, name), method)).parameters.values())
        for module in (captum.attr, captum_guided_ext.attr)
    )
    assert [(p.name, p.kind, p.default) for p in own[: len(captums)]] == [
        (p.name, p.kind, p.default) for p in captums
    ]
    assert all(p.kind is p.KEYWORD_ONLY for p in own[len(captums) :])
    assert all(p.default is not p.empty for p in own[len(captums) :])


@pytest.mark.parametrize("name", NAMES)
def test_the_class_is_of_captums_kinds(name):
    own, captums = getattr(captum_guided_ext.attr, name), getattr(captum.attr, name)
    kinds = (captum.attr.GradientAttribution, captum.attr.NeuronAttribution)
    assert [issubclass(own, k) for k in kinds] == [issubclass(captums, k) for k in kinds]
    assert own.get_name() == captums.get_name()
    assert hasattr(own.attribute, "__wrapped__")


# --- on Captum's own small models, whose rectifiers are modules of their own --------------------

PIXELS = torch.arange(16.0).view(1, 1, 4, 4)
X, OTHER = positive(3, 3), positive(3, 3)
LINE, PLANE = 100 * positive(2, 1, 10), 100 * positive(2, 1, 10, 10)
VOLUME = 100 * positive(1, 1, 10, 10, 10)
TWO_SIGNS = (torch.tensor([[1.0], [-2.0]]), torch.tensor([[2.0], [3.0]]))
linear = partial(seeded, partial(small.BasicLinearReLULinear, 4, bias=True), 3)
multi_layer, multi_input = small.BasicModel_MultiLayer, small.BasicModel_MultiLayer_MultiInput
true_multi_input = small.BasicModel_MultiLayer_TrueMultiInput
max_pool, dilated = small.BasicModel_MaxPool_ReLU, small.BasicModel_ConvNetWithPaddingDilation
one_conv, plane_conv = small.BasicModel_ConvNet_One_Conv, small.BasicModel_ConvNet
line_conv, volume_conv = small.BasicModel_ConvNet_MaxPool1d, small.BasicModel_ConvNet_MaxPool3d
in_place_multi_layer, in_place_conv, in_place_pool, in_place_dilated = (
    partial(build, inplace=True) for build in (multi_layer, one_conv, max_pool, dilated)
)


def of_two_signs():
    model = multi_layer()
    with torch.no_grad():
        model.linear2.weight.copy_(rand_like(model.linear2.weight) - 0.5)
    return model


TARGETS = [
    1, -1, torch.tensor(1), torch.tensor([1]), torch.tensor([0, 1, 0]), [0, 1, 0], (1,),
    [(0,), (1,), (0,)],
]  # fmt: skip
TARGETS_OF_A_TABLE = [(1, 0, 1), [(1, 0, 1), (0, 0, 0), (1, 1, 1)]]
# model, inputs, target, further arguments
CASES = {
    "linear": (linear, positive(3, 4)),
    "one conv": (one_conv, PIXELS, 0),
    "one conv of two": (one_conv, (PIXELS, PIXELS / 2), 0),
    "one conv with an argument": (one_conv, PIXELS, 0, PIXELS / 2),
    "one conv in place": (in_place_conv, PIXELS, 0),
    "line": (line_conv, LINE, 1),
    "plane": (plane_conv, PLANE, 1),
    "volume": (volume_conv, VOLUME, 1),
    "padding and dilation": (in_place_dilated, positive(2, 1, 5, 5), [0, 3]),
    "conv1d": (small.Conv1dSeqModel, positive(2, 4, 1000), (1, 0)),
    "max-pool": (max_pool, positive(3, 1, 9), (0,)),
    "max-pool in place": (in_place_pool, positive(3, 1, 9), (2,)),
    "multi-layer": (multi_layer, X, 0),
    "multi-layer in place": (in_place_multi_layer, X, [0, 1, 1]),
    **{f"target {t!r}": (of_two_signs, X, t) for t in TARGETS},
    **{f"target {t!r}": (multi_layer, X, t, (X, True)) for t in TARGETS_OF_A_TABLE},
    "multi-input module": (partial(multi_layer, multi_input_module=True), positive(2, 3), 1),
    "three inputs": (multi_input, (X, 2 * X, 3 * X), 0, 4),
    "one input of three": (multi_input, (X,), 0, (2 * X, 3 * X, 3)),
    "three inputs and no argument": (true_multi_input, (X, 2 * X, 3 * X), 1),
    "four inputs": (true_multi_input, (X, 2 * X, 3 * X, OTHER), 1),
    "an input broadcast over the examples": (multi_layer, (X, positive(1, 3)), 0),
    "a tuple of one": (multi_layer, (X,), 0),
    # these rectifiers take the input itself, to which Captum leaves its hooks
    "rectified inputs": (small.ReLUDeepLiftModel, TWO_SIGNS),
    "rectified inputs, scaled": (small.ReLUDeepLiftModel, TWO_SIGNS, None, 5),
    "flat rectified inputs": (small.ReLUDeepLiftModel, tuple(x.flatten() for x in TWO_SIGNS)),
    "relu, linear": (small.ReLULinearModel, (X, OTHER)),
    "relu, linear in place": (partial(small.ReLULinearModel, inplace=True), (X, OTHER), None, (2,)),
    "LRP": (partial(small.SimpleLRPModel, inplace=True), positive(2, 3), 0),
    "double": (lambda: multi_layer().double(), X.double(), 0),
    "leaf": (multi_layer, X.clone().requires_grad_(), 0),
    "one score an example": (
        lambda: nn.Sequential(perceptron(features=3, classes=1), nn.Flatten(0)),
        X,
    ),
}


@of_the_input
@pytest.mark.parametrize("case", CASES)
def test_of_the_input(case, name):
    build, inputs, *others = CASES[case]
    target, extra = (*others, None, None)[:2]
    inputs = copy.deepcopy(inputs)
    assert_same(
        name, seeded(build, OPEN), inputs=inputs, target=target, additional_forward_args=extra
    )


@of_the_input
def test_an_input_that_is_no_leaf(name):
    assert_same(name, multi_layer(), inputs=2 * X.clone().requires_grad_(), target=0)


@of_the_input
def test_of_the_input_in_no_grad(name):
    with torch.no_grad():
        assert_same(name, multi_layer(), inputs=positive(2, 3), target=0)


@of_the_input
def test_in_a_noise_tunnel(name):
    maps = []
    for attr in (captum.attr, captum_guided_ext.attr):
        tunnel = captum.attr.NoiseTunnel(getattr(attr, name)(multi_layer()))
        torch.manual_seed(3)
        with quiet.captum():
            maps.append(tunnel.attribute(X, nt_samples=4, target=0))
    assert maps[0].any()
    assert torch.equal(*maps)


@pytest.mark.parametrize(
    "build", [small.BasicModelWithReusedModules, small.BasicModelWithReusedLinear]
)
def test_reused_modules_guided(build):
    # DeconvNet on a reused module is one of the differences
    assert_same("GuidedBackprop", seeded(build, OPEN), inputs=X, target=1)


@pytest.mark.parametrize("values", [[[1.0], [2.0]], [[1.0], [-1.0]]], ids=["", "a row of zeros"])
def test_one_score_for_the_whole_batch(values):
    class Total(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(x).sum().reshape(1)

    expected = theirs("GuidedBackprop", Total(), inputs=torch.tensor(values))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* zero everywhere in example 1", UserWarning)
        assert torch.equal(ours("GuidedBackprop", Total(), inputs=torch.tensor(values)), expected)


def first_of_both(values):
    values = values[0] if isinstance(values, tuple) else values
    return values[:, :2].sum(1)


# model, layer, inputs, selector, further arguments
NEURONS = {
    "index": (multi_layer, "linear2", X, 1),
    "index in a tuple": (multi_layer, "relu", X, (2,)),
    "of an in-place ReLU": (in_place_multi_layer, "relu", X, 1),
    "behind an in-place ReLU": (in_place_multi_layer, "linear2", X, 1),
    "of a feature map": (one_conv, "relu1", PIXELS, (0, 1, 0)),
    "behind a feature map": (one_conv, "fc1", PIXELS, (1,)),
    "below every rectifier": (multi_layer, "linear1", positive(2, 3), 1),
    "slice": (multi_layer, "linear2", X, (slice(0, 2),)),
    "slice of channels": (plane_conv, "pool1", PLANE[:1], (slice(0, 2), 1, 1)),
    "two slices": (plane_conv, "pool1", PLANE[:1], (slice(None), slice(0, 3, 2), 0)),
    "callable": (multi_layer, "linear2", X, first_of_both),
    "several inputs": (multi_input, "model.linear2", (X, OTHER), 1, (2 * X, 4)),
    "layer of several tensors": (
        partial(multi_layer, multi_input_module=True),
        "multi_relu",
        positive(2, 3),
        lambda values: values[0][:, 1] + values[1][:, 2],
    ),
}


@pytest.mark.parametrize("at_input", [False, True])
@of_a_neuron
@pytest.mark.parametrize("case", NEURONS)
def test_of_a_neuron(case, name, at_input):
    build, layer, inputs, selector, *extra = NEURONS[case]
    model = seeded(build, OPEN)
    assert_same(
        name,
        model,
        model.get_submodule(layer),
        inputs=inputs,
        neuron_selector=selector,
        additional_forward_args=extra[0] if extra else None,
        attribute_to_neuron_input=at_input,
    )


class TwoSizes(nn.Module):
    """Two inputs of different sizes."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(1, 2, 3), nn.ReLU()
        self.fc = nn.Linear(2, 3)
        nn.init.uniform_(self.conv.weight, -0.2, 1)
        self.fc.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [2.0, -1.0], [3.0, 1.0]]))

    def forward(self, large, small):
        x = self.conv(large) + F.pad(small, (1, 2, 1, 2))
        return self.fc(self.relu(x).mean((2, 3)))


SIZES = (positive(2, 1, 8, 8), positive(2, 1, 3, 3))
# model, layer, inputs, target, options
CAMS = {
    "at relu1": (one_conv, "relu1", PIXELS, 0),
    "at the input of relu1": (one_conv, "relu1", PIXELS, 0, {"attribute_to_layer_input": True}),
    "at conv1": (one_conv, "conv1", PIXELS, 0),
    "at an in-place ReLU": (in_place_conv, "relu1", PIXELS, 0),
    "in front of an in-place ReLU": (in_place_conv, "conv1", PIXELS, 0),
    "two inputs": (one_conv, "conv1", (PIXELS, PIXELS / 3), 0),
    "argument": (one_conv, "conv1", (PIXELS,), 0, {"additional_forward_args": PIXELS / 3}),
    **{f"two sizes, target {t}": (TwoSizes, "conv", SIZES, t) for t in (0, 1, 2)},
    **{
        f"line, {mode}": (line_conv, "conv1", LINE, 1, {"interpolate_mode": mode})
        for mode in ("nearest", "area", "linear")
    },
    **{
        f"volume, {mode}": (volume_conv, "conv1", VOLUME, 1, {"interpolate_mode": mode})
        for mode in ("nearest", "area", "trilinear")
    },
}


@pytest.mark.parametrize("case", CAMS)
def test_guided_grad_cam(case):
    build, layer, inputs, target, *options = CAMS[case]
    model, (options,) = seeded(build, OPEN), options or [{}]
    layer = model.get_submodule(layer)
    assert_same("GuidedGradCam", model, layer, inputs=inputs, target=target, **options)


# --- on a ResNet ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet():
    return seeded(resnet18, OPEN), positive(2, 3, 64, 64)


@pytest.mark.parametrize("target", [7, torch.tensor([2]), [7, 901], torch.tensor([3, 4])], ids=str)
@pytest.mark.parametrize("name", NAMES[:3])
def test_resnet_targets(resnet, name, target):
    model, x = resnet
    layer = [model.layer4] if name == "GuidedGradCam" else []
    assert_same(name, model, *layer, inputs=x, target=target)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "bilinear", "bicubic"])
@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer2", "layer3", "layer4"])
def test_resnet_guided_grad_cam(resnet, layer, mode):
    model, x = resnet
    arguments = {"inputs": x, "target": 7, "interpolate_mode": mode}
    expected = theirs("GuidedGradCam", model, getattr(model, layer), **arguments)
    assert expected.any()
    assert_equal(ours("GuidedGradCam", model, layer, **arguments), expected)


@pytest.mark.parametrize("at_input", [False, True])
@of_a_neuron
def test_resnet_of_a_neuron(resnet, name, at_input):
    model, x = resnet
    arguments = {"neuron_selector": (5, 1, 1), "attribute_to_neuron_input": at_input}
    assert_same(name, model, model.layer3, inputs=x, **arguments)
