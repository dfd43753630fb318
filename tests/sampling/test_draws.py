"""Randomness: the same whatever the batch, nothing moved in the global state, and how exact."""

import random

import numpy as np
import pytest
import torch
from captum.attr import GradientShap, NoiseTunnel
from torch import nn

from captum_guided_ext import GuidedBackprop
from captum_guided_ext.metrics import (
    GaussianNoise,
    NoisyBaseline,
    SquareRemoval,
    UniformBall,
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity,
    sensitivity_mean,
)
from captum_guided_ext.metrics._core.infidelity import InfidelitySamples
from captum_guided_ext.sampling import RowByRow

with torch.random.fork_rng():
    torch.manual_seed(0)
    NET = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    ).eval()
    X, MAPS = torch.rand(4, 2, 6, 6), torch.randn(4, 2, 6, 6) * 0.1


@pytest.fixture(autouse=True)
def _global_stream_put_back():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def torch_noise(inputs, radius=0.2):
    return inputs + radius * torch.randn_like(inputs)


def numpy_noise(inputs):
    return inputs + torch.from_numpy(np.random.normal(0, 0.1, inputs.shape)).float()  # noqa: NPY002


def python_noise(inputs):
    return inputs + torch.tensor([random.random() for _ in inputs.flatten()]).view_as(inputs)


def pair(function):
    return infidelity_perturb_func_decorator(multiply_by_inputs=False)(function)


OBJECTS = [UniformBall(), GaussianNoise(), NoisyBaseline(bounds=(0, 1)), SquareRemoval((1, 2, 3))]
FUNCTIONS = [torch_noise, numpy_noise, python_noise]
each_kind = pytest.mark.parametrize(
    "perturb", [*OBJECTS, *FUNCTIONS], ids=lambda one: str(one)[:20]
)


def seen_by_the_model(perturb, x=X, samples=6, **options):
    """Return the perturbed inputs that infidelity scores, (examples, samples, ...)."""
    chunks = []

    def model(xs):
        chunks.append(xs.reshape(len(x), -1, *x.shape[1:]))
        return xs.flatten(1).sum(1)

    made = perturb if perturb in OBJECTS else pair(perturb)
    infidelity(model, made, x, x, n_perturb_samples=samples, **options)
    return torch.cat(chunks[1:], dim=1)


def seen_by_the_method(perturb, x=X, samples=6, **options):
    """Return the perturbed inputs that sensitivity explains, (examples, samples, ...)."""
    chunks = []

    def explain(xs):
        chunks.append(xs.reshape(len(x), -1, *x.shape[1:]))
        return xs

    sensitivity(explain, x, perturb, n_perturb_samples=samples, **options)
    return torch.cat(chunks[1:], dim=1)


both_metrics = pytest.mark.parametrize("seen", [seen_by_the_model, seen_by_the_method])


@each_kind
@both_metrics
def test_a_seed_fixes_each_image_s_noise_to_the_last_bit(seen, perturb):
    whole = seen(perturb, seed=7)
    for at_once in (4, 9, 1000):
        assert torch.equal(seen(perturb, seed=7, max_examples_per_batch=at_once), whole)
    assert torch.equal(seen(perturb, samples=11, seed=7)[:, :6], whole)
    order = [2, 0, 3]
    assert torch.equal(seen(perturb, X[order], seed=7, image_indices=order), whole[order])
    for k in range(4):
        alone = seen(perturb, X[k : k + 1], seed=7, image_indices=torch.tensor([k]))
        assert torch.equal(alone, whole[k : k + 1])
    assert torch.equal(seen(perturb, X[:2], seed=7), whole[:2])


@each_kind
@both_metrics
def test_other_seeds_images_samples_and_purposes_have_other_noise(seen, perturb):
    same = X[:1].repeat(3, 1, 1, 1)
    streams = [seen(perturb, same, seed=seed) for seed in (7, 8, 2**40 + 7)]
    streams.append(seen(perturb, same, seed=7, image_indices=[3, 4, 5]))
    other = seen_by_the_method if seen is seen_by_the_model else seen_by_the_model
    streams.append(other(perturb, same, seed=7))
    noises = torch.stack(streams).flatten(0, 2)
    different = len({one.numpy().tobytes() for one in noises})
    # Of 36 + 50 + 32 squares some are bound to be drawn more than once by 90 draws.
    assert different == 90 if perturb is not OBJECTS[3] else different > 40


