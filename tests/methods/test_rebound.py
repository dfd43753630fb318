"""The same methods of a copy of the model: each explains the copy, or says why it cannot."""

import copy
import functools
import sys

import captum.attr as ca
import pytest
import torch
from networks import Conv, seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.methods import CAPTUM_METHODS, MethodSet

X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
TARGET = [1, 2]
NO_COPY = "runs the network that it was made with, and cannot be asked about a copy"


class AsModule(nn.Module):
    """Conv, with its rectifiers as modules, which DeepLift needs."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU())
        self.last = nn.Linear(6, 4)

    def forward(self, x):
        return self.last(self.features(x).mean((2, 3)))


def pair(build=AsModule):
    """Return a model, a copy of it with other weights, and the memo of the copy."""
    model, memo = seeded(build), {}
    other = copy.deepcopy(model, memo)
    other.load_state_dict(seeded(build, seed=1).state_dict())
    return model, other, memo


def maps(methods):
    forward_pass = methods.forward_pass(X)
    return methods.maps(forward_pass, TARGET, methods.seeds(0, [0, 1], [0]))


def captums(model):
    """Return methods of Captum's kind, which hold the model each in its own way."""
    layer = model.features[2]
    return {
        "saliency": ca.Saliency(model),
        "tunnel": ca.NoiseTunnel(ca.Saliency(model)),
        "bound": ca.IntegratedGradients(model).attribute,
        "partial": functools.partial(ca.IntegratedGradients(model).attribute, n_steps=5),
        "spec": cg.MethodSpec(ca.IntegratedGradients(model), 0.5),
        "cam": cg.attr.GuidedGradCam(model, layer),
        "ruled": cg.with_rule(ca.IntegratedGradients(model), "guided"),
        "deep_lift": ca.DeepLift(model),
        "function of the model": functools.partial(gradient_of, model),
    }


def gradient_of(model, x, target):
    x = x.requires_grad_()
    return torch.autograd.grad(model(x)[range(len(x)), target].sum(), x)[0]


@pytest.mark.filterwarnings("ignore:the .* is zero everywhere:UserWarning")
@pytest.mark.filterwarnings("ignore:Setting (forward|backward):UserWarning")
def test_each_method_explains_the_copy():
    model, other, memo = pair()
    names = [*CAPTUM_METHODS, "gradient", "deconvolution", "guided_backprop", "grad_cam"]
    asked = {name: name for name in names}
    before = MethodSet(model, asked | captums(model))
    expected, reasons = maps(MethodSet(other, asked | captums(other)))
    assert not reasons
    original, _ = maps(before)
    found, reasons = maps(before.rebound(other, memo))
    assert not reasons
    assert list(found) == list(expected)
    for name, one in found.items():
        torch.testing.assert_close(one, expected[name], rtol=0, atol=0)
        assert not torch.equal(one, original[name]), name
    again, _ = maps(before)
    assert all(torch.equal(again[name], original[name]) for name in original)


def test_a_copy_that_nobody_has_asked_before():
    # DeepLift watches the calls of modules itself, within the watch over what a method runs.
    model, memo = seeded(AsModule), {}
    other = copy.deepcopy(model, memo)
    found, reasons = maps(MethodSet(model, ["deep_lift"]).rebound(other, memo))
    assert not reasons
    torch.testing.assert_close(found, maps(MethodSet(model, ["deep_lift"]))[0], rtol=0, atol=0)
    assert sys.getprofile() is None


def test_what_runs_the_original_is_refused_and_said():
    model, other, memo = pair()
    around = MethodSet(
        model,
        {
            "lambda": ca.Saliency(lambda x: model(x)),  # noqa: PLW0108 - that is the point
            "function": lambda x, target: gradient_of(model, x, target),
            "partly": ca.Saliency(lambda x: model.last(model.features(x).mean((2, 3)))),
            "no model": lambda x, target: x * 2,
            "gradient": "gradient",
        },
    ).rebound(other, memo)
    for _ in range(2):  # the second time as well
        found, reasons = maps(around)
        assert list(reasons) == ["lambda", "function", "partly"]
        assert all(NO_COPY in reason for reason in reasons.values())
        assert list(found) == ["no model", "gradient"]
        assert torch.equal(found["no model"], X * 2)


def test_what_reads_weights_of_the_original_without_a_call_is_refused():
    model, other, memo = pair()
    first, own = model.features[0], torch.ones(1)
    methods = {
        "functional": ca.Saliency(lambda x: nn.functional.conv2d(x, first.weight).mean((2, 3))),
        "forward": ca.Saliency(lambda x: model.last.forward(x.mean((2, 3)).repeat(1, 2))),
        "values": lambda x, target: x * first.weight.detach().sum(),
        "own weights": lambda x, target: x * own,
    }
    found, reasons = maps(MethodSet(model, methods).rebound(other, memo))
    assert list(found) == ["own weights"]
    assert all(NO_COPY in reason for reason in reasons.values())


def test_the_layer_is_that_of_the_copy():
    model, other, memo = pair()
    given = MethodSet(model, ["grad_cam"], layer=model.features[0])
    (expected,) = maps(MethodSet(other, ["grad_cam"], layer="features.0"))[0].values()
    found, _ = maps(given.rebound(other, memo))
    assert torch.equal(found["grad_cam"], expected)
    strange = MethodSet(model, ["grad_cam", "gradient"], layer=nn.Conv2d(3, 3, 1))
    found, reasons = maps(strange.rebound(other, memo))
    assert list(found) == ["gradient"]
    assert reasons == {"grad_cam": "Grad-CAM's layer is no part of the model"}


def test_under_a_profiler_it_is_not_known_what_a_method_runs():
    model, other, memo = pair()
    methods = MethodSet(model, {"saliency": ca.Saliency(model)}).rebound(other, memo)
    sys.setprofile(lambda *_: None)
    try:
        found, reasons = maps(methods)
    finally:
        sys.setprofile(None)
    assert not found
    assert "a profiler is at work" in reasons["saliency"]
    assert list(maps(methods)[0]) == ["saliency"]


def test_the_original_is_left_alone():
    model, other, memo = pair(Conv)
    methods = MethodSet(model, ["guided_backprop", "smooth_grad", "grad_cam"]).rebound(other, memo)
    calls = model.calls
    maps(methods)
    assert model.calls == calls
    assert not any(module._forward_hooks for module in model.modules())
