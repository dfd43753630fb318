"""A newer Captum or torch that has renamed a private part: what still works, and what is said."""

import importlib
import re

import pytest
import torch
from networks import perceptron, seeded
from programs import python
from sources import SOURCES
from torch import nn

import captum_guided_ext
from captum_guided_ext import _captum
from captum_guided_ext.errors import CaptumVersionError

HELPERS = [
    (_captum._COMMON if module == "_COMMON" else module.strip('"'), name)
    for module, name in re.findall(r' = _helper\(\s*([\w".]+), "(\w+)"', SOURCES[_captum.__name__])
]


def test_every_helper_is_found():
    assert len(HELPERS) == 20
    for module, name in HELPERS:
        assert hasattr(importlib.import_module(module), name)
    for name in _captum.__all__:
        assert not isinstance(getattr(_captum, name), _captum._Missing)


@pytest.mark.parametrize(("module", "name"), HELPERS)
def test_a_missing_helper_is_named_where_it_is_used(module, name, monkeypatch):
    monkeypatch.delattr(importlib.import_module(module), name)
    stand_in = _captum._helper(module, name)
    words = rf"has no {module}\.{name}, .* this Captum is too new .* \"captum==0\.9"
    for use in (
        lambda: stand_in(1, key=2),
        lambda: stand_in.repeat_interleave,
        lambda: isinstance(3, stand_in),
    ):
        with pytest.raises(CaptumVersionError, match=words):
            use()


def test_a_missing_module_is_a_missing_helper():
    with pytest.raises(CaptumVersionError, match=r"has no captum\._utils\.nowhere\._f"):
        _captum._helper("captum._utils.nowhere", "_f")()


def test_without_any_helper_the_package_is_imported_and_says_what_is_missing():
    # Captum itself needs them, so they go after it has been imported.
    code = f"""
import importlib, torch, captum.attr, captum.metrics
for module, name in {HELPERS}:
    delattr(importlib.import_module(module), name)
import captum_guided_ext as cg, captum_guided_ext.demo
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
try:
    cg.GuidedBackprop(net).attribute(torch.ones(1, 2), target=0)
except cg.errors.CaptumVersionError as error:
    print(error)
print(cg.GuidedReLU.convert(net)[1], cg.demo.load_demo_network()(torch.zeros(1, 3, 96, 96)).shape)
"""
    said, works = python("-c", code).stdout.splitlines()
    assert "this Captum is too new for captum_guided_ext" in said
    assert works == "GuidedReLU(guided) torch.Size([1, 6])"


@pytest.mark.parametrize(
    "name",
    [
        "torch._C._jit_pass_lower_graph",
        "torch._C._jit_pass_inline",
        "torch._C._create_function_from_graph",
        "torch._C.ScriptModule",
        "torch.jit._fuser.optimized_execution",
    ],
)
def test_without_a_part_of_torchscript_only_scripts_are_refused(name, monkeypatch):
    net = seeded(lambda: perceptron(features=3, classes=2))
    x = torch.rand(2, 3)
    expected = captum_guided_ext.GuidedBackprop(net).attribute(x, 1)
    scripted = nn.Sequential(torch.jit.script(net[:2]), net[2])
    for _ in range(3):
        scripted(x.requires_grad_()).sum().backward()  # the second call on is one opaque node
    monkeypatch.delattr(name)
    assert torch.equal(captum_guided_ext.GuidedBackprop(net).attribute(x, 1), expected)
    with pytest.raises(captum_guided_ext.OpaqueGraphError, match="a scripted module"):
        captum_guided_ext.GuidedBackprop(scripted).attribute(x, 1)


def test_without_torchscripts_classes_eager_networks_are_explained():
    code = """
import torch, captum_guided_ext as cg
del torch.jit.ScriptModule, torch.jit.ScriptFunction
net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
torch.nn.init.ones_(net[0].weight)
x = torch.ones(1, 2)
print(cg.rectifiers(net, x))
print(tuple(cg.GuidedBackprop(net).attribute(x, 0).shape))
"""
    assert python("-c", code).stdout == "overridden: 1 ReLU\n(1, 2)\n"


def test_torchscript_is_in_one_file():
    parts = re.compile(r"torch\.jit\.(?!script\))|_jit_|_C\.S")
    users = [module for module, source in SOURCES.items() if parts.search(source)]
    assert users == ["captum_guided_ext.autograd._scripts"]
