"""The layer that Grad-CAM is meant for, where none is named."""

import re
import sys
import types
import warnings
import weakref

import pytest
import torch
from networks import Conv, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

import captum_guided_ext as cg
from captum_guided_ext.attr._utils.layers import find_layer, resolve_layer, run_at_layer
from captum_guided_ext.demo import load_demo_network
from captum_guided_ext.errors import ModelError

HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


# --- the one that Grad-CAM is meant for ---


def build(name):
    if name == "demo":
        return load_demo_network()
    if name == "swin":  # its map is channels-first only behind the permutation at its end
        return models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=5)
    config = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return models.get_model(name, weights=None, **config)


ENDING_ON_FEATURES = [
    "densenet121", "squeezenet1_0", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0",
    "convnext_tiny",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "shape", "layer"),
    [
        ("resnet18", (1, 3, 64, 64), "layer4"),
        ("resnet18", (2, 3, 64, 64), "layer4"),
        ("resnet18", (1, 3, 64, 160), "layer4"),
        ("resnet18", (1, 3, 100, 64), "layer4"),
        ("alexnet", (1, 3, 224, 224), "features"),
        ("vgg11", (1, 3, 96, 96), "features"),  # the 7 x 7 pooling behind is no layer of features
        *((name, (1, 3, 64, 64), "features") for name in ENDING_ON_FEATURES),
        ("mnasnet0_5", (1, 3, 64, 64), "layers"),
        ("shufflenet_v2_x0_5", (1, 3, 64, 64), "conv5"),
        ("regnet_x_400mf", (1, 3, 64, 64), "trunk_output"),
        ("googlenet", (1, 3, 64, 64), "inception5b"),
        ("inception_v3", (1, 3, 128, 128), "Mixed_7c"),
        ("swin", (1, 3, 64, 64), "permute"),
        ("swin", (1, 3, 64, 128), "permute"),
        ("demo", (1, 3, 96, 96), "features"),
    ],
)
def test_default_layer_of_known_networks(name, shape, layer):
    model = build(name).eval()
    forward_pass, found = run_at_layer(model, torch.randn(shape))
    assert found == (resolve_layer(model, layer), layer, "")
    # what is recorded is what the layer puts out when it is named
    again, _ = run_at_layer(model, forward_pass.inputs[0], None, found)
    for one, other in zip(forward_pass.layer_gradients(0), again.layer_gradients(0), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        # As many channels as classes, but a layer of parameters reads them.
        (nn.Sequential(conv(3, 8), conv(8, 5), nn.ReLU(), *HEAD, nn.Linear(5, 5)), "1"),
        # The last convolution's map is the classes' scores.
        (nn.Sequential(conv(3, 8), nn.Sequential(conv(8, 5), nn.ReLU()), *HEAD), "0"),
        (nn.Sequential(conv(3, 5), *HEAD), "0"),
        # Neither a ReLU, nor a dropout, nor a pooling, nor a map of one position.
        (
            nn.Sequential(conv(3, 8), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2), *HEAD[:1])
            + nn.Sequential(conv(8, 8), nn.Flatten(), nn.Linear(8, 5)),
            "0",
        ),
        # The container that ends on the same map.
        (nn.Sequential(nn.Sequential(conv(3, 8), nn.ReLU()), *HEAD, nn.Linear(8, 5)), "0"),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (12, 40)])
def test_default_layer_by_hand(model, layer, size):
    assert run_at_layer(model.eval(), torch.randn(1, 3, *size))[1].name == layer


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = conv(3, 8), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


def scripted():
    return nn.Sequential(conv(3, 4), torch.jit.script(conv(4, 4)), *HEAD)


def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5),
            (1, 3, 32, 32),
            r"ends on outputs of shape \(1, 17, 16\), which are no map of the picture: name a lay",
        ),
        (ChannelsLast, (1, 3, 16, 16), r"outputs of shape \(1, 16, 16, 8\), which are no map"),
        (flat, (1, 3, 2, 2), r"no layer returns a feature map .* name one \(--layer\)"),
        (lambda: conv(3, 4), (3, 4, 4), r"must be pictures \(N, C, H, W\), not \(3, 4, 4\)"),
        (scripted, (1, 3, 8, 8), r"TorchScript hides .* name one \(--layer\)"),
    ],
)
def test_no_default_layer_and_why(make, shape, message):
    forward_pass, found = run_at_layer(make().eval(), torch.randn(shape))
    assert (found.module, found.name) == (None, None)
    assert re.search(message, found.reason)
    assert forward_pass.scores((0,) * (forward_pass.output.dim() - 1)) is not None  # it goes on