def test_inputs_of_one_example_have_noise_of_their_own():
    chunks = []

    def model(x, other):
        chunks.append((x - other).abs().flatten(1).sum(1))
        return chunks[-1]

    infidelity(model, GaussianNoise(), (X, X), (X, X), seed=1)
    assert not chunks[0].any()
    assert (chunks[1] > 0).all()


@each_kind
def test_a_generator_stands_for_the_seed_drawn_from_it(perturb):
    generator, same = (torch.Generator().manual_seed(3) for _ in range(2))
    first = seen_by_the_model(perturb, generator=generator)
    second = seen_by_the_method(perturb, generator=generator)
    seeds = [int(torch.randint(2**62, (), generator=same)) for _ in range(2)]
    assert torch.equal(first, seen_by_the_model(perturb, seed=seeds[0]))
    assert torch.equal(second, seen_by_the_method(perturb, seed=seeds[1]))
    assert torch.equal(generator.get_state(), same.get_state())


@each_kind
def test_scores_do_not_depend_on_the_batch(perturb):
    made = perturb if perturb in OBJECTS else pair(perturb)

    def scores(rows, **options):
        options = {"seed": 5, "image_indices": rows, "target": [k % 3 for k in rows]} | options
        maps = {"one": MAPS[rows], "other": X[rows]}
        found = infidelity(NET, made, X[rows], maps, multiplies_by_inputs=["other"], **options)
        method = GuidedBackprop(NET).attribute
        changes = sensitivity(method, X[rows], perturb, perturb_radius=0.2, **options)
        return torch.stack([*found.values(), *changes])

    whole = scores([0, 1, 2, 3])
    for rows in ([3, 1], [2]):
        got = scores(rows, max_examples_per_batch=3)
        torch.testing.assert_close(got, whole[:, rows], rtol=1e-4, atol=1e-4 * float(whole.max()))


# --- the global state -------------------------------------------------------------------------


def global_state():
    legacy = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().tolist(), random.getstate(), legacy[1].tolist(), legacy[2:]


def draw_everywhere(inputs):
    return python_noise(numpy_noise(torch_noise(inputs)))


def draw_and_fail(inputs):
    draw_everywhere(inputs)
    raise ZeroDivisionError


def explain_by_chance(inputs, target=0):
    return draw_everywhere(inputs) * target


@pytest.mark.parametrize("source", ["seed", "generator"])
def test_the_global_state_is_left_alone(source):
    def options():
        return {source: 3 if source == "seed" else torch.Generator().manual_seed(3), "target": 1}

    before = global_state()
    for perturb in (*OBJECTS, pair(draw_everywhere)):
        infidelity(NET, perturb, X, MAPS, n_perturb_samples=2, **options())
    for perturb in (*OBJECTS, draw_everywhere):
        sensitivity(explain_by_chance, X, perturb, n_perturb_samples=2, **options())
    with pytest.raises(ZeroDivisionError):
        infidelity(NET, pair(draw_and_fail), X, MAPS, **options())
    with pytest.raises(ZeroDivisionError):
        sensitivity(explain_by_chance, X, draw_and_fail, **options())
    with pytest.raises(ZeroDivisionError):
        sensitivity(lambda x, target: draw_and_fail(x), X, **options())
    assert global_state() == before


# --- methods that draw ------------------------------------------------------------------------

TUNNEL = NoiseTunnel(GuidedBackprop(NET))
SHAP = GradientShap(NET)


def tunnel(inputs, target):
    return TUNNEL.attribute(inputs, nt_samples=3, stdevs=0.1, target=target)


def tunnel_by_name(inputs, target):
    return {"tunnel": tunnel(inputs, target), "gradient": GuidedBackprop(NET).attribute(inputs, 1)}


def shap(inputs, target):
    return SHAP.attribute(inputs, torch.cat([X * 0, X * 0 + 1]), n_samples=3, target=target)


def numpy_only(inputs, target):
    return numpy_noise(inputs)


def python_only(inputs, target):
    return python_noise(inputs)


