"""Models that return more than a tensor: their maps and scores are those of the tensor alone."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_guided_ext import ForwardPass, GuidedGradCam, benchmark, compare, infidelity
from captum_guided_ext.attr import METHODS
from captum_guided_ext.autograd import check_output
from captum_guided_ext.errors import ModelError
from captum_guided_ext.evaluation import CAPTUM_METHODS, METRICS
from captum_guided_ext.metrics import SquareRemoval

X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
TARGET = [1, 3]
ALL_METHODS = (*METHODS, *CAPTUM_METHODS)
ALL_METRICS = [name for name in METRICS if name not in ("relevance_mass", "pointing_game")]


@dataclass
class Output:
    """As transformers has it, in short."""

    loss: Tensor
    logits: Tensor


class Named(NamedTuple):
    scores: Tensor
    other: Tensor


RETURNED = {
    "attribute": lambda y, other: Output(other, y),
    "key": lambda y, other: {"loss": other, "logits": y},
    "tuple": lambda y, other: (y, other),
    "list": lambda y, other: [y, other],
    "namedtuple": Named,
    "ordered dict": lambda y, other: OrderedDict(out=y, aux=other),
    "nested": lambda y, other: (None, ((y,), other)),
    "text first": lambda y, other: {"name": "net", "scores": y},
}


class Net(nn.Module):
    def __init__(self, returned=lambda y, _: y):
        super().__init__()
        self.returned = returned
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU())
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        y = self.head(self.body(x).mean((2, 3)))
        return self.returned(y, y.sum(1) - 7)


def net(*returned):
    return seeded(lambda: Net(*returned))


@pytest.mark.parametrize("returned", RETURNED.values(), ids=RETURNED)
def test_the_maps_are_those_of_the_tensor_alone(returned):
    model = net(returned)
    before = set(vars(model)), set(model.state_dict())
    found = compare(model, X, TARGET, metrics=())
    alone = compare(lambda x: check_output(model(x)), X, TARGET, layer=model.body, metrics=())
    assert set(found.maps) == set(alone.maps) == set(METHODS)
    for method in METHODS:
        assert torch.equal(found.maps[method], alone.maps[method])
        assert found.maps[method].any()
    assert found.layer == "body"  # found by itself, for the module stays one
    assert (set(vars(model)), set(model.state_dict())) == before
    assert torch.equal(ForwardPass(model, X).output, net()(X))


@pytest.mark.parametrize(
    ("methods", "metrics"), [(ALL_METHODS, ["infidelity"]), (["gradient"], ALL_METRICS)]
)
def test_every_method_and_metric_takes_them(methods, metrics):
    options = {"methods": methods, "metrics": metrics, "n_perturb_samples": 2}
    found = compare(net(RETURNED["attribute"]), X, TARGET, **options)
    expected = compare(net(), X, TARGET, **options)
    assert not found.reasons
    assert found.rows == expected.rows
    assert set(found.maps) == set(methods)
    for method in methods:
        assert torch.equal(found.maps[method], expected.maps[method])


def test_captums_classes_under_a_rule_and_the_metrics_take_them():
    model = net(RETURNED["tuple"])
    maps = GuidedGradCam(model, "body").attribute(X, TARGET)
    assert torch.equal(maps, GuidedGradCam(net(), "body").attribute(X, TARGET))
    values = [
        infidelity(one, SquareRemoval((4,)), X, maps, target=1, seed=0) for one in (model, net())
    ]
    assert torch.equal(*values)


def test_deep_lift_takes_off_its_hooks():
    model = net(RETURNED["attribute"])
    compare(model, X, TARGET, methods=["deep_lift"], metrics=())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_benchmark_takes_them(tmp_path):
    data = [(x, y) for x, y in zip(X, TARGET, strict=True)]
    options = {"methods": ["gradient"], "n_perturb_samples": 2}
    found = benchmark(net(RETURNED["key"]), data, output=tmp_path / "one", **options)
    expected = benchmark(net(), data, output=tmp_path / "two", **options)
    assert found.rows == expected.rows


def test_scores_that_are_no_tensor_are_not_taken_by_their_name():
    assert check_output((Output(None, X), X)) is X
    assert check_output({"logits": None, "scores": X}) is X


@pytest.mark.parametrize(
    ("returned", "kind"),
    [(None, "NoneType"), ((), "tuple"), ({"a": 1.0}, "dict"), (object(), "object")],
)
def test_anything_else_is_one_line_that_names_the_type(returned, kind):
    with pytest.raises(
        TypeError, match=rf"the model returned {kind}, in which there is no"
    ) as caught:
        check_output(returned)
    assert isinstance(caught.value, ModelError)
    assert "\n" not in str(caught.value)
    assert "lambda x: model(x).logits" in str(caught.value)
