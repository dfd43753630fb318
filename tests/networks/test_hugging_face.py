"""transformers' image classifiers: their processors, their class names, folders of theirs."""

import json

import pytest
import torch
from picture_files import noise
from PIL import Image
from unchanged import nothing_changed

from captum_guided_ext import GuidedGradCam, compare, explain
from captum_guided_ext.attr import METHODS
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import Preprocessing, load_network

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

PICTURES = [noise(*size) for size in ((300, 451), (641, 301), (90, 71), (256, 256))]
CUT = transformers.ConvNextImageProcessor(
    size={"shortest_edge": 64}, crop_pct=0.8, resample=Image.Resampling.BICUBIC
)


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def resnet(**config):
    made = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic", **config
    )
    return transformers.ResNetForImageClassification(made)


def convnext(**config):
    made = transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], **config)
    return transformers.ConvNextForImageClassification(made)


def vit(**config):
    made = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        image_size=64, **config,
    )  # fmt: skip
    return transformers.ViTForImageClassification(made)


@pytest.fixture
def folder(tmp_path):
    """Save a network with random parameters, and a processor; return the network and its folder."""

    def save(make=resnet, processor=CUT, **config):
        torch.manual_seed(0)
        model = make(**config).eval()
        path = tmp_path / "network"
        model.save_pretrained(path)
        if processor is not None:
            processor.save_pretrained(path)
        return model, path

    return save


SQUASHED = transformers.ViTImageProcessor(size={"height": 64, "width": 80})
SCALED = transformers.ViTImageProcessor(
    size={"height": 64, "width": 64}, rescale_factor=1 / 127.5, do_normalize=False
)
CLIPS = transformers.CLIPImageProcessor(
    size={"shortest_edge": 70}, crop_size={"height": 64, "width": 60}
)
SWAPPED = transformers.MobileViTImageProcessor(size={"shortest_edge": 70})  # BGR
PROCESSORS = {
    "cut": (CUT, "shorter side to 80, bicubic; centre 64 x 64; pixels in [0, 1], mean 0.5, "),
    "squashed": (SQUASHED, "resized to 80 x 64, bilinear; pixels in [0, 1], mean 0.5, 0.5, 0.5, s"),
    "scaled": (SCALED, "resized to 64 x 64, bilinear; pixels in [0, 1], mean 0, std 0.5"),
    "clip's": (CLIPS, "shorter side to 70, bicubic; centre 60 x 64; pixels in [0, 1], mean 0.48"),
    "swapped": (SWAPPED, "as the MobileViTImageProcessor of transformers does it"),
}


@pytest.mark.parametrize(("processor", "words"), PROCESSORS.values(), ids=PROCESSORS)
def test_the_transform_is_the_processors_own(folder, processor, words):
    _, path = folder(processor=processor)
    network = load_network(f"hf:{path}")
    assert network.preprocessing.startswith(words)
    assert network.assumption == ""
    for picture in PICTURES:
        expected = processor(images=picture, return_tensors="pt")["pixel_values"][0]
        assert torch.equal(network.prepare(picture), expected)


def test_numbers_that_say_the_same_can_be_overridden(folder):
    _, path = folder()
    network = load_network(f"hf:{path}", overrides={"mean": [0.1, 0.2, 0.3], "crop": 48})
    expected = Preprocessing(80, 48, "bicubic", (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))
    assert torch.equal(network.prepare(PICTURES[0]), expected(PICTURES[0]))
    _, path = folder(processor=SWAPPED)
    with pytest.raises(
        ModelError, match=r"does it\), of which mean cannot be changed from outside"
    ):
        load_network(f"hf:{path}", overrides={"mean": 0.5})


def test_without_a_processor_the_preprocessing_is_unknown(folder):
    _, path = folder(processor=None)
    with pytest.warns(UserWarning, match="no preprocessing is known for hf:.*network: it gets pix"):
        network = load_network(f"hf:{path}")
    assert network.assumption
    assert network.prepare(PICTURES[2]).shape == (3, 71, 90)
    assert load_network(f"hf:{path}", overrides={"size": 64}).assumption == ""


PLAIN = ("gradient", "input_x_gradient")
MADE = {
    "resnet": (resnet, "resnet.encoder.stages.1", METHODS),
    "convnext": (convnext, "convnext.encoder.stages.2", (*PLAIN, "grad_cam")),  # GELU
    "vit": (vit, "vit", PLAIN),  # tokens
}


