"""Class sensitivity, recovery, agreement, ignored shares and completeness in compare."""

from functools import partial

import captum.attr as ca
import pytest
import torch
from floors import of_methods
from networks import Conv, seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext import MethodSpec
from captum_guided_ext.attr import METHODS
from captum_guided_ext.evaluation import (
    AgreementMetric,
    ClassSensitivityMetric,
    CompletenessMetric,
    IgnoredShareMetric,
    RecoveryMetric,
)
from captum_guided_ext.evaluation._metrics import find_metrics
from captum_guided_ext.methods import floor_maps
from captum_guided_ext.metrics import (
    agreement,
    class_sensitivity,
    completeness_gap,
    edge_recovery,
    ignored_share,
    input_recovery,
)
from captum_guided_ext.output import described

NET = seeded(lambda: Conv(nn.ReLU(), channels=2), seed=3)
X = torch.rand(3, 2, 9, 8, generator=torch.Generator().manual_seed(0))
TARGETS = [2, 0, 3]
CHECKS = [
    "class_sensitivity", "input_recovery", "edge_recovery", "agreement", "ignored_share",
    "completeness_gap",
]  # fmt: skip
NAMED = [*METHODS, "integrated_gradients", "gradient_shap", "occlusion"]
NOTHING = "the map is zero everywhere"
PROMISES_NOTHING = "the method promises no completeness"


def scores(result, metric):
    """Return the values of each method and floor."""
    found = {}
    for row in result.rows:
        if row.metric == metric:
            found.setdefault(row.method, []).append(row.value)
    return found


def reasons(result, metric, method):
    return [r.reason for r in result.rows if (r.metric, r.method) == (metric, method)]


def near(values):
    """Return numbers to compare with, None for NaN."""
    near = [pytest.approx(value, rel=1e-4, abs=1e-5) for value in values.tolist()]
    return [None if nan else one for nan, one in zip(values.isnan().tolist(), near, strict=True)]


@pytest.fixture(scope="module")
def result():
    return cg.compare(NET, X, TARGETS, methods=NAMED, metrics=CHECKS, seed=4)


# --- what compare gives -------------------------------------------------------------------------


def test_class_sensitivity_is_the_function_s(result):
    expected = class_sensitivity(NET, X, NAMED, TARGETS, seed=4)
    found = scores(result, "class_sensitivity")
    for name in NAMED:
        assert found[name] == near(expected.values[name]), name
        assert any(value is not None for value in found[name])
    assert found["random_map"] == found["edges"] == [1, 1, 1]
    assert found["constant_map"] == [None] * 3
    assert set(reasons(result, "class_sensitivity", "constant_map")) == {
        "the map is the same everywhere"
    }


@pytest.mark.parametrize(
    ("name", "function"), [("input_recovery", input_recovery), ("edge_recovery", edge_recovery)]
)
def test_recovery_is_the_function_s_without_the_sign(result, name, function):
    found = scores(result, name)
    signs = set()
    for method, one in result.maps.items():
        expected = function(one, X)
        signs |= set(expected.sign().tolist())
        assert found[method] == near(expected.abs())
    assert {-1, 1} <= signs
    assert found["constant_map"] == [None] * 3
    assert (name == "edge_recovery") == (found["edges"] == pytest.approx([1, 1, 1]))


def test_agreement_is_the_mean_of_the_function_s_matrix_with_other_methods(result):
    matrix = agreement(result.maps).rank_correlation
    found = scores(result, "agreement")
    for place, method in enumerate(result.maps):
        others = [k for k in range(len(result.maps)) if k != place]
        assert found[method] == near(matrix[:, place, others].nanmean(1))
    with_floors = result.maps | floor_maps(X, 4, range(3), [0])
    matrix = agreement(with_floors).rank_correlation
    for floor in ("random_map", "edges"):
        row = matrix[:, list(with_floors).index(floor), : len(result.maps)]
        assert found[floor] == near(row.nanmean(1))


