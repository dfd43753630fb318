"""Beside Captum: the same numbers where Captum's are right, and each case in which they are not."""

import contextlib
import copy
import inspect
import warnings

import captum.attr
import pytest
import torch
from captum.testing.helpers import BaseTest
from captum.testing.helpers.basic import assertTensorTuplesAlmostEqual, rand_like
from captum.testing.helpers.basic_models import (
    BasicLinearReLULinear,
    BasicModel,
    BasicModel2,
    BasicModel3,
    BasicModel4_MultiArgs,
    BasicModel5_MultiArgs,
    BasicModel6_MultiTensor,
    BasicModel_ConvNet,
    BasicModel_ConvNet_MaxPool1d,
    BasicModel_ConvNet_MaxPool3d,
    BasicModel_ConvNet_One_Conv,
    BasicModel_ConvNetWithPaddingDilation,
    BasicModel_MaxPool_ReLU,
    BasicModel_MultiLayer,
    BasicModel_MultiLayer_MultiInput,
    BasicModel_MultiLayer_TrueMultiInput,
    BasicModelWithReusedLinear,
    BasicModelWithReusedModules,
    Conv1dSeqModel,
    ReLUDeepLiftModel,
    ReLULinearModel,
    SimpleLRPModel,
)
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision.models import mobilenet_v2, resnet18

import captum_guided_ext.attr
from captum_guided_ext import NoRectifierError

NAMES = [
    "GuidedBackprop",
    "Deconvolution",
    "GuidedGradCam",
    "NeuronGuidedBackprop",
    "NeuronDeconvolution",
]
RULES = {"GuidedBackprop": "guided", "Deconvolution": "deconvolution"}


@contextlib.contextmanager
def captum_warnings():
    """Let Captum give the warnings it gives on every call, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d did not already", UserWarning)
        yield


def theirs(name, *model, **arguments):
    with captum_warnings():
        return getattr(captum.attr, name)(*model).attribute(**arguments)


def ours(name, *model, **arguments):
    return getattr(captum_guided_ext.attr, name)(*model).attribute(**arguments)


def as_tuple(maps):
    return maps if isinstance(maps, tuple) else (maps,)


def assert_same(name, *model, zero=False, **arguments):
    """Captum's numbers and ours agree in every bit, and are not zero unless that is said."""
    expected = theirs(name, *model, **arguments)
    with pytest.warns(UserWarning, match="zero everywhere") if zero else contextlib.nullcontext():
        got = ours(name, *model, **arguments)
    assert isinstance(got, tuple) is isinstance(expected, tuple)
    assert any(one.any() for one in as_tuple(expected)) is not zero
    for one, wanted in zip(as_tuple(got), as_tuple(expected), strict=True):
        assert one.dtype == wanted.dtype
        assert not one.requires_grad
        assert torch.equal(one, wanted)
    return got


def differ(some, others):
    return any(not torch.equal(a, b) for a, b in zip(as_tuple(some), as_tuple(others), strict=True))


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


# --- the same numbers, on Captum's own small models --------------------------------------------


class SeededTest(BaseTest):
    """Captum's own fixture, with a seed that leaves some rectifiers of every random model open."""

    def setUp(self):
        super().setUp()
        torch.manual_seed(2)


