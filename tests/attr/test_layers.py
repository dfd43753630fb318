"""The layer that is named, and the one that Grad-CAM is meant for."""

import functools

import pytest
import torch
from torch import nn
from torchvision import models

from captum_guided_ext.attr._utils.layers import default_layer, find_layer, resolve_layer
from captum_guided_ext.demo import load_demo_network
from captum_guided_ext.errors import ModelError

HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("features.99", r"SqueezeNet has no layer 'features\.99'; the nearest are feat"),
        ("xyzzy", r"'xyzzy'; the first are features, features\.0"),
        ("", "no layer ''"),
    ],
)
def test_layers_by_name(name, message):
    model = models.get_model("squeezenet1_1", weights=None)
    assert resolve_layer(model, "features.3.squeeze") is model.features[3].squeeze
    with pytest.raises(ModelError, match=message):
        resolve_layer(model, name)


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
    assert default_layer(build(name), torch.randn(shape)) == layer


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
    assert default_layer(model, torch.randn(1, 3, *size)) == layer


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
    with pytest.raises(ModelError, match=message):
        default_layer(make(), torch.randn(shape))


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("my own mistake")


@pytest.mark.parametrize("fails", [False, True])
def test_default_layer_leaves_the_model_as_it_was(fails):
    passes = []
    model = nn.Sequential(
        conv(3, 4), nn.BatchNorm2d(4), nn.Dropout(), *HEAD, nn.Linear(4, 2), nn.Identity()
    )
    if fails:
        model[6] = Failing()
    model.train()
    model[2].eval()
    counter = model[0].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    flags = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    found = find_layer(model, None, torch.randn(3, 3, 8, 8))
    assert (found.module, found.name) == ((None, None) if fails else (model[1], "1"))
    assert ("(RuntimeError: my own mistake): name a layer" in found.reason) is fails
    assert passes == [False]
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    counter.remove()
    assert not any(m._forward_hooks for m in model.modules())


class Stateful(nn.Module):
    """Keeps what layers put out, by hooks that are its own methods, and refers to one in a list."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = conv(3, 4), nn.Linear(4, 2)
        self.aside = [(self.conv,)]
        self.register_buffer("seen", torch.zeros(()))
        self.conv.register_forward_hook(self.keep)
        self.head.register_forward_pre_hook(functools.partial(self.note, "head"))
        self.notes = {}

    def keep(self, _module, _args, output):
        self.kept = output

    def note(self, name, _module, _args):
        self.notes |= {name: len(self.notes)}

    def forward(self, x):
        self.seen += len(x)
        self.aside[0][0](x)
        return self.head(self.kept.mean((2, 3)))


def test_default_layer_of_a_model_that_keeps_state_in_hooks_and_buffers():
    model = Stateful()
    attributes, buffer = dict(vars(model)), model.seen
    assert default_layer(model, torch.randn(1, 3, 8, 8)) == "conv"
    assert vars(model) == attributes
    assert model.seen is buffer
    assert buffer == 0


# --- either of them, or the reason why there is none ---


def test_a_layer_is_found_by_its_name_and_a_module_by_itself():
    model = nn.Sequential(nn.Sequential(conv(3, 4), nn.ReLU()), *HEAD, nn.Linear(4, 2))
    for asked in ("0.0", model[0][0]):
        assert find_layer(model, asked) == (model[0][0], "0.0", "")
    assert find_layer(model, None, torch.randn(2, 3, 8, 8)) == (model[0], "0", "")
    elsewhere = nn.ReLU()
    for not_its_own in (model, model.forward):
        assert find_layer(not_its_own, elsewhere) == (elsewhere, None, "")


def test_a_layer_that_is_misspelled_is_no_reason_but_an_error():
    with pytest.raises(ModelError, match="no layer 'nowhere'; choose from 0, 1"):
        find_layer(flat(), "nowhere", torch.randn(1, 3, 2, 2))
    with pytest.raises(TypeError, match=r"layer '0' is a name, and function is no nn\.Module to"):
        find_layer(lambda x: x, "0")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (lambda x: x, "a model that is no nn.Module has no layers to choose from"),
        (flat(), "no layer returns a feature map (N, C, H, W) with H * W > 1"),
    ],
)
def test_where_no_layer_is_found_there_is_a_reason(model, reason):
    module, name, found = find_layer(model, None, torch.randn(1, 3, 2, 2))
    assert (module, name) == (None, None)
    assert found.startswith(f"{reason}: name ")