@pytest.mark.parametrize(
    "method", [tunnel, tunnel_by_name, shap, explain_by_chance, numpy_only, python_only]
)
def test_methods_that_draw_do_not_depend_on_the_batch(method):
    def scores(rows, **options):
        targets = [1 + k % 2 for k in rows]
        options = {"target": targets, "seed": 2, "image_indices": rows} | options
        if method is explain_by_chance:
            options["target"] = 2
        found = sensitivity(method, X[rows], n_perturb_samples=4, **options)
        return torch.stack(found if isinstance(found, tuple) else found["tunnel"])

    whole = scores([0, 1, 2, 3])
    assert not torch.allclose(scores([0, 1, 2, 3], seed=3), whole)
    for rows in ([3, 1], [2]):
        got = scores(rows, max_examples_per_batch=3)
        torch.testing.assert_close(got, whole[:, rows], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", [lambda one: one, lambda one: (one,)], ids=["tensor", "tuple"])
def test_baselines_to_draw_from_are_no_image_s_own(form):
    """Also where a chunk happens to have as many examples as there are baselines."""
    baselines = torch.linspace(0, 1, 4 * 72).view(4, 2, 6, 6) ** 2
    options = {"target": 1, "baselines": form(baselines), "n_samples": 3, "seed": 2}
    expected, *others = (
        sensitivity_mean(SHAP.attribute, X[:2], max_examples_per_batch=at_once, **options)
        for at_once in (2, 4, 6, 20)
    )
    for got in others:
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_method_s_noise_is_not_that_of_its_input():
    moves, drawn = [], []

    def perturb(inputs):
        moves.append(torch.randn_like(inputs))
        return inputs + moves[-1]

    def explain(inputs):
        drawn.append(torch.randn_like(inputs))
        return drawn[-1]

    sensitivity(explain, X, perturb, seed=3, n_perturb_samples=5, max_examples_per_batch=8)
    whole, *rows = drawn
    assert len(whole) == 4
    assert len(rows) == 4 * 6
    assert len(moves) == 4 * 5
    assert len({one.numpy().tobytes() for one in [*rows, *moves]}) == 4 * 11


def test_a_method_without_chance_runs_on_whole_batches():
    sizes = []

    def count(xs, target):
        sizes.append(len(xs))
        return xs * target

    options = {"target": 1, "seed": 0, "n_perturb_samples": 5, "max_examples_per_batch": 8}
    sensitivity(count, X, **options)
    assert sizes == [4, 8, 8, 4]
    sizes.clear()
    sensitivity(lambda xs, target: torch_noise(count(xs, target)), X, **options)
    assert sizes == [4] + [1] * 4 * 6  # the first result is dropped, for it drew


def test_rows_get_their_own_part_of_what_there_is_one_of_each():
    def method(xs, target, further, name):
        assert name == "abc"
        return xs[0] + target.view(-1, 1), torch_noise(xs[1]) * 0 + further[0] * further[1]

    xs, ones = (torch.rand(3, 2), torch.rand(3, 4)), torch.ones(3, 1)
    got = RowByRow(method, own=("target", "further"))(
        xs, {"target": torch.tensor([1, 2, 3]), "further": (ones, 2), "name": "abc"}, [5, 6, 7]
    )
    assert torch.equal(got[0], xs[0] + torch.tensor([[1.0], [2.0], [3.0]]))
    assert torch.equal(got[1], torch.full((3, 4), 2.0))


# --- how exact --------------------------------------------------------------------------------


def square_model(x):
    return x.pow(2).sum(1)


ESTIMATES = {
    "infidelity": lambda x, **options: infidelity(
        square_model, GaussianNoise(1.0), x, x * 2, **options
    ),
    "sensitivity": lambda x, **options: sensitivity_mean(
        lambda xs: xs**2, x, GaussianNoise(0.3), **options
    ),
}


@pytest.mark.parametrize("estimate", ESTIMATES.values(), ids=ESTIMATES)
def test_the_standard_error_is_the_spread_of_repeated_estimates(estimate):
    x = torch.tensor([[1.0, -2.0, 0.5]]).repeat(20, 1)
    runs = [
        estimate(x, seed=seed, n_perturb_samples=40, return_standard_error=True)
        for seed in range(30)
    ]
    values, errors = (torch.cat(column) for column in zip(*runs, strict=True))
    assert float(errors.mean()) == pytest.approx(float(values.std()), rel=0.15)


def test_where_there_is_no_standard_error():
    options = {"target": 1, "return_standard_error": True, "n_perturb_samples": 1}
    value, error = infidelity(NET, GaussianNoise(), X, MAPS, **options)
    assert torch.isfinite(value).all()
    assert error.isnan().all()
    squares = SquareRemoval((2, 3), exhaustive=True)
    options["n_perturb_samples"] = squares.count(X.shape)
    for source in ({}, {"seed": 1}):
        named = infidelity(NET, squares, X, {"map": MAPS}, **options, **source)
        assert named["map"][1].tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match=rf"give n_perturb_samples={squares.count(X.shape)}"):
        infidelity(NET, squares, X, MAPS, target=1)


