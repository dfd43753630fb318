"""ROAD: the imputation against a dense system, its noise, the score from the paper, and errors."""

import math

import numpy as np
import pytest
import torch
from chance import global_state
from networks import Conv, seeded
from scipy import stats

from captum_guided_ext.metrics import road
from captum_guided_ext.metrics._utils.imputation import linear_imputation

NET = seeded(lambda: Conv(channels=2, classes=4))
with torch.random.fork_rng():
    torch.manual_seed(0)
    X, MAPS = torch.rand(3, 2, 6, 7), torch.randn(3, 2, 6, 7)
TARGETS = [2, 0, 3]
NAMED = {"random": MAPS, "flat": X * 0, "narrow": MAPS[:, :1], "input": X}
PLACES = 42
COUNTS = [4, 8, 12, 16, 21, 25, 29, 33, 37]  # 10 to 90 % of 42, rounded down

# --- the imputation ---------------------------------------------------------------------------


def dense_imputation(picture, removed):
    """Each removed pixel's equation, one after the other, and all of them solved as they stand."""
    height, width = removed.shape
    unknown = [(r, c) for r in range(height) for c in range(width) if removed[r, c]]
    filled = picture.double().clone()
    matrix = np.zeros((len(unknown), len(unknown)))
    right = np.zeros((len(unknown), len(picture)))
    for equation, (row, column) in enumerate(unknown):
        around = {
            (r, c): 1 / 6 if r == row or c == column else 1 / 12
            for r in (row - 1, row, row + 1)
            for c in (column - 1, column, column + 1)
            if (r, c) != (row, column) and 0 <= r < height and 0 <= c < width
        }
        matrix[equation, equation] = 1
        for neighbour, weight in around.items():
            share = weight / sum(around.values())
            if neighbour in unknown:
                matrix[equation, unknown.index(neighbour)] -= share
            else:
                right[equation] += share * picture[:, neighbour[0], neighbour[1]].double().numpy()
    for (row, column), values in zip(unknown, np.linalg.solve(matrix, right), strict=True):
        filled[:, row, column] = torch.from_numpy(values)
    return filled


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.96])
@pytest.mark.parametrize("shape", [(6, 7), (1, 30), (30, 1), (5, 5)])
def test_it_is_the_solution_of_the_dense_system(share, shape):
    generator = torch.Generator().manual_seed(4)
    picture = torch.rand(3, *shape, generator=generator)
    order = torch.randperm(math.prod(shape), generator=generator)
    removed = (order < share * len(order)).reshape(shape)
    got = linear_imputation(picture, removed)
    assert got.dtype == torch.float64
    torch.testing.assert_close(got, dense_imputation(picture, removed), rtol=1e-9, atol=1e-12)
    assert torch.equal(got[:, ~removed], picture.double()[:, ~removed])


def test_single_pixels_by_hand():
    picture = torch.tensor([[[9.0, 1.0, 5.0], [2.0, 7.0, 3.0], [0.0, 4.0, 8.0]]])

    def alone(row, column):
        removed = torch.zeros(3, 3, dtype=torch.bool)
        removed[row, column] = True
        return float(linear_imputation(picture, removed)[0, row, column])

    assert alone(1, 1) == pytest.approx((1 + 2 + 3 + 4) / 6 + (9 + 5 + 0 + 8) / 12)
    assert alone(0, 0) == pytest.approx((2 * 1 + 2 * 2 + 7) / 5)  # 1/6, 1/6 and 1/12
    assert alone(0, 1) == pytest.approx((2 * 9 + 2 * 5 + 2 * 7 + 2 + 3) / 8)


def test_a_hole_in_a_slope_is_filled_with_the_slope():
    """Each pixel of a plane is the mean of those around it."""
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    picture = torch.stack([3 * rows - columns, rows * 0 + 0.7])
    removed = torch.zeros(40, 50, dtype=torch.bool)
    removed[1:-1, 1:-1] = True
    torch.testing.assert_close(linear_imputation(picture, removed), picture.double())


# --- what the model sees ----------------------------------------------------------------------


def seen(x, maps, **options):
    """Return the inputs that the model gets, (examples, maps, steps, ...)."""
    chunks = []

    def model(xs):
        chunks.append(xs.clone().reshape(len(x), -1, *x.shape[1:]))
        return xs.flatten(1).sum(1)

    road(model, x, maps, **{"seed": 3} | options)
    return torch.cat(chunks, dim=1).reshape(len(x), -1, 9, *x.shape[1:])


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_the_pixels_of_the_order_are_imputed(order):
    found = seen(X, {"a": MAPS, "b": X}, order=order, noise=0)
    for example, x in enumerate(X):
        for one_map, steps in zip((MAPS, X), found[example], strict=True):
            relevance = one_map[example].double().sum(0).flatten()
            ranked = sorted(range(PLACES), key=lambda p, r=relevance: float(r[p]))
            first = ranked if order == "lerf" else ranked[::-1]
            for count, picture in zip(COUNTS, steps, strict=True):
                removed = torch.zeros(PLACES, dtype=torch.bool)
                removed[first[:count]] = True
                removed = removed.reshape(6, 7)
                expected = dense_imputation(x, removed).float()
                torch.testing.assert_close(picture, expected)
                assert torch.equal(picture[:, ~removed], x[:, ~removed])


