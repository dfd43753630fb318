"""Perturbations: what is drawn, from which distribution, and every square once."""

import math

import captum.metrics
import pytest
import torch
from captum.metrics._core.sensitivity import default_perturb_func as captum_default
from chance import from_seed, seen_by_the_model
from scipy import stats

from captum_guided_ext.metrics import (
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    SquareRemoval,
    UniformBall,
    infidelity,
    sensitivity_max,
)

ALL = [UniformBall(), GaussianNoise(), NoisyBaseline(), SquareRemoval((1, 2))]
each_perturbation = pytest.mark.parametrize("perturb", ALL, ids=lambda one: type(one).__name__)


def fresh(seed=0):
    return torch.Generator().manual_seed(seed)


def furthest(values, distribution):
    """Return the Kolmogorov-Smirnov distance, times sqrt(n): over 1.95 in 1 of 1000 cases."""
    drawn = values.flatten().numpy()
    return stats.kstest(drawn, distribution.cdf).statistic * math.sqrt(len(drawn))


# --- noise ------------------------------------------------------------------------------------


def test_the_uniform_ball_is_captum_s_noise():
    xs = torch.rand(3, 2, 5), torch.rand(3, 7)
    expected = from_seed(captum_default, xs, 0.3)
    steps, perturbed = from_seed(UniformBall(0.3), xs)
    for x, step, got, wanted in zip(xs, steps, perturbed, expected, strict=True):
        assert torch.equal(got, wanted)
        assert torch.equal(step, x - wanted)
    assert UniformBall().radius == 0.02


def test_the_uniform_ball_is_uniform():
    step, _ = UniformBall(0.3)(torch.zeros(50, 80), generator=fresh())
    assert step.abs().max() <= 0.3
    assert furthest(step, stats.uniform(-0.3, 0.6)) < 1.95
    assert furthest(step, stats.norm(0, 0.3 / math.sqrt(3))) > 1.95  # so that the distance can tell


def test_gaussian_noise_is_gaussian_around_the_input():
    x = torch.rand(50, 80) * 5
    step, perturbed = GaussianNoise(0.7)(x, 3.0, generator=fresh())
    assert torch.equal(step, x - perturbed)
    assert furthest(step, stats.norm(0, 0.7)) < 1.95
    assert furthest(step, stats.norm(0, 0.8)) > 1.95


def test_a_noisy_baseline_replaces_the_input():
    x = torch.rand(50, 80) * 5
    step, perturbed = NoisyBaseline(0.7)(x, generator=fresh())
    assert torch.equal(step, x - perturbed)
    assert furthest(perturbed, stats.norm(0, 0.7)) < 1.95
    same = NoisyBaseline(0.7)(x * 0, generator=fresh())[1]
    assert torch.equal(same, perturbed)


def test_bounds_are_the_authors():
    """In their code I = min(x, max(x - 1, x + std * e)), value by value, with Gaussian e."""
    x = torch.rand(6, 50)
    noise = NoisyBaseline(1.5)(x, generator=fresh())[1]
    step, perturbed = NoisyBaseline(1.5, bounds=(0, 1))(x, generator=fresh())
    pairs = list(zip(x.flatten().tolist(), noise.flatten().tolist(), strict=True))
    expected = [min(v, max(v - 1, v - drawn)) for v, drawn in pairs]
    torch.testing.assert_close(step, torch.tensor(expected).reshape(x.shape))
    torch.testing.assert_close(perturbed, x - step)
    assert {0.0, 1.0} < set(perturbed.flatten().tolist())


PATTERN = torch.linspace(0.1, 0.9, 96).reshape(3, 2, 4, 4)