def test_ignored_shares_are_the_function_s(result):
    found = scores(result, "ignored_share")
    guided = near(ignored_share(NET, X, TARGETS).total)
    assert found["guided_backprop"] == found["guided_grad_cam"] == guided
    assert found["deconvolution"] == near(ignored_share(NET, X, TARGETS, "deconvolution").total)
    assert found["gradient"] == found["input_x_gradient"] == [0, 0, 0]
    for method in ("grad_cam", "integrated_gradients", "occlusion"):
        assert found[method] == [None] * 3
        (reason,) = set(reasons(result, "ignored_share", method))
        assert reason == "no named method that sends back gradients under a rule"
    assert not {"constant_map", "random_map", "edges"} & found.keys()


def test_completeness_is_the_function_s(result):
    found = scores(result, "completeness_gap")
    for method in ("integrated_gradients", "gradient_shap"):
        expected = completeness_gap(NET, X, result.maps[method], TARGETS)
        assert found[method] == near(expected)
    for method in (*METHODS, "occlusion"):
        assert found[method] == [None] * 3
        assert set(reasons(result, "completeness_gap", method)) == {PROMISES_NOTHING}
    assert not {"constant_map", "random_map", "edges"} & found.keys()


# --- settings -----------------------------------------------------------------------------------


def test_names_settings_and_which_side_is_better():
    metrics = find_metrics(CHECKS)
    assert {name: one.higher_is_better for one in metrics for name in one.names} == {
        name: name == "agreement" for name in CHECKS
    }
    assert [described(one) for one in metrics] == [
        "ClassSensitivityMetric(name='class_sensitivity', other='top2')",
        "RecoveryMetric(names=['input_recovery', 'edge_recovery'])",
        "AgreementMetric(name='agreement')",
        "IgnoredShareMetric(name='ignored_share')",
        "CompletenessMetric(name='completeness_gap')",
    ]
    with pytest.raises(ValueError, match="names must be of input_recovery and edge_recovery, and"):
        RecoveryMetric(("recovery",))
    for other in ("top3", [1, 2], True):
        with pytest.raises(ValueError, match="other must be 'top2', 'random' or a class index, no"):
            ClassSensitivityMetric(other)


def test_other_classes_by_several_metrics():
    metrics = [ClassSensitivityMetric("random", "random"), ClassSensitivityMetric(0, "zero")]
    result = cg.compare(NET, X, TARGETS, methods=["gradient"], metrics=metrics, seed=7)
    drawn = class_sensitivity(NET, X, ["gradient"], TARGETS, "random", seed=7)
    assert scores(result, "random")["gradient"] == near(drawn.values["gradient"])
    values = scores(result, "zero")["gradient"]
    assert values[1] is None
    assert values[0] is not None
    assert reasons(result, "zero", "gradient")[1] == "the other class is the target itself"


def test_scores_are_an_image_s_own():
    metrics = [*CHECKS[1:], ClassSensitivityMetric("random")]

    def rows(order):
        found = cg.compare(
            NET, X[order], [TARGETS[k] for k in order], image_indices=order, seed=2,
            methods=["gradient", "guided_backprop", "integrated_gradients"], metrics=metrics,
        )  # fmt: skip
        return {(one.image, one.method, one.metric): one.value for one in found.rows}

    whole = rows([0, 1, 2])
    for order in ([2, 0], [1]):
        for place, value in rows(order).items():
            expected = whole[place]
            assert value == (None if expected is None else pytest.approx(expected, abs=1e-4))


def test_what_the_checks_cost():
    net = seeded(lambda: Conv(nn.ReLU(), channels=2))

    def examples(metric):
        before = net.examples
        cg.compare(net, X, TARGETS, methods=["gradient", "guided_backprop"], metrics=[metric])
        return net.examples - before - 3

    cg.compare(net, X, TARGETS, methods=["gradient"], metrics=[])  # where a model may run twice
    assert examples("class_sensitivity") == 3  # not six: the target's maps are there
    assert examples("input_recovery") == examples("agreement") == 0
    assert examples("ignored_share") == 3
    assert examples("completeness_gap") == 0  # nobody promises it