class GuidedBackpropDeconvolutionTest(SeededTest):
    """Both methods of the input, on every small model whose rectifiers are modules of their own."""

    def _both(self, model, inputs, target=None, additional_forward_args=None, *, zero=()):
        for name in ("GuidedBackprop", "Deconvolution"):
            with self.subTest(name):
                assert_same(
                    name,
                    model,
                    inputs=inputs,
                    target=target,
                    additional_forward_args=additional_forward_args,
                    zero=name in zero,
                )

    def test_linear_relu_linear(self):
        torch.manual_seed(3)
        self._both(BasicLinearReLULinear(4, bias=True), positive(3, 4))

    def test_one_conv(self):
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        self._both(BasicModel_ConvNet_One_Conv(), inputs, 0)
        self._both(BasicModel_ConvNet_One_Conv(), (inputs, inputs / 2), 0)
        self._both(BasicModel_ConvNet_One_Conv(), inputs, 0, inputs / 2)
        self._both(BasicModel_ConvNet_One_Conv(inplace=True), inputs, 0)

    def test_convnet(self):
        self._both(BasicModel_ConvNet(), 100 * positive(2, 1, 10, 10), 1)

    def test_convnet_1d(self):
        self._both(BasicModel_ConvNet_MaxPool1d(), 100 * positive(2, 1, 10), 1)

    def test_convnet_3d(self):
        self._both(BasicModel_ConvNet_MaxPool3d(), 100 * positive(1, 1, 10, 10, 10), 1)

    def test_padding_and_dilation(self):
        model = BasicModel_ConvNetWithPaddingDilation(inplace=True)
        self._both(model, positive(2, 1, 5, 5), [0, 3])

    def test_sequential_of_conv1d(self):
        self._both(Conv1dSeqModel(), positive(2, 4, 1000), (1, 0))

    def test_maxpool_relu(self):
        self._both(BasicModel_MaxPool_ReLU(), positive(3, 1, 9), (0,))
        self._both(BasicModel_MaxPool_ReLU(inplace=True), positive(3, 1, 9), (2,))

    def test_multi_layer(self):
        inputs = positive(3, 3)
        self._both(BasicModel_MultiLayer(), inputs, 0)
        self._both(BasicModel_MultiLayer(inplace=True), inputs, [0, 1, 1])

    def test_multi_layer_with_several_targets(self):
        model, inputs = BasicModel_MultiLayer(), positive(3, 3)
        with torch.no_grad():
            model.linear2.weight.copy_(rand_like(model.linear2.weight) - 0.5)
        for target in (
            1,
            -1,
            torch.tensor(1),
            torch.tensor([1]),
            torch.tensor([0, 1, 0]),
            [0, 1, 0],
            (1,),
            [(0,), (1,), (0,)],
        ):
            self._both(model, inputs, target)

    def test_multi_layer_with_outputs_of_more_dimensions(self):
        model, inputs = BasicModel_MultiLayer(), positive(3, 3)
        added = positive(3, 3)
        for target in ((1, 0, 1), [(1, 0, 1), (0, 0, 0), (1, 1, 1)]):
            self._both(model, inputs, target, (added, True))

    def test_multi_input_module(self):
        self._both(BasicModel_MultiLayer(multi_input_module=True), positive(2, 3), 1)

    def test_several_inputs(self):
        inputs = (positive(3, 3), 2 * positive(3, 3), 3 * positive(3, 3))
        self._both(BasicModel_MultiLayer_MultiInput(), inputs, 0, 4)
        self._both(BasicModel_MultiLayer_MultiInput(), inputs[:1], 0, (inputs[1], inputs[2], 3))
        self._both(BasicModel_MultiLayer_TrueMultiInput(), inputs, 1)
        self._both(BasicModel_MultiLayer_TrueMultiInput(), (*inputs, positive(3, 3)), 1)

    def test_an_input_broadcast_over_the_examples(self):
        self._both(BasicModel_MultiLayer(), (positive(3, 3), positive(1, 3)), 0)

    def test_one_score_for_the_whole_batch(self):
        class Total(nn.Module):
            def __init__(self):
                super().__init__()
                self.relu = nn.ReLU()

            def forward(self, x):
                return self.relu(x).sum().reshape(1)

        for values in ([[1.0], [2.0]], [[1.0], [-1.0]]):  # the second with a row of zeros
            inputs = torch.tensor(values)
            expected = theirs("GuidedBackprop", Total(), inputs=inputs.clone())
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* zero everywhere in example 1", UserWarning)
                assert torch.equal(ours("GuidedBackprop", Total(), inputs=inputs), expected)

    def test_a_tuple_of_one(self):
        self._both(BasicModel_MultiLayer(), (positive(3, 3),), 0)

    def test_relu_deep_lift_model(self):
        # its rectifiers take the input itself: Captum has to be given another tensor every time
        for name in ("GuidedBackprop", "Deconvolution"):
            for scale in (None, 5):
                inputs = (torch.tensor([[1.0], [-2.0]]), torch.tensor([[2.0], [3.0]]))
                assert_same(name, ReLUDeepLiftModel(), inputs=inputs, additional_forward_args=scale)

    def test_relu_deep_lift_model_of_one_dimensional_inputs(self):
        for name in ("GuidedBackprop", "Deconvolution"):
            inputs = (torch.tensor([1.0, -2.0]), torch.tensor([2.0, 3.0]))
            assert_same(name, ReLUDeepLiftModel(), inputs=inputs)

    def test_relu_linear_model(self):
        self._both(ReLULinearModel(), (positive(2, 3), positive(2, 3)))
        self._both(ReLULinearModel(inplace=True), (positive(2, 3), positive(2, 3)), None, (2,))

    def test_simple_lrp_model(self):
        self._both(SimpleLRPModel(inplace=True).eval(), positive(2, 3), 0)

    def test_reused_modules_guided(self):
        # DeconvNet on a reused module is one of the differences below
        for kind in (BasicModelWithReusedModules, BasicModelWithReusedLinear):
            torch.manual_seed(2)
            assert_same("GuidedBackprop", kind(), inputs=positive(3, 3), target=1)

    def test_a_map_of_zeros(self):
        model = BasicModel_MultiLayer()
        with torch.no_grad():
            model.linear2.weight.neg_()
        self._both(model, positive(2, 3), 0, zero=("GuidedBackprop", "Deconvolution"))

    def test_double_precision(self):
        self._both(BasicModel_MultiLayer().double(), positive(2, 3).double(), 0)

    def test_inputs_that_require_a_gradient(self):
        inputs = positive(2, 3).requires_grad_()
        self._both(BasicModel_MultiLayer(), inputs, 0)
        self._both(BasicModel_MultiLayer(), inputs * 2, 0)

    def test_in_no_grad(self):
        with torch.no_grad():
            self._both(BasicModel_MultiLayer(), positive(2, 3), 0)

    def test_noise_tunnel_around_it(self):
        model, inputs = BasicModel_MultiLayer(), positive(2, 3)
        for name in ("GuidedBackprop", "Deconvolution"):
            maps = []
            for attr in (captum.attr, captum_guided_ext.attr):
                torch.manual_seed(3)
                tunnel = captum.attr.NoiseTunnel(getattr(attr, name)(model))
                with captum_warnings():
                    maps.append(tunnel.attribute(inputs, nt_samples=4, target=0))
            assert maps[0].any()
            assert torch.equal(*maps)


