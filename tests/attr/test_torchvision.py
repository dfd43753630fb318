"""Every torchvision classification network: the right map in every bit, or an error.

Random weights, in large layers the same few over and over, which are drawn sooner: what is tested
is the walk from the scores to the image, which trained weights would not change. Networks of more
than ``LARGEST`` parameters are left out; each of them differs from a smaller one of its family in
its sizes only.
"""

import functools

import pytest
import torch
from messages import warned
from methods import METHODS
from networks import make
from reference import rectifier_calls, reference_gradient
from torch import Tensor
from torchvision import models

from captum_guided_ext import NoRectifierError

FEW = 99_991  # a prime: rows of a matrix differ
LARGEST = 150_000_000
TOO_LARGE = {"convnext_large", "regnet_y_128gf", "vit_h_14", "vit_l_16", "vit_l_32"}

# Family by family: how the names begin
RECTIFIED = [
    "alexnet", "densenet", "googlenet", "inception_v3", "mnasnet", "mobilenet_v2", "mobilenet_v3",
    "regnet_x", "regnet_y", "resnet", "resnext", "shufflenet_v2", "squeezenet", "vgg",
    "wide_resnet",
]  # fmt: skip
WITHOUT_A_RECTIFIER = ["convnext", "efficientnet", "maxvit", "swin", "vit"]
# Images that are large enough; for all others, 64 is
SIZES = {"inception_v3": 96, "maxvit": 224, "vit": 224}
# Rectifiers next to other activations, which no rule of the papers is about
MIXED = {"mobilenet_v3": "Hardswish", "regnet_y": "Sigmoid"}


def family(name, families):
    found = [beginning for beginning in families if name.startswith(beginning)]
    assert len(found) <= 1
    return found[0] if found else None


ALL = models.list_models(module=models)
NAMES = [name for name in ALL if name not in TOO_LARGE]
NAMES_RECTIFIED = [name for name in NAMES if family(name, RECTIFIED)]
NAMES_WITHOUT = [name for name in NAMES if family(name, WITHOUT_A_RECTIFIER)]


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch):
    """Draw the beginning of a large tensor only, and repeat it."""

    def repeated(draw, tensor, *arguments, **options):
        drawn, *rest = tensor.view(-1).split(FEW) if tensor.numel() > FEW else [tensor]
        draw(drawn, *arguments, **options)
        for part in rest:
            part.copy_(drawn[: len(part)])
        return tensor

    for name in ("normal_", "uniform_"):
        quicker = functools.partialmethod(functools.partial(repeated, getattr(Tensor, name)))
        monkeypatch.setattr(Tensor, name, quicker)


def network_and_image(name):
    size = SIZES.get(family(name, RECTIFIED + WITHOUT_A_RECTIFIER), 64)
    # these two warn that their own initialisation is slow, unless they are told what to do
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return make(lambda: models.get_model(name, weights=None, **options), (1, 3, size, size))


def test_the_table_covers_every_network_once():
    assert sorted(NAMES_RECTIFIED + NAMES_WITHOUT) == sorted(NAMES)
    assert (len(NAMES_RECTIFIED), len(NAMES_WITHOUT)) == (52, 23)


@pytest.mark.parametrize("name", ALL)
def test_only_networks_above_the_stated_size_are_left_out(name):
    parameters = models.get_model_weights(name).DEFAULT.meta["num_params"]
    assert (parameters > LARGEST) is (name in TOO_LARGE)


@pytest.mark.parametrize("name", NAMES_RECTIFIED)
def test_equals_the_reference(name):
    model, x = network_and_image(name)
    maps = {}
    for rule, method in METHODS.items():
        expected = maps[rule] = reference_gradient(model, x, rule, target=7)
        assert expected.any()
        assert expected.isfinite().all()
        got, messages = warned(lambda method=method: method(model).attribute(x, target=7))
        named = MIXED.get(family(name, RECTIFIED))
        assert [named in message for message in messages] == [True] * (named is not None)
        assert torch.equal(got, expected)
    assert not torch.equal(maps["guided"], maps["deconvolution"])


@pytest.mark.parametrize("name", NAMES_WITHOUT)
def test_is_refused_without_a_rectifier(name):
    model, x = network_and_image(name)
    for method in METHODS.values():
        with pytest.raises(NoRectifierError, match=r"GELU|SiLU"):
            method(model).attribute(x, target=7)


def test_swin_v2_has_rectifiers_that_never_see_the_image():
    model, x = network_and_image("swin_v2_t")
    assert len(rectifier_calls(model, x)) == 12
    gradient = reference_gradient(model, x, "gradient", target=7)
    for rule in METHODS:
        assert torch.equal(reference_gradient(model, x, rule, target=7), gradient)
