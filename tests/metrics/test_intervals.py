"""How exact a score is: standard errors against repetitions, intervals against the bootstrap."""

import random

import numpy as np
import pytest
import torch
from chance import global_state

from captum_guided_ext.metrics import GaussianNoise, SquareRemoval, infidelity, sensitivity_mean
from captum_guided_ext.metrics._core.infidelity import InfidelitySamples
from captum_guided_ext.sampling import _intervals


def energy(x):
    return x.pow(2).flatten(1).sum(1)


ESTIMATES = {
    "infidelity": lambda x, **options: infidelity(energy, GaussianNoise(), x, x * 2, **options),
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
    x, maps = torch.rand(4, 2, 5, 6), torch.randn(4, 2, 5, 6)
    options = {"return_standard_error": True, "n_perturb_samples": 1}
    value, error = infidelity(energy, GaussianNoise(), x, maps, **options)
    assert torch.isfinite(value).all()
    assert error.isnan().all()
    squares, options["n_perturb_samples"] = SquareRemoval((2, 3), exhaustive=True), 4 * 5 + 3 * 4
    for source in ({}, {"seed": 1}):
        named = infidelity(energy, squares, x, {"map": maps}, **options, **source)
        assert named["map"][1].tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="give n_perturb_samples=32"):
        infidelity(energy, squares, x, maps)


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


@pytest.mark.parametrize("count", [7, 1000])
def test_resamples_do_not_depend_on_how_many_are_drawn_at_a_time(monkeypatch, count):
    """A block takes memory, and its size is no setting of any result."""
    blocks = []
    for at_a_time in (1, 10 * count + 1, 10**6):
        monkeypatch.setattr(_intervals, "_AT_A_TIME", at_a_time)
        blocks.append(list(_intervals._draw(count, 50)))
    assert [len(one) for one in blocks] == [50, 5, 1]
    whole = blocks[-1][0]
    assert all(np.array_equal(np.concatenate(one), whole) for one in blocks)
    assert (whole.sum(axis=1) == count).all()
