"""``fast=True``: what a faster copy of the network gives is nearly what the network gives."""

import gc
import weakref

import captum.attr
import pytest
import torch
from networks import seeded
from torch import nn
from unchanged import state_of

import captum_guided_ext as cg
from captum_guided_ext.errors import ModelError
from captum_guided_ext.evaluation import RandomizationMetric
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics import (
    NoisyBaseline,
    infidelity,
    sensitivity,
    sensitivity_max,
    sensitivity_mean,
)

X = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(3))
TARGET = [0, 1, 3]
METRICS = ("infidelity", "sensitivity_max", "deletion", "class_sensitivity", "ignored_share")
NEAR = {"rtol": 1e-3, "atol": 1e-5}


class Net(nn.Module):
    """Two convolutions with batch norms; of each network, the sizes of the batches it was shown."""

    shown = {}  # noqa: RUF012 - shared with copies, on purpose

    def __init__(self):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.second, self.second_norm = nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 4)
        with torch.no_grad():
            for one in (self.first_norm, self.second_norm):
                for values in (one.weight, one.bias, one.running_mean, one.running_var):
                    values.copy_(torch.rand(values.shape) / 2 + 0.2)
            self.head.weight.abs_()  # so that no Grad-CAM is zero everywhere

    def forward(self, x):
        self.shown.setdefault(self, []).append(len(x))
        x = self.first_norm(self.first(x)).relu()
        x = self.second_norm(self.second(x)).relu()
        return self.head(x.mean((2, 3)))


@pytest.fixture
def net():
    Net.shown.clear()
    yield seeded(Net)
    Net.shown.clear()


def same(before, after):
    assert before.keys() == after.keys()
    return all(
        torch.equal(one, after[name]) if isinstance(one, torch.Tensor) else one == after[name]
        for name, one in before.items()
    )


def by_place(found):
    return {(row.image, row.method, row.metric): row for row in found.rows}


def compared(net, **options):
    settings = {"metrics": METRICS, "n_perturb_samples": 4, "seed": 5}
    exact, fast = (cg.compare(net, X, TARGET, **settings | options, fast=f) for f in (False, True))
    return exact, fast


def assert_near(exact, fast):
    assert exact.layer == fast.layer
    assert exact.reasons == fast.reasons
    for name, one in exact.maps.items():
        torch.testing.assert_close(fast.maps[name], one, **NEAR)
    theirs = by_place(exact)
    assert theirs.keys() == by_place(fast).keys()
    for place, row in by_place(fast).items():
        assert (row.value is None) == (theirs[place].value is None)
        if row.value is not None:
            assert row.value == pytest.approx(theirs[place].value, rel=1e-3, abs=1e-5), place


@pytest.mark.parametrize("layer", [None, "first", "first_norm", "second", "second_norm"])
def test_compare(net, layer):
    before = state_of(net, X)
    exact, fast = compared(net, layer=layer)
    assert same(before, state_of(net, X))
    assert_near(exact, fast)
    # Grad-CAM's layer must keep its output: its batch norm is not folded into it.
    assert fast.fast.folded == (1 if layer in ("first", "second") else 2)
    assert fast.fast.channels_last
    assert 0 < fast.fast.disagreement < 1e-5
    assert exact.fast is None


def test_the_model_itself_runs_once(net):
    cg.compare(net, X, TARGET, metrics=METRICS, fast=True)
    assert Net.shown.pop(net) == [3]
    (copied,) = Net.shown.values()
    assert copied[:2] == [3, 3]  # to see what may be folded, and then for the maps
    Net.shown.clear()
    cg.compare(net, X, TARGET, metrics=METRICS)
    (exactly,) = Net.shown.values()
    assert exactly == copied[1:]


def test_no_copy_is_left(net, monkeypatch):
    monkeypatch.setattr(Net, "shown", weakref.WeakKeyDictionary())
    runs = []
    monkeypatch.setattr(Net, "forward", noted(Net.forward, runs))
    cg.compare(net, X, TARGET, fast=True)
    gc.collect()
    assert len(set(runs)) == 2
    assert list(Net.shown) == [net]


def noted(forward, runs):
    def forward_and_note(self, x):
        runs.append(id(self))
        return forward(self, x)

    return forward_and_note


def test_what_is_said(net):
    fast = cg.compare(net, X, TARGET, metrics=(), fast=True)
    said = (
        "fast arithmetic (2 batch norms folded, channels last): the network's outputs are within "
    )
    assert said in str(fast)
    assert fast.to_dict()["fast"] == fast.fast._asdict()
    assert "fast=True," in fast.to_html()
    exact = cg.compare(net, X, TARGET, metrics=())
    assert "fast" not in exact.to_dict()
    assert "fast=" not in exact.to_html()
    assert "fast arithmetic" not in str(exact)