@pytest.mark.parametrize("baseline", [0.25, PATTERN[:1], PATTERN], ids=["number", "one", "each"])
def test_the_call_s_baseline_comes_first(baseline):
    x = torch.rand(3, 2, 4, 4)
    plain = NoisyBaseline()(x, generator=fresh())[1]
    for own in (0.0, 0.5):
        got = NoisyBaseline(baseline=own)(x, baseline, generator=fresh())[1]
        torch.testing.assert_close(got, plain + baseline)
        alone = NoisyBaseline(baseline=own)(x, generator=fresh())[1]
        torch.testing.assert_close(alone, plain + own)
        removed = SquareRemoval((4,), baseline=own)(x, baseline)[1]
        torch.testing.assert_close(removed, torch.zeros_like(x) + baseline)
        assert torch.equal(SquareRemoval((4,), baseline=own)(x)[1], torch.full_like(x, own))


# --- squares ----------------------------------------------------------------------------------


def by_hand(height, width, sizes, stride=1):
    """Return every square as (side, row, column), by walking over the picture."""
    return [
        (side, row, column)
        for side in sizes
        for row in range(0, height, stride)
        for column in range(0, width, stride)
        if row + side <= height and column + side <= width
    ]


def found_square(picture):
    """Return (side, row, column) of the zeros of a picture of ones, if they are a square."""
    rows, columns = (picture == 0).nonzero(as_tuple=True)
    side = int(rows.max() - rows.min()) + 1
    assert int(columns.max() - columns.min()) + 1 == side
    assert len(rows) == side**2
    return side, int(rows.min()), int(columns.min())


def test_all_squares_of_the_authors_are_visited_once():
    expected = by_hand(28, 28, range(1, 11))
    assert len(expected) == 5605 == SquareRemoval().count((1, 1, 28, 28))
    x = torch.ones(1, 1, 28, 28)
    seen = seen_by_the_model(SquareRemoval(exhaustive=True), x, 5605, max_examples_per_batch=999)
    assert sorted(map(found_square, seen[0, :, 0])) == sorted(expected)


@pytest.mark.parametrize("options", [{}, {"seed": 3}, {"seed": 3, "max_examples_per_batch": 4}])
def test_each_image_has_every_square_once_and_then_again(options):
    perturb = SquareRemoval((3, 1), stride=2, exhaustive=True)
    expected = by_hand(5, 6, (3, 1), stride=2)
    assert perturb.count((5, 6)) == len(expected) == 13
    assert [perturb.square(k, (5, 6)) for k in range(13)] == expected
    with pytest.raises(IndexError, match="no square"):
        perturb.square(13, (5, 6))
    seen = seen_by_the_model(perturb, torch.ones(2, 3, 5, 6), 26, **options)
    for picture in seen.flatten(0, 1):
        assert (picture == picture[:1]).all()  # the same in all channels
    for image in seen:
        assert [found_square(one[0]) for one in image] == expected * 2


def test_an_exhaustive_score_is_the_mean_over_all_squares():
    x, maps = torch.rand(2, 2, 5, 6), torch.randn(2, 2, 5, 6)
    perturb = SquareRemoval((2, 3), exhaustive=True)
    got = infidelity(
        lambda xs: xs.pow(2).flatten(1).sum(1), perturb, x, maps, 0.5, n_perturb_samples=32
    )
    squares = by_hand(5, 6, (2, 3))
    assert len(squares) == 32
    for image, one_map, value in zip(x, maps, got, strict=True):
        errors = []
        for side, row, column in squares:
            window = (slice(None), slice(row, row + side), slice(column, column + side))
            said = (one_map[window] * (image[window] - 0.5)).sum()
            errors.append(float(said - (image[window].pow(2) - 0.25).sum()) ** 2)
        assert float(value) == pytest.approx(sum(errors) / 32, rel=1e-4)


