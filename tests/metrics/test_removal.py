"""Deletion and insertion: by hand, the paper place by place, ties, cost and errors."""

import itertools
import math

import pytest
import torch
from chance import global_state
from networks import Conv, Dense, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812

from captum_guided_ext.metrics import deletion, insertion

NET = seeded(lambda: Conv(channels=2, classes=4))
with torch.random.fork_rng():
    torch.manual_seed(0)
    X, MAPS = torch.rand(3, 2, 7, 8), torch.randn(3, 2, 7, 8)
TARGETS = [2, 0, 3]
both = pytest.mark.parametrize("metric", [deletion, insertion])

# --- by hand ----------------------------------------------------------------------------------

ROW = torch.tensor([[1.0, 3.0, 0.0, 2.0]])


def total(x):
    return x.flatten(1).sum(1)


def test_a_linear_model_by_hand():
    """Of what sums to 6, the map removes 3, 2, 1 and 0, a fourth of the places each."""
    assert deletion(total, ROW, ROW).tolist() == pytest.approx([(3 + 3 + 1 + 0 + 0) / 4])
    assert insertion(total, ROW, ROW, baselines=0).tolist() == [(0 + 3 + 5 + 6 + 3) / 4]
    # The other way round: 6, 6, 5, 3, 0.
    assert deletion(total, ROW, -ROW).tolist() == [(3 + 6 + 5 + 3 + 0) / 4]
    # To 1 each, from 6: 4, 3, 3, 4.
    assert deletion(total, ROW, ROW, baselines=1).tolist() == [(3 + 4 + 3 + 3 + 2) / 4]


@pytest.mark.parametrize(
    ("n_steps", "area"),
    [
        (1, (6 + 0) / 2),
        (2, (6 + 1) / 4 + (1 + 0) / 4),
        (3, (6 + 3) / 8 + (3 + 1) / 8 + (1 + 0) / 4),  # 1, 1 and 2 places
        (4, 7 / 4),
        (99, 7 / 4),  # there are only four places
    ],
)
def test_steps_by_hand(n_steps, area):
    assert deletion(total, ROW, ROW, n_steps=n_steps).tolist() == [area]
    sizes = []
    deletion(lambda x: sizes.append(len(x)) or total(x), ROW, ROW, n_steps=n_steps)
    assert sum(sizes) == 1 + min(n_steps, 4)  # nothing is looked at twice
    # What was removed plus what was put back is all of it, at every step.
    assert insertion(total, ROW, ROW, baselines=0, n_steps=n_steps).tolist() == [6 - area]


def test_of_classes_the_probability_counts():
    """The logits are the sum and 0: the probability of class 0 is that of a coin at 0."""

    def classes(x):
        return torch.stack([total(x), torch.zeros(len(x))], dim=1)

    p = [1 / (1 + math.exp(-logit)) for logit in (6, 3, 1, 0, 0)]
    area = (p[0] / 2 + p[1] + p[2] + p[3] + p[4] / 2) / 4
    assert deletion(classes, ROW, ROW, target=0).tolist() == pytest.approx([area])
    assert deletion(classes, ROW, ROW, target=[1]).tolist() == pytest.approx([1 - area])
    # A model that ends in a softmax, with its logarithm taken, says the same.
    said = deletion(lambda x: classes(x).softmax(1).log(), ROW, ROW, target=0)
    assert said.tolist() == pytest.approx([area])


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_softmax_of_the_model_s_own_is_doubted(metric, dtype):
    model = nn.Sequential(seeded(lambda: Conv(channels=2, classes=4)), nn.Softmax(1)).to(dtype)
    with pytest.warns(UserWarning, match="returns probabilities, it seems.*logarithm") as said:
        metric(model, X.to(dtype), MAPS.to(dtype), target=1)
    assert len(said) == 1


def test_other_outputs_are_taken_as_they_are():
    expected = deletion(total, ROW, ROW)
    for model, target in (
        (lambda x: total(x)[:, None], None),
        (lambda x: total(x)[:, None], 0),
        (lambda x: torch.stack([total(x) * 0, total(x)], 1)[:, :, None], (1, 0)),
    ):
        assert torch.equal(deletion(model, ROW, ROW, target=target), expected)


