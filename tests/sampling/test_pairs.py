"""Intervals of means and statements about pairs: against scipy, slow resampling, known truth."""

import math
import runpy
from types import SimpleNamespace

import numpy as np
import pytest
from places import ROOT
from scipy import stats

from captum_guided_ext.sampling import FEWEST, all_pairs, mean_interval
from captum_guided_ext.sampling import _intervals as intervals
from captum_guided_ext.sampling import _pairs as pairs

simulation = SimpleNamespace(**runpy.run_path(str(ROOT / "examples" / "false_claims.py")))


def slow_t(values, resamples, seed):
    """Return the t statistics of resamples of one row, drawn one by one."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(resamples):
        one = values[draw.integers(0, len(values), len(values))]
        found.append((one.mean() - values.mean()) / (one.std(ddof=1) / math.sqrt(len(one))))
    return np.array(found)


def test_a_means_interval_is_the_studentised_bootstraps():
    values = np.random.default_rng(3).gamma(2, size=40)
    drawn = slow_t(values, 20_000, 8)
    error = values.std(ddof=1) / math.sqrt(40)
    low, high = np.quantile(drawn, [0.025, 0.975])
    # A quantile of 4,999 such t has a standard error of about 0.05; that of 20,000 half of it.
    assert mean_interval(values) == pytest.approx(
        (values.mean() - high * error, values.mean() - low * error), abs=4 * 0.06 * error
    )
    assert abs(high + low) > 0.5  # so that an interval that mixes the ends up would be seen


@pytest.mark.parametrize("count", [2, 9, intervals.RESAMPLED_UP_TO + 1])
def test_of_few_or_many_values_a_means_interval_is_students(count):
    values = np.random.default_rng(3).gamma(2, size=count)
    expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert mean_interval(values) == pytest.approx(expected)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (10, 10), (49, 50), (7, 20), (1, 2)])
def test_a_share_of_hits_has_wilsons_interval(hits, count):
    values = np.repeat([1.0, 0.0], [hits, count - hits])
    found = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert mean_interval(values, are_hits=True) == pytest.approx((found.low, found.high), abs=1e-12)


def test_what_has_no_interval():
    assert mean_interval(np.array([2.0])) is None
    assert mean_interval(np.array([0.1] * 9 + [5.0])) is None  # a third of resamples lack the 5
    assert mean_interval(np.full(6, 2.5)) == (2.5, 2.5)


@pytest.mark.parametrize("power", [-1000, -660, -100, 100, 660, 1000])  # of 2: squares are 0 or inf
def test_what_is_claimed_does_not_depend_on_the_unit(power):
    table = np.random.default_rng(2).gamma(2, size=(3, 12))
    unit = 2.0**power
    one, other = all_pairs(table), all_pairs(unit * table)
    assert np.isfinite(one.low).all()
    for wanted, found in zip(one, other, strict=True):
        assert (unit * wanted == found).all()
    assert mean_interval(unit * table[0]) == tuple(unit * end for end in mean_interval(table[0]))


def test_the_width_of_the_family_is_that_of_slow_resampling():
    draw = np.random.default_rng(5)
    table = draw.gamma(2, size=(3, 25)) + draw.normal(size=25)
    found = all_pairs(table)
    differences = np.array([table[i] - table[j] for i, j in ((0, 1), (0, 2), (1, 2))])
    largest = []
    for _ in range(6000):
        columns = draw.integers(0, 25, 25)
        one = differences[:, columns]
        t = (one.mean(1) - differences.mean(1)) / one.std(1, ddof=1) * 5
        largest.append(np.abs(t).max())
    quantile = np.quantile(largest, 0.95)
    for (i, j), difference in zip(((0, 1), (0, 2), (1, 2)), differences, strict=True):
        half = quantile * difference.std(ddof=1) / 5
        assert found.mean[i, j] == -found.mean[j, i] == pytest.approx(difference.mean())
        for low, high, mean in (
            (found.low[i, j], found.high[i, j], difference.mean()),
            (found.low[j, i], found.high[j, i], -difference.mean()),
        ):
            assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.06 * half)


def test_few_columns_claim_nothing_and_equal_rows_differ_by_nothing():
    far = np.array([[0.0, 1.0], [100.0, 101.5]])
    few = all_pairs(np.resize(far, (2, FEWEST - 1)))
    assert few.low[0, 1] == -math.inf
    assert not few.above().any()
    draw = np.random.default_rng(1)
    row = draw.normal(size=40) + 3
    same = all_pairs(np.stack([row, row * (1 + 1e-7 * draw.normal(size=40)), row + 1]))
    assert (same.low[0, 1], same.high[0, 1]) == (0, 0)
    assert same.above().tolist() == [
        [False, False, False],
        [False, False, False],
        [True, True, False],
    ]


def test_a_wild_row_does_not_widen_the_intervals_of_the_others():
    draw = np.random.default_rng(2)
    rows = draw.normal(size=(3, 30)) + np.array([[0], [1.2], [0]])
    wild = np.exp(4 * draw.normal(size=30))
    alone, beside = all_pairs(rows), all_pairs(np.vstack([rows, wild]))
    assert beside.low[1, 0] == pytest.approx(alone.low[1, 0], rel=1e-9)
    assert beside.above()[1, 0]
    assert beside.low[3, 0] == -math.inf


def test_where_normal_maxima_take_over_they_agree_with_resampling(monkeypatch):
    draw = np.random.default_rng(4)
    table = draw.gamma(2, size=(4, intervals.RESAMPLED_UP_TO)) + draw.normal(size=3000)
    resampled = all_pairs(table)
    monkeypatch.setattr(pairs, "RESAMPLED_UP_TO", 0)
    normal = all_pairs(table)
    i, j = np.triu_indices(4, 1)
    ratio = (normal.high - normal.low)[i, j] / (resampled.high - resampled.low)[i, j]
    assert ratio == pytest.approx(1, abs=0.02)


# 5 % and twice the error of so many tables. The example runs more of them, and larger ones.
@pytest.mark.parametrize("images", [10, 30])
@pytest.mark.parametrize("shape", simulation.EQUAL)
def test_tables_of_equal_methods_rarely_claim_anything(shape, images):
    tables = 200
    share = simulation.share_of_false_claims(simulation.EQUAL[shape], 6, images, tables)
    assert share <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / tables)


def test_intervals_that_overlap_or_winners_intervals_would_fail_that():
    """What tables claimed before: an interval of each difference to the best, alone, 95 %."""
    draw = np.random.default_rng(0)
    false = 0
    for _ in range(100):
        scores = simulation.equal_normal(draw, 6, 30)
        best = scores[scores.mean(axis=1).argmin()]
        lows = [simulation.student_t(one - best)[0] for one in scores if one is not best]
        false += max(lows) > 0
    assert false > 30


def test_it_sees_what_tukey_sees():
    ours, tukeys, _ = simulation.power(6, 100, 100)
    assert 0.5 < tukeys < 1
    assert ours > tukeys - 0.03


def test_it_sees_a_paired_effect_that_overlapping_intervals_do_not():
    ours, single, overlapping = simulation.paired_effect_seen(40, 0.5)
    assert ours > 0.98
    assert (single, overlapping) == (pytest.approx(1, abs=0.02), 0)


@pytest.mark.parametrize(
    ("case", "least"),
    [("normal", 0.91), ("lognormal, sigma 1", 0.86), ("hits, 98 %", 0.91), ("hits, 70 %", 0.91)],
)
def test_a_means_interval_holds_the_mean(case, least):
    interval = simulation.of_hits if "hits" in case else mean_interval
    assert simulation.coverage(*simulation.MEANS[case], 30, 300, interval=interval) > least
