"""What a score has to beat: what the floors are, and that they cost and depend on nothing."""

import floors
import numpy as np
import pytest
import slow_metrics
import small_benchmark as small
import torch
from networks import Dense, seeded
from scipy import ndimage
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext.evaluation import InfidelityMetric, LocalisationMetric, Score
from captum_guided_ext.methods import FLOORS, floor_maps
from captum_guided_ext.metrics import GaussianNoise

with torch.random.fork_rng():
    torch.manual_seed(2)
    X = torch.rand(3, 3, 9, 8)
    SQUARE, LARGE = torch.rand(2, 3, 9, 9), torch.rand(2, 3, 40, 40)
TARGET = [0, 1, 3]
MASKS = torch.zeros(3, 9, 8, dtype=torch.bool)
MASKS[0, 2:4, 1:4] = MASKS[1, :, :2] = MASKS[2, 8, 7] = True
ALL = ["infidelity", "sensitivity_max", "sensitivity_mean", "relevance_mass", "pointing_game"]


def values(result, metric=None):
    """Return the floors' values by image, method and metric; of one metric by method."""
    found = {key: value for key, value in small.values(result.rows).items() if key[1] in FLOORS}
    if metric is None:
        return found
    by_method = {}
    for (_, method, one), value in found.items():
        if one == metric:
            by_method.setdefault(method, []).append(value)
    return by_method


def test_the_names():
    assert FLOORS == floors.FLOORS == ("constant_map", "random_map", "edges", "best_constant")


