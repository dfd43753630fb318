"""How much of a map each region holds, beside how much of the picture it covers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_guided_ext.explanation import RegionShare, region_shares
from captum_guided_ext.pictures import grid_regions

UNHURRIED = settings(deadline=None)  # how long an example takes is no matter on a busy machine


def test_shares_by_hand():
    attribution = torch.tensor([[[1.0, -2.0], [0.0, 0.0]], [[0.0, 1.0], [-4.0, 0.0]]])
    regions = {
        "top": np.array([[True, True], [False, False]]),
        "left": torch.tensor([[True, False], [True, False]]),
        "nothing": np.zeros((2, 2), dtype=bool),
    }
    # Absolute values summed over channels: 1 and 3 above, 4 and 0 below; 8 in all.
    assert region_shares(attribution, regions) == [
        RegionShare("top", 0.5, 0.5),
        RegionShare("left", 0.625, 0.5),
        RegionShare("nothing", 0.0, 0.0),
    ]
    assert [share.mark for share in region_shares(attribution, regions)] == ["✖", "✔", "✖"]
    flat = torch.tensor([[1.0, 3.0], [4.0, 0.0]], requires_grad=True)
    assert region_shares(flat, regions) == region_shares(attribution, regions)


def test_a_map_of_zeros_is_in_no_region():
    shares = region_shares(torch.zeros(3, 6, 6), grid_regions(6, 6))
    assert [share.attribution for share in shares] == [0.0] * 9
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


def test_what_shares_cannot_be_taken_of():
    with pytest.raises(ValueError, match=r"region 'dog' has shape \(4, 5\), .* have \(5, 4\)"):
        region_shares(torch.ones(3, 5, 4), {"dog": np.ones((4, 5), dtype=bool)})
    with pytest.raises(ValueError, match=r"attribution has shape \(1, 3, 5, 4\); one example's"):
        region_shares(torch.ones(1, 3, 5, 4), {})
    with pytest.raises(ValueError, match="attribution holds NaN or infinity in 1 of 4"):
        region_shares(torch.tensor([[1.0, float("nan")], [0.0, 0.0]]), {})
