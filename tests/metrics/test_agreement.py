"""How far methods agree: by hand, by drawing all lots, and against scipy."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from captum_guided_ext.metrics import agreement


def overlap_by_lots(first, second, count):
    """Return the mean overlap of two tops over every way to draw lots among equal places."""

    def tops(values):
        for lots in itertools.permutations(range(len(values))):
            order = sorted(range(len(values)), key=lambda place: (-values[place], lots[place]))
            yield set(order[:count])

    ones, twos = list(tops(first)), list(tops(second))
    return np.mean([len(one & two) / count for one in ones for two in twos])


def test_by_hand():
    # Strengths: 3 2 1 0, 0 1 2 3 and 3 0 2 1 (the channels of the last are 1 and 2, -1 and 1, ...).
    maps = {
        "falling": torch.tensor([[[[3.0, -2.0], [1.0, 0.0]]]]),
        "rising": torch.tensor([[[[0.0, 1.0], [-2.0, 3.0]]]]),
        "mixed": torch.tensor([[[[1.0, 0.0], [-1.0, 0.0]], [[2.0, 0.0], [1.0, -1.0]]]]),
    }
    found = agreement(maps, top_share=0.5)
    assert found.names == ("falling", "rising", "mixed")
    # The squared differences of the ranks: 9 + 1 + 1 + 9 = 20, 0 + 4 + 1 + 1 = 6 and 9 + 1 + 0 + 4.
    spearman = {(0, 1): 1 - 6 * 20 / 60, (0, 2): 1 - 6 * 6 / 60, (1, 2): 1 - 6 * 14 / 60}
    # The tops: places 0 1, places 2 3, places 0 2.
    shared = {(0, 1): 0, (0, 2): 0.5, (1, 2): 0.5}
    for (one, two), value in spearman.items():
        assert float(found.rank_correlation[0, one, two]) == pytest.approx(value)
        assert float(found.overlap[0, one, two]) == pytest.approx(shared[one, two])
    assert torch.equal(found.rank_correlation, found.rank_correlation.mT)
    assert torch.equal(found.overlap, found.overlap.mT)
    for matrix in (found.rank_correlation, found.overlap):
        torch.testing.assert_close(matrix[0].diagonal(), torch.ones(3, dtype=torch.float64))


@given(
    first=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    second=st.lists(st.integers(0, 2), min_size=5, max_size=5),
    count=st.integers(1, 4),
)
def test_ties_are_broken_by_all_lots_at_once(first, second, count):
    maps = {
        "first": torch.tensor([first]).double(),
        "second": -torch.tensor([second]).double(),
    }
    found = agreement(maps, top_share=count / 5)
    constant = len(set(first)) == 1 or len(set(second)) == 1
    expected = math.nan if constant else overlap_by_lots(first, second, count)
    assert float(found.overlap[0, 0, 1]) == pytest.approx(expected, nan_ok=True)
    expected = math.nan if constant else stats.spearmanr(first, second)[0]
    assert float(found.rank_correlation[0, 0, 1]) == pytest.approx(expected, nan_ok=True)


def test_no_corner_is_preferred():
    """Maps of zeros but for one place each, which is not the same: only chance is shared."""
    one, two = torch.zeros(1, 1, 10, 10), torch.zeros(1, 1, 10, 10)
    one[..., 0, 0] = two[..., 9, 9] = 1
    # each: itself, and 9 of the other 99 by lot
    expected = (2 * 9 / 99 + 98 * (9 / 99) ** 2) / 10
    found = agreement({"one": one, "two": two}, top_share=0.1)
    assert float(found.overlap[0, 0, 1]) == pytest.approx(expected)
    assert expected == pytest.approx(0.1, abs=0.02)


def test_maps_of_noise_share_what_chance_gives():
    noise = torch.randn(2, 200, 3, 10, 10, generator=torch.Generator().manual_seed(0))
    found = agreement({"one": noise[0], "two": noise[1]}, top_share=0.2)
    assert float(found.overlap[:, 0, 1].mean()) == pytest.approx(0.2, abs=0.02)
    assert float(found.rank_correlation[:, 0, 1].mean()) == pytest.approx(0, abs=0.03)


def test_equal_negated_and_constant_maps():
    one = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    found = agreement({"one": one, "negated": -one, "constant": torch.ones(2, 1, 6, 6)})
    torch.testing.assert_close(found.rank_correlation[:, 0, 1], torch.ones(2).double())
    assert found.overlap[:, 0, 1].tolist() == [1, 1]
    for matrix in (found.rank_correlation, found.overlap):
        assert matrix[:, 2].isnan().all()
        assert matrix[:, :, 2].isnan().all()


def test_an_example_alone_and_other_forms_of_inputs():
    generator = torch.Generator().manual_seed(3)
    for shape in ((3, 7), (3, 4, 5), (3, 2, 3, 4, 5)):
        maps = {name: torch.randn(shape, generator=generator) for name in "abc"}
        whole = agreement(maps, top_share=0.3)
        for i in range(3):
            alone = agreement({n: one[i : i + 1] for n, one in maps.items()}, top_share=0.3)
            assert torch.equal(alone.rank_correlation[0], whole.rank_correlation[i])
            assert torch.equal(alone.overlap[0], whole.overlap[i])
        strength = {n: (o.abs().sum(1) if o.dim() > 3 else o.abs()) for n, o in maps.items()}
        expected = stats.spearmanr(strength["a"][1].flatten(), strength["c"][1].flatten())[0]
        assert float(whole.rank_correlation[1, 0, 2]) == pytest.approx(expected)


def test_rows_and_data():
    maps = {n: torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(i))
            for i, n in enumerate("ab")} | {"flat": torch.ones(2, 1, 4, 4)}  # fmt: skip
    found = agreement(maps)
    rows = found.rows()
    pairs = [("a", "b"), ("a", "flat"), ("b", "flat")]
    assert [(r["example"], r["method"], r["other"]) for r in rows] == [
        (example, *pair) for example in (0, 1) for pair in pairs
    ]
    assert rows[3]["rank_correlation"] == float(found.rank_correlation[1, 0, 1])
    assert rows[3]["overlap"] == float(found.overlap[1, 0, 1])
    assert rows[4]["rank_correlation"] is rows[4]["overlap"] is None
    assert found.to_dict() == {"methods": ["a", "b", "flat"], "top_share": 0.1, "rows": rows}
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_figure_holds_both_means():
    maps = {
        "guided_backprop": torch.tensor([[[[4.0, 3.0], [2.0, 1.0]]]]).repeat(2, 1, 1, 1),
        "mine": torch.tensor([[[4.0, 3.0], [1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]])[:, None],
    }
    figure = agreement(maps, top_share=0.25).plot()
    correlation, overlap = figure.axes
    # 0.8 and -1, 1 and 0
    assert [t.get_text() for t in correlation.texts] == ["1.00", "−0.10", "−0.10", "1.00"]
    assert [t.get_text() for t in overlap.texts] == ["1.00", "0.50", "0.50", "1.00"]
    assert correlation.get_title() == "Rank correlation"
    assert overlap.get_title() == "Overlap of the top 25 %"
    assert [t.get_text() for t in overlap.get_xticklabels()] == ["Guided backprop", "mine"]
    assert [t.get_text() for t in figure.texts] == ["mean over 2 examples"]


@pytest.mark.parametrize(
    ("attributions", "options", "kind", "words"),
    [
        (torch.ones(1, 2), {}, TypeError, "must be a mapping from names to tensors, not Tensor"),
        ({"a": torch.ones(1, 2)}, {}, ValueError, "holds 1, and agreement is between two or more"),
        ({"a": torch.ones(1, 2), "b": 1}, {}, TypeError, r"\['b'\] must be a tensor, not int"),
        ({"a": torch.ones(1, 2), "b": torch.ones(2)}, {}, ValueError, r"\['b'\] has shape \(2,\)"),
        (
            {"a": torch.ones(1, 3, 4, 4), "b": torch.ones(1, 3, 4, 5)}, {}, ValueError,
            r"attributions\['a'\] has examples and places \(1, 4, 4\), and attributions\['b'\] has",
        ),
        (
            {"a": torch.ones(1, 2), "b": torch.tensor([[1, torch.nan]])}, {}, ValueError,
            r"attributions\['b'\] holds NaN or infinity in 1 of 2",
        ),
        ({"a": torch.ones(1, 2), "b": torch.ones(1, 2)}, {"top_share": 1}, ValueError, "and is 1"),
        (
            {"a": torch.ones(1, 2), "b": torch.ones(1, 2)}, {"top_share": "all"}, TypeError,
            "top_share must be a number, not str",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(attributions, options, kind, words):
    with pytest.raises(kind, match=words):
        agreement(attributions, **options)
