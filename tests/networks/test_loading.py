"""Networks by name, torchvision's and the demo's, and the device they are loaded on."""

import sys
from urllib.error import URLError

import numpy as np
import pytest
import torch
from chance import global_state
from picture_files import noise
from torchvision import models

from captum_guided_ext import demo
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import find_device, load_network


def test_demo():
    network = load_network("demo")
    assert network.classes == tuple(demo.CATEGORIES)
    image = noise(96, 96)
    assert torch.equal(network.prepare(image), demo.prepare(np.array(image)))
    assert network.prepare(noise(200, 150)).shape == (3, 96, 96)


def test_loading_leaves_the_global_generator_alone(saved):
    _, file = saved("squeezenet1_1")
    before = global_state()
    load_network("squeezenet1_1", checkpoint=file)
    assert global_state() == before


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet51", "DEFAULT", r"no network is called 'resnet51'; the nearest are resnet50.*demo"),
        ("xyzzy", "DEFAULT", r"called 'xyzzy'; choose one of torchvision's classification"),
        ("fcn_resnet50", "DEFAULT", r"no network is called 'fcn_resnet50'"),
        ("deno", "DEFAULT", r"the nearest is demo"),
        ("resnet50", "V3", r"has no weights 'V3': choose from IMAGENET1K_V1, IMAGENET1K_V2, DEF"),
        ("resnet50", "x" * 5000, r"has no weights 'xx.*DEFAULT$"),
        ("resnet50", "none", r"has no weights 'none': choose from"),
        (
            "resnet50",
            __file__,
            r"has no weights '.*DEFAULT; a file is a checkpoint \(--checkpoint\)$",
        ),
        ("vgg16", "IMAGENET1K_FEATURES", r"choose from IMAGENET1K_V1, DEFAULT$"),
        (
            "demo",
            "IMAGENET1K_V1",
            r"has no choice of weights: leave out 'IMAGENET1K_V1' \(--w",
        ),
        ("timm:", "DEFAULT", r"'timm:' lacks a name: timm:NAME, hf:NAME or module:factory"),
        (":build", "DEFAULT", r"':build' lacks a name"),
        ("nowhere:build", "V1", r"cannot import 'nowhere'"),
        ("os:getcwd", "V1", r"has no choice of weights: leave out 'V1'"),
    ],
)
def test_unknown_names(name, weights, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(name, weights=weights)
    assert "\n" not in str(caught.value)


def test_a_wrong_name_is_said_before_anything_else():
    for name in ("resnet51", "nowhere:build"):
        with pytest.raises(ModelError, match=r"resnet51|nowhere"):
            load_network(name, device="tpu", checkpoint="no.pth", classes="no.txt", weights="V9")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("timm", "timm:resnet18", "timm"), ("transformers", "hf:someone/network", "hf")],
)
def test_what_is_not_installed(monkeypatch, package, name, extra):
    monkeypatch.setitem(sys.modules, package, None)
    words = rf'{name} comes from the package {package}, which .*"captum-guided-ext\[{extra}\]"$'
    with pytest.raises(ModelError, match=words) as caught:
        load_network(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"std": 0}, "std 0 must be above 0 for each channel"),
        ({"mean": (0.5, 0.5)}, r"mean has 2 numbers \(0.5, 0.5\), and a picture has 3 channels"),
        ({"interpolation": "lanzcos"}, r"choose from nearest, .*bicubic, .*, lanczos$"),
        ({"means": 1}, "a preprocessing has no 'means'; the nearest is mean"),
        ({"xyzzy": 1}, "no 'xyzzy'; choose from size, crop, interpolation, mean, std"),
    ],
)
def test_overrides_that_no_preprocessing_has(overrides, words):
    with pytest.raises(ModelError, match=words):
        load_network("demo", overrides=overrides)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache and no network; the place where torch.hub looks for SqueezeNet 1.1."""

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    return tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]


def test_failed_download_says_where_the_file_goes(offline, saved, capsys):
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    with pytest.raises(ModelError) as caught:
        load_network("squeezenet1_1")
    message = str(caught.value)
    assert "cannot download the weights IMAGENET1K_V1 of squeezenet1_1" in message
    assert "no route to host" in message
    assert f"fetch {url} on a machine with a network and put it at {offline}, or" in message
    assert "--checkpoint FILE" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""

    # And that place is the right one.
    model, file = saved("squeezenet1_1")
    file.rename(offline)
    network = load_network("squeezenet1_1")
    assert network.weights == "IMAGENET1K_V1"
    assert torch.equal(network.model.classifier[1].weight, model.classifier[1].weight)


def test_damaged_cache_is_named(offline):
    offline.parent.mkdir(parents=True)
    offline.write_bytes(b"half a file")
    with pytest.raises(ModelError, match=rf"cannot be loaded .*{offline.name}, it is damaged; del"):
        load_network("squeezenet1_1")


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_auto_device(monkeypatch, cuda, mps, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto") == torch.device(found)
    assert find_device("cpu") == torch.device("cpu")
    if cuda:
        assert find_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(ModelError, match="device 'cuda:1' is not available: choose auto, cuda"):
            find_device("cuda:1")


@pytest.mark.parametrize("spec", ["cuda", "mps", "tpu", "meta", "", "gpu"])
def test_device_that_is_not_there(monkeypatch, spec):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=rf"device '{spec}' is not available: choose auto, cpu$"):
        load_network("demo", device=spec)
