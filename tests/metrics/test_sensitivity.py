"""Sensitivity: Captum's numbers, the paper's definition, several methods at once, and errors."""

import inspect
import math

import captum.metrics
import pytest
import slow_metrics
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from chance import as_tuple, from_seed, numpy_noise, state_of
from networks import Dense, seeded
from torch import nn

import captum_guided_ext.metrics
from captum_guided_ext import GuidedBackprop
from captum_guided_ext.metrics import (
    GaussianNoise,
    Sensitivity,
    SquareRemoval,
    sensitivity,
    sensitivity_max,
    sensitivity_mean,
)

NET = seeded(lambda: Dense(features=6, classes=5))
with torch.random.fork_rng():
    torch.manual_seed(0)
    X, OTHER, FACTORS = torch.rand(3, 6), torch.rand(3, 4), torch.rand(3, 1) + 0.5


def gradient(inputs, target=0, baselines=0.0, additional_forward_args=None):
    """Return gradient times (input - baseline); no map is flat, so that every change is seen."""
    further = as_tuple(additional_forward_args) if additional_forward_args is not None else ()
    with torch.enable_grad():
        xs = [x.detach().clone().requires_grad_() for x in as_tuple(inputs)]
        scores = NET(*xs, *further)
        chosen = torch.as_tensor(target).expand(len(scores))
        gradients = torch.autograd.grad(scores.gather(1, chosen[:, None]).sum(), xs)
    goals = baselines if isinstance(baselines, tuple) else (baselines,) * len(xs)
    maps = tuple((g * (x - b)).detach() for g, x, b in zip(gradients, xs, goals, strict=True))
    return maps if isinstance(inputs, tuple) else maps[0]


def cube(x):
    return NET(x).unsqueeze(2) * torch.tensor([1.0, -2.0])


def only_beyond(inputs):
    """Return what goes beyond the unperturbed inputs: first nothing, then a little."""
    maps = tuple((x - X.max()).clamp(min=0) for x in as_tuple(inputs))
    return maps if isinstance(inputs, tuple) else maps[0]


def in_a_cross(inputs, radius):
    return tuple(x + radius * torch.randn_like(x).sign() for x in as_tuple(inputs))


CASES = {
    "as it comes": {},
    "one class": {"target": 2},
    "list of classes": {"target": [4, 0, 2]},
    "tensor of classes": {"target": torch.tensor([4, 0, 2])},
    "tuples": {
        "explanation_func": FeatureAblation(cube).attribute, "target": [(3, 1), (0, 0), (4, 1)],
    },
    "tuple": {"explanation_func": FeatureAblation(cube).attribute, "target": (3, 1)},
    "one-element tensor": {
        "explanation_func": FeatureAblation(NET).attribute, "target": torch.tensor([2]),
    },
    "one example": {"inputs": X[:1], "target": [3]},
    "two inputs": {"inputs": (X, OTHER), "target": 1},
    "two inputs, their baselines and a factor of each": {
        "inputs": (X, OTHER), "target": [0, 1, 2], "baselines": (X.flip(0), OTHER.flip(0)),
        "additional_forward_args": FACTORS,
    },
    "a factor of all": {"additional_forward_args": (None, 3.5)},
    "a baseline of each": {
        "explanation_func": IntegratedGradients(NET).attribute, "target": 1, "n_steps": 3,
        "baselines": X.flip(0) / 3,
    },
    "a number as baseline": {"baselines": 0.3},
    "a larger ball": {"perturb_radius": 0.4},
    "a function with a radius": {"perturb_func": in_a_cross, "perturb_radius": 0.2},
    "numpy's noise": {"perturb_func": numpy_noise},
    "sum of changes": {"norm_ord": 1},
    "largest change": {"norm_ord": float("inf")},
    "a norm of two inputs": {"inputs": (X, OTHER), "norm_ord": 3},
    "a map of zeros": {"explanation_func": lambda inputs: gradient(inputs, baselines=inputs)},
    "one that was a map of zeros": {"explanation_func": only_beyond, "perturb_radius": 0.9},
}  # fmt: skip


