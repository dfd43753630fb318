"""What is explained, and what the model makes of it: inputs of every form, and errors."""

import warnings

import pytest
import torch
import torch.distributed as dist
from messages import fails
from methods import METHODS, assert_right, both_rules
from networks import Conv, TwoParts, make, perceptron
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg

NET, X = make(lambda: perceptron(features=4, hidden=9, classes=5), (3, 4))


def test_inputs_of_a_tensor_subclass():
    class Tagged(torch.Tensor):
        pass

    expected = cg.GuidedBackprop(NET).attribute(X, 1)
    tagged = cg.GuidedBackprop(NET).attribute(X.as_subclass(Tagged), 1)
    assert torch.equal(tagged.as_subclass(torch.Tensor), expected)


@pytest.mark.parametrize("extra", [None, 0.5, (0.5,), (0.5, torch.tensor([-1.0, 2.0, 3.0, 0.5]))])
@both_rules
def test_inputs_of_two_shapes_and_further_arguments(rule, extra):
    of_image, image = make(Conv)
    of_table, table = make(lambda: perceptron(classes=4), (2, 6))

    def model(image, table, scale=1.0, bias=None):
        scores = of_image(image) + scale * of_table(table)
        return scores if bias is None else scores * (1 + F.relu(bias))

    assert_right(model, (image, table), rule, extra=extra)


def with_two_of(value):
    x = X.clone()
    x[1, 2] = x[2, 0] = value
    return x


def nested(x, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a prototype
        return torch.nested.nested_tensor(list(x), **options)


NO_DENSE_TENSORS = {
    "sparse": (lambda x: x.to_sparse(), ["layout torch.sparse_coo", ".to_dense()"]),
    "sparse rows": (lambda x: x.to_sparse_csr(), ["layout torch.sparse_csr", ".to_dense()"]),
    "mkldnn": (lambda x: x.to_mkldnn(), ["layout torch._mkldnn", ".to_dense()"]),
    "nested": (nested, ["a nested tensor", ".to_padded_tensor(0.0)"]),
    "jagged": (lambda x: nested(x, layout=torch.jagged), ["a nested tensor", "one by one"]),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("name", NO_DENSE_TENSORS)
@both_rules
def test_no_dense_tensor(name, rule):
    convert, words = NO_DENSE_TENSORS[name]
    with fails(TypeError, "inputs[0] is ", *words[:1], "attributions are of dense", *words[1:]):
        METHODS[rule](NET).attribute(convert(X), target=0)


@pytest.mark.filterwarnings("ignore:DTensor random operators:UserWarning")  # torch's, of CPUs
def test_a_distributed_tensor(tmp_path):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        whole = distribute_tensor(X, mesh, [Replicate()])
        with fails(TypeError, "inputs[0] is a DTensor", "pass .full_tensor()"):
            cg.GuidedBackprop(NET).attribute(whole, target=0)
    finally:
        dist.destroy_process_group()


def test_a_script_that_was_frozen_for_inference():
    model, x = make(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    )
    frozen = torch.jit.optimize_for_inference(torch.jit.script(model))
    with fails(ValueError, "inputs[0] has no path", "that optimize_for_inference has frozen"):
        cg.GuidedBackprop(frozen).attribute(x, 1)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        ((), ValueError, ["inputs is an empty tuple"]),
        (torch.tensor(1.0), ValueError, ["inputs[0] is a single number", "dimension 0"]),
        (X.to("meta"), TypeError, ["inputs[0] is a meta tensor", "it has no values"]),
    ],
    ids=["nothing", "a number", "meta"],
)
def test_no_examples(wrong, kind, words):
    with fails(kind, *words):
        cg.GuidedBackprop(NET).attribute(wrong, target=0)


KINDS = [X.int(), X > 0, X.long(), X + 0j, X.byte()]
NOT_FINITE = [with_two_of(value) for value in (torch.nan, torch.inf, -torch.inf)]
EMPTY = [torch.zeros(shape) for shape in ((0, 4), (3, 0), (0,))]
IN_TWO = "holds NaN or infinity in 2 of 12 places, first at index (1, 2)"
UNFIT = [
    *((x, TypeError, [f"has dtype {x.dtype}", "floating-point", ".float()"]) for x in KINDS),
    *((x, ValueError, [IN_TWO]) for x in NOT_FINITE),
    *((x, ValueError, [f"has shape {tuple(x.shape)}", "nothing to explain"]) for x in EMPTY),
]


