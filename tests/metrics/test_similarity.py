"""How alike maps are: against scipy, against SSIM written out, and on maps with a known answer."""

import math
import sys

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from captum_guided_ext.metrics import rank_correlation
from captum_guided_ext.metrics._utils.similarity import MEASURES, Originals, entropy

SHAPES = {"pictures": (3, 2, 9, 11), "one channel": (3, 1, 8, 8), "features": (3, 40),
          "tokens": (3, 5, 7)}  # fmt: skip
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def noise(*shape, seed=0, decimals=1):
    """Draw maps with many ties."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.round(decimals=decimals)


def whole(maps):
    return slice(0, len(maps))


def places(one):
    """Return an example's signed values and its strengths, place by place."""
    if one.dim() < 3:
        return one.flatten().tolist(), one.abs().flatten().tolist()
    pixels = list(zip(*(channel.flatten().tolist() for channel in one), strict=True))
    return [sum(pixel) for pixel in pixels], [sum(map(abs, pixel)) for pixel in pixels]


def slow_ssim(first, second):
    """Wang et al. 2004, a Gaussian window of 11 x 11 and deviation 1.5, mirrored borders."""

    def blurred(values):
        return gaussian_filter(values, 1.5, mode="mirror", truncate=3.5)

    a, b = (np.asarray(places(one)[1]).reshape(one.shape[1:]) for one in (first, second))
    a, b = a / a.max(), b / b.max()
    mean_a, mean_b = blurred(a), blurred(b)
    var_a, var_b = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2
    both = blurred(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    light = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    return float((light * (2 * both + c2) / (var_a + var_b + c2)).mean())


@each_shape
def test_rank_correlation_is_scipys(shape):
    first, second = noise(*shape), noise(*shape, seed=1)
    expected = [
        scipy.stats.spearmanr(a.flatten(), b.flatten()).statistic
        for a, b in zip(first, second, strict=True)
    ]
    torch.testing.assert_close(
        rank_correlation(first, second), torch.tensor(expected), rtol=1e-12, atol=1e-12
    )


@each_shape
def test_correlations_of_places_are_scipys(shape):
    first, second = noise(*shape), noise(*shape, seed=1)
    found = Originals({"m": first}, MEASURES[:2]).similarities({"m": second}, whole(second))
    for measure, which in (("spearman", 0), ("spearman_abs", 1)):
        expected = [
            scipy.stats.spearmanr(places(a)[which], places(b)[which]).statistic
            for a, b in zip(first, second, strict=True)
        ]
        torch.testing.assert_close(
            found[measure]["m"], torch.tensor(expected), rtol=1e-6, atol=1e-6
        )


def test_ssim_is_that_of_wang():
    first, second = noise(3, 2, 17, 14, decimals=5), noise(3, 2, 17, 14, seed=1, decimals=5)
    second = first + 0.3 * second
    found = Originals({"m": first}, ["ssim"]).similarities({"m": second}, whole(second))
    expected = torch.tensor([slow_ssim(a, b) for a, b in zip(first, second, strict=True)])
    assert 0.3 < expected.mean() < 0.95
    torch.testing.assert_close(found["ssim"]["m"], expected.double(), rtol=1e-4, atol=1e-4)


def test_ssim_is_torchmetrics_of_each_map_alone():
    metrics = pytest.importorskip("torchmetrics.functional.image")
    maps = {name: noise(2, 3, 12, 12, seed=seed) for seed, name in enumerate(("a", "b"))}
    others = {name: noise(2, 3, 12, 12, seed=seed + 7) for seed, name in enumerate(("a", "b"))}
    found = Originals(maps, ["ssim"]).similarities(others, slice(0, 2))["ssim"]

    def scaled(one):
        strengths = one.abs().sum(0).float()
        return (strengths / strengths.max())[None, None]

    for name in maps:
        for row in range(2):
            expected = metrics.structural_similarity_index_measure(
                scaled(others[name][row]), scaled(maps[name][row]), data_range=1.0
            )
            assert float(found[name][row]) == pytest.approx(float(expected), abs=1e-6)


def test_a_map_equals_itself_and_the_opposite_of_its_negative():
    maps = noise(2, 3, 9, 9)
    originals = Originals({"m": maps}, MEASURES)
    same = originals.similarities({"m": maps.clone()}, whole(maps))
    negated = originals.similarities({"m": -maps}, whole(maps))
    for measure in MEASURES[:2]:
        assert same[measure]["m"].tolist() == [1.0, 1.0]
    assert same["ssim"]["m"].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)
    assert negated["spearman"]["m"].tolist() == [-1.0, -1.0]
    assert negated["spearman_abs"]["m"].tolist() == [1.0, 1.0]
    assert negated["ssim"]["m"].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_only_the_order_of_places_counts_for_ranks():
    maps = noise(2, 1, 9, 9)
    found = Originals({"m": maps}, MEASURES[:2]).similarities({"m": 5 * maps.pow(3)}, whole(maps))
    assert found["spearman"]["m"].tolist() == found["spearman_abs"]["m"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [0.0, 3.0, math.nan, math.inf])
