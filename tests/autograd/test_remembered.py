"""What is remembered of a model: by identity, and as long as it lives."""

import functools
import gc
import weakref

import pytest
import torch
from methods import assert_right
from networks import make
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext.autograd import _remembered
from captum_guided_ext.autograd._remembered import known_of


class Spelled(nn.Module):
    """Runs twice in the first call, and counts."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return self.last(torch.where((h := self.first(x)) > 0, h, 0))

    def other(self, x):
        return self.forward(x) * 2


class Unhashable:
    """A callable that is equal to every other, and has no hash."""

    def __init__(self, model):
        self.model = model

    def __eq__(self, other):
        return True

    __hash__ = None

    def __call__(self, x):
        return self.model(x)


class WithSlots:
    """A callable that no weak reference can be made to."""

    __slots__ = ("model",)

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        return self.model(x)


CALLABLES = {
    "module": lambda model: model,
    "bound method": lambda model: model.forward,
    "lambda": lambda model: lambda x: model(1.0 * x),
    "partial": functools.partial,
    "unhashable": Unhashable,
    "data parallel": nn.DataParallel,
}


@pytest.mark.parametrize("name", CALLABLES)
def test_the_first_call_runs_twice_and_the_others_once(name):
    model, x = make(Spelled, (4, 6))
    forward = CALLABLES[name](model)
    for runs in (2, 3, 4):
        cg.GuidedBackprop(forward).attribute(x, 1)
        assert model.runs == runs


def test_what_cannot_be_referred_to_weakly_is_new_each_time():
    model, x = make(Spelled, (4, 6))
    forward = WithSlots(model)
    for runs in (2, 4, 6):
        cg.GuidedBackprop(forward).attribute(x, 1)
        assert model.runs == runs


def test_methods_of_one_model_are_remembered_apart():
    model, _ = make(Spelled, (4, 6))
    assert known_of(model.forward) is known_of(model.forward)
    assert known_of(model.forward) is not known_of(model.other)
    assert known_of(model) is known_of(model)
    assert known_of(Unhashable(model)) is not known_of(Unhashable(model))


def test_models_are_freed_and_forgotten():
    before = len(_remembered._known)
    model, x = make(Spelled, (4, 6))
    cg.GuidedBackprop(model).attribute(x, 1)
    for _ in range(20):
        cg.GuidedBackprop(functools.partial(model)).attribute(x, 1)  # a new one each time
    alive = weakref.ref(model)
    gc.disable()
    try:
        del model
        assert alive() is None
        assert len(_remembered._known) == before
    finally:
        gc.enable()


def test_a_layer_that_is_written_to_in_place_is_remembered():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.head = nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Linear(5, 2)
            self.runs = 0

        def forward(self, x):
            self.runs += 1
            return self.head(F.relu(self.norm(self.conv(x)), inplace=True).mean((2, 3)))

    model, x = make(InPlace, (2, 3, 8, 8))
    maps = []
    for runs in (2, 3, 4):
        result = cg.compare(model, x, 1, methods=["grad_cam"], metrics=[])
        assert (result.layer, model.runs) == ("norm", runs)
        maps.append(result.maps["grad_cam"])
    assert torch.equal(maps[0], maps[1])
    assert torch.equal(maps[0], maps[2])
    assert_right(model, x, "guided")
