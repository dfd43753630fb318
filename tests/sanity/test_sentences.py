"""What is said of numbers: below, at and above each threshold, and where they carry it."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from captum_guided_ext.benchmarking import Scores, Series
from captum_guided_ext.sanity._names import MEASURES, RANDOM_MAP, Name
from captum_guided_ext.sanity._numbers import Number, Numbers, number_of
from captum_guided_ext.sanity._sentences import LARGE, MEDIUM, VERY_STRONG, sentences

LAYERS = ("head", "stem")
PAGE = Path(__file__).parents[2] / "examples" / "sanity.md"
JUST = 1e-6


def numbers_of(methods, *, images=1, draws=3, agreement=0.0):
    """Build numbers by method and check; a list is of the draws, or of the pictures.

    "head" and "stem" stand for the rank correlation after the last and after all layers.
    """
    series = {}

    def put(name, method, values):
        series[str(name), method] = Series(np.broadcast_to(np.float64(values), (images,)), {})

    for method, given in methods.items():
        for layer in LAYERS:
            for measure in MEASURES:
                key = layer if measure == "spearman_abs" else f"{layer} {measure}"
                each = np.broadcast_to(np.float64(given.get(key, 0)), (draws,))
                for draw, value in enumerate(each):
                    put(Name(MEASURES[measure], layer=layer, draw=draw), method, value)
        for draw in range(draws):
            put(Name("randomization_spearman_abs", RANDOM_MAP, draw=draw), method, 0.0)
        for check in ("class_sensitivity", "input_recovery", "edge_recovery"):
            put(Name(check), method, given.get(check, 0))
        for other in methods:
            if other != method:
                put(Name("agreement", other), method, agreement)
    return Numbers(Scores(np.arange(images), series), list(methods), LAYERS, (), draws)


def said(methods, **settings):
    numbers = numbers_of(methods, **settings)
    return " ".join(sentences(numbers, numbers.lines(), "wren"))


def test_the_thresholds_are_the_published_ones():
    # Cohen 1988, p. 80: .10 small, .30 medium, .50 large; Evans 1996: .80 to 1.0 very strong
    assert (MEDIUM, LARGE, VERY_STRONG) == (0.3, 0.5, 0.8)


@pytest.mark.parametrize(
    ("check", "threshold", "words"),
    [
        ("head", LARGE, "a (0.50) still ranks the places much as before"),
        ("stem", MEDIUM, "With every layer random, a (0.30) keeps 0.3 or more"),
        ("class_sensitivity", VERY_STRONG, "Asked for wren instead, a (0.80) gives nearly"),
        ("class_sensitivity", LARGE, "Asked for wren instead, a (0.50) gives in large"),
        ("input_recovery", LARGE, "The picture itself shows in a (0.50)"),
        ("edge_recovery", LARGE, "The picture's edges alone are much like a (0.50)"),
    ],
)  # fmt: skip
def test_each_threshold_at_above_and_below(check, threshold, words):
    for value, is_said in ((threshold, 1), (threshold + JUST, 1), (threshold - JUST, 0)):
        assert said({"a": {check: value}, "b": {}}).count(words) == is_said, value


def test_a_negative_of_the_picture_is_the_picture():
    assert "The picture itself shows in a (-0.50)" in said({"a": {"input_recovery": -LARGE}})
    assert "The picture itself" not in said({"a": {"input_recovery": -LARGE + JUST}})
    assert "edges alone" not in said({"a": {"edge_recovery": -1}})  # it avoids them


def test_what_is_found_of_nothing():
    text = said({"a": {}, "b": {}})
    assert "no map ranks the places as before (0.5 or more): a (0.00) and b (0.00)" in text
    assert "no map keeps 0.3. A random map does as well" in text
    assert "every map changes (below 0.5): a (0.00) and b (0.00)" in text
    assert "No map is much like the picture or its edges (below 0.5)" in text


def test_nothing_is_said_that_the_draws_do_not_carry():
    # Three draws of mean 0.6: by hand, s = 0.3 and t = 4.303, so that 0.6 -+ 0.745
    wide = {"head": [0.3, 0.6, 0.9], "stem": [0.3, 0.6, 0.9]}
    text = said({"a": wide, "b": {}})
    assert "a (0.60)" not in text
    assert "no map ranks" not in text
    assert "no map keeps" not in text
    assert "3 draws do not decide what random layers leave" in text
    # s = 0.01: 0.6 -+ 0.025
    assert "a (0.60) still ranks" in said({"a": {"head": [0.59, 0.6, 0.61]}, "b": {}})


def test_it_is_said_why_nothing_is_said_of_random_layers():
    nothing, wide = {"head": np.nan, "stem": np.nan}, [0.1, 0.5, 0.9]
    text = said({"a": nothing, "b": {}})
    assert "intervals" not in text  # b's are far from the thresholds
    assert "--draws" not in text
    assert "not said of all methods, since there is no number of it for a: see the table" in text
    text = said({"a": {"head": wide, "stem": wide}, "b": {}})
    assert "leave of a: the intervals hold the thresholds. Ask for more (--draws)." in text
    few = {"head": [0.1, np.nan, np.nan], "stem": [0.1, np.nan, np.nan]}
    assert "leave of a: there is no interval of a single draw" in said({"a": few, "b": {}})
    # from ten pictures on more draws do not help: the interval is over pictures
    numbers = numbers_of({"a": {"class_sensitivity": np.linspace(0, 0.9, 12)}}, images=12)
    for name, key in [(name, key) for name, key in numbers.scores.series if "spearman_abs" in name]:
        numbers.scores.series[name, key] = Series(np.linspace(0, 0.9, 12), {})
    text = " ".join(sentences(numbers, numbers.lines(), "wren"))
    assert "12 pictures do not decide what random layers leave of a" in text
    assert "Ask for more." in text


def test_edges_that_were_not_measured_are_not_spoken_of():
    text = said({"a": {"edge_recovery": np.nan}, "b": {"edge_recovery": np.nan}})
    assert "No map is much like the picture (below 0.5)." in text


def test_a_number_is_not_rounded_to_the_other_side_of_a_threshold():
    text = said({"a": {"head": 0.4996, "class_sensitivity": 0.4996}, "b": {"head": -0.001}})
    assert "no map ranks the places as before (0.5 or more): a (0.4996) and b (0.00)" in text
    assert "every map changes (below 0.5): a (0.4996)" in text
    assert "a (0.80) gives nearly" in said({"a": {"class_sensitivity": 0.8049}})


def test_the_only_layer():
    numbers = numbers_of({"a": {}})
    numbers = Numbers(numbers.scores, ["a"], LAYERS[:1], (), 3)
    text = " ".join(sentences(numbers, numbers.lines(), "wren"))
    assert text.startswith("With head, the only layer, random, no map ranks the places as before")


def test_pairs_whose_agreement_is_not_decided_are_counted():
    spread = np.linspace(-0.6, 0.9, 12)  # mean 0.15, and the interval holds 0.3
    text = said({"a": {}, "b": {}, "c": {}}, images=12, agreement=spread)
    assert "0 of 3 pairs of methods agree below 0.3, and 3 may: most" in text


def test_nothing_is_said_of_all_methods_where_one_has_no_number():
    text = said({"a": {"stem": np.nan, "head": np.nan, "class_sensitivity": np.nan}, "b": {}})
    for words in ("no map ranks", "no map keeps", "every map changes"):
        assert words not in text
    nothing = ("head", "stem", "class_sensitivity", "input_recovery", "edge_recovery")
    text = said({"a": {**dict.fromkeys(nothing, np.nan), "head ssim": np.nan}, "b": {}})
    assert "no map keeps" not in text


def test_one_draw_of_one_picture_says_nothing_of_other_draws():
    text = said({"a": {"head": 0.9, "class_sensitivity": 0.9}, "b": {}}, draws=1)
    assert "head" not in text
    assert "1 draw does not decide" in text
    assert "a (0.90) gives nearly the same map" in text  # nothing is drawn for that


def test_from_ten_pictures_on_it_is_about_pictures_like_these():
    spread = np.linspace(0.4, 0.8, 9)  # mean 0.6
    assert "a (0.60) gives in large" in said({"a": {"class_sensitivity": spread}}, images=9)
    wide = np.r_[spread, 0.0, 1.2]
    assert "a (0.60)" not in said({"a": {"class_sensitivity": wide}}, images=11)


def test_measures_that_order_methods_differently():
    one = {"head": 0.6, "stem": 0.2, "head ssim": 0.3, "stem ssim": 0.1}
    other = {"head": 0.4, "stem": 0.2, "head ssim": 0.6, "stem ssim": 0.1}
    text = said({"a": one, "b": other, "c": {}})
    assert "Spearman finds a the less sensitive of the two to random layers, and SSIM b" in text
    assert "order 1 of 3 pairs of methods differently" in text
    same = other | {"head ssim": 0.2}
    assert "Spearman finds" not in said({"a": one, "b": same, "c": {}})
    noisy = other | {"head ssim": [0.1, 0.6, 1.0]}  # mean 0.57, but who knows
    assert "Spearman finds" not in said({"a": one, "b": noisy, "c": {}})


@pytest.mark.parametrize(("value", "few"), [(MEDIUM, 0), (MEDIUM - JUST, 3)])
def test_methods_that_disagree(value, few):
    text = said({"a": {}, "b": {}, "c": {}}, agreement=value)
    assert f"{few} of 3 pairs of methods agree below 0.3" in text


def test_there_are_three_sentences_at_most_and_none_without_numbers():
    methods = {name: {"head": 0.9, "class_sensitivity": 0.9} for name in "abcd"}
    numbers = numbers_of(methods)
    assert len(sentences(numbers, numbers.lines(), "wren")) == 3
    nothing = dict.fromkeys(
        ("head", "stem", "head ssim", "class_sensitivity", "input_recovery", "edge_recovery"),
        np.nan,
    )
    numbers = numbers_of({"a": nothing, "b": nothing}, agreement=np.nan)
    assert sentences(numbers, numbers.lines(), "wren") == ()


def test_a_number_by_hand():
    # two draws of one picture: mean 0.4, s = 0.1 * sqrt(2), t = 12.706: 0.4 -+ 1.27, at most 1
    assert number_of(np.array([[0.3], [0.5]]), is_drawn=True) == Number(
        0.4, pytest.approx(-0.870620), 1.0
    )
    # what is missing counts for nothing; one draw that is left says nothing of others
    assert number_of(np.array([[0.3], [np.nan]]), is_drawn=True) == Number(0.3, None, None)
    assert number_of(np.array([[np.nan], [np.nan]]), is_drawn=True) is None
    mixed = number_of(np.array([[0.3, 0.7], [np.nan, 0.5]]), is_drawn=True)
    assert mixed == Number(pytest.approx(0.45), None, None)
    assert number_of(np.array([[0.3, 0.7]]), is_drawn=False) == Number(0.5, 0.5, 0.5)
    # an entropy may rise by more than all of it
    wide = number_of(np.array([[2.0], [2.2], [2.4]]), is_drawn=True)
    assert (wide.mean, wide.high) == (
        pytest.approx(2.2),
        pytest.approx(2.2 + 4.302653 * 0.2 / 3**0.5),
    )


def test_the_page_states_each_threshold_with_its_source():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    for threshold, source in ((LARGE, "Cohen"), (MEDIUM, "Cohen"), (VERY_STRONG, "Evans")):
        assert re.search(rf"\| {threshold} .*{source}", page), threshold
    for source in ("Adebayo", "Nie", "Binder", "Krishna", "Hedström"):
        assert source in page
    assert all(one != other for one, other in combinations((LARGE, MEDIUM, VERY_STRONG), 2))