class NeuronGuidedBackpropDeconvolutionTest(SeededTest):
    """Both methods of a neuron."""

    def _both(self, model, layer, **arguments):
        for name in ("NeuronGuidedBackprop", "NeuronDeconvolution"):
            for at_input in (False, True):
                with self.subTest(name, at_input=at_input):
                    assert_same(name, model, layer, attribute_to_neuron_input=at_input, **arguments)

    def test_index(self):
        model, inputs = BasicModel_MultiLayer(), positive(3, 3)
        self._both(model, model.linear2, inputs=inputs, neuron_selector=1)
        self._both(model, model.relu, inputs=inputs, neuron_selector=(2,))

    def test_in_place_relu(self):
        model, inputs = BasicModel_MultiLayer(inplace=True), positive(3, 3)
        self._both(model, model.relu, inputs=inputs, neuron_selector=1)
        self._both(model, model.linear2, inputs=inputs, neuron_selector=1)

    def test_index_of_a_feature_map(self):
        model = BasicModel_ConvNet_One_Conv()
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        self._both(model, model.relu1, inputs=inputs, neuron_selector=(0, 1, 0))
        self._both(model, model.fc1, inputs=inputs, neuron_selector=(1,))

    def test_neuron_below_every_rectifier(self):
        model = BasicModel_MultiLayer()
        self._both(model, model.linear1, inputs=positive(2, 3), neuron_selector=1)

    def test_slices(self):
        model, inputs = BasicModel_MultiLayer(), positive(3, 3)
        self._both(model, model.linear2, inputs=inputs, neuron_selector=(slice(0, 2),))
        convnet = BasicModel_ConvNet()
        for selector in ((slice(0, 2), 1, 1), (slice(None), slice(0, 3, 2), 0)):
            self._both(
                convnet,
                convnet.pool1,
                inputs=100 * positive(1, 1, 10, 10),
                neuron_selector=selector,
            )

    def test_callable(self):
        model = BasicModel_MultiLayer()

        def select(values):
            values = values[0] if isinstance(values, tuple) else values
            return values[:, :2].sum(1)

        self._both(model, model.linear2, inputs=positive(3, 3), neuron_selector=select)

    def test_several_inputs_and_further_arguments(self):
        model = BasicModel_MultiLayer_MultiInput()
        self._both(
            model,
            model.model.linear2,
            inputs=(positive(2, 3), positive(2, 3)),
            neuron_selector=1,
            additional_forward_args=(positive(2, 3), 4),
        )

    def test_layer_of_several_tensors(self):
        model = BasicModel_MultiLayer(multi_input_module=True)
        self._both(
            model,
            model.multi_relu,
            inputs=positive(2, 3),
            neuron_selector=lambda values: values[0][:, 1] + values[1][:, 2],
        )