@pytest.mark.parametrize(("make", "layer", "methods"), MADE.values(), ids=MADE)
def test_the_maps_are_those_of_the_logits(folder, make, layer, methods):
    _, path = folder(make)
    model = load_network(f"hf:{path}").model
    layer = model.get_submodule(layer)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    options = {"target": [0, 1], "methods": methods, "metrics": (), "layer": layer}
    with nothing_changed(model, x):
        found = compare(model, x, **options)
    alone = compare(lambda x: model(x).logits, x, **options)
    assert set(found.maps) == set(methods)
    for method in methods:
        assert torch.equal(found.maps[method], alone.maps[method])


def test_a_layer_is_found_by_itself_and_by_name(folder):
    _, path = folder(num_labels=3, id2label={0: "cat", 1: "dog", 2: "zebra"})
    network = load_network(f"hf:{path}")
    with nothing_changed(network.model):
        found = explain(network, PICTURES[2], target="zebra")
    assert found.layer == "resnet.encoder.stages.1"
    assert set(found.maps) == {*METHODS} - {"input_x_gradient"}
    x = torch.rand(1, 3, 64, 64)
    assert GuidedGradCam(network.model, "resnet.encoder.stages.1").attribute(x, 0).any()


def test_a_network_without_rectifiers_gets_what_applies(folder):
    _, path = folder(vit)
    found = explain(
        load_network(f"hf:{path}"), PICTURES[2], methods=["gradient", "guided_backprop"]
    )
    assert set(found.maps) == {"gradient"}
    assert "guided_backprop" in found.reasons


def test_names_of_classes(folder):
    _, path = folder(num_labels=2, id2label={1: "dog", 0: "cat"})
    network = load_network(f"hf:{path}")
    assert network.classes == ("cat", "dog")
    assert network.name == f"hf:{path}"
    assert network.weights == f"folder {path}"
    assert load_network(f"hf:{path}", classes=["Katze", "Hund"]).classes == ("Katze", "Hund")
    with pytest.raises(ModelError, match="has 2 outputs and 3 class names"):
        load_network(f"hf:{path}", classes=["a", "b", "c"])


def test_made_up_names_are_none(folder):
    _, path = folder(num_labels=4)
    assert load_network(f"hf:{path}").classes == ()


def test_a_checkpoint(folder, tmp_path):
    model, path = folder()
    state = {name: value + 1 for name, value in model.state_dict().items()}
    torch.save({f"module.{name}": value for name, value in state.items()}, tmp_path / "own.pth")
    network = load_network(f"hf:{path}", checkpoint=tmp_path / "own.pth")
    assert network.weights == "checkpoint own.pth"
    torch.testing.assert_close(network.model.state_dict(), state, rtol=0, atol=0)


def test_half_precision_is_widened(folder):
    model, path = folder()
    model.half().save_pretrained(path)
    network = load_network(f"hf:{path}")
    assert {value.dtype for value in network.model.parameters()} == {torch.float}


def test_a_network_for_something_else_is_refused(folder):
    model, path = folder()
    model.resnet.save_pretrained(path)
    with pytest.raises(
        ModelError, match=r"lacks 2 parameters of an image classifier, the first is"
    ):
        load_network(f"hf:{path}")


def test_code_that_comes_along_is_not_run(folder):
    _, path = folder()
    config = json.loads((path / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {
            "AutoConfig": "code.Config",
            "AutoModelForImageClassification": "code.Model",
        },
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "code.py").write_text(f"open({str(path / 'ran')!r}, 'w')")
    with pytest.raises(ModelError, match="cannot make an image classifier of the folder"):
        load_network(f"hf:{path}")
    assert not (path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("someone/network", r"hf:someone/network cannot be had .*save_pretrained\(FOLDER\), model"),
        ("./netwrk", r"it is no folder here; the nearest is network; fetch it"),
        ("network", r"cannot make an image classifier of the folder network \("),
    ],
)
def test_what_cannot_be_had(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "network").mkdir()
    with pytest.raises(ModelError, match=words) as caught:
        load_network(f"hf:{name}")
    assert "\n" not in str(caught.value)


def test_grey_pictures_for_one_channel(folder):
    processor = transformers.ViTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=[0.4], image_std=[0.2]
    )
    _, path = folder(processor=processor, num_channels=1)
    network = load_network(f"hf:{path}")
    assert network.mode == "L"
    picture = Image.new("RGB", (50, 40), "white")
    if int(transformers.__version__.partition(".")[0]) < 5:  # finds no channels in a grey picture
        with pytest.raises(ModelError, match="fails on a L picture of 50 x 40 pixels"):
            network.prepare(picture)
        return
    assert network.prepare(picture).unique().item() == pytest.approx(3)
    assert network.preprocessing.startswith(
        "resized to 64 x 64, bilinear; pixels in [0, 1], mean 0"
    )
