"""Networks of one's own: what a function, a class or a module in the current folder gives."""

import sys

import pytest
import torch
from picture_files import noise

from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import load_network

OWN = """
from torch import nn
from torchvision.transforms import CenterCrop, Compose, ToTensor
from captum_guided_ext.networks import Network

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())

def network():
    cut = Compose([CenterCrop(8), ToTensor()])
    return Network(build(), cut, ("cat", "dog"), name="cats and dogs", weights="mine")

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 2, 1)

made = Net()
number = lambda: 3
needs = lambda size: build()

def function():
    model = build().eval()
    return lambda x: model(x).mean((2, 3))

class Wide(nn.Conv2d):
    pass

def scores(x):
    return x.mean((2, 3))

def pair():
    return build(), str

def fails():
    return 1 / 0

text = "resnet50"
"""
UNKNOWN = "no preprocessing is known for ours:.*it gets pixels in .0, 1. at the picture's own size"


@pytest.fixture(autouse=True)
def _own_module(tmp_path, monkeypatch):
    """Write a module into the current folder; it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours.py").write_text(OWN)
    yield
    sys.modules.pop("ours", None)


def test_factory_of_a_plain_module():
    path = list(sys.path)
    with pytest.warns(UserWarning, match=UNKNOWN) as caught:
        network = load_network("ours:build")
    assert "--mean, --std, --size and --crop" in str(caught[0].message)
    assert caught[0].filename == __file__
    assert (network.name, network.classes) == ("ours:build", ())
    assert "gets pixels in [0, 1]" in network.assumption
    assert not network.model[1].training
    assert network.prepare(noise(31, 17)).shape == (3, 17, 31)
    assert sys.path == path


def test_numbers_that_are_given_leave_nothing_unknown():
    network = load_network(
        "ours:build", overrides={"mean": (0.5, 0.4, 0.3), "std": 0.25, "crop": 8}
    )
    assert network.assumption == ""
    assert network.preprocessing == (
        "at its own size; centre 8 x 8; pixels in [0, 1], mean 0.5, 0.4, 0.3, std 0.25"
    )


def test_factory_of_a_function():
    with pytest.warns(UserWarning, match=UNKNOWN):
        network = load_network("ours:function")
    x = torch.rand(2, 3, 6, 6)
    assert network.model(x).shape == (2, 4)
    assert network.name == "ours:function"
    with pytest.raises(ModelError, match="is a function, which no checkpoint can be read into"):
        load_network("ours:function", checkpoint="own.pth")


def test_factory_of_a_network():
    network = load_network("ours:network")
    found = (network.name, network.classes, network.weights, network.prepare(noise(9, 12)).shape)
    assert found == ("cats and dogs", ("cat", "dog"), "mine", (3, 8, 8))
    assert not network.model.training


@pytest.mark.parametrize("attribute", ["Net", "made"])
def test_a_class_or_a_module_does_as_a_factory(attribute):
    with pytest.warns(UserWarning, match=UNKNOWN):
        network = load_network(f"ours:{attribute}")
    assert type(network.model).__name__ == "Net"


def test_factory_with_a_checkpoint(tmp_path):
    state = {"module.0.weight": torch.ones(4, 3, 3, 3), "module.0.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "own.pth")
    with pytest.warns(UserWarning, match=UNKNOWN):
        network = load_network("ours:build", checkpoint=tmp_path / "own.pth")
    assert network.weights == "checkpoint own.pth"
    assert torch.equal(network.model[0].weight, torch.ones(4, 3, 3, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ours:biuld", r"module 'ours' has no 'biuld'; the nearest is build"),
        (
            "ours:xyzzy",
            (
                r"has no 'xyzzy'; choose from build, network, Net, made, number, needs, functio"
                r"n, Wide, scores, pair, fails$"
            ),
        ),
        (
            "ours:number",
            r"returned a int: it must return a torch\.nn\.Module, a function, or a cap",
        ),
        (
            "ours:pair",
            r"returned a tuple: it must .*Network\(model, transform=\.\.\., classes=\.\.\.\)",
        ),
        ("ours:needs", r"cannot be called without arguments \(missing a required .*'size'\), as a"),
        ("ours:scores", r"If it is the network itself, name a function that returns it; if it mak"),
        ("ours:Wide", r"'ours:Wide' cannot be called without arguments"),
        ("ours:fails", r"'ours:fails' failed when called \(ZeroDivisionError: division by zero\)"),
        ("ours:text", r"'ours:text' is a str: name a torch\.nn\.Module, a Network, or a function"),
        ("tim:resnet18", r"cannot import 'tim' of .*; the nearest is timm"),
        ("xours:build", r"ModuleNotFoundError: No module named 'xours'\); the nearest is ours"),
        ("broken:build", r"cannot import 'broken' of .*ZeroDivisionError"),
    ],
)
def test_factories_that_cannot_be_used(tmp_path, name, message):
    (tmp_path / "broken.py").write_text("1 / 0")
    with pytest.raises(ModelError, match=message):
        load_network(name)
