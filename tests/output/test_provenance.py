"""What stands for a setting: the same words for the same one, others for another."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, Saliency
from networks import Conv, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext.output import described, identity_of_model

METHODS = {
    "rule": lambda net, one: cg.with_rule(Saliency(net), cg.GUIDED if one else cg.DECONVNET),
    "layer": lambda net, one: cg.GuidedGradCam(net, net.first if one else net.second),
    "factor": lambda net, one: IntegratedGradients(net, multiply_by_inputs=one),
    "baseline": lambda net, one: functools.partial(
        IntegratedGradients(net).attribute, baselines=torch.full((1, 3, 8, 8), float(one))
    ),
}


@pytest.mark.parametrize("setting", METHODS)
def test_a_method_with_other_settings_has_other_words(setting):
    words, again, other = (
        described(METHODS[setting](seeded(Conv), one)) for one in (True, True, False)
    )
    assert words == again
    assert words != other
    assert "0x" not in words


class Own:
    """A method or a metric of one's own, without words of its own."""

    factor = 1

    def __init__(self, held):
        self.held = held

    def attribute(self, x, target=None):
        return x * self.held


def other_factor():
    parts = {name: vars(Own)[name] for name in ("__module__", "__init__", "attribute")}
    return type("Own", (), parts | {"factor": 2})(0)


@dataclasses.dataclass(frozen=True)
class Metric:
    held: int = 1

    def score(self, batch):
        return batch


def scores_otherwise(held):
    @dataclasses.dataclass(frozen=True)
    class Other:
        held: int = 1

        def score(self, batch):
            return -batch

    Other.__name__, Other.__qualname__ = Metric.__name__, Metric.__qualname__
    return Other(held)


def holding(held):
    return lambda x, target=None: x * held


def function(held):
    def attribute(x, target=None, *, factor=held):
        return x * factor

    return attribute


def arrays(value):
    array = np.zeros(5000)  # too long to be written out
    array[2500] = value
    return array


def weighted(value):
    layer = nn.Linear(1, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.zeros_(layer.bias)
    return layer


OWN = {
    "object": Own,
    "method of an object": lambda one: Own(one).attribute,
    "part of it": lambda one: functools.partial(Own(one).attribute, target=3),
    "specified": lambda one: cg.MethodSpec(Own(one).attribute, multiplies_by_inputs=False),
    "held list": lambda one: holding([one]),
    "held object": lambda one: holding(Own(one)),
    "held part": lambda one: holding(functools.partial(torch.mul, other=one)),
    "held module": lambda one: holding(nn.Threshold(one, 0.0)),
    "held weights": lambda one: holding(weighted(float(one))),
    "keyword": function,
    "array": lambda one: functools.partial(defaulted, factor=arrays(one)),
    "number of a class": lambda one: Own(0) if one == 1 else other_factor(),
    "metric": Metric,
    "code of a metric": lambda one: Metric(2) if one == 1 else scores_otherwise(2),
}


@pytest.mark.parametrize("kind", OWN)
def test_what_is_ones_own_is_known_by_what_it_holds(kind):
    words, again, other = (described(OWN[kind](one)) for one in (1, 1, 2))
    assert words == again
    assert words != other
    assert "0x" not in words


def test_a_set_has_the_same_words_in_every_process():
    assert described({"b", "a", "c"}) == "{'a', 'b', 'c'}"


class Scaled:
    """A callable that is no module, with a setting and a network in it."""

    def __init__(self, network, factor=1.0, *, within=()):
        self.settings = {"factor": factor, "within": list(within)}
        self.network = network

    def __call__(self, x):
        return self.network(x) * self.settings["factor"]


class Shifted(Scaled):
    def __call__(self, x):
        return self.network(x) + self.settings["factor"]


def layers(act, *, train=False):
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), act, nn.Dropout(0.5))).train(train)


def hooked(factor):
    network = layers(nn.ReLU())
    network[1].register_forward_hook(lambda _, __, output: output * factor)
    return network


def closure(factor):
    network = layers(nn.ReLU())
    return lambda x: network(x) * factor


def nudged():
    network = layers(nn.ReLU())
    network[0].bias.data[1] += 1e-6
    return network


def buffered(value):
    network = layers(nn.ReLU())
    network.register_buffer("scale", torch.tensor(value), persistent=False)
    return network


def defaulted(x, *, factor=2):
    return GLOBAL(x) * factor


GLOBAL = layers(nn.ReLU())
MODELS = {
    "relu": lambda: layers(nn.ReLU()),
    "gelu": lambda: layers(nn.GELU()),
    "leaky": lambda: layers(nn.LeakyReLU(0.1)),
    "more leaky": lambda: layers(nn.LeakyReLU(0.2)),
    "training": lambda: layers(nn.ReLU(), train=True),
    "other weights": nudged,
    "buffer": lambda: buffered(1.0),
    "other buffer": lambda: buffered(2.0),
    "hook": lambda: hooked(1),
    "other hook": lambda: hooked(2),
    "function as attribute": lambda: seeded(lambda: Conv(F.relu)),
    "other function": lambda: seeded(lambda: Conv(F.gelu)),
    "object as attribute": lambda: seeded(lambda: Conv(Scaled(F.relu))),
    "its other number": lambda: seeded(lambda: Conv(Scaled(F.relu, 2.0))),
    "method as attribute": lambda: seeded(lambda: Conv(Scaled(F.relu).__call__)),
    "another object's": lambda: seeded(lambda: Conv(Scaled(F.relu, 2.0).__call__)),
    "closure": lambda: closure(1),
    "other closure": lambda: closure(2),
    "callable": lambda: Scaled(layers(nn.ReLU())),
    "its number": lambda: Scaled(layers(nn.ReLU()), 2.0),
    "its weights": lambda: Scaled(nudged()),
    "its tensors": lambda: Scaled(layers(nn.ReLU()), within=[torch.ones(2)]),
    "its arrays": lambda: Scaled(layers(nn.ReLU()), within=[np.zeros(2)]),
    "its other arrays": lambda: Scaled(layers(nn.ReLU()), within=[np.ones(2)]),
    "its code": lambda: Shifted(layers(nn.ReLU())),
    "its method": lambda: Scaled(layers(nn.ReLU())).__call__,
    "global": lambda: defaulted,
    "part": lambda: functools.partial(defaulted, factor=3),
}


def test_a_model_is_known_by_all_that_changes_its_scores():
    found = {name: identity_of_model(make()) for name, make in MODELS.items()}
    assert found == {name: identity_of_model(make()) for name, make in MODELS.items()}
    digests = {
        name: tuple(one[part] for part in ("digest", "structure", "code"))
        for name, one in found.items()
    }
    assert len(set(digests.values())) == len(MODELS)
    assert all("globals" in one["not covered"] for one in found.values())


def test_a_global_network_is_a_part_of_the_function_that_calls_it(monkeypatch):
    before = identity_of_model(defaulted)
    monkeypatch.setitem(defaulted.__globals__, "GLOBAL", nudged())
    assert identity_of_model(defaulted)["digest"] != before["digest"]


def test_what_changes_no_score_is_the_same_model():
    network = layers(nn.ReLU())
    before = identity_of_model(network)
    network(torch.ones(1, 3, 4, 4))
    network[1].inplace = True
    assert identity_of_model(network) == before