def test_a_place_of_a_picture_is_a_pixel_with_all_its_channels():
    """Channels sum with their signs to -1 and 2: the second pixel goes first."""
    x = torch.tensor([[[[1.0, 2.0]], [[10.0, 20.0]]]])
    one_map = torch.tensor([[[[4.0, 1.0]], [[-5.0, 1.0]]]])
    assert deletion(total, x, one_map).tolist() == [(33 / 2 + 11) / 2]
    assert deletion(total, x, one_map[:, :1]).tolist() == [(33 / 2 + 22) / 2]  # 4 and 1
    # Without a channel dimension, each number is a place: 4, 1, 1, -5 go as 1, 2 and 20, 10.
    x, one_map = x[:, :, 0], torch.tensor([[[4.0, 2.0], [-5.0, 1.0]]])
    assert deletion(total, x, one_map).tolist() == [(33 / 2 + 32 + 30 + 10) / 4]


# --- the paper --------------------------------------------------------------------------------


def by_the_paper(model, image, one_map, target, start, end, n_steps):
    """Algorithm of Petsiuk et al. 2018, pixel by pixel, one picture at a time."""
    _, height, width = image.shape
    pixels = [(row, column) for row in range(height) for column in range(width)]
    pixels.sort(key=lambda at: -sum(one_map[:, at[0], at[1]].double().tolist()))

    def probability(picture):
        logits = model(picture[None])[0].double().tolist()
        largest = max(logits)
        powers = [math.exp(one - largest) for one in logits]
        return powers[target] / sum(powers)

    current, done, curve = start.clone(), 0, [(0.0, probability(start))]
    for step in range(1, n_steps + 1):
        upto = math.floor(step / n_steps * len(pixels) + 1e-9)
        for row, column in pixels[done:upto]:
            current[:, row, column] = end[:, row, column]
        done = upto
        curve.append((done / len(pixels), probability(current)))
    assert torch.equal(current, end)
    pairs = itertools.pairwise(curve)
    return sum((right - left) * (high + low) / 2 for (left, high), (right, low) in pairs)


def blurred(x):
    """The blur by its definition: a Gaussian of 11 x 11, of what is mirrored at the border."""
    weights = torch.tensor([math.exp(-(k**2) / 50) for k in range(-5, 6)], dtype=torch.float64)
    kernel = torch.outer(weights, weights)
    kernel = (kernel / kernel.sum()).expand(x.shape[1], 1, 11, 11)
    padded = F.pad(x.double(), (5, 5, 5, 5), mode="reflect")
    return F.conv2d(padded, kernel, groups=x.shape[1]).to(x.dtype)


@pytest.mark.parametrize("n_steps", [1, 5, 30, 56, 999])
def test_deletion_is_the_paper_s(n_steps):
    got = deletion(NET, X, MAPS, target=TARGETS, n_steps=n_steps)
    for x, one_map, target, value in zip(X, MAPS, TARGETS, got, strict=True):
        expected = by_the_paper(NET, x, one_map, target, x, x * 0, min(n_steps, 56))
        assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_steps", [5, 56])
def test_insertion_is_the_paper_s(n_steps):
    got = insertion(NET, X, MAPS, target=TARGETS, n_steps=n_steps)
    given = insertion(NET, X, MAPS, target=TARGETS, n_steps=n_steps, baselines=X.flip(0))
    for x, start, other, one_map, target, value, with_other in zip(
        X, blurred(X), X.flip(0), MAPS, TARGETS, got, given, strict=True
    ):
        expected = by_the_paper(NET, x, one_map, target, start, x, n_steps)
        assert float(value) == pytest.approx(expected, rel=1e-5)
        expected = by_the_paper(NET, x, one_map, target, other, x, n_steps)
        assert float(with_other) == pytest.approx(expected, rel=1e-5)


def test_the_default_is_thirty_steps():
    named = deletion(NET, X, MAPS, target=1, n_steps=30)
    assert torch.equal(deletion(NET, X, MAPS, target=1), named)
    assert not torch.equal(deletion(NET, X, MAPS, target=1, n_steps=29), named)


@pytest.mark.parametrize("form", [lambda b: b, lambda b: b[:1], lambda b: b[0]])
def test_baselines_are_of_each_or_of_all(form):
    baselines = MAPS[:1].expand_as(MAPS)
    expected = deletion(NET, X, MAPS, target=1, baselines=baselines)
    got = deletion(NET, X, MAPS, target=1, baselines=form(baselines))
    assert torch.equal(got, expected)
    assert not torch.allclose(got, deletion(NET, X, MAPS, target=1))


# --- ties -------------------------------------------------------------------------------------