def by_both(case, **options):
    """Return Captum's numbers and ours, each from the same global streams."""
    settings = {"explanation_func": gradient, "inputs": X} | case | options
    return [
        from_seed(metrics.sensitivity_max, **settings)
        for metrics in (captum.metrics, captum_guided_ext.metrics)
    ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_chunk_is_captum_s_to_the_last_bit(case):
    for samples in (10, 1):
        expected, got = by_both(case, n_perturb_samples=samples)
        assert torch.equal(got, expected)
        assert got.any() or case is CASES["a map of zeros"]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_several_chunks_are_captum_s(case):
    size = len(as_tuple(case.get("inputs", X))[0])
    for samples, at_once in ((10, 2 * size + 1), (13, 3 * size), (25, 10 * size)):
        expected, got = by_both(case, n_perturb_samples=samples, max_examples_per_batch=at_once)
        torch.testing.assert_close(got, expected)


def test_the_signature_is_captum_s_and_goes_on():
    theirs = list(inspect.signature(captum.metrics.sensitivity_max).parameters.values())[:-1]
    for function in (sensitivity_max, sensitivity):
        *ours, last = inspect.signature(function).parameters.values()
        assert last.kind is inspect.Parameter.VAR_KEYWORD
        assert [(p.name, p.kind) for p in ours[: len(theirs)]] == [(p.name, p.kind) for p in theirs]
        defaults = [(a.default, b.default) for a, b in zip(ours, theirs, strict=False)]
        assert [a for a, _ in defaults[3:]] == [b for _, b in defaults[3:]]
        (ball, captum_ball) = defaults[2]
        assert ball.__name__ == captum_ball.__name__ == "default_perturb_func"
        assert inspect.signature(ball).parameters["perturb_radius"].default == 0.02
        further = ours[len(theirs) :]
        assert {p.name: p.default for p in further} == {
            "generator": None, "seed": None, "image_indices": None, "fast": False,
            "show_progress": False,
        }  # fmt: skip
        assert {p.kind for p in further} == {inspect.Parameter.KEYWORD_ONLY}
    expected, got = (from_seed(one, (X, OTHER)) for one in (captum_ball, ball))
    assert all(map(torch.equal, got, expected))


# --- the paper --------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [None, 3, 9])
def test_sensitivity_is_the_paper_s(at_once):
    x = torch.cat([X.double(), torch.zeros(1, 6, dtype=torch.float64)])
    drawn = []

    def recorded(inputs):
        drawn.append((inputs + torch.randn_like(inputs) * 0.1).reshape(4, -1, 6))
        return drawn[-1].flatten(0, 1)

    def explain(inputs):
        return as_tuple(inputs)[0].pow(3) * torch.arange(6)  # 0 for the last example

    got = sensitivity(
        explain, x, recorded, n_perturb_samples=7, max_examples_per_batch=at_once and at_once + 1
    )
    for k, changes in enumerate(slow_metrics.changes(explain, x, torch.cat(drawn, dim=1))):
        mean = sum(changes) / 7
        variance = sum((change - mean) ** 2 for change in changes) / 6
        assert float(got.maximum[k]) == pytest.approx(max(changes), rel=1e-9)
        assert float(got.mean[k]) == pytest.approx(mean, rel=1e-9)
        assert float(got.standard_error[k]) == pytest.approx(math.sqrt(variance / 7), rel=1e-9)


def test_the_three_functions_are_one():
    options = {"target": 1, "seed": 4, "n_perturb_samples": 6}
    whole = sensitivity(gradient, X, GaussianNoise(0.3), **options)
    assert isinstance(whole, Sensitivity)
    assert (whole.maximum > whole.mean).all()
    assert (whole.standard_error > 0).all()
    assert torch.equal(sensitivity_max(gradient, X, GaussianNoise(0.3), **options), whole.maximum)
    assert torch.equal(sensitivity_mean(gradient, X, GaussianNoise(0.3), **options), whole.mean)
    value, error = sensitivity_mean(
        gradient, X, GaussianNoise(0.3), return_standard_error=True, **options
    )
    assert torch.equal(value, whole.mean)
    assert torch.equal(error, whole.standard_error)


def test_one_sample_has_no_standard_error_and_squares_counted_off_have_none():
    one = sensitivity(gradient, X, seed=0, n_perturb_samples=1)
    assert one.standard_error.isnan().all()
    assert torch.equal(one.maximum, one.mean)
    squares = SquareRemoval((1, 2), exhaustive=True)
    pictures = torch.rand(2, 1, 3, 3)
    got = sensitivity(lambda x: as_tuple(x)[0] ** 2, pictures, squares, n_perturb_samples=13)
    assert got.standard_error.tolist() == [0, 0]
    assert (got.maximum > got.mean).all()


# --- several methods, types, layouts, state ----------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"seed": 3}])
def test_methods_share_the_perturbed_inputs(options):
    ablation = FeatureAblation(NET)
    methods = {
        "gradient": lambda x, target: gradient(x, target, 2.0),
        "product": gradient,
        "ablation": lambda x, target: ablation.attribute(x, target=target),
    }
    calls = []

    def explain(x, target):
        calls.append(len(as_tuple(x)[0]))
        return {name: method(x, target) for name, method in methods.items()}

    options = {"target": [1, 2, 0], "max_examples_per_batch": 6, "n_perturb_samples": 5} | options
    got = from_seed(sensitivity, explain, X, **options)
    assert calls == [3, 6, 6, 3]
    assert list(got) == list(methods)
    for name, method in methods.items():
        expected = from_seed(sensitivity, method, X, **options)
        torch.testing.assert_close(got[name], expected)
    largest = from_seed(sensitivity_max, explain, X, **options)
    assert torch.equal(largest["product"], got["product"].maximum)
    means = from_seed(sensitivity_mean, explain, X, return_standard_error=True, **options)
    for name, one in got.items():
        assert torch.equal(means[name][0], one.mean)
        assert torch.equal(means[name][1], one.standard_error)


def test_names_that_differ_between_calls_are_an_error():
    names = iter(["one", "other"])
    with pytest.raises(ValueError, match=r"returned \['one'\] for the inputs and \['other'\]"):
        sensitivity(lambda x: {next(names): x}, X)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01), (torch.float64, 1e-4)]
)
def test_other_precisions_come_close(dtype, tolerance):
    def perturb(inputs):
        return inputs + (torch.randn(inputs.shape) * 0.5).to(inputs)

    expected, got = (
        torch.stack(from_seed(sensitivity, lambda x: as_tuple(x)[0].pow(3), X.to(kind), perturb))
        for kind in (torch.float32, dtype)
    )
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=0)
    assert torch.isfinite(sensitivity_max(lambda x: x**2, X.to(dtype))).all()