def test_image_indices_without_a_seed_are_a_mistake():
    with pytest.raises(ValueError, match="needs a seed or a generator"):
        infidelity(NET, GaussianNoise(), X, MAPS, target=1, image_indices=[0, 1, 2, 3])
    with pytest.raises(TypeError):
        infidelity(NET, GaussianNoise(), X, MAPS, target=1, seed=0, image_indices=[0.5, 1, 2, 3])


def synthetic(examples, samples, *, scale=1.0, noise=0.5, seed=0):
    """Falls that are the prediction and Gaussian noise: the infidelity is noise^2."""
    generator = torch.Generator().manual_seed(seed)
    predicted = scale * torch.randn(examples, samples, generator=generator)
    drawn = torch.randn(examples, samples, generator=generator)
    return InfidelitySamples(predicted, predicted + noise * drawn, is_sampled=True)


def test_intervals_cover_the_truth_as_often_as_they_say():
    interval = synthetic(1500, 100).interval(normalize=False)
    covered = (interval[:, 0] <= 0.25) & (interval[:, 1] >= 0.25)
    assert 0.90 <= float(covered.float().mean()) <= 0.98
    below = float((interval[:, 1] < 0.25).float().mean())
    above = float((interval[:, 0] > 0.25).float().mean())
    assert below < 0.1
    assert above < 0.05


@pytest.mark.parametrize(
    ("normalize", "samples"), [(False, 2), (False, 10), (False, 100), (True, 100)]
)
def test_intervals_hold_the_estimate(normalize, samples):
    one = synthetic(50, samples)
    value, interval = one.infidelity(normalize=normalize), one.interval(normalize=normalize)
    assert interval.shape == (50, 2)
    assert (interval[:, 0] <= value * (1 + 1e-6)).all()
    assert (interval[:, 1] >= value * (1 - 1e-6)).all()
    assert torch.equal(one.interval(normalize=normalize), interval)


@pytest.mark.parametrize("normalize", [False, True])
def test_intervals_are_the_bootstrap_s(normalize):
    """Efron & Tibshirani 1993, chapter 13, one resample after the other, each with its scale."""
    one, drawn, values = synthetic(1, 10), random.Random(0), []
    pairs = list(zip(one.predicted[0].tolist(), one.fall[0].tolist(), strict=True))
    for _ in range(20000):
        again = drawn.choices(pairs, k=10)
        factor = sum(p * f for p, f in again) / sum(p * p for p, _ in again) if normalize else 1
        values.append(sum((factor * p - f) ** 2 for p, f in again) / 10)
    values.sort()
    ((low, high),) = one.interval(normalize=normalize, resamples=20000).tolist()
    assert low == pytest.approx(values[500], rel=0.05)
    assert high == pytest.approx(values[19500], rel=0.05)


@pytest.mark.parametrize("normalize", [False, True])
def test_intervals_of_nearly_faithful_attributions_are_no_rounding_errors(normalize):
    one = synthetic(50, 100, scale=100.0, noise=0.001)
    exact = InfidelitySamples(one.predicted.double(), one.fall.double(), is_sampled=True)
    value, interval = one.infidelity(normalize=normalize), one.interval(normalize=normalize)
    assert (interval[:, 0] > 0).all()
    assert (interval[:, 0] < value).all()
    assert (interval[:, 1] > value).all()
    torch.testing.assert_close(interval, exact.interval(normalize=normalize), rtol=0.05, atol=0)


def test_where_there_is_no_interval():
    one = synthetic(3, 20)
    for normalize in (False, True):
        assert one._replace(is_sampled=False).interval(normalize=normalize) is None
        assert synthetic(3, 1).interval(normalize=normalize) is None
    assert one._replace(is_sampled=False).standard_error() is None
    assert synthetic(3, 1).standard_error().isnan().all()


def test_no_global_number_is_drawn_by_an_interval():
    before = global_state()
    synthetic(3, 20).interval(normalize=True)
    assert global_state() == before