class GuidedGradCamTest(SeededTest):
    """Guided Grad-CAM."""

    def _same(self, model, layer, **arguments):
        return assert_same("GuidedGradCam", model, layer, **arguments)

    def test_one_conv(self):
        model = BasicModel_ConvNet_One_Conv()
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        got = self._same(model, model.relu1, inputs=inputs, target=0)
        # the array of Captum's own test
        expected = [[0.0, 0, 4, 4], [0, 0, 12, 8], [28, 84, 97.5, 65], [28, 56, 65, 32.5]]
        assertTensorTuplesAlmostEqual(self, (got,), (torch.tensor([[expected]]),), delta=0)
        self._same(model, model.conv1, inputs=inputs, target=0)

    def test_several_inputs(self):
        model = BasicModel_ConvNet_One_Conv()
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        self._same(model, model.conv1, inputs=(inputs, inputs / 3), target=0)
        self._same(
            model, model.conv1, inputs=(inputs,), target=0, additional_forward_args=inputs / 3
        )

    def test_inputs_of_different_sizes(self):
        class TwoSizes(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv, self.relu = nn.Conv2d(1, 2, 3), nn.ReLU()
                self.fc = nn.Linear(2, 3)
                nn.init.uniform_(self.conv.weight, -0.2, 1)
                self.fc.weight = nn.Parameter(torch.tensor([[1.0, 2.0], [2.0, -1.0], [3.0, 1.0]]))

            def forward(self, large, small):
                x = self.conv(large) + F.pad(small, (1, 2, 1, 2))
                return self.fc(self.relu(x).mean((2, 3)))

        model = TwoSizes()
        inputs = (positive(2, 1, 8, 8), positive(2, 1, 3, 3))
        for target in (0, 1, 2):
            self._same(model, model.conv, inputs=inputs, target=target)

    def test_interpolate_modes(self):
        model, inputs = resnet18(), positive(2, 3, 64, 64)
        model.eval()
        for mode in ("nearest", "nearest-exact", "area", "bilinear", "bicubic"):
            self._same(model, model.layer2, inputs=inputs, target=7, interpolate_mode=mode)

    def test_layers_of_one_and_three_dimensions(self):
        line = BasicModel_ConvNet_MaxPool1d()
        for mode in ("nearest", "area", "linear"):
            self._same(
                line,
                line.conv1,
                inputs=100 * positive(2, 1, 10),
                target=1,
                interpolate_mode=mode,
            )
        torch.manual_seed(2)
        volume = BasicModel_ConvNet_MaxPool3d()
        for mode in ("nearest", "area", "trilinear"):
            self._same(
                volume,
                volume.conv1,
                inputs=100 * positive(1, 1, 10, 10, 10),
                target=1,
                interpolate_mode=mode,
            )

    def test_at_the_layers_input(self):
        model = BasicModel_ConvNet_One_Conv()
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        for at_input in (False, True):
            self._same(
                model, model.relu1, inputs=inputs, target=0, attribute_to_layer_input=at_input
            )

    def test_in_place_relu(self):
        model = BasicModel_ConvNet_One_Conv(inplace=True)
        inputs = torch.arange(16.0).view(1, 1, 4, 4)
        for layer in (model.conv1, model.relu1):
            self._same(model, layer, inputs=inputs, target=0)

    def test_targets(self):
        model, inputs = resnet18(num_classes=4), positive(3, 3, 32, 32)
        model.eval()
        for target in (1, torch.tensor([2]), [1, 2, 3], torch.tensor([3, 2, 1])):
            self._same(model, model.layer1, inputs=inputs, target=target)


class FunctionalModelsTest(SeededTest):
    """Captum's models that call their rectifiers as functions: Captum differs, ours is right."""

    def _captum_differs(self, model, inputs, additional_forward_args=None, target=None):
        different = []
        for name, rule in RULES.items():
            arguments = {
                "inputs": inputs,
                "target": target,
                "additional_forward_args": additional_forward_args,
            }
            expected = reference_gradient(model, inputs, rule, target, additional_forward_args)
            assert not differ(ours(name, model, **arguments), expected)
            different.append(differ(theirs(name, model, **arguments), expected))
        assert any(different)

    def test_basic_model(self):
        # 1 - relu(1 - x): what arrives at the rectifier is -1
        inputs = torch.tensor([[0.5, 2.0]])
        for name in RULES:
            with pytest.warns(UserWarning, match="reached 1 of 1 rectifiers, .* negative"):
                got = ours(name, BasicModel(), inputs=inputs, target=0)
            assert not got.any()
            assert theirs(name, BasicModel(), inputs=inputs, target=0).any()

    def test_basic_model2(self):
        self._captum_differs(BasicModel2(), (torch.tensor([[3.0]]), torch.tensor([[1.0]])))

    def test_basic_model2_of_one_dimensional_inputs(self):
        self._captum_differs(BasicModel2(), (torch.tensor([3.0]), torch.tensor([1.0])))

    def test_basic_model3(self):
        self._captum_differs(BasicModel3(), (torch.tensor([[3.0]]), torch.tensor([[1.0]])))

    def test_basic_model4_multi_args(self):
        inputs = (torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0]]))
        self._captum_differs(BasicModel4_MultiArgs(), inputs, (torch.tensor([[2.0, 4.0]]), 1))
        self._captum_differs(BasicModel4_MultiArgs(), inputs, (2, 0))

    def test_basic_model5_multi_args(self):
        inputs = (torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0, 1.0]]))
        self._captum_differs(BasicModel5_MultiArgs(), inputs, ([1, 2], 1))

    def test_basic_model6_multi_tensor(self):
        inputs = (torch.tensor([[0.1, 0.3]]), torch.tensor([[0.1, 0.2]]))
        with pytest.warns(UserWarning, match="zero everywhere in example 0"):
            assert not ours("Deconvolution", BasicModel6_MultiTensor(), inputs=inputs)[0].any()
        assert theirs("Deconvolution", BasicModel6_MultiTensor(), inputs=inputs)[0].any()


