"""How much of a map each region holds, beside how much of the picture it covers."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.stats import binom

from captum_guided_ext.explanation import RegionShare, region_shares
from captum_guided_ext.explanation._explanation import _regions
from captum_guided_ext.output import sections
from captum_guided_ext.pictures import grid_regions

UNHURRIED = settings(deadline=None)  # how long an example takes is no matter on a busy machine


def test_shares_by_hand():
    attribution = torch.tensor([[[1.0, -2.0], [0.0, 0.0]], [[0.0, 1.0], [-4.0, 0.0]]])
    regions = {
        "top": np.array([[True, True], [False, False]]),
        "left": torch.tensor([[True, False], [True, False]]),
        "nothing": np.zeros((2, 2), dtype=bool),
    }
    # Absolute values summed over channels: 1 and 3 above, 4 and 0 below; 8 in all. "top" holds
    # 4 at both heights; "left" holds 5, and 3 a column further; along itself each may be shifted.
    assert region_shares(attribution, regions) == [
        RegionShare("top", 0.5, 0.5, 1.0),
        RegionShare("left", 0.625, 0.5, 0.5),
        RegionShare("nothing", 0.0, 0.0, 1.0),
    ]
    dash = "\N{EN DASH}"
    assert [share.mark for share in region_shares(attribution, regions)] == ["✖", "✖", dash]
    flat = torch.tensor([[1.0, 3.0], [4.0, 0.0]], requires_grad=True)
    assert region_shares(flat, regions) == region_shares(attribution, regions)


def test_a_map_of_zeros_is_in_no_region():
    shares = region_shares(torch.zeros(3, 6, 6), grid_regions(6, 6))
    assert [share.attribution for share in shares] == [0.0] * 9
    assert [share.elsewhere for share in shares] == [1.0] * 9
    assert {share.mark for share in shares} == {"✖"}
    assert not any(share.holds_more for share in shares)


@given(value=st.floats(1e-30, 1e30), height=st.integers(3, 30), width=st.integers(3, 30))
@UNHURRIED
def test_an_even_map_favours_no_region(value, height, width):
    attribution = torch.full((3, height, width), value, dtype=torch.float64)
    shares = region_shares(attribution, grid_regions(height, width))
    assert not any(share.holds_more for share in shares)


maps = st.tuples(st.integers(3, 20), st.integers(3, 20), st.integers(0, 99)).map(
    lambda size: torch.randn(3, *size[:2], generator=torch.Generator().manual_seed(size[2]))
)


@given(maps, st.integers(1, 3), st.integers(1, 3))
@UNHURRIED
def test_shares_of_a_partition_sum_to_one(attribution, rows, columns):
    shares = region_shares(attribution, grid_regions(*attribution.shape[1:], rows, columns))
    assert sum(share.attribution for share in shares) == pytest.approx(1)
    assert sum(share.area for share in shares) == pytest.approx(1)
    assert all(0 <= share.attribution <= 1 for share in shares)


@given(maps, st.integers(-30, 30), st.booleans())
@UNHURRIED
def test_scaling_the_map_changes_nothing(attribution, power, negative):
    # By powers of two, which float arithmetic scales without rounding.
    scaled = attribution * (-1 if negative else 1) * 2.0**power
    regions = grid_regions(*attribution.shape[1:])
    assert region_shares(scaled, regions) == region_shares(attribution, regions)


# --- as much elsewhere ---


def smooth(height, width, seed, sigma=2.0):
    """Draw a map of spots that has no edges: it goes on at the opposite border."""
    values = np.random.default_rng(seed).standard_normal((height, width))
    return gaussian_filter(values, sigma, mode="wrap")


def places_by_rolling(values, mask):
    """Count the places with as much one by one; all numbers are whole, so that ties are exact."""
    height, width = values.shape
    own = values[mask].sum()
    as_much = [
        values[np.roll(mask, (down, across), axis=(0, 1))].sum() >= own
        for down in range(height)
        for across in range(width)
    ]
    return sum(as_much) / len(as_much)


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6), st.sampled_from([2, 100, 10**6])
)
@UNHURRIED
def test_places_are_all_circular_shifts(height, width, seed, levels):
    random = np.random.default_rng(seed)
    values = random.integers(0, levels, (height, width))
    masks = {str(p): random.random((height, width)) < p for p in (0.1, 0.5, 0.9)}
    shares = region_shares(torch.from_numpy(values.astype(np.float64)), masks)
    for share in shares:
        expected = places_by_rolling(values, masks[share.name]) if values.any() else 1.0
        assert share.elsewhere == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("side", [96, 224])
def test_ties_are_ties_on_large_maps(side):
    # One bright square: a region of its size and place is met at this one place alone, and one of
    # a single pixel in it at each of its pixels.
    values = torch.zeros(side, side)
    values[10:30, 40:60] = 0.1
    square = values.numpy() > 0
    pixel = np.zeros_like(square)
    pixel[15, 45] = True
    exact, inner = region_shares(values, {"square": square, "pixel": pixel})
    assert exact.elsewhere == pytest.approx(1 / side**2, rel=1e-9)
    assert inner.elsewhere == pytest.approx(400 / side**2, rel=1e-9)
    assert exact.mark == inner.mark == "✔"


def test_the_whole_view_holds_no_more_than_its_area():
    (share,) = region_shares(torch.rand(3, 7, 5), {"all": np.ones((7, 5), dtype=bool)})
    assert (share.attribution, share.area, share.elsewhere, share.mark) == (1, 1, 1, "✖")
    (share,) = region_shares(torch.ones(1, 1), {"all": np.ones((1, 1), dtype=bool)})
    assert (share.elsewhere, share.mark) == (1, "✖")


def test_one_region_in_twenty_is_marked_by_chance():
    # Maps drawn without a look at the region. Of 400, binom(400, 0.05) marks 7 to 35 but for
    # 1 time in 1000: ppf(0.0005) and ppf(0.9995).
    low, high = binom.ppf([0.0005, 0.9995], 400, 0.05)
    y, x = np.mgrid[:32, :32]
    regions = {"disc": (y - 12) ** 2 + (x - 20) ** 2 < 40, "corner": (y < 12) & (x < 14)}
    marked = dict.fromkeys(regions, 0)
    for seed in range(400):
        for share in region_shares(torch.from_numpy(smooth(32, 32, seed)), regions):
            marked[share.name] += share.mark == "✔"
    assert all(low <= count <= high for count in marked.values()), marked


def test_a_map_that_lies_in_the_region_marks_it():
    y, x = np.mgrid[:32, :32]
    spot = np.exp(-((y - 12) ** 2 + (x - 20) ** 2) / 20)
    regions = {"spot": spot > 0.2, "left": x < 8, "aside": (y > 20) & (x < 12)}
    for seed in range(20):
        noisy = torch.from_numpy(spot + 0.5 * np.abs(smooth(32, 32, seed)))
        marks = {share.name: share.mark for share in region_shares(noisy, regions)}
        assert marks["spot"] == "✔"
        assert marks["left"] == "✖"


def test_more_than_its_area_is_needed_as_well():
    assert RegionShare("r", 0.2, 0.1, 0.05).mark == "✔"
    assert RegionShare("r", 0.2, 0.1, 0.0501).mark == "✖"
    assert RegionShare("r", 0.1, 0.2, 0.01).mark == "✖"
    assert RegionShare("r", 0.1, 0.1, 0.01).mark == "✖"


AT_5_PERCENT = "as much at   5 % of places"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (
            (0.42, 0.42 / 2.34, 0.03),
            " 42 % of the map, 2.3 times its area, as much at   3 % of places",
        ),
        ((1.0, 0.01, 1e-5), "100 % of the map, 100 times its area, as much at  <1 % of places"),
        ((0.9996, 0.1, 1.0), "100 % of the map,  10 times its area, as much at 100 % of places"),
        ((0.001, 0.5, 0.051), " <1 % of the map, 0.0 times its area, as much at   6 % of places"),
        ((0.2, 0.1, 0.05), " 20 % of the map, 2.0 times its area, as much at   5 % of places"),
        (
            (0.2, 0.1, 0.05, 0.4),
            f" 20 % of the map, 2.0 times its area, {AT_5_PERCENT}; 60 % of it is outside",
        ),
        (
            (0.2, 0.1, 0.05, 0.997),  # the window is known to about a pixel
            f" 20 % of the map, 2.0 times its area, {AT_5_PERCENT}",
        ),
        ((0.0, 0.0, 1.0, 0.0), "outside what the network sees"),
        ((0.0, 0.0, 1.0, 0.9), "too small for the network"),
    ],
)
def test_words(share, words):
    assert RegionShare("r", *share).words == words


def test_the_report_has_a_line_for_each_region():
    shares = [
        RegionShare("bottom right", 1.0, 0.08, 0.01),
        RegionShare("centre", 0.2, 0.3, 1.0),
        RegionShare("wall", 0.0, 0.0, 1.0, seen=0.0),
    ]
    explanation = SimpleNamespace(main="guided_backprop", shares={"guided_backprop": shares})
    lines = sections([("regions", _regions(explanation))]).splitlines()
    assert [line[14:] for line in lines] == [
        "of the guided_backprop map's magnitude; places: the same region shifted anywhere:",
        "✔ bottom right  100 % of the map,  12 times its area, as much at   1 % of places",
        "✖ centre         20 % of the map, 0.7 times its area, as much at 100 % of places",
        "\N{EN DASH} wall          outside what the network sees",
        "✔ more than its area, as much at 5 % of places at most: 1 region in 20 by chance",
    ]
    assert max(map(len, lines)) <= 96


def test_what_is_seen_is_told():
    masks = {"in": np.ones((2, 2), dtype=bool), "out": np.zeros((2, 2), dtype=bool)}
    shares = region_shares(torch.ones(2, 2), masks, {"in": 0.75, "out": 0.0})
    assert [share.seen for share in shares] == [0.75, 0.0]
    assert shares[0].to_dict() == {
        "name": "in",
        "attribution_share": 1.0,
        "area_share": 1.0,
        "share_of_places_with_as_much": 1.0,
        "holds_more": False,
        "seen": 0.75,
    }
    assert [share.seen for share in region_shares(torch.ones(2, 2), masks)] == [1.0, 1.0]


def test_the_largest_and_the_smallest_numbers_have_shares():
    for value in (1e308, 5e-324):
        values = torch.zeros(20, 20, dtype=torch.float64)
        values[:2, :2] = value
        (share,) = region_shares(values, {"corner": values.numpy() > 0})
        assert (share.attribution, share.elsewhere, share.mark) == (1, 1 / 400, "✔")


def test_what_shares_cannot_be_taken_of():
    with pytest.raises(ValueError, match=r"region 'dog' has shape \(4, 5\), .* have \(5, 4\)"):
        region_shares(torch.ones(3, 5, 4), {"dog": np.ones((4, 5), dtype=bool)})
    with pytest.raises(ValueError, match=r"attribution has shape \(1, 3, 5, 4\); one example's"):
        region_shares(torch.ones(1, 3, 5, 4), {})
    with pytest.raises(ValueError, match="attribution holds NaN or infinity in 1 of 4"):
        region_shares(torch.tensor([[1.0, float("nan")], [0.0, 0.0]]), {})
