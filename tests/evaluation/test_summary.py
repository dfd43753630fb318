"""What a summary says of its methods, against scipy, slow resampling, and examples by hand."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from captum_guided_ext.evaluation._benchmark_result import summary_tables
from captum_guided_ext.evaluation._rows import ScoreRow
from captum_guided_ext.evaluation._summary import summarise

# An interval's end is a quantile of 10,000 resampled means. Where such a mean is about normal with
# standard deviation s, its 2.5 % quantile has the standard error
# sqrt(0.025 * 0.975 / 10000) / 0.0584 * s = 0.027 s, and scipy's from 100,000 has 0.008 s. Ten ends
# are compared: four standard errors of the difference. A 93 % interval would be off by 0.15 s.
TOLERANCE = 4 * math.hypot(0.027, 0.008)


def rows(scores, metric="m"):
    """Return the rows of ``{method: {image: value}}``."""
    return [
        ScoreRow(image, method, metric, value, reason="" if value is not None else f"no {method}")
        for method, by_image in scores.items()
        for image, value in by_image.items()
    ]


def summary(scores, *, higher=False):
    """Return the lines of one metric by method, in their order."""
    numbered = {
        method: values if isinstance(values, dict) else dict(enumerate(values))
        for method, values in scores.items()
    }
    return {line.method: line for line in summarise(rows(numbered), {"m": higher})}


def assert_interval(found, values):
    """It is scipy's interval of the mean."""
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=100_000, method="percentile", batch=10_000,
        random_state=np.random.default_rng(8),
    ).confidence_interval  # fmt: skip
    spread = np.std(values) / math.sqrt(len(values))
    assert found == pytest.approx(tuple(expected), abs=TOLERANCE * spread)


@pytest.fixture(scope="module")
def seeded():
    draw = np.random.default_rng(6)
    common = draw.gamma(2, size=60)
    return {
        "first": common + draw.normal(0, 0.3, 60),
        "second": common + 0.4 + draw.normal(0, 0.3, 60),
        "third": draw.exponential(3, 60),
    }


def test_means_and_intervals_are_those_of_scipy(seeded):
    lines = summary(seeded)
    assert set(lines) == set(seeded)
    for method, values in seeded.items():
        line = lines[method]
        assert line.mean == pytest.approx(sum(values.tolist()) / 60)
        assert_interval((line.ci_low, line.ci_high), values)
        assert (line.images, line.missing, line.reason) == (60, 0, "")


def test_differences_are_paired(seeded):
    lines = summary(seeded)
    best = min(seeded, key=lambda method: seeded[method].mean())
    assert best == "first"
    for method in ("second", "third"):
        differences = seeded[method] - seeded[best]
        line = lines[method]
        assert line.difference == pytest.approx(differences.mean())
        assert_interval((line.difference_ci_low, line.difference_ci_high), differences)
    # Drawn from images of their own, the difference would vary more than either method.
    paired = lines["second"].difference_ci_high - lines["second"].difference_ci_low
    assert paired < lines["second"].ci_high - lines["second"].ci_low
    itself = lines[best]
    assert (itself.difference, itself.difference_ci_low, itself.difference_ci_high) == (0, 0, 0)


def test_missing_scores_are_left_out_of_means_and_pairs():
    draw = np.random.default_rng(2)
    best = dict(enumerate(draw.normal(1, 0.3, 40)))
    other = dict(enumerate(draw.normal(2, 0.3, 40)))
    for image in range(0, 20, 2):
        best[image] = None
    for image in range(0, 20, 5):  # 0 and 10 have neither
        other[image] = None
    line = summary({"best": best, "other": other})["other"]
    both = [i for i in range(40) if best[i] is not None and other[i] is not None]
    assert len(both) == 28
    assert (line.images, line.missing, line.reason) == (36, 4, "no other")
    assert line.mean == pytest.approx(np.mean([v for v in other.values() if v is not None]))
    differences = [other[i] - best[i] for i in both]
    assert line.difference == pytest.approx(np.mean(differences))
    # Slowly: images are drawn, with or without a score, and the mean is of those that have one.
    means = []
    for _ in range(4000):
        drawn = [best[i] for i in draw.integers(0, 40, 40).tolist() if best[i] is not None]
        means.append(sum(drawn) / len(drawn))
    line = summary({"best": best, "other": other})["best"]
    spread = np.std(means)
    assert (line.ci_low, line.ci_high) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=0.3 * spread
    )  # 4000 resamples: 0.042 s, with the product's own 0.05 s


def test_a_method_without_any_score_comes_last_without_rank():
    lines = summary({"none": [None, None, None], "some": [3.0, 5.0, 4.0]})
    assert list(lines) == ["some", "none"]
    nothing = (None,) * 8
    assert astuple(lines["none"]) == ("m", "none", 0, 3, *nothing, False, "no none")
    assert (lines["some"].rank, lines["some"].last_rank) == (1, 1)
    (only,) = summary({"none": [None, None]}).values()
    assert (only.mean, only.difference, only.rank) == (None, None, None)


