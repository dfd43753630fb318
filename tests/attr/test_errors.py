"""Errors name the offender and what to do; warnings come once, at the user's own line."""

import functools
import inspect
import re
import warnings
from pathlib import Path

import pytest
import torch
from captum.attr import NoiseTunnel, Saliency
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext
from captum_guided_ext import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    Deconvolution,
    ForwardPass,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    rectifiers,
    with_rule,
)


def seeded(build):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build()


class Images(nn.Module):
    """A small convolutional network whose layers have names."""

    def __init__(self, act=None, classes=5):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), act or nn.ReLU(), nn.Conv2d(6, 6, 3))
        self.act = nn.ReLU()
        self.classifier = nn.Linear(6, classes)

    def forward(self, x):
        return self.classifier(self.act(self.features(x)).mean((2, 3)))


@pytest.fixture
def net():
    return seeded(lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 5)))


@pytest.fixture
def x():
    return seeded(lambda: torch.rand(3, 4) + 0.5)


@pytest.fixture
def images():
    return seeded(Images)


@pytest.fixture
def picture():
    return seeded(lambda: torch.rand(2, 3, 9, 9))


def fails(kind, *words):
    """Expect an error whose message has these words, in this order."""
    return pytest.raises(kind, match=".*".join(map(re.escape, words)))


METHODS = [GuidedBackprop, Deconvolution]
each_method = pytest.mark.parametrize("method", METHODS)


# --- targets ----------------------------------------------------------------------------------


@each_method
def test_missing_target(method, net, x):
    with fails(ValueError, "target is missing", "shape (3, 5)", "target=0 ... 4 (5 classes)"):
        method(net).attribute(x)


@pytest.mark.parametrize(
    ("target", "named"),
    [
        (5, "5"),
        (-6, "-6"),
        (torch.tensor(5), "5"),
        (torch.tensor([7]), "7"),
        (torch.tensor([0, 1, 9]), "9"),
        ([0, 1, 9], "9"),
        ([0, -7, 2], "-7"),
        ((5,), "(5,)"),
        ([(0,), (5,), (1,)], "(5,)"),
    ],
    ids=str,
)
@each_method
def test_target_out_of_range(method, net, x, target, named):
    with fails(ValueError, f"target {named} is out of range", "0 ... 4 (5 classes)"):
        method(net).attribute(x, target=target)


def test_target_out_of_range_of_an_output_of_more_dimensions(net, x):
    def scores(x):
        return torch.stack([net(x), -net(x)], dim=2)

    with fails(ValueError, "target (5, 0) is out of range", "0 ... 4 x 0 ... 1"):
        GuidedBackprop(scores).attribute(x, target=(5, 0))
    with fails(ValueError, "target (0, 2) is out of range", "0 ... 4 x 0 ... 1"):
        GuidedBackprop(scores).attribute(x, target=[(0, 0), (0, 2), (0, 1)])
    with fails(ValueError, "target is missing", "10 values per example", "0 ... 4 x 0 ... 1"):
        GuidedBackprop(scores).attribute(x)
    with fails(ValueError, "target 1", "shape (3, 5, 2)"):
        GuidedBackprop(scores).attribute(x, target=1)
    with fails(ValueError, "target (1,)", "(3, 5, 2)", "one index for each dimension"):
        GuidedBackprop(scores).attribute(x, target=(1,))


