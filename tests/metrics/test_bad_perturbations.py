"""Perturbations that return what nobody can score: both metrics say which one, and what it was."""

import functools
import math
import re
from dataclasses import dataclass

import pytest
import torch

from captum_guided_ext.metrics import (
    GaussianNoise,
    Perturbation,
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity,
)

X = torch.linspace(0, 1, 24).reshape(3, 2, 2, 2)


def score(x):
    return x.flatten(1).sum(1)


def spoiled(x, value):
    made = x.clone()
    made[:, 0, 0, 1] = value
    return made


MUST = "it must return tensors of finite numbers"
BAD = {
    "nan": (lambda x: spoiled(x, math.nan), r"NaN or infinity in \d+ of \d+ places"),
    "infinity": (lambda x: spoiled(x, -math.inf), r"NaN or infinity in \d+ of \d+ places"),
    "none": (lambda x: None, "None"),
    "string": (lambda x: "noise", "'noise'"),
    "list": (lambda x: [0.5], "a list"),
    "array": (lambda x: x.numpy(), "a ndarray"),
    "mapping": (lambda x: {"x": x}, "a dict"),
}  # fmt: skip
SEEDS = [{}, {"seed": 3}]


@dataclass(frozen=True)
class Broken(Perturbation):
    """Makes whatever it is told to."""

    kind: str

    def perturbed(self, x, baseline, samples, generator):
        return BAD[self.kind][0](x)


def by_infidelity(perturb, **options):
    return infidelity(score, perturb, X, X, **options)


def by_sensitivity(perturb, **options):
    return sensitivity(lambda x: x, X, perturb, **options)


def function(kind, form):
    """Return a function that makes ``kind`` where ``form`` puts it."""

    def bad_noise(x):
        return form(BAD[kind][0](x), x)

    return bad_noise


FUNCTIONS = {
    "sensitivity": (by_sensitivity, lambda made, x: made),
    "infidelity, both": (by_infidelity, lambda made, x: made),
    "infidelity, perturbation": (by_infidelity, lambda made, x: (made, x)),
    "infidelity, perturbed input": (by_infidelity, lambda made, x: (x, made)),
    "infidelity, inner tuples": (by_infidelity, lambda made, x: ((x,), (made,))),
}


@pytest.mark.parametrize("options", SEEDS, ids=str)
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("way", FUNCTIONS)
def test_a_function_is_named_with_what_it_returned(way, kind, options):
    metric, form = FUNCTIONS[way]
    words = rf"the perturbation function\.<locals>\.bad_noise returned {BAD[kind][1]}: {MUST}"
    with pytest.raises(ValueError, match=words):
        metric(function(kind, form), **options)


@pytest.mark.parametrize("options", SEEDS, ids=str)
@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("metric", [by_infidelity, by_sensitivity])
def test_a_perturbation_is_named_with_what_it_returned(metric, kind, options):
    words = rf"the perturbation Broken\(kind='{kind}'\) returned {BAD[kind][1]}: {MUST}"
    with pytest.raises(ValueError, match=words):
        metric(Broken(kind), **options)


@pytest.mark.parametrize("options", SEEDS, ids=str)
@pytest.mark.parametrize("kind", BAD)
def test_a_decorated_function_is_named_as_it_is_called(kind, options):
    decorated = infidelity_perturb_func_decorator()(function(kind, lambda made, x: made))
    words = rf"the perturbation function\.<locals>\.bad_noise returned {BAD[kind][1]}: {MUST}"
    with pytest.raises(ValueError, match=words):
        by_infidelity(decorated, **options)


def test_places_are_counted():
    with pytest.raises(ValueError, match="NaN or infinity in 6 of 48 places"):  # 3 x 2 samples
        by_sensitivity(Broken("nan"), n_perturb_samples=2)
    with pytest.raises(ValueError, match="NaN or infinity in 1 of 8 places"):  # one at a time
        by_sensitivity(Broken("nan"), n_perturb_samples=2, seed=1)


def test_what_has_no_name_is_described():
    partial = functools.partial(function("nan", lambda made, x: made))
    with pytest.raises(ValueError, match=re.escape(f"the perturbation {partial!r} returned NaN")):
        by_sensitivity(partial)


def test_noise_that_overflows_is_found_too():
    x = torch.full((2, 4), 60000.0, dtype=torch.float16)
    words = r"the perturbation GaussianNoise\(std=60000.0\) returned NaN or infinity"
    for metric in (
        lambda p: infidelity(lambda one: one.float().sum(1), p, x, x, seed=0),
        lambda p: sensitivity(lambda one: one, x, p, seed=0),
    ):
        with pytest.raises(ValueError, match=words):
            metric(GaussianNoise(60000.0))
