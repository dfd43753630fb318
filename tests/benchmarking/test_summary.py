"""What a summary says of its methods: examples by hand, and orders that only one reading allows."""

import numpy as np
import pytest

from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage
from captum_guided_ext.benchmarking._report import summary_tables
from captum_guided_ext.benchmarking._scores import Scores
from captum_guided_ext.benchmarking._summary import summarise
from captum_guided_ext.evaluation._rows import ScoreRow
from captum_guided_ext.methods import BEST_CONSTANT
from captum_guided_ext.sampling import all_pairs, mean_interval

DRAW = np.random.default_rng(6)
COMMON = DRAW.gamma(2, size=60)
NEAR = COMMON + DRAW.normal(0, 0.3, 60)
FAR = COMMON + 0.4 + DRAW.normal(0, 0.3, 60)


def rows(scores, metric="m"):
    """Return the rows of ``{method: values or {image: value}}``."""
    return [
        ScoreRow(image, method, metric, value, reason="" if value is not None else f"no {method}")
        for method, values in scores.items()
        for image, value in (
            values if isinstance(values, dict) else dict(enumerate(values))
        ).items()
    ]


def of_rows(*some, batch=7):
    """Return the scores of rows, from records of some images each, the last ones first."""
    every = sorted({row.image for one in some for row in one})
    records = [
        BatchRecord.of(
            start,
            [row for one in some for row in one if row.image in every[start : start + batch]],
            {image: ScoredImage(str(image), 0, None) for image in every[start : start + batch]},
        )
        for start in range(0, len(every), batch)
    ]
    return Scores.of(reversed(records))


def summary(scores, *, higher=False):
    """Return the lines of one metric by method, in their order."""
    return {line.method: line for line in summarise(of_rows(rows(scores)), {"m": higher})}


def ranks(lines):
    return {line.method: (line.rank, line.last_rank) for line in lines.values()}


def test_ranks_differences_and_their_intervals_are_those_of_one_family():
    lines = summary({"far": FAR, "near": NEAR})
    pairs = all_pairs(np.stack([FAR, NEAR]))
    assert list(lines) == ["near", "far"]
    assert pairs.low[0, 1] > 0
    far = lines["far"]
    assert far.difference == pytest.approx((FAR - NEAR).mean())
    assert (far.difference_ci_low, far.difference_ci_high) == (pairs.low[0, 1], pairs.high[0, 1])
    assert ranks(lines) == {"near": (1, 1), "far": (2, 2)}
    near = lines["near"]
    assert (near.difference, near.difference_ci_low, near.difference_ci_high) == (0, 0, 0)
    # Their own intervals overlap: what is paired is seen only by the difference.
    assert near.ci_high > far.ci_low
    assert ranks(summary({"far": FAR, "near": NEAR}, higher=True)) == {
        "far": (1, 1),
        "near": (2, 2),
    }


def test_each_method_has_its_mean_its_quartiles_and_its_interval():
    line = summary({"far": FAR, "near": NEAR})["far"]
    assert (line.mean, line.median) == pytest.approx((FAR.mean(), np.median(FAR)))
    assert line.lower_quartile == pytest.approx(np.quantile(FAR, 0.25))
    assert line.upper_quartile == pytest.approx(np.quantile(FAR, 0.75))
    assert (line.ci_low, line.ci_high) == mean_interval(FAR)
    assert (line.images, line.missing, line.shared_images) == (60, 0, 60)


def test_a_chain_shares_ranks_link_by_link():
    noise = 0.5 * DRAW.normal(size=(3, 40))
    noise -= noise.mean(axis=1, keepdims=True)  # so that the means are known
    a, b, c = noise + np.array([[0], [0.25], [0.5]])
    above = all_pairs(np.stack([a, b, c])).above()
    assert [above[1, 0], above[2, 1], above[2, 0]] == [False, False, True]
    chain = {"a": a, "b": b, "c": c}
    assert ranks(summary(chain)) == {"a": (1, 2), "b": (1, 3), "c": (2, 3)}
    assert ranks(summary(chain, higher=True)) == {"c": (1, 2), "b": (1, 3), "a": (2, 3)}


def test_a_method_that_fails_on_the_hardest_images_does_not_come_first():
    hard = np.sort(COMMON)
    easy = {image: value + 0.1 if image < 40 else None for image, value in enumerate(hard)}
    lines = summary({"all": hard, "easy": easy})
    assert lines["easy"].mean < lines["all"].mean  # of all of its images, which are the easy ones
    assert list(lines) == ["all", "easy"]
    assert ranks(lines) == {"all": (1, 1), "easy": (None, None)}
    easy = lines["easy"]
    assert (easy.images, easy.missing, easy.reason) == (40, 20, "no easy")
    assert (easy.shared_images, easy.shared_mean, easy.difference) == (None, None, None)