def orders(x, maps, **options):
    """Return the places in the order that the model sees them go, (examples, places)."""
    seen = []

    def model(xs):
        seen.append(xs.clone())
        return total(xs)

    deletion(model, x, maps, n_steps=x[0].numel(), **options)
    pictures = [seen[0][:, None], *(one.reshape(len(x), -1, *x.shape[1:]) for one in seen[2:])]
    gone = (torch.cat([*pictures, seen[1][:, None]], dim=1).flatten(2) == 0).long()
    assert torch.equal(gone.sum(2), torch.arange(x[0].numel() + 1).expand(len(x), -1))
    return (gone[:, 1:] - gone[:, :-1]).argmax(dim=2)


def test_places_of_equal_relevance_go_in_any_order():
    """Over 600 images of six places, none goes first, or last, more often than it should."""
    x = torch.ones(600, 1, 2, 3)
    found = orders(x, x * 0, seed=1, max_examples_per_batch=10**6)
    for place in (0, 5):
        counts = found[:, place].bincount(minlength=6)
        chi_square = float(((counts - 100) ** 2 / 100).sum())
        assert 0.4 < chi_square < 20.5  # 99.9 % of chi-square with 5 degrees of freedom
    assert not torch.equal(found, orders(x, x * 0, seed=2, max_examples_per_batch=10**6))


def test_the_order_of_ties_is_the_image_s_own_and_no_method_s():
    x = torch.ones(4, 1, 3, 4)
    whole = orders(x, x * 0, seed=3)
    assert torch.equal(orders(x, x * 7, seed=3), whole)
    assert torch.equal(orders(x[:2], x[:2] * 0, seed=3, image_indices=[3, 1]), whole[[3, 1]])
    assert len({tuple(one) for one in whole.tolist()}) == 4
    # Among places that are not equal, relevance decides; the equal ones keep their order.
    some = x * 0
    some[:, 0, 1, 2] = 1
    some[:, 0, 0, 0] = -1
    expected = [[6, *(p for p in one if p not in (0, 6)), 0] for one in whole.tolist()]
    assert orders(x, some, seed=3).tolist() == expected


def test_without_a_seed_the_global_generator_says_the_order():
    x = torch.ones(1, 1, 3, 4)

    def drawn(seed):
        torch.manual_seed(seed)
        return orders(x, x * 0)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    by_generator = [orders(x, x * 0, generator=torch.Generator().manual_seed(k)) for k in (4, 4, 5)]
    assert torch.equal(by_generator[0], by_generator[1])
    assert not torch.equal(by_generator[0], by_generator[2])
    before = global_state()
    orders(x, x * 0, seed=1)
    assert global_state() == before


# --- batches, cost, types ---------------------------------------------------------------------

NAMED = {"random": MAPS, "flat": X * 0, "narrow": MAPS[:, :1], "input": X}


@both
def test_scores_do_not_depend_on_the_batch_the_chunks_or_other_maps(metric):
    def areas(rows, names=NAMED, **options):
        maps = {name: NAMED[name][rows] for name in names}
        options = {"seed": 5, "image_indices": rows, "target": [TARGETS[k] for k in rows]} | options
        return metric(NET, X[rows], maps, **options)

    whole = areas([0, 1, 2])
    assert list(whole) == list(NAMED)
    assert len({round(float(one[0]), 4) for one in whole.values()}) == 4
    for rows in ([0, 1, 2], [2, 0], [1]):
        for options in ({"max_examples_per_batch": 5}, {"names": ["narrow", "flat"]}):
            for name, one in areas(rows, **options).items():
                torch.testing.assert_close(one, whole[name][rows], rtol=1e-5, atol=0)
    alone = metric(NET, X, MAPS, target=TARGETS, seed=5)
    torch.testing.assert_close(alone, whole["random"], rtol=1e-5, atol=0)


@both
@pytest.mark.parametrize(("at_once", "calls", "most"), [(None, 2, 30), (9, 6, 9), (40, 2, 39)])
def test_all_maps_share_the_forward_passes(metric, at_once, calls, most):
    """Both ends of the curves once for each image, and four more steps of each of four maps."""
    sizes = []

    def model(x):
        sizes.append(len(x))
        return NET(x)

    metric(model, X, NAMED, target=1, n_steps=5, max_examples_per_batch=at_once)
    assert sum(sizes) == 3 * (2 + 4 * 4)
    assert sizes[:2] == [3, 3]
    assert len(sizes) == 2 + calls
    assert max(sizes) == most


