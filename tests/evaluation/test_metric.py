"""A metric of one's own in compare and benchmark, and the registry of the named ones."""

import dataclasses
import re
from dataclasses import dataclass

import pytest
import torch
from floors import of_methods
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext.evaluation import (
    METRICS,
    AgreementMetric,
    ClassSensitivityMetric,
    CompletenessMetric,
    DeletionMetric,
    EntropyMetric,
    IgnoredShareMetric,
    InfidelityMetric,
    InsertionMetric,
    LocalisationMetric,
    RandomizationMetric,
    RecoveryMetric,
    RoadMetric,
    Score,
    SensitivityMetric,
    SmoothRandomizationMetric,
)
from captum_guided_ext.evaluation._metrics import find_metrics

X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)) - 0.5
ONES = torch.ones(3)
OPTIONS = {"methods": ["gradient", "input_x_gradient"], "n_perturb_samples": 2}


def linear():
    """Return a network whose gradient is known: 1, 0 and -1 for class 0."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        net[1].weight[0].copy_(torch.arange(16) % 3 - 1.0)
        net[1].bias.zero_()
    return net


@dataclass(frozen=True)
class Sparsity:
    """The share of places that hold nothing."""

    names: tuple[str, ...] = ("sparsity",)
    higher_is_better: bool = True

    def score(self, batch):
        assert torch.equal(batch.model(batch.inputs)[:, 0], batch.scores)
        shares = {m: Score((one == 0).double().mean((1, 2, 3))) for m, one in batch.maps.items()}
        return {"sparsity": shares}


def test_a_metric_of_ones_own_stands_beside_the_named_ones():
    found = cg.compare(linear(), X, 0, metrics=["infidelity", Sparsity()], **OPTIONS)
    mine = [row for row in of_methods(found.rows) if row.metric == "sparsity"]
    assert {(row.method, row.value) for row in mine} == {
        ("gradient", 5 / 16), ("input_x_gradient", 5 / 16),
    }  # fmt: skip
    alone = cg.compare(linear(), X, 0, metrics=["infidelity"], **OPTIONS)
    assert tuple(row for row in found.rows if row.metric == "infidelity") == alone.rows


def test_a_metric_of_ones_own_in_a_benchmark(tmp_path):
    data = TensorDataset(X, torch.zeros(3, dtype=torch.long))
    options = {"output": tmp_path, "show_progress": False, **OPTIONS}
    found = cg.benchmark(linear(), data, metrics=[Sparsity()], **options)
    lines = of_methods(found.summary)
    assert {(line.method, line.mean, line.higher_is_better) for line in lines} == {
        ("gradient", 5 / 16, True), ("input_x_gradient", 5 / 16, True),
    }  # fmt: skip
    (words,) = found.settings["metrics"].values()  # and a digest of its code
    assert re.fullmatch(r"Sparsity\(higher_is_better=True, names=\['sparsity'\]\) \w{12}", words)


@dataclass(frozen=True)
class Odd:
    """Gives whatever it is told to."""

    given: object
    names: tuple[str, ...] = ("odd",)
    higher_is_better: bool = False

    def score(self, batch):
        return self.given(batch)


def test_a_method_without_a_score_has_a_row_with_the_reason():
    nan = torch.tensor([1.0, torch.nan, 3.0])
    metric = Odd(lambda _: {"odd": {"gradient": Score(nan, reason="too dark")}})
    found = cg.compare(linear(), X, 0, metrics=[metric], **OPTIONS)
    assert [(row.value, row.reason) for row in found.rows] == [
        (1, ""), (None, "the metric gives this method no score"),
        (None, "too dark"), (None, "the metric gives this method no score"),
        (3, ""), (None, "the metric gives this method no score"),
    ]  # fmt: skip


def test_each_example_may_have_a_reason_of_its_own():
    nan = torch.tensor([torch.nan, torch.nan, 3.0])
    metric = Odd(lambda _: {"odd": {"gradient": Score(nan, reason=["too dark", "", ""])}})
    found = cg.compare(linear(), X, 0, metrics=[metric], methods=["gradient"])
    assert [(row.value, row.reason) for row in found.rows] == [
        (None, "too dark"), (None, "the score is not a finite number"), (3, ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"even": {}}, r"Odd gives scores called \['even'\], its names are \('odd',\)"),
        (None, r"Odd gives scores called NoneType, .* must return a mapping from each name to one"),
        ({"odd": ONES}, r"Odd gives odd as Tensor: it must be a mapping"),
        ({"odd": {"gradient": ONES}}, r"Odd gives odd of gradient as Tensor: it must be a Score"),
        (
            {"odd": {"gradient": Score(torch.ones(2))}},
            r"Odd gives odd of gradient the values \(2,\): it must be a real tensor \(3,\)",
        ),
        (
            {"odd": {"gradient": Score(ONES, standard_error=0.1)}},
            r"of gradient the standard_error float: it must be a real tensor \(3,\)",
        ),
        (
            {"odd": {"gradient": Score(ONES, interval=ONES)}},
            r"of gradient the interval \(3,\): it must be a real tensor \(3, 2\)",
        ),
        (
            {"odd": {"gradient": Score(ONES, reason=["too dark"])}},
            r"of gradient 1 reasons: it must be a text, or one for each of 3 examples",
        ),
    ],
)
def test_what_is_no_score_is_named(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        cg.compare(linear(), X, 0, metrics=[Odd(lambda _: given)], **OPTIONS)


def test_an_error_or_an_interval_that_is_not_finite_is_not_there():
    score = Score(
        ONES, standard_error=ONES * torch.nan, interval=torch.tensor([[0, torch.inf]] * 3)
    )
    metric = Odd(lambda _: {"odd": dict.fromkeys(OPTIONS["methods"], score)})
    for row in cg.compare(linear(), X, 0, metrics=[metric], **OPTIONS).rows:
        assert (row.value, row.standard_error, row.interval_low, row.interval_high) == (
            1, None, 0, None,
        )  # fmt: skip


def test_a_batch_cannot_be_changed_and_has_its_maps():
    seen = []
    cg.compare(linear(), X, 0, metrics=[Odd(lambda b: seen.append(b) or {"odd": {}})], **OPTIONS)
    (batch,) = seen
    floors = {"constant_map", "random_map", "edges"}
    assert batch.maps.keys() == {"gradient", "input_x_gradient"} | floors
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.maps = {}


class FailsOnSecondCall(nn.Sequential):
    """Becomes linear after its first call, so that guided backprop no longer applies."""

    def forward(self, x):
        self[1] = nn.Identity() if hasattr(self, "called") else self[1]
        self.called = True
        return super().forward(x)


def test_a_failure_on_perturbed_inputs_is_that_metrics_reason_alone():
    net = FailsOnSecondCall(nn.Flatten(), nn.ReLU(), nn.Linear(16, 2))
    nn.init.ones_(net[2].weight)
    found = cg.compare(net, X, 0, methods=["guided_backprop"], metrics=["sensitivity_max"])
    rows = of_methods(found.rows)
    assert {row.value for row in rows} == {None}
    assert all("does not apply to a perturbed input: no rect" in r.reason for r in rows)


def test_each_name_stands_for_the_metric_that_gives_it():
    assert list(METRICS) == [
        "infidelity", "infidelity_square", "sensitivity_max", "sensitivity_mean",
        "relevance_mass", "pointing_game", "deletion", "insertion", "road_morf", "road_lerf",
        "class_sensitivity", "input_recovery", "edge_recovery", "agreement", "ignored_share",
        "completeness_gap",
        "randomization_spearman", "randomization_spearman_abs", "randomization_ssim",
        "randomization_smooth", "randomization_entropy",
    ]  # fmt: skip
    for name, metric in METRICS.items():
        assert name in metric.names
        (found,) = find_metrics([name], n_perturb_samples=3)
        assert found.names == (name,)
        assert type(found) is type(metric)
        assert getattr(found, "n_perturb_samples", 3) == 3


def test_scores_of_one_pass_share_a_metric():
    found = find_metrics([*reversed(METRICS)], n_perturb_samples=4)
    assert [type(one) for one in found] == [
        InfidelityMetric, InfidelityMetric, SensitivityMetric, LocalisationMetric,
        DeletionMetric, InsertionMetric, RoadMetric, RoadMetric, ClassSensitivityMetric,
        RecoveryMetric, AgreementMetric, IgnoredShareMetric, CompletenessMetric,
        RandomizationMetric, SmoothRandomizationMetric, EntropyMetric,
    ]  # fmt: skip
    assert [name for one in found for name in one.names] == list(METRICS)