# --- completeness with baselines of their own -----------------------------------------------------


@pytest.mark.filterwarnings("ignore:Setting forward, backward hooks")  # Captum's DeepLift
def test_each_method_is_held_to_its_own_baselines():
    net = seeded(lambda: nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))).double()
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0)).double()
    rows = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).double()

    def drawn(x):
        return torch.randn_like(x)

    methods = {
        "zero": "integrated_gradients",
        "grey": MethodSpec(ca.IntegratedGradients(net), 0.5),
        "rows": MethodSpec(ca.DeepLiftShap(net), rows),
        "silent": lambda x, target: x,
        "drawn": partial(ca.GradientShap(net).attribute, baselines=drawn),
    }
    result = cg.compare(net, x, 1, methods=methods, metrics=["completeness_gap"])
    found = scores(result, "completeness_gap")
    for name, baselines in (("zero", 0), ("grey", 0.5), ("rows", list(rows))):
        expected = completeness_gap(net, x, result.maps[name], 1, baselines)
        assert found[name] == near(expected), name
    assert found["silent"] == found["drawn"] == [None, None]
    assert set(reasons(result, "completeness_gap", "silent")) == {PROMISES_NOTHING}
    (reason,) = set(reasons(result, "completeness_gap", "drawn"))
    assert reason == "a function draws its baselines"
    wrong = completeness_gap(net, x, result.maps["rows"], 1, rows.mean(0))
    assert found["rows"] != near(wrong)  # the mean of their scores is not the score of their mean


def test_a_score_that_is_the_baseline_s_promises_nothing():
    net = nn.Linear(3, 2)
    result = cg.compare(
        net, torch.zeros(1, 3), 0, methods=["integrated_gradients"], metrics=["completeness_gap"]
    )
    (row,) = of_methods(result.rows)
    assert row.value is None
    assert "up to rounding: nothing is promised" in row.reason


# --- what does not fit --------------------------------------------------------------------------


def test_a_map_of_zeros_has_no_score():
    methods = {"zero": lambda x, target: 0 * x, "picture": lambda x, target: x}
    result = cg.compare(NET, X, TARGETS, methods=methods, metrics=CHECKS[:4])
    for name in CHECKS[:4]:
        assert scores(result, name)["zero"] == [None] * 3
        assert set(reasons(result, name, "zero")) == {NOTHING}
    assert set(reasons(result, "agreement", "picture")) == {
        "no other method has a map that differs from place to place"
    }
    alone = cg.compare(NET, X, TARGETS, methods=["gradient"], metrics=["agreement"])
    assert scores(alone, "agreement")["gradient"] == [None] * 3


def test_rows_of_numbers():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)))
    x = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    names = [name for name in CHECKS if name != "edge_recovery"]
    result = cg.compare(net, x, 1, methods=["gradient", "input_x_gradient"], metrics=names)
    for name in names[:-1]:
        assert None not in scores(result, name)["gradient"], name
    with pytest.raises(ValueError, match="edge_recovery needs pictures"):
        cg.compare(net, x, 1, methods=["gradient"], metrics=["edge_recovery"])


def test_an_output_that_is_no_classes_is_refused():
    with pytest.raises(cg.ModelError, match=r"shape \(3, 1\), and class sensitivity needs one"):
        cg.compare(
            lambda x: NET(x)[:, :1], X, 0, methods=["gradient"], metrics=[ClassSensitivityMetric()]
        )


def test_the_other_objects_may_have_other_names():
    metrics = [AgreementMetric("a"), IgnoredShareMetric("i"), CompletenessMetric("c")]
    result = cg.compare(NET, X, TARGETS, methods=["gradient"], metrics=metrics)
    assert {row.metric for row in result.rows} == {"a", "i", "c"}