@pytest.mark.parametrize(
    ("target", "words"),
    [
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
@each_method
def test_target_of_a_wrong_kind_or_length(method, net, x, target, words):
    with fails(ValueError, *words):
        method(net).attribute(x, target=target)


def test_every_class_checks_its_target(images, picture):
    for attribute in (
        GuidedGradCam(images, "features").attribute,
        ForwardPass(images, picture).input_gradients,
    ):
        with fails(ValueError, "target", "out of range", "0 ... 4 (5 classes)"):
            attribute(*([picture] if "inputs" in signature(attribute) else [GUIDED]), target=5)
    forward_pass = ForwardPass(images, picture, layer=images.features)
    with fails(ValueError, "target is missing", "5 classes"):
        forward_pass.layer_gradients()
    with fails(ValueError, "target 8 is out of range"):
        forward_pass.ignored_share(GUIDED, 8)


def signature(function):
    return inspect.signature(function).parameters


# --- inputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convert",
    [torch.Tensor.int, torch.Tensor.bool, torch.Tensor.long, lambda x: x + 0j, torch.Tensor.byte],
    ids=["int", "bool", "long", "complex", "byte"],
)
@each_method
def test_inputs_that_have_no_gradient(method, net, x, convert):
    wrong = convert(x)
    with fails(TypeError, f"inputs[0] has dtype {wrong.dtype}", "floating-point", ".float()"):
        method(net).attribute(wrong, target=0)
    with fails(TypeError, f"inputs[1] has dtype {wrong.dtype}"):
        method(lambda a, b: net(a) + b.sum()).attribute((x, wrong), target=0)


@pytest.mark.parametrize("wrong", [[], [1.0], None, 3.0, "photo.jpg", {"x": 1}], ids=repr)
@each_method
def test_inputs_that_are_no_tensor(method, net, wrong):
    name = type(wrong).__name__
    with fails(TypeError, "inputs must be a tensor or a tuple of tensors", f"not {name}"):
        method(net).attribute(wrong, target=0)


def test_a_list_of_tensors(net, x):
    with fails(TypeError, "inputs must be a tensor or a tuple of tensors, not list"):
        GuidedBackprop(net).attribute([x], target=0)
    with fails(TypeError, "inputs[1] must be a tensor, not list"):
        GuidedBackprop(net).attribute((x, [x]), target=0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@each_method
def test_inputs_that_are_not_finite(method, net, x, value):
    x[1, 2] = x[2, 0] = value
    words = "holds NaN or infinity in 2 of 12 places, first at index (1, 2)"
    with fails(ValueError, "inputs[0] " + words):
        method(net).attribute(x, target=0)
    with fails(ValueError, "inputs[1] " + words):
        method(torch.add).attribute((torch.ones(3, 4), x), target=0)


@pytest.mark.parametrize("shape", [(0, 4), (3, 0), (0,)])
@each_method
def test_no_example_at_all(method, net, shape):
    with fails(ValueError, f"inputs[0] has shape {shape}", "nothing to explain"):
        method(net).attribute(torch.zeros(shape), target=0)


def test_every_class_checks_its_inputs(images, picture):
    whole = picture.int()
    for attribute in (
        lambda: GuidedGradCam(images, "features").attribute(whole, 0),
        lambda: NeuronGuidedBackprop(images, "features").attribute(whole, (0, 0, 0)),
        lambda: NeuronDeconvolution(images, "features").attribute(whole, (0, 0, 0)),
        lambda: ForwardPass(images, whole),
        lambda: rectifiers(images, whole),
    ):
        with fails(TypeError, "inputs[0] has dtype torch.int32"):
            attribute()


# --- what the model does with them ------------------------------------------------------------

DETACHED = {
    "detach": torch.Tensor.detach,
    "data": lambda x: x.data,
    "numpy": lambda x: torch.from_numpy(x.detach().numpy()),
    "tolist": lambda x: torch.tensor(x.tolist()),
    "no_grad": torch.no_grad()(lambda x: x * 2),
    "unused": torch.ones_like,
}


@pytest.mark.parametrize("name", DETACHED)
@each_method
def test_an_input_detached_inside_the_model(method, name, net, x):
    cut = DETACHED[name]
    with fails(ValueError, "inputs[0] has no path to the output", "unused", "detach()", "numpy()"):
        method(lambda x: net(cut(x))).attribute(x, target=0)
    with fails(ValueError, "inputs[1] has no path to the output"):
        method(lambda a, b: net(a + cut(b))).attribute((x, x), target=0)


def test_an_unused_input_of_several(net, x):
    with fails(ValueError, "inputs[1] has no path to the output", "unused"):
        GuidedBackprop(lambda a, b, c: net(a * c)).attribute((x, x, x), target=0)


def test_an_input_that_does_not_reach_the_neuron(images, picture):
    def of_two(picture, table):
        return images(picture) + table

    method = NeuronGuidedBackprop(of_two, images.features)
    with fails(ValueError, "inputs[1] has no path to the neuron"):
        method.attribute((picture, torch.rand(2, 5)), (0, 0, 0))


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda y: (y, y), ["returned tuple, not a tensor", "wrap it in a function"]),
        (lambda y: {"logits": y}, ["returned dict, not a tensor", "wrap it in a function"]),
        (lambda y: [y], ["returned list, not a tensor"]),
        (lambda _: None, ["returned NoneType, not a tensor"]),
        (lambda y: y.argmax(1), ["returned dtype torch.int64", "no gradient"]),
        (lambda y: y > 0, ["returned dtype torch.bool", "no gradient"]),
        (lambda y: y + 0j, ["returned dtype torch.complex64", "no gradient"]),
    ],
    ids=["tuple", "dict", "list", "None", "int", "bool", "complex"],
)
@each_method
def test_a_model_that_returns_no_scores(method, net, x, wrap, words):
    with fails(TypeError, *words):
        method(lambda x: wrap(net(x))).attribute(x, target=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_is_not_finite(method, net, x):
    for parameter in net.parameters():
        nn.init.constant_(parameter, 1e25)
    name = {GuidedBackprop: "guided", Deconvolution: "deconvolution"}[method]
    with fails(
        ValueError,
        f"the {name} attribution of inputs[0] holds NaN or infinity in 12 of 12 places",
        "index (0, 0)",
    ):
        method(net).attribute(x, target=0)


def test_a_cam_that_is_not_finite(images, picture):
    nn.init.constant_(images.features[0].weight, 1e25)
    nn.init.constant_(images.features[2].weight, 1e10)
    nn.init.constant_(images.classifier.weight, 1e5)
    with fails(ValueError, "the Grad-CAM holds NaN or infinity", "first at index (0, 0, 0, 0)"):
        GuidedGradCam(images, "features").attribute(picture, 0)


# --- layers and neurons -----------------------------------------------------------------------

LAYER_CLASSES = [GuidedGradCam, NeuronGuidedBackprop, NeuronDeconvolution]
each_layer_class = pytest.mark.parametrize("method", LAYER_CLASSES)


@pytest.mark.parametrize(
    ("layer", "nearest"),
    [
        ("feature", "features"),
        ("Features", "features"),
        ("features.3", "features."),
        ("clasifier", "classifier"),
    ],
)
@each_layer_class
def test_a_misspelled_layer(method, images, layer, nearest):
    with fails(ValueError, f"Images has no layer {layer!r}; the nearest are ", nearest):
        method(images, layer)


@each_layer_class
def test_a_layer_that_is_like_no_other(method, images):
    with fails(ValueError, "no layer 'zzz'; the first are features, features.0, features.1"):
        method(images, "zzz")


@each_layer_class
def test_an_empty_layer_name(method, images):
    with fails(ValueError, "Images has no layer ''; the first are features, features.0"):
        method(images, "")


@each_layer_class
def test_a_layer_of_another_model(method, images, picture):
    with fails(ValueError, "layer Sequential put out nothing", "it was not called"):
        method(images, Images().features).attribute(picture, 0)


@each_layer_class
def test_a_layer_name_for_a_function(method, images):
    with fails(TypeError, "layer 'features' is a name", "no nn.Module", "pass the layer itself"):
        method(lambda x: images(x), "features")  # noqa: PLW0108 - a function is the point


def test_a_layer_that_is_never_called(images, picture):
    images.spare = nn.Conv2d(3, 6, 3)
    words = "layer Conv2d put out nothing", "not called", "detached"
    with fails(ValueError, *words):
        GuidedGradCam(images, "spare").attribute(picture, 0)
    with fails(ValueError, *words):
        NeuronGuidedBackprop(images, "spare").attribute(picture, (0, 0, 0))
    with fails(ValueError, "layer None put out nothing"):
        ForwardPass(images, picture).layer_gradients(0)


def test_a_layer_whose_output_is_detached(images, picture):
    images.features.register_forward_hook(lambda _, __, output: output.detach())
    with fails(ValueError, "layer Sequential put out nothing that depends on the inputs"):
        GuidedGradCam(images, "features").attribute(picture, 0)


def test_a_layer_that_does_not_lead_to_the_output(images, picture):
    images.spare = nn.Conv2d(3, 6, 3)

    def model(x):
        images.spare(x)
        return images(x)

    with fails(ValueError, "layer Conv2d does not lead to the output"):
        GuidedGradCam(model, images.spare).attribute(picture, 0)


def test_a_layer_with_several_tensors(images, picture):
    class Halves(nn.Module):
        def forward(self, x):
            return x[:, :3], x[:, 3:]

    images.halves = Halves()

    def model(x):
        return images.classifier(torch.cat(images.halves(images.features(x)), 1).mean((2, 3)))

    with fails(ValueError, "layer Halves holds 2 tensors", "a single feature map"):
        GuidedGradCam(model, images.halves).attribute(picture, 0)


@pytest.mark.parametrize("mode", ["bilinaer", "", "linear-ish", None, 3], ids=repr)
def test_a_misspelled_interpolate_mode(images, picture, mode):
    forwards = []
    images.register_forward_hook(lambda *_: forwards.append(1))
    with fails(ValueError, f"interpolate_mode {mode!r} is none of ", "bilinear", "nearest"):
        GuidedGradCam(images, "features").attribute(picture, 0, interpolate_mode=mode)
    assert forwards == []


@pytest.mark.parametrize("mode", ["linear", "trilinear"])
def test_an_interpolate_mode_for_other_dimensions(images, picture, mode):
    with fails(
        ValueError,
        f"interpolate_mode {mode!r} is none of nearest, nearest-exact, area, bilinear, bicubic "
        "for a 4-D feature map",
    ):
        GuidedGradCam(images, "act").attribute(picture, 1, interpolate_mode=mode)


def test_a_layer_that_cannot_be_laid_over_the_input(images, picture):
    nn.init.constant_(images.classifier.bias, 5)
    with fails(
        ValueError,
        "a layer map of shape (2, 1) cannot be laid over an input of shape (2, 3, 9, 9)",
        "convolutional layer",
        "reshape_transform=",
    ):
        GuidedGradCam(images, "classifier").attribute(picture, 0)


def test_an_input_the_map_cannot_be_laid_over_among_several(images, picture):
    def of_two(picture, table):
        return images(picture) + F.relu(table)

    method = GuidedGradCam(of_two, images.features)
    with fails(ValueError, "shape (2, 1, 5, 5) cannot be laid over an input of shape (2, 5)"):
        method.attribute((picture, torch.rand(2, 5) + 1), target=0)


@pytest.mark.parametrize("method", [NeuronGuidedBackprop, NeuronDeconvolution])
@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ((6, 0, 0), ["neuron_selector (6, 0, 0)", "[(2, 6, 5, 5)]", "out of bounds"]),
        ((0, 0, 0, 0), ["neuron_selector (0, 0, 0, 0)", "[(2, 6, 5, 5)]"]),
        (0, ["neuron_selector 0", "(2, 6, 5, 5)"]),
        ((0, 0), ["neuron_selector (0, 0)", "(2, 6, 5, 5)"]),
        (torch.relu, ["neuron_selector <built-in method relu", "(2, 6, 5, 5)"]),
    ],
    ids=str,
)
def test_a_neuron_that_does_not_exist(method, images, picture, selector, words):
    with fails(ValueError, *words):
        method(images, "features").attribute(picture, selector)