def test_norms_of_half_precision_do_not_overflow():
    x = torch.full((1, 100), 20000.0, dtype=torch.float16)
    got = sensitivity(lambda one: one, x, lambda one: one / 2)
    assert got.maximum.tolist() == got.mean.tolist() == [0.5]


def test_other_memory_layouts_work():
    x = torch.rand(3, 2, 5, 5)
    got, expected = (
        sensitivity(lambda one: one * one, layout, SquareRemoval((2,)), seed=0)
        for layout in (x.to(memory_format=torch.channels_last), x)
    )
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("options", [{}, {"seed": 1}])
def test_nothing_is_left_behind(requires_grad, options):
    x = X.clone().requires_grad_(requires_grad)
    model = seeded(lambda: Dense(nn.ReLU(), features=6))
    before = state_of(model)
    got = sensitivity(GuidedBackprop(model).attribute, x, target=1, **options)
    assert state_of(model) == before
    assert not got.maximum.requires_grad
    assert x.requires_grad is requires_grad
    assert x.grad is None
    assert torch.equal(x.detach(), X)
    assert torch.is_grad_enabled()


# --- errors -----------------------------------------------------------------------------------

ERRORS = [
    ({"norm_ord": "nuc"}, ValueError, "norm_ord 'nuc' is no norm of a vector.*'fro'"),
    ({"n_perturb_samples": 0}, ValueError, "n_perturb_samples must be 1 or more, and is 0"),
    ({"n_perturb_samples": 2.5}, TypeError, "n_perturb_samples must be a whole .* not float"),
    ({"n_perturb_samples": True}, TypeError, "n_perturb_samples must be a whole .* not bool"),
    ({"max_examples_per_batch": 0}, ValueError, "max_examples_per_batch must be 1 or more"),
    ({"seed": -2}, ValueError, "seed must not be negative, and is -2"),
    ({"seed": 1, "image_indices": [0]}, ValueError, r"each of the 3 examples, and is \[0\]"),
    ({"inputs": X * math.nan}, ValueError, "NaN or infinity in 18 of 18 places"),
    ({"inputs": X.numpy()}, TypeError, "must be a tensor or a tuple of tensors, not ndarray"),
    ({"perturb_func": lambda x: x[:1]}, ValueError, r"inputs of shapes \[\(1, 6\)\], not \[\(30"),
    ({"perturb_func": lambda x: (x, x)}, ValueError, r"shapes \[\(30, 6\), \(30, 6\)\], not"),
    ({"explanation_func": lambda x: as_tuple(x)[0][:2]}, ValueError, "shapes .* 3 examples"),
    ({"explanation_func": lambda x: {"cam": (3,)}}, TypeError, "'cam' must be a tensor"),
    ({"perturb_radius": -1.0}, ValueError, "radius must be a positive number, and is -1"),
    ({"inputs": X[:0]}, ValueError, "nothing to explain"),
]


@pytest.mark.parametrize(("options", "kind", "words"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors_name_the_offender(options, kind, words):
    for function in (sensitivity, sensitivity_max, sensitivity_mean):
        with pytest.raises(kind, match=words):
            function(**{"explanation_func": gradient, "inputs": X} | options)


def test_inputs_of_one_number_per_example():
    x = torch.tensor([0.5, -1.0, 2.0, 3.0])
    of_captum, got = (
        from_seed(lambda metrics=metrics: metrics.sensitivity_max(squared, x, n_perturb_samples=4))
        for metrics in (captum.metrics, captum_guided_ext.metrics)
    )
    assert got.shape == (4,)
    torch.testing.assert_close(got, of_captum)


def squared(x):
    """Return the squares; Captum gives a tuple for the inputs."""
    return tuple(one * one for one in x) if isinstance(x, tuple) else x * x