@pytest.mark.parametrize(("stride", "options"), [(1, {}), (1, {"seed": 9}), (2, {})])
def test_drawn_squares_are_uniform_over_all_squares(stride, options):
    squares = by_hand(5, 4, (1, 2, 3), stride)
    times = 60 * len(squares)
    seen = seen_by_the_model(
        SquareRemoval((1, 2, 3), stride=stride), torch.ones(1, 1, 5, 4), times, **options
    )
    counts = dict.fromkeys(squares, 0)
    for picture in seen[0, :, 0]:
        counts[found_square(picture)] += 1
    chi_square = sum((count - 60) ** 2 / 60 for count in counts.values())
    freedom = len(squares) - 1
    # What is drawn does not come out even either: that would be squares dealt out in turn.
    assert freedom / 4 < chi_square < freedom + 4 * math.sqrt(2 * freedom)


def test_sizes_that_do_not_fit_are_left_out():
    assert SquareRemoval((2, 4, 50)).places((9, 3, 4)) == [(2, 2, 3)]
    assert SquareRemoval((2, 3), stride=5).count((3, 12)) == len(by_hand(3, 12, (2, 3), 5)) == 5


@pytest.mark.parametrize(
    ("shares", "shape", "sides"),
    [
        ((0.1, 0.25), (28, 28), (3, 7)),  # 2.8 and 7
        ((0.1, 0.25), (224, 300), (22, 56)),  # 22.4 and 56, of the shorter side
        ((0.25,), (10, 12), (3,)),  # 2.5, up
        ((0.01, 1), (9, 5), (1, 5)),  # 0.05, and the whole of it
        ((0.4, 0.2, 0.3), (5, 5), (2, 1)),  # 2, 1 and 1.5: each side once
    ],
)
def test_shares_are_of_the_shorter_side(shares, shape, sides):
    perturb, same = SquareRemoval(shares=shares, stride=2), SquareRemoval(sides, stride=2)
    assert perturb.places(shape) == same.places(shape)
    assert [side for side, *_ in perturb.places(shape)] == list(sides)
    assert perturb.count(shape) == len(by_hand(*shape, sides, 2))


@pytest.mark.parametrize("exhaustive", [False, True])
def test_squares_of_shares_are_those_of_their_pixels(exhaustive):
    x, places = torch.ones(2, 1, 10, 11), by_hand(10, 11, (2, 5))
    assert len(places) == 9 * 10 + 6 * 7 == 132
    seen, expected = (
        seen_by_the_model(one, x, 132, seed=3)
        for one in (
            SquareRemoval(shares=[0.2, 0.5], exhaustive=exhaustive),
            SquareRemoval((2, 5), exhaustive=exhaustive),
        )
    )
    assert torch.equal(seen, expected)
    if exhaustive:
        assert [found_square(one) for one in seen[1, :, 0]] == places


# --- a call of its own ------------------------------------------------------------------------


@each_perturbation
def test_a_call_keeps_the_form_the_input_and_the_difference(perturb):
    x, further = torch.rand(3, 2, 4, 4), torch.rand(3, 1, 5, 5)
    before = x.clone()
    step, perturbed = perturb(x)
    assert torch.equal(x, before)
    assert torch.equal(step, x - perturbed)
    assert (step.flatten(1) != 0).any(dim=1).all()
    steps, both = perturb((x, further))
    assert isinstance(steps, tuple)
    assert [tuple(one.shape) for one in both] == [(3, 2, 4, 4), (3, 1, 5, 5)]
    first = perturb(x, generator=fresh(1))[1]
    assert torch.equal(first, perturb(x, generator=fresh(1))[1])
    assert not torch.equal(first, perturb(x, generator=fresh(2))[1])


@each_perturbation
def test_examples_and_tensors_get_noise_of_their_own(perturb):
    x = torch.rand(1, 2, 9, 9).repeat(40, 1, 1, 1)
    _, (one, other) = perturb((x, x))
    assert len({picture.numpy().tobytes() for picture in one}) > 20
    assert not torch.equal(one, other)


@each_perturbation
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_perturbations_keep_the_type(perturb, dtype):
    x = torch.rand(2, 2, 4, 4, dtype=dtype)
    for baseline in (None, 0.25, x.flip(0)):
        step, perturbed = perturb(x, baseline)
        assert step.dtype == perturbed.dtype == dtype