# --- the same numbers, on a ResNet -------------------------------------------------------------


@pytest.fixture(scope="module")
def resnet():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return resnet18().eval(), positive(2, 3, 64, 64)


@pytest.mark.parametrize("target", [7, [7, 901], torch.tensor([3, 4])], ids=str)
@pytest.mark.parametrize("name", ["GuidedBackprop", "Deconvolution"])
def test_resnet_guided_backprop_and_deconvolution(resnet, name, target):
    model, x = resnet
    assert_same(name, model, inputs=x, target=target)


@pytest.mark.parametrize("layer", ["conv1", "layer1", "layer3", "layer4"])
def test_resnet_guided_grad_cam(resnet, layer):
    model, x = resnet
    with captum_warnings():
        expected = captum.attr.GuidedGradCam(model, getattr(model, layer)).attribute(x, 7)
    got = captum_guided_ext.attr.GuidedGradCam(model, layer).attribute(x, 7)
    assert expected.any()
    assert torch.equal(got, expected)


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("name", ["NeuronGuidedBackprop", "NeuronDeconvolution"])
def test_resnet_neurons(resnet, name, at_input):
    model, x = resnet
    assert_same(
        name,
        model,
        model.layer3,
        inputs=x,
        neuron_selector=(5, 1, 1),
        attribute_to_neuron_input=at_input,
    )