def noise_of(x, maps, **options):
    """Return the noise of what the model sees, NaN where no pixel was removed."""
    noisy, plain = (seen(x, maps, noise=noise, **options) for noise in (0.01, 0))
    return torch.where(noisy == x[:, None, None], torch.nan, noisy - plain)


def test_the_noise_is_gaussian_of_the_authors_size():
    x = torch.rand(8, 3, 12, 12).double()
    drawn = noise_of(x, x)
    drawn = drawn[~drawn.isnan()].numpy()
    assert len(drawn) > 10_000
    distance = stats.kstest(drawn, stats.norm(0, 0.01).cdf).statistic * math.sqrt(len(drawn))
    assert distance < 1.95
    other = stats.kstest(drawn, stats.norm(0, 0.011).cdf).statistic * math.sqrt(len(drawn))
    assert other > 1.95


def test_the_noise_is_the_image_s_and_the_share_s_and_no_method_s():
    x, maps = X.double(), {name: one.double() for name, one in NAMED.items()}
    noise = noise_of(x, maps)
    moved = (~noise.isnan()).sum(dim=(3, 4, 5))  # the removed pixels, in both channels
    assert torch.equal(moved, 2 * torch.tensor(COUNTS).expand(3, 4, 9))
    first, second = noise[:, 0], noise[:, 3]
    shared = ~(first.isnan() | second.isnan())
    assert shared.any(dim=(0, 2, 3, 4)).all()
    torch.testing.assert_close(first[shared], second[shared], rtol=0, atol=1e-12)
    for one, other in (
        (noise[0], noise[1]),  # images
        (noise[:, :, 8], noise[:, :, 7]),  # shares
        (noise, noise_of(x, maps, seed=4)),
    ):
        shared = ~(one.isnan() | other.isnan())
        assert shared.sum() > 50
        assert not torch.isclose(one[shared], other[shared], rtol=1e-4, atol=0).any()


def test_what_the_model_sees_does_not_depend_on_the_batch_or_the_chunks():
    whole = seen(X, NAMED)
    for at_once in (3, 7, 999):
        assert torch.equal(seen(X, NAMED, max_examples_per_batch=at_once), whole)
    rows = [2, 0]
    some = {name: NAMED[name][rows] for name in ("flat", "input")}
    assert torch.equal(seen(X[rows], some, image_indices=rows), whole[rows][:, [1, 3]])
    assert torch.equal(seen(X[1:2], MAPS[1:2], image_indices=[1]), whole[1:2, :1])


# --- the score --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_the_score_is_the_mean_probability(order):
    got = road(NET, X, NAMED, order=order, target=TARGETS, seed=3)
    pictures = seen(X, NAMED, order=order)
    for which, name in enumerate(NAMED):
        for example, target in enumerate(TARGETS):
            steps = pictures[example, which]
            said = [NET(one[None]).softmax(1)[0, target].item() for one in steps]
            assert float(got[name][example]) == pytest.approx(sum(said) / 9, rel=1e-5)


def test_most_relevant_first_is_the_default_and_the_better_when_low():
    def bright(x):
        return x.flatten(1).amax(1)

    x = torch.rand(2, 1, 9, 9)
    morf, lerf = road(bright, x, x, seed=0), road(bright, x, x, order="lerf", seed=0)
    assert torch.equal(morf, road(bright, x, x, order="morf", seed=0))
    assert (morf < lerf).all()


def test_all_maps_share_the_forward_passes():
    sizes = []

    def model(x):
        sizes.append(len(x))
        return NET(x)

    road(model, X, NAMED, target=1, max_examples_per_batch=10)
    assert sizes == [9] * 12  # three images, four maps, nine shares


def test_small_pictures_keep_a_pixel():
    x = torch.rand(2, 1, 1, 3)
    assert torch.isfinite(road(lambda xs: xs.flatten(1).sum(1), x, x)).all()


def test_precisions_and_the_global_state():
    maps = MAPS.bfloat16()
    expected = road(NET, X, maps.float(), target=1, seed=0)
    for dtype, tolerance in ((torch.float64, 1e-5), (torch.bfloat16, 0.05)):
        net = seeded(lambda: Conv(channels=2)).to(dtype)
        before = global_state()
        got = road(net, X.to(dtype), maps.to(dtype), target=1, seed=0)
        assert global_state() == before
        torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=0)


# --- errors -----------------------------------------------------------------------------------

ERRORS = [
    ({"order": "best"}, ValueError, r"order 'best' is neither 'morf' \(most relevant first\)"),
    ({"noise": -0.1}, ValueError, "noise must be a number of 0 or more, and is -0.1"),
    ({"noise": math.nan}, ValueError, "noise must be a number of 0 or more, and is nan"),
    (
        {"inputs": X.flatten(1), "attributions": X.flatten(1)},
        ValueError,
        r"road .* needs pictures \(N, C, H, W\), and the inputs have shape \(3, 84\)",
    ),
    ({"inputs": (X,)}, TypeError, "inputs must be one tensor for road, not tuple"),
    ({"attributions": MAPS[:2]}, ValueError, r"attributions has shape \(2, 2, 6, 7\)"),
    ({"target": None}, ValueError, "target is missing"),
]


@pytest.mark.parametrize(("options", "kind", "words"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors_name_the_offender(options, kind, words):
    given = {"forward_func": NET, "inputs": X, "attributions": MAPS, "target": 1} | options
    with pytest.raises(kind, match=words):
        road(**given)