def test_means_are_compared_on_the_images_that_all_ranked_methods_have():
    hard = np.sort(COMMON)
    some = {image: value + 0.1 if image < 55 else None for image, value in enumerate(hard)}
    lines = summary({"all": hard, "some": some, "none": [None] * 60})
    assert list(lines) == ["all", "some", "none"]
    assert lines["some"].mean == pytest.approx(hard[:55].mean() + 0.1)
    assert lines["all"].mean == pytest.approx(hard.mean())
    assert lines["all"].shared_mean == pytest.approx(hard[:55].mean())
    assert lines["some"].difference == pytest.approx(0.1)
    assert {line.shared_images for line in lines.values()} == {55, None}
    none = lines["none"]
    assert (none.mean, none.rank, none.images, none.reason) == (None, None, 0, "no none")


def test_methods_that_share_no_image_are_in_the_order_of_their_means():
    scores = {
        f"m{i}": [None if j // 2 == i else COMMON[j] - i for j in range(20)] for i in range(10)
    }
    lines = summary(scores)
    assert list(lines) == sorted(lines, key=lambda name: lines[name].mean) != sorted(lines)
    assert {line.rank for line in lines.values()} == {None}


def test_fewer_than_ten_images_claim_nothing():
    lines = summary({"low": [1.0, 1.5] * 4, "high": [100.0, 101.0] * 4})
    assert list(lines) == ["low", "high"]
    assert lines["high"].difference == pytest.approx(99.25)
    for line in lines.values():
        assert (line.rank, line.last_rank) == (None, None)
        assert (line.difference_ci_low, line.difference_ci_high) == (None, None)
    ten = summary({"low": [1.0, 1.5] * 5, "high": [100.0, 101.0] * 5})
    assert ranks(ten) == {"low": (1, 1), "high": (2, 2)}


def test_one_image_has_no_interval():
    (line,) = summary({"low": [1.0]}).values()
    assert (line.mean, line.ci_low, line.ci_high, line.rank) == (1, None, None, None)


def test_floors_stand_below_and_are_in_no_family():
    lines = summary({"far": FAR, "near": NEAR, "constant_map": NEAR - 9, "edges": FAR + 9})
    assert list(lines) == ["near", "far", "constant_map", "edges"]
    assert [line.is_floor for line in lines.values()] == [False, False, True, True]
    alone = summary({"far": FAR, "near": NEAR})
    assert lines["far"] == alone["far"]
    assert ranks(lines)["constant_map"] == (None, None)


def test_infidelity_is_also_told_relative_to_the_best_constant():
    constant = np.full(60, 2.0)
    gaps = {image: 1.0 if image < 30 else None for image in range(60)}
    lines = summary({"near": NEAR, "gaps": gaps, BEST_CONSTANT: constant})
    assert lines["near"].relative == pytest.approx(NEAR.mean() / 2)
    assert lines["gaps"].relative == 0.5
    assert lines[BEST_CONSTANT].relative == 1
    assert summary({"near": NEAR})["near"].relative is None


def test_hits_have_wilsons_interval():
    lines = summary({"all": [1.0] * 20, "some": [1.0, 0.0] * 10}, higher=True)
    expected = mean_interval(np.ones(20), are_hits=True)
    assert (lines["all"].ci_low, lines["all"].ci_high) == expected
    assert 0.8 < lines["all"].ci_low < 0.85
    # Scores that are 1 among others that are no hits are an interval without width.
    assert summary({"all": [1.0] * 60, "near": NEAR})["all"].ci_low == 1


def test_a_floor_beside_hits_may_be_no_hit():
    gone = summary({"a": [0.0] * 12, "random_map": np.full(12, 1.5) + DRAW.normal(0, 0.1, 12)})
    assert 1 < gone["random_map"].ci_low < gone["random_map"].ci_high
    assert gone["a"].ci_low == 0


def test_scores_that_are_often_0_are_no_hits():
    few = [0.0] * 12 + [1e-6, 2e-6, 1e-6, 3e-6, 2e-6, 1e-6, 2e-6, 1e-6]
    assert summary({"a": few})["a"].ci_high < 3e-6


def tables(draw):
    """Return random scores by method: ties, hits, constants, gaps, decades, rounding."""
    count, images = int(draw.integers(1, 6)), int(draw.choice([1, 2, 9, 10, 11, 30]))
    size = count, images
    kinds = [
        lambda: draw.gamma(1, size=size),
        lambda: np.full(size, draw.normal()),
        lambda: draw.choice([0, 1, 0.5, 1 / 3], p=[0.4, 0.4, 0.1, 0.1], size=size),
        lambda: draw.normal(size=images) + 0.3 * draw.normal(size=size),
        # decades, of which the large ones differ by rounding and the small ones by more
        lambda: (
            np.exp(draw.normal(0, 6, images))
            * (1 + draw.choice([0, 1e-7, 3e-6, 1e-3], size=(min(count, 2), images)))
        ),
    ]
    table = kinds[draw.integers(len(kinds))]() * draw.choice([1, -1, 1e-30, 1e30])
    if len(table) > 1 and draw.random() < 0.4:
        table[1] = table[0] * (1 + draw.choice([0, 1e-9, 1e-6])) + draw.choice([0, 1])
    table = np.where(draw.random(table.shape) < draw.choice([0, 0.05]), np.nan, table)
    scores = {
        f"m{i}": [None if np.isnan(one) else one for one in row.tolist()]
        for i, row in enumerate(table)
    }
    return scores | {"random_map": draw.random(images).tolist()}


@pytest.mark.parametrize("seed", range(200))
def test_what_is_said_of_any_table_does_not_contradict_itself(seed):
    draw = np.random.default_rng([20, seed])
    scores, higher = tables(draw), bool(draw.integers(2))
    lines = summary(scores, higher=higher)
    ranked = [line for line in lines.values() if line.shared_images is not None]
    for line in ranked:
        low, high = line.difference_ci_low, line.difference_ci_high
        assert line.difference <= 0 if higher else line.difference >= 0
        assert (line.rank is None) == (line.shared_images < 10)
        assert (low is None) == (high is None)
        if low is not None:
            assert low <= line.difference <= high
            assert not (low > 0 or high < 0) or line.rank > ranked[0].rank
        if line.rank is not None:
            assert 1 <= line.rank <= line.last_rank <= len(ranked)
    if ranked:
        assert ranked[0].difference == 0
        assert ranked[0].rank in (None, 1)
    # Scores with the other sign, of which the lower ones are better then, say the same.
    mirrored = {m: [None if v is None else -v for v in values] for m, values in scores.items()}
    assert ranks(summary(mirrored, higher=not higher)) == ranks(lines)


def test_several_runs_have_a_second_interval():
    runs = [of_rows(rows({"a": NEAR + shift})) for shift in (-1.0, 0.0, 1.0)]
    (line,) = summarise(of_rows(rows({"a": NEAR})), {"m": False}, runs)
    # Three means, one apart: t with two degrees of freedom, 4.3027, times 1 / sqrt(3).
    half = 4.302653 / 3**0.5
    assert (line.runs_low, line.runs_high) == pytest.approx(
        (NEAR.mean() - half, NEAR.mean() + half)
    )
    assert (line.ci_low, line.ci_high) == mean_interval(NEAR)
    assert summary({"a": NEAR})["a"].runs_low is None


def test_lines_come_by_metric_and_the_order_of_records_does_not_matter():
    scores = [rows({"far": FAR, "near": NEAR}, metric) for metric in ("x", "b")]
    lines = summarise(of_rows(*scores), {"x": True, "b": False})
    names = [(line.metric, line.method) for line in lines]
    assert names == [("b", "near"), ("b", "far"), ("x", "far"), ("x", "near")]
    assert summarise(of_rows(*reversed(scores), batch=11), {"x": True, "b": False}) == lines


def test_columns_give_back_the_rows():
    given = rows({"b": {4: 0.1 + 0.2, 9: None}, "a": {4: 1.0, 9: 2.0}})
    given.append(ScoreRow(9, "a", "n", 0.5, 0.1, 0.2, 0.9))
    given.append(ScoreRow(4, "a", "n", None, reason="other"))
    ordered = sorted(given, key=lambda one: (one.image, one.method, one.metric))
    assert list(of_rows(given, batch=1).rows()) == ordered


def test_what_no_method_can_be_scored_on_does_not_count_against_any():
    """An empty mask: nine tenths are of the other images."""
    half = {image: value if image < 30 else None for image, value in enumerate(COMMON)}
    lines = summary({"a": half, "edges": half})
    assert lines["a"].rank == 1
    assert (lines["a"].images, lines["a"].missing) == (30, 30)


def test_no_records_have_no_lines():
    assert summarise(Scores.of([]), {"m": True}) == []
    assert summary_tables([]) == ""


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_says_what_is_ranked_what_has_gaps_and_what_is_a_floor():
    hard = np.sort(COMMON)
    gaps = {image: value + 1 if image < 58 else None for image, value in enumerate(hard)}
    few = {image: 1.0 if image < 20 else None for image in range(60)}
    lines = summary({"a": hard, "gaps": gaps, "few": few, "edges": hard})
    title, head, _, *body = summary_tables(lines.values()).splitlines()
    assert title == "m (lower is better)"
    columns = ["method", "mean", "95 % interval", "shared mean", "less the best", "of all pairs"]
    assert cells(head) == [*columns, "rank", "over"]
    table = {cells(line)[0]: dict(zip(cells(head), cells(line), strict=True)) for line in body}
    assert list(table) == ["a", "gaps *", "few *", "edges"]
    assert [one["rank"] for one in table.values()] == ["1", "2", "not ranked", "floor"]
    over = ["60 images", "58 of 60 images", "20 of 60 images", "60 images"]
    assert [one["over"] for one in table.values()] == over
    assert table["few *"]["shared mean"] == table["few *"]["less the best"] == ""


def test_the_median_stands_beside_means_that_few_images_decide():
    wild = [1.0] * 58 + [500.0, 900.0]
    (line,) = summary({"wild": wild}).values()
    head = summary_tables([line]).splitlines()[1]
    assert "median" in cells(head)
    (line,) = summary({"near": NEAR}).values()
    assert "median" not in cells(summary_tables([line]).splitlines()[1])
