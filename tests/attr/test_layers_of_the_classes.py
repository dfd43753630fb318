"""The layer or neuron that is meant, by name or as a module, and errors that say what there is."""

import pytest
import torch
from messages import fails
from methods import NEURON_METHODS
from networks import Conv, TwoParts, make, perceptron
from reference import reference_gradient
from topologies import compiled_by_eager, script
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext.attr._utils.layers import resolve_layer
from captum_guided_ext.errors import ModelError

CLASSES = [cg.GuidedGradCam, *NEURON_METHODS.values()]
each_class = pytest.mark.parametrize("method", CLASSES)


X = make(TwoParts)[1]


@pytest.fixture
def model():
    return make(TwoParts)[0]


# --- where a layer can be ---------------------------------------------------------------------


class Holding(nn.Module):
    """Holds a network that is no registered submodule."""

    def __init__(self, model):
        super().__init__()
        self.held = [model]

    def forward(self, x):
        return self.held[0](x)


@pytest.mark.usefixtures("dynamo")
def test_a_layer_inside_something_else():
    model, x = make(perceptron, (4, 6))
    scripted = nn.Sequential(script(model[:2], x), model[2])
    compiled = compiled_by_eager(model, x)
    for wrapped, layer, up_to_it in (
        (Holding(model), model[1], model[:2]),
        (compiled, compiled, model),
        (compiled, model[2], model),
        (scripted, scripted[0], model[:2]),
    ):
        expected = reference_gradient(up_to_it, x, "guided", 2)
        assert expected.any()
        for _ in range(4):
            assert torch.equal(cg.NeuronGuidedBackprop(wrapped, layer).attribute(x, 2), expected)


def test_names_are_looked_up_exactly_first():
    conv, other = nn.Linear(1, 1), nn.Linear(1, 1)
    model = nn.ModuleDict({"conv": conv, "module": nn.ModuleDict({"conv": other})})
    assert resolve_layer(model, "conv") is conv
    assert resolve_layer(model, "module.conv") is other
    wrapped = nn.DataParallel(perceptron())
    assert resolve_layer(wrapped, "2") is resolve_layer(wrapped, "module.2") is wrapped.module[2]


# --- layers that there are not ----------------------------------------------------------------

ALL = "choose from first, first.0, first.1, second, second.0, second.1, head"


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("secnd", ["'secnd'; the nearest are ", "second"]),
        ("Second", ["'Second'; the nearest are ", "second"]),
        ("second.2", ["'second.2'; the nearest are ", "second."]),
        ("heads", ["'heads'; the nearest is ", "head"]),
        ("zzz", ["'zzz'; " + ALL]),
        ("", ["''; " + ALL]),
    ],
)
@each_class
def test_a_misspelled_layer(method, model, layer, words):
    with fails(ModelError, "TwoParts has no layer ", *words):
        method(model, layer)


@each_class
def test_a_misspelled_layer_of_a_large_network(method):
    large = nn.Sequential(*[nn.ReLU() for _ in range(31)])
    with fails(ModelError, "layer 'zzz'; the first are 0, 1, 2, 3, 4 (model.named_modules() lists"):
        method(large, "zzz")


@each_class
def test_a_layer_name_for_a_function(method, model):
    with fails(TypeError, "layer 'first' is a name", "no nn.Module", "pass the layer itself"):
        method(lambda x: model(x), "first")  # noqa: PLW0108 - a function is the point


@each_class
def test_a_layer_that_is_never_called(method, model):
    model.spare = nn.Conv2d(3, 6, 3)
    for layer, kind in (("spare", "Conv2d"), (TwoParts().first, "Sequential")):
        with fails(ValueError, f"layer {kind} put out nothing", "it was not called", "detached"):
            method(model, layer).attribute(X, 0)


@each_class
def test_a_layer_whose_output_is_detached(method, model):
    model.second.register_forward_hook(lambda _, __, output: output.detach())
    with fails(ValueError, "layer Sequential put out nothing that depends on the inputs"):
        method(model, "second").attribute(X, 0)


class InADict(nn.Module):
    def forward(self, x):
        return {"map": 2 * x}


class ByKeyword(nn.Module):
    def forward(self, *, x):
        return 2 * x


