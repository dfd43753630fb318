"""Parameters from a local file, however it was written, and files that do not fit."""

import re
from argparse import Namespace

import pytest
import torch
from torch import nn
from torchvision import models

from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import load_network

IMAGENET = tuple(models.ResNet50_Weights.DEFAULT.meta["categories"])


def wrapped(key, prefix=""):
    return lambda state: {key: prefixed(prefix)(state), "epoch": 3}


def prefixed(prefix):
    return lambda state: {prefix + name: value for name, value in state.items()}


def aged(state):
    """Name layers as the files of DenseNet do that torchvision still offers."""
    pattern = r"(denselayer\d+\.(?:norm|conv))([12])\."
    old = {re.sub(pattern, r"\1.\2.", name): value for name, value in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    return old


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("shufflenet_v2_x0_5", wrapped("state_dict", "module.")),
        ("shufflenet_v2_x0_5", wrapped("model", "_orig_mod.")),
        ("shufflenet_v2_x0_5", wrapped("model_state_dict")),
        ("shufflenet_v2_x0_5", prefixed("module.")),
        ("densenet121", aged),
    ],
)
def test_wrappings_prefixes_and_old_names(saved, name, change):
    model, file = saved(name, change)
    network = load_network(name, checkpoint=file)
    torch.testing.assert_close(network.model.state_dict(), model.state_dict(), rtol=0, atol=0)
    assert network.classes == IMAGENET


GOOGLENET = {"init_weights": False, "transform_input": True}  # as for torchvision's own weights


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("squeezenet1_1", {"num_classes": 7}),
        ("mobilenet_v3_small", {"num_classes": 7}),
        ("shufflenet_v2_x0_5", {"num_classes": 7}),
        ("googlenet", GOOGLENET | {"aux_logits": True}),
        ("googlenet", GOOGLENET | {"aux_logits": False}),
    ],
)
def test_the_network_is_built_as_the_file_needs_it(saved, name, config):
    model, file = saved(name, **config)
    network = load_network(name, checkpoint=file)
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.model(inputs), model(inputs))
    assert network.classes == (() if "num_classes" in config else IMAGENET)
    assert network.category(6) == ("class 6" if "num_classes" in config else IMAGENET[6])


def test_a_file_that_does_not_exist(tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ModelError, match=r"weight\.pth does not exist; the nearest is weights"):
        load_network("squeezenet1_1", checkpoint=tmp_path / "weight.pth")


UNREADABLE = [b"", b"not a checkpoint", b"PK\x03\x04 cut short"]
OTHERS = [torch.zeros(3), {}, {"epoch": 3}, [1], {3: torch.zeros(1)}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        *((one, r"cannot be read \(.*torch\.save\(model") for one in UNREADABLE),
        (
            nn.Linear(2, 2),
            (
                r"cannot be read \(it is a pickle that needs code, torch\.nn\.modules\.linear\.Line"
                r"ar, and code from a file is not run\): write the parameters alone, with torch\.s"
            ),
        ),
        ({"args": Namespace()}, r"cannot be .* needs code, argparse\.Namespace, and"),
        *((one, rf"is not a state_dict .* but a {type(one).__name__}: write") for one in OTHERS),
    ],
)
def test_a_file_without_parameters(tmp_path, content, words):
    file = tmp_path / "broken.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(content, file)
    with pytest.raises(ModelError, match=rf"broken\.pth {words}") as caught:
        load_network("squeezenet1_1", checkpoint=file)
    assert str(caught.value).isprintable()  # one line, and no escape codes of a terminal
    assert "weights_only" not in str(caught.value)  # torch advises to let the file run code


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(ModelError, match=r"cannot be read \(Is a directory\)$"):
        load_network("squeezenet1_1", checkpoint=tmp_path)


def test_a_file_of_another_shape(saved):
    def change(state):
        state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
        del state["features.3.squeeze.bias"]
        return state | {"extra": torch.zeros(1)}

    _, file = saved("squeezenet1_1", change)
    message = (
        r"squeezenet1_1\.pth does not fit squeezenet1_1: 3 entries differ, first: "
        r"features\.0\.weight has shape \(64, 1, 3, 3\) and not \(64, 3, 3, 3\)"
    )
    with pytest.raises(ModelError, match=message):
        load_network("squeezenet1_1", checkpoint=file)


def test_a_file_of_another_network(saved):
    _, file = saved("shufflenet_v2_x0_5")
    with pytest.raises(ModelError, match=r"first: features\.0\.weight is missing"):
        load_network("squeezenet1_1", checkpoint=file)