def test_a_map_that_ranks_no_place_has_no_rank_correlation(value):
    maps = noise(2, 1, 9, 9)
    other = maps.clone()
    other[1] = value
    found = Originals({"m": maps}, MEASURES).similarities({"m": other}, whole(maps))
    for measure in MEASURES[:2]:
        assert found[measure]["m"][0] == 1
        assert found[measure]["m"][1].isnan()
    assert found["ssim"]["m"][0] == pytest.approx(1, abs=1e-6)
    assert found["ssim"]["m"][1].isnan() == (value != 3)  # a flat picture is a picture
    assert rank_correlation(maps, other)[1].isnan()


def test_some_examples_are_compared_with_their_own():
    maps = noise(4, 2, 8, 8)
    originals = Originals({"m": maps}, MEASURES)
    found = originals.similarities({"m": maps[1:3]}, slice(1, 3))
    assert found["spearman"]["m"].tolist() == [1.0, 1.0]
    assert found["ssim"]["m"].tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_half_precision_is_ranked_as_it_is():
    first, second = noise(2, 1, 8, 8).half(), noise(2, 1, 8, 8, seed=1).half()
    expected = rank_correlation(first.double(), second.double())
    assert torch.equal(rank_correlation(first, second), expected)
    assert torch.equal(rank_correlation(first.bfloat16(), first.bfloat16()), torch.ones(2).double())


@each_shape
def test_entropy_is_that_of_numpys_histogram(shape):
    maps = noise(*shape, decimals=4)
    expected = [scipy.stats.entropy(np.histogram(places(one)[0], bins=100)[0]) for one in maps]
    assert entropy(maps).tolist() == pytest.approx(expected, rel=1e-9)


def test_entropies_with_a_known_answer():
    halves = torch.tensor([0.0, 1.0]).repeat(32).reshape(1, 1, 8, 8)
    assert float(entropy(halves)) == pytest.approx(math.log(2))
    every_bin = torch.arange(100.0).reshape(1, 1, 10, 10)
    assert float(entropy(every_bin)) == pytest.approx(math.log(100))
    assert float(entropy(torch.full((1, 1, 8, 8), 5.0))) == 0
    assert entropy(torch.full((1, 1, 8, 8), torch.nan)).isnan()


def test_entropy_does_not_depend_on_scale_or_place():
    maps = noise(2, 1, 9, 9, decimals=4)
    torch.testing.assert_close(entropy(maps), entropy(64 * maps.flip(2)))


def test_without_torchmetrics_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    maps = noise(2, 1, 9, 9)
    originals = Originals({"m": maps}, MEASURES)
    assert 'pip install "captum-guided-ext[sanity]"' in originals.reasons["ssim"]
    assert "\n" not in originals.reasons["ssim"]
    found = originals.similarities({"m": maps}, whole(maps))
    assert found["ssim"]["m"].isnan().all()
    assert found["spearman"]["m"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("shape", [(2, 30), (2, 5, 7), (2, 3, 5, 9), (2, 1, 6, 6, 6)])
def test_ssim_is_of_pictures_alone(shape):
    reasons = Originals({"m": noise(*shape)}, MEASURES).reasons
    assert "pictures (N, C, H, W) of 6 x 6 pixels or more" in reasons["ssim"]


def test_the_smallest_picture_has_an_ssim():
    maps = nn.functional.pad(noise(1, 1, 4, 4), (1, 1, 1, 1))
    found = Originals({"m": maps}, ["ssim"]).similarities({"m": maps}, whole(maps))
    assert float(found["ssim"]["m"]) == pytest.approx(1, abs=1e-6)