# --- where Captum differs: ours is the reference, Captum's is not ------------------------------


class Small(nn.Module):
    """Two convolutions and a classifier around the activation it is given."""

    def __init__(self, act):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.last = nn.Linear(6, 4)
        self.act = act

    def forward(self, x):
        x = self.act(self.second(self.act(self.first(x))))
        return self.last(x.mean((2, 3)))


class Skip(Small):
    """The rectifier's input also feeds a skip branch."""

    def forward(self, x):
        x = self.first(x)
        x = F.pad(self.second(self.act(x)), (1, 1, 1, 1)) + x
        return self.last(x.mean((2, 3)))


class Parallel(Small):
    """One ReLU module in two parallel branches."""

    def __init__(self, act):
        super().__init__(act)
        self.other = act

    def forward(self, x):
        x = self.first(x)
        left, right = self.second(x), self.second(x.flip(-1))
        x = 2 * self.act(left) - self.other(right)
        return self.last(x.mean((2, 3)))


class ParallelOfTwo(Parallel):
    """Likewise, with a ReLU module for each branch."""

    def __init__(self, act):
        super().__init__(act)
        self.other = nn.ReLU()


def build(kind, act):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(act).eval(), torch.randn(2, 3, 12, 12)


def assert_captum_differs(name, model, x, eager=None, target=2):
    expected = reference_gradient(eager or model, x, RULES[name], target)
    assert expected.any()
    assert torch.equal(ours(name, model, inputs=x, target=target), expected)
    assert distance(theirs(name, model, inputs=x, target=target), expected) > 0.1


