"""timm's networks by name: their preprocessing, their class names, files and folders of theirs."""

import re

import pytest
import torch
from picture_files import noise
from PIL import Image
from torchvision import models
from unchanged import nothing_changed

from captum_guided_ext import explain
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import Preprocessing, load_network

timm = pytest.importorskip("timm", reason="timm is not installed")

PICTURES = [noise(*size) for size in ((300, 451), (641, 301), (90, 71), (256, 256))]


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path):
    """Save a network with random parameters in a folder as timm does; return both."""

    def save(name, **config):
        torch.manual_seed(0)
        overlay, names = config.pop("overlay", None), config.pop("names", None)
        model = timm.create_model(name, pretrained_cfg_overlay=overlay, **config).eval()
        timm.models.save_for_hf(model, tmp_path / name, names, safe_serialization=True)
        return model, tmp_path / name

    return save


@pytest.mark.parametrize(
    ("name", "overlay", "words"),
    [
        ("test_resnet", None, "shorter side to 168, bilinear; centre 160 x 160; .* mean 0.5, "),
        ("test_vit", None, "shorter side to 168, bicubic; centre 160 x 160; .* mean 0.5, 0.5"),
        ("resnet10t", None, "shorter side to 201, bicubic; centre 176 x 176; .* mean 0.485, 0.456"),
        (
            "test_resnet",
            {"crop_mode": "squash", "crop_pct": 1.0, "mean": (0, 0.1, 0.2), "std": (1, 0.5, 0.25)},
            "resized to 160 x 160, bilinear; .* mean 0, 0.1, 0.2, std 1, 0.5, 0.25",
        ),
        ("test_resnet", {"crop_mode": "border"}, "ResizeKeepRatio"),
    ],
)
def test_the_transform_is_timms_own(folder, name, overlay, words):
    model, path = folder(name, overlay=overlay)
    network = load_network(f"timm:{path}")
    config = timm.data.resolve_data_config({}, model=model)
    transform = timm.data.create_transform(**config)
    for picture in PICTURES:
        assert torch.equal(network.prepare(picture), transform(picture))
    assert re.search(words, network.preprocessing)
    assert network.assumption == ""


def test_numbers_that_say_the_same_can_be_overridden(folder):
    _, path = folder("test_resnet")
    network = load_network(f"timm:{path}", overrides={"size": 96, "crop": 64})
    expected = Preprocessing(96, 64, "bilinear", (0.5,) * 3, (0.5,) * 3)
    assert torch.equal(network.prepare(PICTURES[0]), expected(PICTURES[0]))
    _, path = folder("test_resnet", overlay={"crop_mode": "border"})
    with pytest.raises(ModelError, match=r"has a transform of its own .*size cannot be changed fr"):
        load_network(f"timm:{path}", overrides={"size": 96})


def test_a_folder_is_loaded_and_explained(folder):
    model, path = folder("test_resnet", num_classes=7)
    network = load_network(f"timm:{path}")
    assert network.name == f"timm:{path}"
    assert network.weights == f"folder {path}"
    assert network.classes == ()
    assert not network.model.training
    with torch.no_grad():
        x = torch.rand(1, 3, 64, 64)
        assert torch.equal(network.model(x), model(x))
    with nothing_changed(network.model):
        found = explain(network, PICTURES[2])
    assert found.layer == "layer4"
    assert "guided_grad_cam" in found.maps


def test_the_names_are_imagenets(folder):
    names = models.ResNet50_Weights.DEFAULT.meta["categories"]
    _, path = folder("test_resnet")
    classes = load_network(f"timm:{path}").classes
    assert len(classes) == 1000
    # torchvision has the first name of most, and tells both cranes and both maillots apart
    first = [name.split(",")[0].casefold() for name in classes]
    same = [ours == theirs.casefold() for ours, theirs in zip(first, names, strict=True)]
    assert sum(same) > 980
    own = {"label_names": ["n1", "n2"], "label_descriptions": {"n2": "dog"}}
    _, path = folder("test_vit", num_classes=2, names=own)
    assert load_network(f"timm:{path}").classes == ("n1", "dog")
    _, path = folder("test_vit", num_classes=3, names={"label_names": {0: "cat", 2: "dog"}})
    assert load_network(f"timm:{path}").classes == ("cat", "class 1", "dog")
    _, path = folder("resnet10t", overlay={"tag": "mine"})
    assert load_network(f"timm:{path}").classes == ()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("classes", [7, 1000])
def test_a_checkpoint(tmp_path, folder, suffix, classes):
    model, path = folder("test_resnet", num_classes=classes)
    file = path / "model.safetensors"
    if suffix == ".pth":
        file = tmp_path / "own.pth"
        torch.save({"state_dict": model.state_dict()}, file)
    network = load_network("timm:test_resnet", checkpoint=file)
    assert network.weights == f"checkpoint {file.name}"
    assert len(network.classes) == (1000 if classes == 1000 else 0)
    torch.testing.assert_close(network.model.state_dict(), model.state_dict(), rtol=0, atol=0)
    names = [f"c{i}" for i in range(classes)]
    assert load_network("timm:test_resnet", checkpoint=file, classes=names).classes[-1] == names[-1]
    with pytest.raises(ModelError, match=rf"has {classes} outputs and 2 class names"):
        load_network("timm:test_resnet", checkpoint=file, classes=["a", "b"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet19", r"timm has no network called 'resnet19', nor is it a folder; the nearest"),
        ("resnet18.a1_in2k", r"choose from resnet18\.a1_in1k, .*resnet18\.tv_in1k$"),
        ("test_resnet", r"the weights of timm:test_resnet cannot be had .*--checkpoint FILE\), or"),
        ("resnet18", r"save_for_hf has written, as timm:FOLDER$"),
        ("hf-hub:someone/somenet", "cannot be had"),
        ("nowhere:resnet18", "timm has no network called 'nowhere:resnet18'"),
    ],
)
def test_what_cannot_be_had(name, words):
    with pytest.raises(ModelError, match=words) as caught:
        load_network(f"timm:{name}")
    assert "\n" not in str(caught.value)


def test_folders_of_something_else(tmp_path, folder):
    with pytest.raises(
        ModelError, match=r"timm cannot make a network of the folder .*config\.json"
    ):
        load_network(f"timm:{tmp_path}")
    _, path = folder("test_resnet", num_classes=0)
    with pytest.raises(ModelError, match="has no classes: it returns features, and no scores"):
        load_network(f"timm:{path}")


def test_a_choice_of_weights_is_part_of_the_name():
    with pytest.raises(ModelError, match="timm:resnet18 has no choice of weights: leave out '"):
        load_network("timm:resnet18", weights="a1_in1k")


def test_loading_draws_nothing_from_the_global_generator(folder):
    _, path = folder("test_resnet")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    load_network(f"timm:{path}")
    assert torch.equal(torch.get_rng_state(), before)


def test_grey_networks_get_grey_pictures(folder):
    _, path = folder("test_resnet", in_chans=1, num_classes=2)
    if int(timm.__version__.split(".")[2]) < 31:  # has folders hold networks of three channels
        with pytest.raises(ModelError, match="cannot make a network of the folder"):
            load_network(f"timm:{path}")
        return
    network = load_network(f"timm:{path}")
    assert network.mode == "L"
    assert network.prepare(Image.new("RGB", (50, 40), "white")).shape == (1, 160, 160)
