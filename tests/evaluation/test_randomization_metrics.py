"""Randomised weights in compare: the functions' numbers, floors, errors, batches, extras."""

import math
import sys

import pytest
import torch
from captum.attr import Attribution, Saliency
from floors import of_methods
from networks import Conv, Dense, make, seeded

import captum_guided_ext as cg
from captum_guided_ext import EntropyMetric, RandomizationMetric, SmoothRandomizationMetric
from captum_guided_ext.errors import CaptumGuidedError, ModelError
from captum_guided_ext.metrics import (
    efficient_parameter_randomization,
    parameter_randomization,
    smooth_parameter_randomization,
)

MODEL, X = make(Conv)
METHODS = ("gradient", "guided_backprop")
NAMES = RandomizationMetric().names
ALL = (*NAMES, "randomization_smooth", "randomization_entropy")


def scored(metrics, x=X, model=MODEL, methods=METHODS, **settings):
    settings = {"target": 1, "seed": 3} | settings
    return cg.compare(model, x, methods=methods, metrics=metrics, **settings)


def values(result, metric):
    return {(row.image, row.method): row for row in result.rows if row.metric == metric}


def test_scores_are_the_functions_means():
    result = scored(ALL)
    cases = {
        "randomization_spearman": ("spearman", parameter_randomization, {}),
        "randomization_spearman_abs": ("spearman_abs", parameter_randomization, {}),
        "randomization_ssim": ("ssim", parameter_randomization, {}),
        "randomization_smooth": (
            "spearman_abs", smooth_parameter_randomization, {"n_noise_samples": 10},
        ),
    }  # fmt: skip
    for name, (measure, function, settings) in cases.items():
        found = function(MODEL, X, METHODS, 1, seed=3, **settings)
        for (image, method), row in values(result, name).items():
            if method in METHODS:
                draws = found.values[measure][method][image].mean(0)
                assert row.value == pytest.approx(float(draws.mean()), abs=1e-12)
                error = float(draws.std()) / math.sqrt(3)
                assert row.standard_error == pytest.approx(error, abs=1e-12)
    rises = efficient_parameter_randomization(MODEL, X, METHODS, 1, seed=3)
    for (image, method), row in values(result, "randomization_entropy").items():
        if method in METHODS:
            assert row.value == pytest.approx(float(rises.values[method][image].mean()), abs=1e-12)
    assert result.higher_is_better == {name: name == ALL[-1] for name in ALL}


def test_floors_have_scores_and_noise_the_best_of_all():
    _, x = make(Conv, (2, 3, 24, 24))
    result = scored(ALL, x)
    for name in ALL[:-1]:
        found = values(result, name)
        for image in range(2):
            assert found[image, "edges"].value == pytest.approx(1, abs=1e-6)
            noise = abs(found[image, "random_map"].value)
            if name in NAMES:
                assert noise < min(found[image, method].value for method in METHODS)
            if name != "randomization_ssim":  # of 576 places, and 9 of them
                assert noise < 4 / 24
                flat = found[image, "constant_map"]
                assert flat.value is None
                assert "the same everywhere" in flat.reason
            else:
                assert found[image, "constant_map"].value == 1
    for (_, method), row in values(result, "randomization_entropy").items():
        if method == "edges":
            assert row.value == 0


def test_a_score_does_not_depend_on_the_batch():
    whole = of_methods(scored(ALL, image_indices=[4, 9], max_examples_per_batch=1).rows)
    alone = of_methods(scored(ALL, X[1:], image_indices=[9]).rows)
    expected = {(row.method, row.metric): row.value for row in whole if row.image == 9}
    for row in alone:
        wanted = expected[row.method, row.metric]
        # float32: another batch may round another way, which moves a place by a rank at most
        assert row.value == pytest.approx(wanted, abs=1e-3 if "entropy" not in row.metric else 0.05)