# --- warnings ---------------------------------------------------------------------------------


def warned(call):
    """Return what a call returned, and the messages it warned with, all at the caller's line."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        result = call()
    assert {w.category for w in record} <= {UserWarning}
    assert {w.filename for w in record} <= {__file__}
    return result, [str(w.message) for w in record]


class Recurrent(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.RNN(4, 6, 2, nonlinearity="relu", batch_first=True, **options)
        self.head = nn.Linear(6, 3)
        nn.init.constant_(self.rnn.bias_ih_l0, 0.5)
        nn.init.constant_(self.rnn.bias_ih_l1, 0.5)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


def with_batch_norm():
    return nn.Sequential(nn.Linear(4, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 5))


def with_both():
    return nn.Sequential(
        nn.Linear(4, 30), nn.BatchNorm1d(30), nn.ReLU(), nn.Dropout(0.2), nn.Linear(30, 5)
    )


def with_attention():
    layer = nn.TransformerEncoderLayer(4, 2, 16, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(12, 3))


TRAINED = {
    "batch norm": (with_batch_norm, (8, 4), ["BatchNorm1d"]),
    "batch norm and dropout": (with_both, (8, 4), ["BatchNorm1d", "Dropout"]),
    "dropout in an rnn": (lambda: Recurrent(dropout=0.2), (3, 5, 4), ["RNN"]),
    "dropout in attention": (with_attention, (2, 3, 4), ["Dropout", "MultiheadAttention"]),
}


@pytest.mark.parametrize("case", TRAINED)
@each_method
def test_training_mode_warns_once(method, case):
    build, shape, named = TRAINED[case]
    model, x = seeded(build), seeded(lambda: torch.rand(shape))
    for call in (
        lambda: method(model).attribute(x, target=0),
        lambda: method(model.forward).attribute(x, target=0),
    ):
        messages = warned(call)[1]
        assert len([m for m in messages if "training mode" in m]) == 1
        assert f"in training mode with {', '.join(named)}: " in messages[0]
        assert "Call model.eval() first." in messages[0]
    model.eval()
    assert warned(lambda: method(model).attribute(x, target=0))[1] == []


def test_only_the_part_in_training_mode_counts():
    model = seeded(with_both).eval()
    model[3].train()
    messages = warned(lambda: GuidedBackprop(model).attribute(torch.rand(8, 4), target=0))[1]
    assert len(messages) == 1
    assert "training mode with Dropout: " in messages[0]


def test_training_mode_without_chance_is_no_matter(net, x):
    assert net.training
    assert warned(lambda: GuidedBackprop(net).attribute(x, target=0))[1] == []
    model, steps = seeded(lambda: Recurrent(dropout=0.0)), seeded(lambda: torch.rand(3, 5, 4))
    assert model.training
    assert warned(lambda: GuidedBackprop(model).attribute(steps, target=2))[1] == []


def test_dropout_of_nothing_is_no_matter(net, x):
    model = nn.Sequential(net, nn.Dropout(0.0)).train()
    assert warned(lambda: GuidedBackprop(model).attribute(x, target=0))[1] == []


def test_training_mode_warns_in_every_class(picture):
    model = seeded(lambda: nn.Sequential(Images(), nn.Dropout(0.1))).train()
    for call in (
        lambda: GuidedGradCam(model, "0.features").attribute(picture, 1),
        lambda: NeuronGuidedBackprop(model, "0.classifier").attribute(picture, 0),
        lambda: rectifiers(model, picture),
    ):
        messages = warned(call)[1]
        assert len([m for m in messages if "training mode with Dropout" in m]) == 1


def linear_network(*weights):
    """Linear layers of these weights with ReLUs in between."""
    layers = []
    for weight in weights:
        rows = torch.tensor(weight)
        layers += [nn.Linear(rows.shape[1], rows.shape[0], bias=False), nn.ReLU()]
        layers[-2].weight = nn.Parameter(rows)
    return nn.Sequential(*layers[:-1])


def zero_map(method, model, x, target=0):
    got, messages = warned(lambda: method(model).attribute(x, target=target))
    assert not got.any()
    assert len(messages) == 1
    return messages[0]


def test_why_a_map_is_zero_all_negative():
    # the score is minus the sum of two rectified values: only -1 arrives at either rectifier
    model, x = linear_network([[1.0, 0.0], [0.0, 1.0]], [[-1.0, -1.0]]), torch.ones(1, 2)
    for method, name in ((GuidedBackprop, "guided"), (Deconvolution, "deconvolution")):
        assert re.fullmatch(
            rf"the {name} attribution is zero everywhere in example 0: a gradient reached 1 of 1 "
            r"rectifiers, and 1 of .* negative .*, which the rule drops\.",
            zero_map(method, model, x),
        )


def test_why_a_map_is_zero_all_negative_at_the_second_rectifier():
    # +1 arrives at the last rectifier, and -2 at the first
    model, x = linear_network([[-1.0]], [[-2.0]], [[1.0]]), -torch.ones(1, 1)
    with torch.no_grad():
        model[2].bias = nn.Parameter(torch.tensor([5.0]))
    for method in METHODS:
        message = zero_map(method, model, x)
        assert re.search(r"reached 2 of 2 rectifiers, and 1 of .* negative .* drops", message)


def test_why_a_map_is_zero_gates():
    # -1 arrives where the gate is open, 1 where it is shut: nothing is left for guided backprop
    model, x = linear_network([[1.0], [-1.0]], [[-1.0, 1.0]]), torch.ones(1, 1)
    message = zero_map(GuidedBackprop, model, x)
    assert "a gradient reached 1 of 1 rectifiers, and what was positive met closed" in message
    assert "negative" not in message
    # for DeconvNet the 1 goes through the shut gate
    got, messages = warned(lambda: Deconvolution(model).attribute(x, target=0))
    assert got.tolist() == [[-1.0]]
    assert messages == []


def test_why_a_map_is_zero_no_dependence():
    model, x = linear_network([[1.0]], [[1.0]]), -torch.ones(1, 1)
    assert zero_map(GuidedBackprop, model, x) == (
        "the guided attribution is zero everywhere in example 0: the plain gradient is zero too, "
        "the score does not change with the input."
    )


def test_only_the_examples_that_are_zero_are_named():
    # x > 0 opens the gate to +1, x < 0 the gate to -1
    model = linear_network([[1.0], [-1.0]], [[1.0, -1.0]])
    x = torch.tensor([[1.0], [-1.0], [2.0], [-3.0]])
    got, messages = warned(lambda: GuidedBackprop(model).attribute(x, target=0))
    assert got.tolist() == [[1.0], [0.0], [1.0], [0.0]]
    assert len(messages) == 1
    assert "zero everywhere in example 1, 3: a gradient reached 1 of 1" in messages[0]


def test_many_examples_that_are_zero_are_cut_short():
    model = linear_network([[1.0]], [[-1.0]])
    message = zero_map(GuidedBackprop, model, torch.ones(9, 1))
    assert "zero everywhere in example 0, 1, 2, 3, 4, ...: a gradient" in message


def test_a_map_that_is_zero_in_one_input_of_two_is_no_matter(net, x):
    def model(a, b):
        return net(a) - F.relu(b).sum(1, keepdim=True)

    def call():
        return GuidedBackprop(model).attribute((x, x), target=0)

    (first, second), messages = warned(call)
    assert first.flatten(1).any(1).all()
    assert not second.any()
    assert messages == []


def test_a_neurons_map_of_zeros():
    model = linear_network([[1.0], [1.0]], [[-1.0, -2.0], [1.0, 1.0]])
    for method, name in ((NeuronGuidedBackprop, "guided"), (NeuronDeconvolution, "deconvolution")):
        got, messages = warned(lambda m=method: m(model, "2").attribute(torch.ones(2, 1), 0))
        assert not got.any()
        (message,) = messages
        assert re.match(
            rf"the {name} attribution is zero everywhere in example 0, 1: .* negative", message
        )


class OneChannel(nn.Module):
    def __init__(self, weight=1.0, bias=0.0, score=1.0):
        super().__init__()
        self.conv, self.relu, self.head = nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Linear(4, 1)
        for parameter, value in (
            (self.conv.weight, weight),
            (self.conv.bias, bias),
            (self.head.weight, score),
        ):
            nn.init.constant_(parameter, value)

    def forward(self, x):
        return self.head(self.relu(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    ("options", "layer", "reason"),
    [
        ({"score": -1.0}, "conv", "at every position the layer speaks against the target"),
        ({"weight": -1.0}, "conv", "the score's gradient at the layer is zero"),
        ({"weight": -1.0}, "relu", "the layer's activation is zero"),
        ({"score": 0.0}, "relu", "the score's gradient at the layer is zero"),
    ],
)
def test_why_a_cam_is_zero(options, layer, reason):
    model = OneChannel(**options)

    def call():
        return GuidedGradCam(model, layer).attribute(torch.ones(1, 1, 2, 2), 0)

    got, messages = warned(call)
    assert not got.any()
    assert messages[0].startswith(f"the Grad-CAM is zero everywhere in example 0: {reason}")
    # the guided map is zero as well, and says so for itself
    assert len(messages) == 2
    assert messages[1].startswith("the guided attribution is zero everywhere in example 0: ")


def test_a_cam_that_is_zero_in_one_example():
    model = OneChannel()
    x = torch.stack([torch.ones(1, 2, 2), -torch.ones(1, 2, 2)])
    messages = warned(lambda: GuidedGradCam(model, "relu").attribute(x, 0))[1]
    assert (
        messages[0]
        == "the Grad-CAM is zero everywhere in example 1: the layer's activation is zero."
    )


def mixed():
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 9), nn.Hardswish(),
            nn.Linear(9, 9), nn.GELU(), nn.Linear(9, 5),
        )
    )  # fmt: skip


def test_mixed_activations_warn_once_and_are_named(x):
    model = mixed()
    for method, name in ((GuidedBackprop, "guided"), (Deconvolution, "deconvolution")):
        got, messages = warned(lambda m=method: m(model).attribute(x, target=1))
        assert len(messages) == 1
        assert re.fullmatch(
            rf"the {name} rule is defined for rectifiers only: overrode 1 ReLU; left alone, with "
            r"their own gradient: (2 GELU, 1 Hardswish|1 Hardswish, 2 GELU)\.",
            messages[0],
        )
        assert torch.equal(got, reference_gradient(model, x, name, 1))


def test_mixed_activations_warn_once_in_every_class(picture):
    model = seeded(lambda: Images(act=nn.GELU()))
    for call in (
        lambda: GuidedGradCam(model, "features").attribute(picture, 1),
        lambda: NeuronGuidedBackprop(model, "act").attribute(picture, (1, 0, 0)),
        lambda: with_rule(Saliency(model), GUIDED).attribute(picture.requires_grad_(), 1),
    ):
        messages = [m for m in warned(call)[1] if "zero everywhere" not in m]
        assert len(messages) == 1
        assert "overrode 1 ReLU; left alone, with their own gradient: 1 GELU" in messages[0]


def test_the_gradient_rule_says_nothing_of_mixed_activations(x):
    forward_pass = ForwardPass(mixed(), x)
    assert warned(lambda: forward_pass.input_gradients(GRADIENT, 1))[1] == []


# --- where a warning points -------------------------------------------------------------------


def line_of(call):
    """Return the line at which a call's only warning points, relative to this function's caller."""
    here = inspect.currentframe().f_back.f_lineno
    with pytest.warns(
        UserWarning, match=r"zero everywhere|rectifiers only|training mode"
    ) as record:
        call()
    assert {w.filename for w in record} == {__file__}
    (line,) = {w.lineno for w in record}
    return line - here


def test_a_warning_points_at_the_line_of_the_call(x):
    model = mixed()
    in_training = nn.Sequential(mixed()[:3], nn.Dropout(0.1))
    assert line_of(lambda: GuidedBackprop(model).attribute(x, target=1)) == 0
    assert line_of(lambda: Deconvolution(model).attribute(x, target=1)) == 0
    assert line_of(lambda: NeuronGuidedBackprop(model, "6").attribute(x, 1)) == 0
    assert line_of(lambda: ForwardPass(model, x).input_gradients(GUIDED, 1)) == 0
    assert line_of(lambda: ForwardPass(model, x).ignored_share(DECONVNET, 1)) == 0
    assert line_of(lambda: rectifiers(in_training, x)) == 0
    saliency, leaf = with_rule(Saliency(model), GUIDED), x.clone().requires_grad_()
    assert line_of(lambda: saliency.attribute(leaf, 1)) == 0
    zero = linear_network([[1.0]], [[-1.0]])
    assert line_of(lambda: GuidedBackprop(zero).attribute(torch.ones(2, 1), 0)) == 0
    cam = OneChannel(score=-1.0)
    assert line_of(lambda: GuidedGradCam(cam, "relu").attribute(torch.ones(1, 1, 2, 2), 0)) == 0


def test_a_warning_points_at_the_line_of_the_call_through_wrappers(x):
    tunnel = NoiseTunnel(GuidedBackprop(mixed()))
    assert line_of(lambda: tunnel.attribute(x, nt_samples=2, target=1)) == 0
    without_gradients = torch.no_grad()(GuidedBackprop(mixed()).attribute)
    assert line_of(lambda: without_gradients(x, target=1)) == 0
    unwrapped = GuidedBackprop.attribute.__wrapped__
    assert line_of(lambda: unwrapped(GuidedBackprop(mixed()), x, 1)) == 0


@pytest.mark.parametrize("beside", [captum_guided_ext, torch], ids=lambda module: module.__name__)
def test_a_file_whose_path_begins_like_the_packages_is_the_users(beside, x):
    folder = str(Path(beside.__file__).parent) + "_experiments"
    code = compile("call()", f"{folder}/script.py", "exec")
    # a partial, so that no frame of this file lies in between
    call = functools.partial(GuidedBackprop(mixed()).attribute, x, target=1)
    with pytest.warns(UserWarning, match="rectifiers only") as record:
        exec(code, {"call": call})
    assert [w.filename for w in record] == [f"{folder}/script.py"]