def test_one_image_has_no_interval_and_separates_nothing():
    lines = summary({"low": [1.0], "high": [100.0]})
    assert [line.mean for line in lines.values()] == [1, 100]
    assert lines["high"].difference == 99
    for line in lines.values():
        assert (line.ci_low, line.ci_high) == (None, None)
        assert (line.difference_ci_low, line.difference_ci_high) == (None, None)
        assert (line.rank, line.last_rank) == (1, 2)


def test_the_same_score_everywhere_is_an_interval_without_width():
    (line,) = summary({"one": [2.5] * 6}).values()
    assert (line.ci_low, line.mean, line.ci_high) == (2.5, 2.5, 2.5)


# The mean of resampled values lies between the smallest and the largest, and its interval covers
# most of that range where values alternate between two: so intervals are known without computing.
FAR = {"a": [0.0, 1.0] * 10, "b": [0.1, 1.1] * 10, "c": [5.0, 6.0] * 10, "d": [5.1, 6.1] * 10}


def ranks(lines):
    return {line.method: (line.rank, line.last_rank) for line in lines.values()}


def test_overlapping_methods_share_ranks_and_separate_ones_do_not():
    lower = summary(FAR)
    assert list(lower) == ["a", "b", "c", "d"]
    assert ranks(lower) == {"a": (1, 2), "b": (1, 2), "c": (3, 4), "d": (3, 4)}
    higher = summary(FAR, higher=True)
    assert list(higher) == ["d", "c", "b", "a"]
    assert ranks(higher) == {"d": (1, 2), "c": (1, 2), "b": (3, 4), "a": (3, 4)}
    assert [line.difference for line in higher.values()] == pytest.approx([0, -0.1, -5, -5.1])


def test_a_chain_of_overlaps_shares_ranks_link_by_link():
    # Of 20 values that alternate by 1, the mean's interval is about 0.22 to either side.
    chain = {"a": [0.0, 1.0] * 10, "b": [0.3, 1.3] * 10, "c": [0.6, 1.6] * 10}
    lines = summary(chain)
    assert lines["a"].ci_high > lines["b"].ci_low
    assert lines["b"].ci_high > lines["c"].ci_low
    assert lines["a"].ci_high < lines["c"].ci_low
    assert ranks(lines) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}
    assert ranks(summary(chain, higher=True)) == {"c": (1, 2), "b": (1, 3), "a": (2, 3)}


def test_intervals_that_touch_overlap():
    lines = summary({"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0], "c": [2.0, 2.0, 2.0]})
    assert ranks(lines) == {"a": (1, 2), "b": (1, 2), "c": (3, 3)}
    assert list(lines) == ["a", "b", "c"]  # equal means: by name
    lines = summary({"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]}, higher=True)
    assert ranks(lines) == {"a": (1, 2), "b": (1, 2)}


def test_a_method_that_is_far_off_on_few_images_is_not_called_worse():
    # Its mean is larger, but one image of ten makes all of that.
    lines = summary({"steady": [1.0, 1.1] * 5, "wild": [0.9] * 9 + [30.0]})
    assert lines["wild"].mean > 3
    assert ranks(lines) == {"steady": (1, 2), "wild": (1, 2)}


def test_lines_come_by_metric_and_the_order_of_the_rows_does_not_matter(seeded):
    named = {name: dict(enumerate(values)) for name, values in seeded.items()}
    many = rows(named, "x") + rows(named, "b")
    lines = summarise(many, {"x": True, "b": False})
    assert [(line.metric, line.method) for line in lines] == [
        ("b", "first"), ("b", "second"), ("b", "third"),
        ("x", "third"), ("x", "second"), ("x", "first"),
    ]  # fmt: skip
    np.random.default_rng(3).shuffle(many)
    assert summarise(many, {"x": True, "b": False}) == lines


def test_no_rows_have_no_lines():
    assert summarise([], {"m": True}) == []
    assert summary_tables([]) == ""


def test_the_table_names_means_intervals_ranks_and_images():
    lines = summarise(rows({"a": {0: 1.0, 1: 1.0}, "b": {0: 2.0, 1: 2.0}}), {"m": False})
    lines += summarise(rows({"a": {4: 0.5}, "b": {4: None}}, "n"), {"n": True})
    title, head, _, first, second, blank, other, _, _, third, fourth = summary_tables(
        lines
    ).splitlines()
    assert (title, blank, other) == ("m (lower is better)", "", "n (higher is better)")
    assert cells(head)[:3] == ["method", "mean", "95 % interval"]
    assert cells(first) == ["a", "1", "1 to 1", "0", "0 to 0", "1", "2 images"]
    assert cells(second) == ["b", "2", "2 to 2", "1", "1 to 1", "2", "2 images"]
    assert cells(third) == ["a", "0.5", "", "0", "", "1", "1 image"]
    assert cells(fourth) == ["b", "", "", "", "", "", "0 images"]


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]