def test_additional_arguments_are_the_models():
    class Shifted(Conv):
        def forward(self, x, shift):
            return shift + super().forward(x)

    model = seeded(Shifted)
    forward_pass, found = run_at_layer(model, torch.rand(2, 3, 8, 8), 2.0)
    assert (found.name, model.calls) == ("second", 1)
    assert torch.equal(forward_pass.output, model(forward_pass.inputs[0], 2.0))


# --- models that are not only what they have registered ---


class Net(nn.Module):
    """Two convolutions, of which the last is called as a subclass says."""

    def __init__(self):
        super().__init__()
        self.first, self.last, self.head = conv(3, 4), conv(4, 5), nn.Linear(5, 2)
        self.norm = nn.BatchNorm2d(4)
        self.prepare()

    def prepare(self):
        pass

    def call_last(self, x):
        return self.last(x)

    def forward(self, x):
        return self.head(F.relu(self.call_last(F.relu(self.norm(self.first(x))))).mean((2, 3)))


class InANamespace(Net):
    def prepare(self):
        self.parts = types.SimpleNamespace(last=self.last)

    def call_last(self, x):
        return self.parts.last(x)


class InAClosure(Net):
    def prepare(self):
        last = self.last
        self.parts = {"last": lambda x: last(1.0 * x)}

    def call_last(self, x):
        return self.parts["last"](x)


class ByAWeakReference(Net):
    def prepare(self):
        self.parts = [(weakref.ref(self.last),)]

    def call_last(self, x):
        return self.parts[0][0]()(x)


class ByAHook(Net):
    """Keeps what the layer puts out, by a hook that is a closure over the model."""

    def prepare(self):
        self.last.register_forward_hook(lambda _m, _a, output: setattr(self, "kept", output))

    def call_last(self, x):
        self.last(x)
        return self.kept


class ByIdentity(Net):
    def prepare(self):
        self.known = weakref.WeakSet([self.last])

    def call_last(self, x):
        return self.last(x) if self.last in self.known else x[:, :1].expand(-1, 5, -1, -1)


class InItself(Net):
    def prepare(self):
        self.parts = []
        self.parts.append(self.parts)
        self.cycle = {"model": (self,)}


def wrapped_by(wrap):
    def build():
        model = Net()
        model.forward = wrap(model.forward)
        return model

    return build


UNUSUAL = {
    "a namespace": InANamespace,
    "a closure": InAClosure,
    "a weak reference": ByAWeakReference,
    "a hook that is a closure": ByAHook,
    "an identity test": ByIdentity,
    "containers in themselves": InItself,
    "a forward that is wrapped": wrapped_by(lambda forward: lambda x: forward(1.0 * x)),
    "a forward under autocast": wrapped_by(torch.autocast("cpu", torch.bfloat16)),
    "a model in a model": lambda: nn.Sequential(nn.Identity(), Net()),
}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", UNUSUAL.values(), ids=UNUSUAL)
def test_the_layer_is_found_in_the_models_own_modules(build, training):
    model = seeded(build).train(training)
    x = torch.rand(2, 3, 8, 8)
    name = next(name for name, module in model.named_modules() if name.endswith("last"))
    flags = [module.training for module in model.modules()]
    hooks = [list(module._forward_hooks.values()) for module in model.modules()]
    batches = model.get_buffer(name.replace("last", "norm.num_batches_tracked"))
    seen = batches.clone()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the model is in training mode")
        found = cg.compare(model, x, 0, methods=["grad_cam"], metrics=[])
    assert found.layer == name
    assert [module.training for module in model.modules()] == flags
    assert [list(module._forward_hooks.values()) for module in model.modules()] == hooks
    assert batches - seen == int(training)  # as after one run
    model.eval()
    maps = [
        cg.compare(model, x, 0, methods=["grad_cam"], metrics=[], layer=layer).maps
        for layer in (None, name)
    ]
    assert torch.equal(maps[0]["grad_cam"], maps[1]["grad_cam"])


def test_one_run_unless_the_layers_output_is_written_to():
    for build, runs in ((Conv, 1), (lambda: Conv(F.relu_), 2)):
        model = seeded(build)
        options = {"methods": ["grad_cam", "guided_backprop"], "metrics": []}
        found = cg.compare(model, torch.rand(2, 3, 8, 8), 1, **options)
        assert (found.layer, model.calls) == ("second", runs)
        named = cg.compare(model, found.inputs, 1, layer="second", **options)
        assert model.calls == runs + 1
        for method, one in named.maps.items():
            assert torch.equal(found.maps[method], one)


def test_a_layer_of_two_scales_is_its_last_call_whether_named_or_found():
    class TwoScales(Conv):
        def forward(self, x):
            x = self.first(x).relu()
            coarse = F.adaptive_avg_pool2d(x, 3)
            fine = self.second(x).relu().mean((2, 3))
            return self.last(fine + self.second(coarse).flatten(1))

    model, x = seeded(TwoScales), torch.rand(2, 3, 8, 8)
    options = {"methods": ["grad_cam"], "metrics": ["sensitivity_max"], "n_perturb_samples": 2}
    found, named = (cg.compare(model, x, 1, layer=layer, **options) for layer in (None, "second"))
    assert found.layer == "second"
    assert torch.equal(found.maps["grad_cam"], named.maps["grad_cam"])
    assert found.rows == named.rows