def distance(got, expected):
    """How far apart two maps are, relative to the second."""
    return ((got - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("name", RULES)
def test_these_networks_are_no_difference_as_modules(name):
    model, x = build(Small, nn.ReLU())
    expected = reference_gradient(model, x, RULES[name], 2)
    assert torch.equal(theirs(name, model, inputs=x, target=2), expected)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "act",
    [F.relu, torch.relu, torch.Tensor.relu, lambda x: x.clamp(min=0)],
    ids=["F.relu", "torch.relu", "Tensor.relu", "clamp"],
)
def test_captum_differs_on_functions(act, name):
    assert_captum_differs(name, *build(Small, act))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("act", [nn.ReLU6(), nn.Hardtanh(0, 0.5), nn.Threshold(0.0, 0.0)], ids=str)
def test_captum_differs_on_other_modules(act, name):
    assert_captum_differs(name, *build(Small, act))


@pytest.mark.parametrize("name", RULES)
def test_captum_differs_on_mobilenet(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, x = mobilenet_v2(num_classes=5).eval(), torch.randn(1, 3, 64, 64)
    assert_captum_differs(name, model, x)


@pytest.mark.parametrize("name", RULES)
def test_captum_differs_on_a_traced_module(name):
    model, x = build(Small, nn.ReLU())
    assert_captum_differs(name, torch.jit.trace(model, x), x, eager=model)


@pytest.mark.parametrize("name", RULES)
def test_captum_differs_on_a_compiled_module_that_has_run(name):
    model, x = build(Small, nn.ReLU())
    torch._dynamo.reset()
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    compiled(x.clone().requires_grad_())
    assert_captum_differs(name, compiled, x, eager=model)
    torch._dynamo.reset()


@pytest.mark.parametrize("name", RULES)
def test_captum_differs_where_the_rectifiers_input_feeds_a_skip_branch(name):
    assert_captum_differs(name, *build(Skip, nn.ReLU()))


def test_captum_differs_on_deconvnet_of_one_module_in_parallel_branches():
    assert_captum_differs("Deconvolution", *build(Parallel, nn.ReLU()))
    # two modules instead of one: no difference
    model, x = build(ParallelOfTwo, nn.ReLU())
    expected = reference_gradient(model, x, "deconvolution", 2)
    assert torch.equal(theirs("Deconvolution", model, inputs=x, target=2), expected)


@pytest.mark.parametrize(
    ("kind", "act"), [(Small, F.relu), (Small, nn.ReLU6()), (Skip, nn.ReLU())], ids=str
)
def test_captum_differs_on_guided_grad_cam(kind, act):
    model, x = build(kind, act)
    # the layer is the last in front of the rectifiers' changes: the CAM itself is Captum's
    with captum_warnings():
        cam = captum.attr.LayerGradCam(model, model.second).attribute(x, 2, relu_attributions=True)
    laid = captum.attr.LayerAttribution.interpolate(cam, (12, 12))
    expected = reference_gradient(model, x, "guided", 2) * laid
    arguments = {"inputs": x, "target": 2}
    assert expected.any()
    assert torch.equal(ours("GuidedGradCam", model, model.second, **arguments), expected)
    assert distance(theirs("GuidedGradCam", model, model.second, **arguments), expected) > 0.1


@pytest.mark.parametrize("act", [nn.GELU(), nn.SiLU(), nn.ELU(), nn.LeakyReLU()], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_captum_calls_the_plain_gradient_guided(name, act):
    model, x = build(Small, act)
    gradient = reference_gradient(model, x, "gradient", 2)
    assert torch.equal(theirs(name, model, inputs=x, target=2), gradient)
    with pytest.raises(NoRectifierError, match=type(act).__name__):
        ours(name, model, inputs=x, target=2)


def test_captum_returns_an_empty_tensor_for_a_misspelled_mode():
    model, x = build(Small, nn.ReLU())
    arguments = {"inputs": x, "target": 2, "interpolate_mode": "bilinaer"}
    with pytest.warns(UserWarning, match="Couldn't appropriately interpolate"):
        assert theirs("GuidedGradCam", model, model.second, **arguments).numel() == 0
    with pytest.raises(ValueError, match=r"'bilinaer' is none of .*bilinear"):
        ours("GuidedGradCam", model, model.second, **arguments)


def test_captum_returns_an_empty_tensor_for_a_layer_that_cannot_be_laid_over_the_input():
    model, x = build(Small, nn.ReLU())
    nn.init.constant_(model.last.bias, 9)  # so that the map itself is not zero
    arguments = {"inputs": x, "target": 2}
    with pytest.warns(UserWarning, match="Couldn't appropriately interpolate"):
        assert theirs("GuidedGradCam", model, model.last, **arguments).numel() == 0
    with pytest.raises(ValueError, match=r"shape \(2, 1\) .* shape \(2, 3, 12, 12\)"):
        ours("GuidedGradCam", model, model.last, **arguments)


@pytest.mark.parametrize("name", RULES)
def test_captum_says_nothing_of_a_map_of_zeros(name):
    model, x = build(lambda act: nn.Sequential(nn.Linear(12, 5), act, nn.Linear(5, 3)), nn.ReLU())
    with torch.no_grad():
        model[2].weight.copy_(-model[2].weight.abs())
    assert not theirs(name, model, inputs=x[:, 0, 0], target=1).any()
    with pytest.warns(UserWarning, match="zero everywhere in example 0, 1: .* negative"):
        assert not ours(name, model, inputs=x[:, 0, 0], target=1).any()


@pytest.mark.parametrize("name", RULES)
def test_captum_says_nothing_of_nan_in_the_input(name):
    model, x = build(Small, nn.ReLU())
    x[1, 2, 3, 4] = torch.nan
    assert model(x).isnan().any()
    assert theirs(name, model, inputs=x, target=2).isfinite().all()
    with pytest.raises(ValueError, match=r"inputs\[0\] holds NaN .* first at index \(1, 2, 3, 4\)"):
        ours(name, model, inputs=x, target=2)


@pytest.mark.parametrize("name", RULES)
def test_captum_says_nothing_of_infinity_in_the_map(name):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1e20)
    x = torch.ones(1, 2)
    assert theirs(name, model, inputs=x, target=0).isinf().all()
    with pytest.raises(
        ValueError, match=r"attribution of inputs\[0\] holds NaN or infinity in 2 of 2"
    ):
        ours(name, model, inputs=x, target=0)


def test_captum_leaves_hooks_on_an_input_that_a_rectifier_takes():
    model, x = nn.Sequential(nn.ReLU(), nn.Linear(3, 2)), torch.tensor([[1.0, -2.0, 3.0]])
    with torch.no_grad():
        model[1].weight.fill_(2.0)
    expected = torch.tensor([[2.0, 0.0, 2.0]])  # the gate of -2 is shut
    for _ in range(2):
        ours("Deconvolution", model, inputs=x, target=0)
        assert torch.equal(ours("GuidedBackprop", model, inputs=x, target=0), expected)
    assert torch.equal(theirs("GuidedBackprop", model, inputs=x, target=0), expected)
    theirs("Deconvolution", model, inputs=x, target=0)
    assert not torch.equal(theirs("GuidedBackprop", model, inputs=x, target=0), expected)


def test_captum_explains_a_further_argument_that_is_also_an_input():
    model = BasicModel_MultiLayer()
    x = positive(2, 3)
    arguments = {"inputs": x, "target": 0}
    expected = ours("GuidedBackprop", model, additional_forward_args=x.clone(), **arguments)
    assert torch.equal(
        theirs("GuidedBackprop", model, additional_forward_args=x.clone(), **arguments), expected
    )
    got = ours("GuidedBackprop", model, additional_forward_args=x, **arguments)
    assert torch.equal(got, expected)
    captums = theirs("GuidedBackprop", model, additional_forward_args=x, **arguments)
    assert torch.equal(captums, 2 * expected)


@pytest.mark.parametrize("name", RULES)
def test_captum_leaves_the_input_requiring_a_gradient_after_an_error(name):
    model, x = build(Small, nn.ReLU())
    with pytest.raises(IndexError):
        theirs(name, model, inputs=x, target=99)
    assert x.requires_grad
    x = x.detach()
    with pytest.raises(ValueError, match="out of range"):
        ours(name, model, inputs=x, target=99)
    assert not x.requires_grad


def test_captum_takes_modules_only():
    model, x = build(Small, nn.ReLU())
    with pytest.raises(AssertionError, match=r"must be an instance of torch\.nn\.Module"):
        theirs("GuidedBackprop", model.forward, inputs=x, target=2)
    got = ours("GuidedBackprop", model.forward, inputs=x, target=2)
    assert torch.equal(got, reference_gradient(model, x, "guided", 2))