def test_the_predicted_class_is_the_model_s(net, monkeypatch):
    forward_pass = MethodSet.forward_pass

    def other(methods, *arguments):
        found = forward_pass(methods, *arguments)
        if methods.model is not net:  # the copy
            found.output = found.output * (1 - 1e-5 * nn.functional.one_hot(highest, 4))
            predicted.append(found.output.argmax(1).tolist())
        return found

    predicted = []

    # A rounding decides which of two classes is the higher.
    with torch.no_grad():
        net.head.weight[1:] = net.head.weight[0]
        net.head.bias[1:] = net.head.bias[0] - 1e-6
    highest = net(X).argmax(1)
    monkeypatch.setattr(MethodSet, "forward_pass", other)
    found = cg.compare(net, X, "prediction", metrics=(), fast=True)
    assert found.target == highest.tolist()
    assert predicted
    assert highest.tolist() not in predicted


def test_objects_and_functions_run_what_they_were_made_with(net):
    methods = {
        "captum's": captum.attr.Saliency(net),
        "a function": lambda x, target: net(x).sum() * torch.ones_like(x),
        "guided_backprop": "guided_backprop",
        "smooth_grad": "smooth_grad",
    }  # fmt: skip
    exact, fast = compared(net, methods=methods, metrics=("sensitivity_max",))
    assert torch.equal(exact.maps["captum's"], fast.maps["captum's"])
    assert torch.equal(exact.maps["a function"], fast.maps["a function"])
    assert_near(exact, fast)


def test_weights_are_randomised_as_they_are(net):
    metric = RandomizationMetric(n_draws=1)
    exact, fast = compared(net, methods=["gradient"], metrics=[metric])
    assert by_place(exact) == by_place(fast)


MAPS = {"gradient": torch.rand(X.shape, generator=torch.Generator().manual_seed(4)) / 1e4}


def test_infidelity(net):
    before = state_of(net, X)

    def found(*, fast):
        return infidelity(net, NoisyBaseline(), X, MAPS, target=TARGET, seed=1, fast=fast)

    exact, fast = found(fast=False), found(fast=True)
    assert not torch.equal(exact["gradient"], fast["gradient"])
    torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-6)
    assert same(before, state_of(net, X))
    assert Net.shown[net] == [3, 30, 3]  # exactly, and to check the copy


ATTRIBUTIONS = {
    "ours": lambda m: cg.GuidedBackprop(m).attribute,
    "captum's": lambda m: captum.attr.InputXGradient(m).attribute,
    "at a layer that would be folded": lambda m: cg.GuidedGradCam(m, m.second).attribute,
    "captum's at a layer": lambda m: captum.attr.GuidedGradCam(m, m.first).attribute,
    "within another": lambda m: captum.attr.NoiseTunnel(cg.GuidedGradCam(m, m.first)).attribute,
}


@pytest.mark.parametrize("attribute", ATTRIBUTIONS.values(), ids=ATTRIBUTIONS)
@pytest.mark.parametrize("function", [sensitivity, sensitivity_max, sensitivity_mean])
@pytest.mark.filterwarnings("ignore:Input Tensor 0 did not", "ignore:Setting backward hooks")
def test_sensitivity(net, attribute, function):
    before = state_of(net, X)
    explain = attribute(net)
    exact, fast = (
        function(explain, X, target=TARGET, seed=1, n_perturb_samples=3, fast=fast)
        for fast in (False, True)
    )
    torch.testing.assert_close(fast, exact, **NEAR)
    assert same(before, state_of(net, X))


def test_sensitivity_explains_the_copy(net):
    sensitivity(cg.GuidedBackprop(net).attribute, X, target=TARGET, seed=1, fast=True)
    assert Net.shown[net] == [3]


REFUSED = {
    "a function": (
        lambda m, t: cg.compare(lambda x: m(x) + 1, X, t, fast=True),
        "the model is a function: give the nn.Module itself",
    ),
    "infidelity of a function": (
        lambda m, t: infidelity(m.forward, NoisyBaseline(), X, MAPS, target=t, fast=True),
        "the model is a method: give the nn.Module itself",
    ),
    "sensitivity of a function": (
        lambda m, t: sensitivity(lambda x, target: x, X, target=t, fast=True),
        "which network .*lambda.* explains is not known: give the attribute of an attribution",
    ),
    "relevance propagation": (
        lambda m, t: sensitivity(captum.attr.LRP(m).attribute, X, target=t, fast=True),
        "layer-wise relevance propagation goes module by module",
    ),
    "another model": (
        lambda m, t: cg.compare(seeded(Restless), X, t, fast=True),
        "with fast=True, Restless returns something else",
    ),
}


class Restless(Net):
    def forward(self, x):
        return super().forward(x) + len(self.shown.get(self, ()))


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(net, call, message):
    with pytest.raises(ModelError, match=message):
        call(net, TARGET)