def calling(model, layer, call):
    """Call a layer in its own way behind the first stage of ``TwoParts``."""
    return lambda x: model.head(model.second(call(layer, model.first(x))).flatten(1))


@each_class
def test_a_layer_that_returns_a_dictionary(method, model):
    layer = InADict()
    whole = calling(model, layer, lambda layer, x: layer(x)["map"])
    with fails(
        ValueError, "layer InADict put out dict", "a tensor or a tuple of tensors is needed"
    ):
        method(whole, layer).attribute(X, 0)


@each_class
def test_a_layer_that_takes_keywords_only(method, model):
    layer = ByKeyword()
    whole = calling(model, layer, lambda layer, x: layer(x=x))
    at_input = {cg.GuidedGradCam: "attribute_to_layer_input"}.get(
        method, "attribute_to_neuron_input"
    )
    with fails(ValueError, "layer ByKeyword took no tensor by position", "use its output"):
        method(whole, layer).attribute(X, 0, **{at_input: True})


@each_class
def test_a_layer_inside_vmap(method, model):
    layer = nn.ReLU()
    whole = calling(model, layer, lambda layer, x: torch.vmap(layer)(x))
    with fails(ValueError, "layer ReLU runs inside vmap"):
        method(whole, layer).attribute(X, 0)


def test_no_layer_was_named(model):
    with fails(ValueError, "layer None put out nothing"):
        cg.ForwardPass(model, X).layer_gradients(0)


def test_a_layer_that_does_not_lead_to_the_output(model):
    spare = nn.Conv2d(3, 6, 3)

    def with_spare(x):
        spare(x)
        return model(x)

    with fails(ValueError, "layer Conv2d does not lead to the output"):
        cg.GuidedGradCam(with_spare, spare).attribute(X, 0)


def test_a_layer_with_several_tensors(model):
    class Halves(nn.Module):
        def forward(self, x):
            return x[:, :3], x[:, 3:]

    halves = Halves()

    def of_halves(x):
        return model.head(model.second(torch.cat(halves(model.first(x)), 1)).flatten(1))

    with fails(ValueError, "layer Halves holds 2 tensors", "a single feature map"):
        cg.GuidedGradCam(of_halves, halves).attribute(X, 0)


@pytest.mark.parametrize(
    ("selector", "words"),
    [
        ((5, 0, 0), ["neuron_selector (5, 0, 0)", "[(2, 5, 3, 3)]", "out of bounds"]),
        ((0, 0, 0, 0), ["neuron_selector (0, 0, 0, 0)", "[(2, 5, 3, 3)]"]),
        (0, ["neuron_selector 0", "(2, 5, 3, 3)"]),
        ((0, 0), ["neuron_selector (0, 0)", "(2, 5, 3, 3)"]),
        pytest.param(
            torch.relu, ["neuron_selector <built-in method relu", "(2, 5, 3, 3)"], id="function"
        ),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", NEURON_METHODS.values())
def test_a_neuron_that_does_not_exist(method, model, selector, words):
    with fails(ValueError, *words):
        method(model, "second").attribute(X, selector)


# --- maps over the input ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["bilinaer", "", "linear-ish", None, 3], ids=repr)
def test_a_misspelled_interpolate_mode(mode):
    model, x = make(Conv)
    with fails(ValueError, f"interpolate_mode {mode!r} is none of ", "bilinear", "nearest"):
        cg.GuidedGradCam(model, "second").attribute(x, 0, interpolate_mode=mode)
    assert model.calls == 0


@pytest.mark.parametrize("mode", ["linear", "trilinear"])
def test_an_interpolate_mode_for_other_dimensions(model, mode):
    choices = "nearest, nearest-exact, area, bilinear, bicubic for a 4-D feature map"
    with fails(ValueError, f"interpolate_mode {mode!r} is none of {choices}"):
        cg.GuidedGradCam(model, "second").attribute(X, 1, interpolate_mode=mode)


def test_an_input_the_map_cannot_be_laid_over_among_several(model):
    method = cg.GuidedGradCam(lambda x, table: model(x) + F.relu(table), model.second)
    with fails(ValueError, "shape (2, 1, 3, 3) cannot be laid over an input of shape (2, 4)"):
        method.attribute((X, torch.ones(2, 4)), target=0)