@pytest.mark.parametrize(("wrong", "kind", "words"), UNFIT)
@both_rules
def test_a_tensor_that_cannot_be_explained(rule, wrong, kind, words):
    with fails(kind, "inputs[0] ", *words):
        METHODS[rule](NET).attribute(wrong, target=0)
    with fails(kind, "inputs[1] ", *words):
        METHODS[rule](lambda a, b: NET(a) + b.sum()).attribute((X, wrong), target=0)


@pytest.mark.parametrize("wrong", [[], [1.0], [X], None, 3.0, "photo.jpg", {"x": 1}], ids=repr)
@both_rules
def test_inputs_that_are_no_tensor(rule, wrong):
    name = type(wrong).__name__
    with fails(TypeError, f"inputs must be a tensor or a tuple of tensors, not {name}"):
        METHODS[rule](NET).attribute(wrong, target=0)
    with fails(TypeError, f"inputs[1] must be a tensor, not {name}"):
        METHODS[rule](NET).attribute((X, wrong), target=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: cg.GuidedGradCam(m, "second").attribute(x, 0),
        lambda m, x: cg.NeuronGuidedBackprop(m, "second").attribute(x, (0, 0, 0)),
        lambda m, x: cg.NeuronDeconvolution(m, "second").attribute(x, (0, 0, 0)),
        cg.ForwardPass,
        cg.rectifiers,
    ],
)
def test_every_class_checks_its_inputs(call):
    model, x = make(TwoParts)
    with fails(TypeError, "inputs[0] has dtype torch.int32"):
        call(model, x.int())


DETACHED = {
    "detach": torch.Tensor.detach,
    "data": lambda x: x.data,
    "numpy": lambda x: torch.from_numpy(x.detach().numpy()),
    "tolist": lambda x: torch.tensor(x.tolist()),
    "no_grad": torch.no_grad()(lambda x: x * 2),
    "unused": torch.ones_like,
}


@pytest.mark.parametrize("cut", DETACHED.values(), ids=DETACHED)
@both_rules
def test_an_input_detached_inside_the_model(rule, cut):
    with fails(ValueError, "inputs[0] has no path to the output", "unused", "detach()", "numpy()"):
        METHODS[rule](lambda x: NET(cut(x))).attribute(X, target=0)
    with fails(ValueError, "inputs[1] has no path to the output"):
        METHODS[rule](lambda a, b: NET(a + cut(b))).attribute((X, X), target=0)


def test_an_unused_input_of_several():
    with fails(ValueError, "inputs[1] has no path to the output", "unused"):
        cg.GuidedBackprop(lambda a, b, c: NET(a * c)).attribute((X, X, X), target=0)


def test_an_input_that_does_not_reach_the_neuron():
    model, x = make(TwoParts)
    method = cg.NeuronGuidedBackprop(lambda x, table: model(x) + table, model.first)
    with fails(ValueError, "inputs[1] has no path to the neuron"):
        method.attribute((x, torch.rand(2, 4)), (0, 0, 0))


class Held:
    """An object that holds scores by a name that nobody knows."""

    def __init__(self, scores):
        self.scores = scores


@pytest.mark.parametrize(
    ("wrap", "words"),
    [
        (lambda y: (y.tolist(),), ["returned tuple, in which there is no tensor"]),
        (lambda y: {"scores": None}, ["returned dict", "wrap it in a function"]),
        (Held, ["returned Held", "such as lambda x: model(x).logits"]),
        (lambda _: None, ["returned NoneType"]),
        (lambda y: y.argmax(1), ["returned dtype torch.int64", "no gradient"]),
        (lambda y: y > 0, ["returned dtype torch.bool", "no gradient"]),
        (lambda y: y + 0j, ["returned dtype torch.complex64", "no gradient"]),
    ],
    ids=["tuple", "dict", "object", "None", "int", "bool", "complex"],
)
@both_rules
def test_a_model_that_returns_no_scores(rule, wrap, words):
    with fails(TypeError, *words):
        METHODS[rule](lambda x: wrap(NET(x))).attribute(X, target=0)


def test_a_cam_that_is_not_finite():
    model, x = make(TwoParts)
    for layer, value in ((model.first[0], 1e25), (model.second[0], 1e10), (model.head, 1e5)):
        nn.init.constant_(layer.weight, value)
    with fails(ValueError, "the Grad-CAM holds NaN or infinity", "first at index (0, 0, 0, 0)"):
        cg.GuidedGradCam(model, "second").attribute(x.abs(), 0)
