"""Relevance mass and the pointing game as functions."""

import pytest
import slow_metrics
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_guided_ext.metrics import pointing_game, relevance_mass

# Places hold 4, 1, 0 and 4: absolute values, summed over the channels.
MAP = torch.tensor([[[3.0, -1.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]]])
CORNERS = torch.tensor([[True, False], [False, True]])
ABOVE = torch.tensor([[True, True], [False, False]])
NOWHERE = torch.zeros(2, 2, dtype=torch.bool)


def test_by_hand():
    maps = torch.stack([MAP, MAP, MAP, torch.zeros_like(MAP)])
    masks = torch.stack([CORNERS, ABOVE, NOWHERE, CORNERS])
    assert relevance_mass(maps, masks).tolist() == pytest.approx([8 / 9, 5 / 9, 0, 0])
    # Of the two largest places the first is above; a map of zeros has no largest place.
    assert pointing_game(maps, masks).tolist() == [1, 0.5, 0, 0]


def test_several_maps_by_name_and_maps_without_channels():
    named = {"colour": MAP[None], "grey": MAP.abs().sum(0)[None]}
    for measure in (relevance_mass, pointing_game):
        found = measure(named, CORNERS[None])
        assert found.keys() == named.keys()
        assert torch.equal(found["colour"], found["grey"])
        assert torch.equal(found["grey"], measure(named["grey"], CORNERS[None]))


@given(seed=st.integers(0, 99), height=st.integers(1, 9), width=st.integers(1, 9))
def test_the_definitions_place_by_place(seed, height, width):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.randint(-2, 3, (3, 2, height, width), generator=generator).double()
    masks = torch.randint(0, 2, (3, height, width), generator=generator)
    mass, hits = relevance_mass(maps, masks), pointing_game(maps, masks)
    for example, (one, mask) in enumerate(zip(maps, masks, strict=True)):
        expected = slow_metrics.localisation(one, mask)
        assert (float(mass[example]), float(hits[example])) == pytest.approx(expected)


def test_inputs_of_another_kind_are_named():
    for measure in (relevance_mass, pointing_game):
        with pytest.raises(TypeError, match="masks must be a tensor, not list"):
            measure(MAP[None], [CORNERS])
        with pytest.raises(TypeError, match="attributions must be a tensor, not ndarray"):
            measure(MAP[None].numpy(), CORNERS[None])
        with pytest.raises(ValueError, match=r"shape \(2, 2\), and must be maps of pictures"):
            measure(MAP[0], CORNERS)
        with pytest.raises(ValueError, match=r"masks have shape \(2, 2\), .* need \(1, 2, 2\)"):
            measure(MAP[None], CORNERS)
        with pytest.raises(ValueError, match="the attribution holds NaN or infinity in 1 of 8"):
            measure(MAP[None].where(MAP[None] < 4, torch.nan), CORNERS[None])