def test_a_method_that_cannot_be_asked_about_a_copy_has_a_reason():
    def around(inputs, target):
        return Saliency(MODEL).attribute(inputs, target=target)

    for row in scored(ALL, methods=["gradient", around]).rows:
        if row.method == "around":
            assert row.value is None
            assert "it runs the network that it was made with" in row.reason


class Failing(Attribution):
    """Has no map of what is below zero once the model's first weight is not 1."""

    def attribute(self, inputs, target=None):
        if next(self.forward_func.parameters()).flatten()[0].item() != 1 and (inputs < 0).any():
            raise RuntimeError(f"below zero: {float(inputs.amin()):.1f}")
        return inputs.clone()


def test_an_examples_reason_is_its_own():
    model = seeded(Dense)
    with torch.no_grad():
        model.first.weight[0, 0] = 1
    x = torch.rand(4, 5, generator=torch.Generator().manual_seed(0))
    x[1, 0], x[3, 0] = -2, -3
    metric = RandomizationMetric(("randomization_spearman",), "bottom_up", n_draws=1)
    found = values(scored([metric], x, model, {"m": Failing(model)}), "randomization_spearman")
    for image, lowest in ((1, -2), (3, -3)):
        assert found[image, "m"].reason == (
            f"after first was randomised: RuntimeError: below zero: {lowest:.1f}"
        )
    assert found[0, "m"].value == found[2, "m"].value == 1


def test_a_map_of_zeros_says_so():
    def nothing(inputs, target):
        return inputs * 0

    for row in scored(ALL, methods=["gradient", nothing]).rows:
        if row.method == "nothing":
            assert (row.value, row.reason) == (None, "the map is zero everywhere")


def test_without_torchmetrics_there_are_rows_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    result = scored(NAMES)
    for (_, method), row in values(result, "randomization_ssim").items():
        if method in METHODS:
            assert row.value is None
            assert 'pip install "captum-guided-ext[sanity]"' in row.reason
    for (_, method), row in values(result, "randomization_spearman").items():
        if method in METHODS:
            assert row.value is not None


def test_what_is_no_picture_has_no_ssim():
    x = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    result = scored(NAMES, x, seeded(Dense))
    for (_, method), row in values(result, "randomization_ssim").items():
        if method in METHODS:
            assert "SSIM compares pictures" in row.reason
    assert all(
        row.value is not None
        for (_, method), row in values(result, "randomization_spearman_abs").items()
        if method in METHODS
    )


def test_a_single_draw_has_no_standard_error():
    for row in scored([RandomizationMetric(n_draws=1, every_nth_layer=2)]).rows:
        assert row.standard_error is None


def test_only_the_scores_that_are_asked_for_are_there():
    result = scored(["randomization_spearman_abs"])
    assert {row.metric for row in result.rows} == {"randomization_spearman_abs"}


def test_a_model_without_weights_is_refused():
    with pytest.raises(ModelError, match="which has no weights to randomise"):
        scored(["randomization_spearman"], model=MODEL.forward)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: RandomizationMetric(names=("randomization_mse",)), "names must be of randomizati"),
        (lambda: RandomizationMetric(names=()), "names must be of randomization_spearman, "),
        (lambda: RandomizationMetric(order="down"), "no order is called 'down'"),
        (lambda: RandomizationMetric(n_draws=0), "n_draws must be 1 or more"),
        (lambda: RandomizationMetric(every_nth_layer=0), "every_nth_layer must be 1 or more"),
        (lambda: SmoothRandomizationMetric(noise_level=-1), "noise_level must be above 0"),
        (lambda: SmoothRandomizationMetric(n_noise_samples=0), "n_noise_samples must be 1 or"),
        (lambda: EntropyMetric(reinitialization="zero"), "no reinitialization is called 'zero'"),
    ],
)
def test_settings_that_make_no_sense_are_named(build, words):
    with pytest.raises((CaptumGuidedError, ValueError), match=words):
        build()