def test_another_run_begins_when_the_graph_of_the_first_is_gone():
    alive, graphs = [], []

    def act(x):
        if len(graphs) % 2 == 0:  # the first layer of a run
            alive.append([graph() is not None for graph in graphs])
        kept = x.grad_fn.metadata["kept"] = {1}  # lives as long as the node
        graphs.append(weakref.ref(kept))
        return F.relu_(x)

    run_at_layer(seeded(lambda: Conv(act)), torch.rand(1, 3, 8, 8))
    assert alive == [[], [False, False]]


def test_nothing_watches_after_an_error_and_a_profiler_is_left_in_peace():
    def fail(x):
        raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        run_at_layer(seeded(lambda: Conv(fail)), torch.rand(1, 3, 8, 8))
    assert sys.getprofile() is None
    events = []

    def profiler(_frame, event, _value):
        events.append(event)

    sys.setprofile(profiler)
    try:
        _, found = run_at_layer(seeded(Conv), torch.rand(1, 3, 8, 8))
        assert sys.getprofile() is profiler
    finally:
        sys.setprofile(None)
    assert events
    said = "a profiler is at work, and calls of modules are seen by the same means: name a layer"
    assert found.reason == f"{said} (--layer)"


class Other:
    """Calls modules by another function than torch's, which has no code to recognise."""

    def __init__(self, call):
        self.call = call

    def __get__(self, module, kind):
        return self if module is None else self.call.__get__(module, kind)


def test_where_torch_calls_modules_in_another_way_it_is_said(monkeypatch):
    monkeypatch.setattr(nn.Module, "_call_impl", Other(nn.Module._call_impl))
    forward_pass, found = run_at_layer(seeded(Conv), torch.rand(1, 3, 8, 8))
    assert found.reason.startswith("this torch calls its modules in a way not known here: name")
    assert forward_pass.rectifiers().overridden  # all else works


# --- it is chosen in each pass ---


class Changing(nn.Module):
    """Runs its blocks in an order that may change; they are made of the same operations."""

    def __init__(self):
        super().__init__()
        self.first, self.blocks = conv(3, 4), nn.ModuleList(conv(4, 4) for _ in range(3))
        self.end, self.order, self.size, self.runs = nn.Linear(4, 2), (0, 1), 4, 0

    def forward(self, x):
        self.runs += 1
        x = self.first(x).relu()
        for index in self.order:
            x = self.blocks[index](F.adaptive_avg_pool2d(x, self.size)).relu()
        return self.end(x.mean((2, 3)))


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        (lambda model: setattr(model, "order", (1, 0)), "blocks.0"),
        (lambda model: setattr(model, "order", (0, 2)), "blocks.2"),
        (lambda model: setattr(model, "size", 1), "first"),  # no map is larger than one value
        (lambda model: model.blocks.__setitem__(1, nn.Sequential(conv(4, 4))), "blocks.1"),
    ],
)
def test_where_a_model_does_something_else_its_layer_is_chosen_anew(change, layer):
    model, x = seeded(Changing), torch.rand(2, 3, 8, 8)
    assert run_at_layer(model, x)[1].name == "blocks.1"
    change(model)
    for _ in range(2):
        model.runs = 0
        assert run_at_layer(model, x)[1] == (model.get_submodule(layer), layer, "")
        assert model.runs == 1


# --- either of them, or the reason why there is none ---


def test_a_layer_is_found_by_its_name_and_a_module_by_itself():
    model = nn.Sequential(nn.Sequential(conv(3, 4), nn.ReLU()), *HEAD, nn.Linear(4, 2))
    for asked in ("0.0", model[0][0]):
        assert find_layer(model, asked) == (model[0][0], "0.0", "")
    elsewhere = nn.ReLU()
    for not_its_own in (model, model.forward):
        assert find_layer(not_its_own, elsewhere) == (elsewhere, None, "")


def test_a_layer_that_is_misspelled_is_no_reason_but_an_error():
    with pytest.raises(ModelError, match="no layer 'nowhere'; choose from 0, 1"):
        find_layer(flat(), "nowhere")
    with pytest.raises(TypeError, match=r"layer '0' is a name, and function is no nn\.Module to"):
        find_layer(lambda x: x, "0")


def test_a_function_has_no_layer_to_choose():
    _, found = run_at_layer(lambda x: x.mean((2, 3)), torch.rand(1, 3, 2, 2))
    reason = "a model that is no nn.Module has no layers to choose from: name one"
    assert found == (None, None, reason)