@each_perturbation
def test_captum_takes_them(perturb):
    x = torch.rand(2, 2, 4, 4)
    expected, got = (
        from_seed(metric, lambda xs: xs.pow(2).flatten(1).sum(1), perturb, x, x)
        for metric in (captum.metrics.infidelity, infidelity)
    )
    assert torch.equal(got, expected)


class Dimmed(Perturbation):
    """Sample k leaves 1 part in k + 2."""

    is_sampled = False

    def perturbed(self, x, baseline, samples, generator):
        return x / (torch.tensor(samples) + 2.0)[:, None]


@pytest.mark.parametrize("options", [{}, {"seed": 1}, {"max_examples_per_batch": 4}])
def test_a_perturbation_of_one_s_own_is_told_which_sample_it_makes(options):
    x = torch.tensor([[2.0, 4.0], [6.0, 0.0]])
    # x falls by 1/2, 2/3 and 3/4 of its sum; a map of ones says so, one of zeros is off by it.
    got = infidelity(lambda xs: xs.sum(1), Dimmed(), x, x * 0, n_perturb_samples=3, **options)
    torch.testing.assert_close(got, torch.tensor([36.0, 36.0]) * (1 / 4 + 4 / 9 + 9 / 16) / 3)
    changes = sensitivity_max(lambda xs: xs, x, Dimmed(), n_perturb_samples=3, **options)
    assert changes.tolist() == [0.75, 0.75]


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, -0.1, math.inf, math.nan])
def test_noise_needs_a_size(value):
    for kind, name in ((UniformBall, "radius"), (GaussianNoise, "std"), (NoisyBaseline, "std")):
        with pytest.raises(ValueError, match=f"{name} must be a positive number, and is {value}"):
            kind(value)


@pytest.mark.parametrize("bounds", [(1, 0), (1, 1), (math.nan, 1)])
def test_bounds_are_in_order(bounds):
    with pytest.raises(ValueError, match=r"bounds must be \(lowest, highest\), and are"):
        NoisyBaseline(bounds=bounds)


@pytest.mark.parametrize("options", [{"sizes": ()}, {"sizes": (3, 0)}, {"stride": 0}])
def test_squares_have_a_size(options):
    with pytest.raises(ValueError, match="sizes and stride must be 1 pixel or more"):
        SquareRemoval(**options)


@pytest.mark.parametrize("shares", [(), (0,), (0.5, 1.01), (math.nan,), (-0.1,)])
def test_shares_are_shares(shares):
    with pytest.raises(ValueError, match="shares must be over 0 and up to 1, and are"):
        SquareRemoval(shares=shares)


def test_sizes_are_pixels_or_shares():
    with pytest.raises(ValueError, match=r"sizes \(3,\) \(pixels\) and shares .*one of them"):
        SquareRemoval((3,), shares=(0.1,))
    assert SquareRemoval().sizes == tuple(range(1, 11))


@pytest.mark.parametrize(
    "call", [lambda p, x: p(x), lambda p, x: infidelity(lambda xs: xs.flatten(1)[:, 0], p, x, x)]
)
def test_squares_need_a_picture_they_fit(call):
    with pytest.raises(ValueError, match=r"needs pictures \(N, C, H, W\).* has shape \(\d+, 4\)"):
        call(SquareRemoval(), torch.rand(3, 4))
    with pytest.raises(ValueError, match=r"no square of \(5, 9\) pixels fits .* \(8, 4\)"):
        call(SquareRemoval((5, 9)), torch.rand(3, 1, 8, 4))


def test_squares_that_are_counted_off_are_not_made_alone():
    with pytest.raises(ValueError, match=r"counts its perturbations off.*give it to .*infidelity"):
        SquareRemoval(exhaustive=True)(torch.rand(1, 1, 12, 12))