@both
def test_further_arguments_are_those_of_each_example(metric):
    net, x = seeded(lambda: Dense(features=6, classes=3)), X.flatten(1)[:, :6]
    factors = torch.tensor([[0.5], [1.0], [2.0]])
    whole = metric(
        net, x, x, baselines=0, target=1, additional_forward_args=(None, factors), seed=0
    )
    for k, factor in enumerate((0.5, 1.0, 2.0)):
        one = x[k : k + 1]
        alone = metric(
            net, one, one, baselines=0, target=1, additional_forward_args=(None, factor), seed=0
        )
        torch.testing.assert_close(alone, whole[k : k + 1])


@both
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.05), (torch.float16, 0.01), (torch.float64, 1e-5)]
)
def test_other_precisions_come_close(metric, dtype, tolerance):
    maps = MAPS.bfloat16()  # the same order in every type
    expected = metric(NET, X, maps.float(), target=1)
    got = metric(seeded(lambda: Conv(channels=2)).to(dtype), X.to(dtype), maps.to(dtype), target=1)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=0)


@both
def test_other_memory_layouts_and_tracked_inputs_work(metric):
    expected = metric(NET, X, MAPS, target=1)
    x = X.to(memory_format=torch.channels_last).clone().requires_grad_()
    got = metric(NET, x, MAPS.to(memory_format=torch.channels_last).requires_grad_(), target=1)
    torch.testing.assert_close(got, expected)
    assert not got.requires_grad
    assert x.grad is None


def test_inputs_of_one_number_per_example():
    x = torch.tensor([2.0, 4.0])
    assert deletion(lambda xs: xs, x, x).tolist() == [1, 2]


# --- errors -----------------------------------------------------------------------------------

ERRORS = [
    ({"inputs": (X, X)}, TypeError, "inputs must be one tensor for {name}, not tuple"),
    ({"inputs": X.int()}, TypeError, "dtype torch.int32"),
    ({"inputs": X / 0}, ValueError, "NaN or infinity in 336 of 336 places"),
    ({"attributions": MAPS[:, :, 1:]}, ValueError, r"attributions has shape \(3, 2, 6, 8\)"),
    ({"attributions": {"cam": MAPS / 0}}, ValueError, r"attributions\['cam'\] holds NaN or inf"),
    ({"attributions": {}}, ValueError, "attributions is empty: {name} needs one at least"),
    ({"baselines": MAPS[:2]}, ValueError, r"shape \(2, 2, 7, 8\), which does not broadcast"),
    ({"baselines": math.nan}, ValueError, "baselines holds NaN or infinity"),
    ({"target": None}, ValueError, "target is missing.*4 values per example"),
    ({"target": 4}, ValueError, r"target 4 is out of range.*0 \.\.\. 3"),
    ({"forward_func": repr}, TypeError, "returned str, in which there is no tensor"),
    (
        {"forward_func": lambda x: x.sum()[None], "target": None},
        ValueError,
        "1 scores for 3 examples, and {name} needs one for each",
    ),
    ({"forward_func": lambda x: NET(x) / 0}, ValueError, "the model's score holds NaN"),
    ({"n_steps": 0}, ValueError, "n_steps must be 1 or more, and is 0"),
    ({"n_steps": 2.5}, TypeError, "n_steps must be a whole number, not float"),
    ({"max_examples_per_batch": 0}, ValueError, "max_examples_per_batch must be 1 or more"),
    ({"seed": -1}, ValueError, "seed must not be negative"),
    ({"seed": 1, "image_indices": [0, 0, 1]}, ValueError, "a different number"),
]


@both
@pytest.mark.parametrize(("options", "kind", "words"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors_name_the_offender(metric, options, kind, words):
    given = {
        "forward_func": NET, "inputs": X, "attributions": MAPS, "target": 1, "baselines": 0,
    } | options  # fmt: skip
    with pytest.raises(kind, match=words.format(name=metric.__name__)):
        metric(**given)


@pytest.mark.parametrize("shape", [(3, 6), (3, 8, 8), (3, 2, 5, 9)])
def test_what_cannot_be_blurred_needs_a_baseline(shape):
    x = torch.rand(shape)
    words = r"needs pictures \(N, C, H, W\) of 6 x 6 pixels or more.*shape \(3, .*baselines=0"
    with pytest.raises(ValueError, match=words):
        insertion(total, x, x)
    assert torch.isfinite(insertion(total, x, x, baselines=0.5)).all()
    assert torch.isfinite(insertion(total, torch.rand(1, 1, 6, 6), torch.rand(1, 1, 6, 6))).all()