# --- edges ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2, 3, 9, 8), (2, 1, 5, 6), (3, 2, 1, 7), (1, 4, 1, 1)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edges_are_sobels_of_the_mean_channel(shape, dtype):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        x = torch.randn(shape).to(dtype)
    found = floor_maps(x, 0, range(len(x)), [0])["edges"]
    assert found.dtype == dtype
    assert found.shape == (shape[0], 1, *shape[2:])
    for picture, edges in zip(x.double().numpy(), found.numpy(), strict=True):
        grey = picture.mean(axis=0)
        slopes = [ndimage.sobel(grey, axis, mode="nearest") for axis in (0, 1)]
        np.testing.assert_allclose(edges[0], np.hypot(*slopes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grey", [0.1, 0.37, -1.3])
def test_an_even_picture_has_no_edges(grey):
    x = torch.full((2, 3, 9, 8), grey)
    x[1, :, 4:] += 1
    edges = floor_maps(x, 0, [0, 1], [0])["edges"]
    assert not edges[0].any()
    assert edges[1].flatten(1).any(1).tolist() == [True]
    net = seeded(lambda: small.Cnn(channels=3))
    rows = cg.compare(net, x, 1, methods=["gradient"], metrics=["sensitivity_max"]).rows
    reasons = {row.image: row.reason for row in rows if row.method == "edges"}
    assert reasons == {0: "the map is zero everywhere", 1: ""}


# --- the random and the constant map ----------------------------------------------------------


def random_map(x, seed, images, samples=(0,)):
    return floor_maps(x, seed, images, samples)["random_map"]


def test_a_random_map_is_an_images_own():
    whole = random_map(X, 5, [4, 0, 9])
    assert torch.equal(random_map(X[1:2], 5, [0])[0], whole[1])
    assert torch.equal(random_map(X.flip(0), 5, [9, 0, 4]).flip(0), whole)
    samples = random_map(X.repeat_interleave(3, dim=0), 5, [4, 0, 9], [0, 1, 2])
    samples = samples.reshape(3, 3, *X.shape[1:])
    assert torch.equal(samples[:, 0], whole)
    chunk = random_map(X[:2].repeat_interleave(2, dim=0), 5, [4, 0], [1, 2])
    assert torch.equal(chunk.reshape(2, 2, *X.shape[1:]), samples[:2, 1:])
    # It does not look at the input, nor at torch's generator.
    assert torch.equal(random_map(X * 0, 5, [4, 0, 9]), whole)


def test_other_images_samples_and_seeds_have_other_noise():
    maps = [
        *random_map(X.repeat_interleave(2, dim=0), 5, [4, 0, 9], [0, 1]),
        *random_map(X, 6, [4, 0, 9]),
    ]
    noise = torch.stack(maps).flatten(1)
    assert len(torch.unique(noise)) == noise.numel()
    # Normal, and no two of them alike: 216 numbers each, of deviation 1.
    assert noise.mean().abs() < 4 / noise.numel() ** 0.5
    assert abs(noise.var() - 1) < 4 * (2 / noise.numel()) ** 0.5
    correlations = torch.corrcoef(noise) - torch.eye(len(noise))
    assert correlations.abs().max() < 5 / noise.shape[1] ** 0.5


def test_the_rows_of_an_image_are_the_same_in_whatever_batch():
    def rows(order, **options):
        found = cg.compare(
            small.cnn(), X[order], [TARGET[k] for k in order], image_indices=order, seed=3,
            metrics=ALL, masks=MASKS[order], methods=["gradient"], n_perturb_samples=4, **options,
        )  # fmt: skip
        return values(found)

    whole = rows([0, 1, 2])
    assert len(whole) == 3 * (3 * 5 + 1)
    for order in ([1], [2, 0]):
        part = rows(order, max_examples_per_batch=len(order))
        assert {image for image, *_ in part} == set(order)
        assert part == pytest.approx({key: whole[key] for key in part}, rel=1e-4, abs=1e-9)
        for image in order:
            for metric in ALL[3:]:  # of the maps alone: to the bit
                key = (image, "random_map", metric)
                assert part[key] == whole[key]


def test_a_constant_map_never_moves_and_has_the_objects_area():
    found = cg.compare(
        small.cnn(), X, TARGET, methods=["gradient"], metrics=ALL[1:], masks=MASKS,
        n_perturb_samples=3,
    )  # fmt: skip
    for metric in ("sensitivity_max", "sensitivity_mean"):
        assert values(found, metric)["constant_map"] == [0, 0, 0]
        assert min(values(found, metric)["random_map"]) > 1  # two independent maps are far apart
        assert min(values(found, metric)["edges"]) > 0
    areas = pytest.approx([6 / 72, 18 / 72, 1 / 72])
    # Every place is a largest one: the share of them that is inside.
    for metric in ("relevance_mass", "pointing_game"):
        assert values(found, metric)["constant_map"] == areas


# --- infidelity -------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
def test_the_best_constant_leaves_the_variance_of_the_falls(normalize):
    weights = torch.linspace(-1, 2, X[0].numel(), dtype=torch.float64)
    seen = []

    def model(x):
        seen.append(x.detach().clone())
        return x.flatten(1) @ weights[:, None]

    x = X.double()
    result = cg.compare(
        model, x, 0, methods=["gradient"], max_examples_per_batch=6,
        metrics=[InfidelityMetric(GaussianNoise(0.3), 8, normalize=normalize)],
    )  # fmt: skip
    _, *chunks = seen
    perturbed = torch.cat([one.reshape(3, -1, *x.shape[1:]) for one in chunks], dim=1)
    assert perturbed.shape[:2] == (3, 8)
    steps = x[:, None] - perturbed
    constant = []
    for image in range(3):
        falls = [float((step.flatten() * weights).sum()) for step in steps[image]]
        mean = sum(falls) / len(falls)
        constant.append(sum((fall - mean) ** 2 for fall in falls) / len(falls))
    found = values(result, "infidelity")
    assert found["best_constant"] == pytest.approx(constant, rel=1e-9)
    exact = [row.value for row in floors.of_methods(result.rows)]
    assert max(exact) < 1e-12 * min(constant)

    def score(one):
        return (one.flatten() * weights).sum()

    expected = slow_metrics.infidelity(score, x, torch.ones_like(x), steps, scaled=normalize)
    assert found["constant_map"] == pytest.approx(expected, rel=1e-6)
    assert min(found["random_map"]) > 1e6 * max(exact)


# --- what they cost, and where they are -------------------------------------------------------


def test_they_need_no_pass_of_the_network():
    net = small.cnn()
    options = {"methods": ["gradient", "grad_cam"], "n_perturb_samples": 5}

    def passes(*metrics):
        net.calls = net.examples = 0
        cg.compare(net, X, TARGET, metrics=metrics, max_examples_per_batch=6, **options)
        return net.calls, net.examples

    # Two samples of three examples at a time: three passes for five samples.
    assert passes("infidelity") == (1 + 3, 3 + 15)
    assert passes("sensitivity_max", "sensitivity_mean") == (1 + 3, 3 + 15)
    assert passes("infidelity", "infidelity_square", "sensitivity_max") == (1 + 9, 3 + 45)


def test_they_stand_among_the_rows_and_not_among_the_maps():
    methods = ["gradient", "guided_backprop"]
    result = cg.compare(small.cnn(), X, TARGET, methods=methods, metrics=["infidelity"])
    assert list(result.maps) == methods
    assert [row.method for row in result.rows] == [*methods, *FLOORS] * 3
    head, _, *lines = str(result).splitlines()
    table = [line.split()[1] for line in lines if line.startswith("| ")]
    assert table == [*methods, *FLOORS]
    assert "infidelity / constant's" in head
    assert f"floors, which know nothing of the network: {', '.join(FLOORS)}" in lines
    assert result.to_dict()["methods"] == methods
    assert cg.compare(small.cnn(), X, TARGET, metrics=[]).rows == ()


def test_where_no_method_has_a_map_nothing_has_to_be_beaten():
    result = cg.compare(
        small.gelu(), X, TARGET, methods=["guided_backprop"], metrics=["infidelity"]
    )
    assert [row.method for row in result.rows] == ["guided_backprop"] * 3


@pytest.mark.parametrize("shape", [(4, 6), (4, 2, 3)])
def test_what_is_no_picture_has_no_edges(shape):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    net = seeded(lambda: nn.Sequential(nn.Flatten(), Dense(features=6)))
    result = cg.compare(net, x, 1, methods=["gradient"], metrics=["infidelity", "sensitivity_max"])
    assert set(values(result, "infidelity")) == {"constant_map", "random_map", "best_constant"}
    assert set(values(result, "sensitivity_max")) == {"constant_map", "random_map"}
    assert all(row.value is not None for row in result.rows)


class OnlySome:
    """A metric of one's own that scores the maps it is told to."""

    names, higher_is_better = ("mine",), True

    def __init__(self, *methods):
        self.methods = methods

    def score(self, batch):
        return {"mine": {m: Score(batch.maps[m].flatten(1).amax(1)) for m in self.methods}}


def test_a_floor_that_a_metric_leaves_out_has_no_row():
    methods = ["gradient", "input_x_gradient"]

    def rows(*scored):
        return cg.compare(small.cnn(), X, TARGET, methods=methods, metrics=[OnlySome(*scored)]).rows

    assert [row.method for row in rows(*methods)] == methods * 3
    found = rows("gradient", "constant_map")
    assert [row.method for row in found] == [*methods, "constant_map"] * 3
    assert [row.value for row in found if row.method == "constant_map"] == [1, 1, 1]
    left_out = {(row.value, row.reason) for row in found if row.method == "input_x_gradient"}
    assert left_out == {(None, "the metric gives this method no score")}


def test_a_benchmark_has_those_of_a_comparison(tmp_path):
    options = {"methods": ["gradient"], "n_perturb_samples": 3, "seed": 4}
    options["metrics"] = ["infidelity", LocalisationMetric(("relevance_mass",))]
    data = TensorDataset(X, torch.tensor(TARGET), MASKS)
    network = small.cnn()
    found = cg.benchmark(
        network, data, output=tmp_path, batch_size=2, show_progress=False, **options
    )
    compared = cg.compare(network, X, TARGET, masks=MASKS, **options)
    assert small.values(found.rows) == pytest.approx(small.values(compared.rows), rel=1e-4)
    assert {line.method for line in found.summary if line.is_floor} == set(FLOORS)
    assert all((line.method in FLOORS) == line.is_floor for line in found.summary)
