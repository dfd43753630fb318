"""Whether a map depends on the class: by hand, and method by method against Captum and scipy."""

from functools import partial

import captum.attr
import pytest
import torch
from methods import captums_cam
from networks import Conv, seeded
from scipy import stats
from torch import nn
from torch.nn import functional as F  # noqa: N812
from unchanged import nothing_changed

import captum_guided_ext as cg
from captum_guided_ext.attr import METHODS
from captum_guided_ext.metrics import class_sensitivity

NAN = float("nan")
SAME_CLASS = "the other class is the target itself"


def linear(*rows):
    """Return a linear model with these weights, whose gradient is a row of them."""
    model = nn.Linear(len(rows[0]), len(rows), bias=False).double()
    model.weight = nn.Parameter(torch.tensor(rows).double())
    return model


# Magnitudes of the rows: 1 2 3 4, the same times 2, the other way round, and all alike.
ROWS = ([1.0, -2, 3, 4], [2.0, 4, -6, -8], [4.0, 3, 2, -1], [1.0, 1, -1, 1])


def noisy(count, shape=(3, 8, 8), seed=0):
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


# --- known answers ------------------------------------------------------------------------------


def test_a_linear_model_by_hand():
    x = torch.ones(3, 4).double()
    found = class_sensitivity(linear(*ROWS), x, ["gradient"], target=0, other=[1, 2, 3])
    assert found.values["gradient"].tolist() == pytest.approx([1, -1, NAN], nan_ok=True)
    assert found.target.tolist() == [0, 0, 0]
    assert found.other.tolist() == [1, 2, 3]
    assert found.reasons["gradient"] == (
        "", "", "the map of the other class is the same everywhere"
    )  # fmt: skip
    (reason,) = class_sensitivity(linear(*ROWS), x[:1], ["gradient"], 3, 0).reasons["gradient"]
    assert reason == "the map of the target is the same everywhere"


def test_the_runner_up_and_the_best_that_is_not_the_target():
    # scores: 1, 7, 5, 7 and then 0, 0, 0, 0: of equal ones the first is the best
    x = torch.tensor([[1.0], [0.0]])
    model = linear([1.0], [7.0], [5.0], [7.0])
    others = {
        target: class_sensitivity(model, x.double(), ["gradient"], target).other.tolist()
        for target in (0, 1, 2, 3)
    }
    assert others == {0: [1, 1], 1: [3, 0], 2: [1, 0], 3: [1, 0]}
    found = class_sensitivity(model, x.double(), ["gradient"], "prediction")
    assert found.target.tolist() == [1, 0]
    assert found.other.tolist() == [3, 1]


def test_a_random_class_is_another_one_and_all_are_drawn():
    x = torch.ones(300, 4).double()
    for target in range(4):
        found = class_sensitivity(linear(*ROWS), x, ["gradient"], target, "random", seed=1)
        counts = found.other.bincount(minlength=4).tolist()
        assert counts[target] == 0
        assert all(70 < count < 130 for i, count in enumerate(counts) if i != target)
    two = class_sensitivity(linear(*ROWS[:2]), x, ["gradient"], [0, 1] * 150, "random", seed=1)
    assert two.other.tolist() == [1, 0] * 150


def test_the_target_itself_is_no_other_class():
    x = torch.ones(2, 4).double()
    found = class_sensitivity(linear(*ROWS), x, ["gradient"], [2, 0], 2)
    assert found.values["gradient"].tolist() == pytest.approx([NAN, -1], nan_ok=True)
    assert found.reasons["gradient"] == (SAME_CLASS, "")
    # counted from behind
    assert class_sensitivity(linear(*ROWS), x, ["gradient"], 2, -2).other.tolist() == [2, 2]


def test_maps_that_know_no_class_and_their_negatives():
    def negated(x, target):
        return x if target == [0] * len(x) else -x

    methods = {
        "picture": lambda x, target: x,
        "negated": negated,
        "noise": lambda x, target: torch.randn_like(x),  # drawn alike for both classes
        "constant": lambda x, target: torch.ones_like(x),
    }
    found = class_sensitivity(linear(*ROWS), noisy(3, (4,)).double(), methods, 0, 1, seed=0)
    for name in ("picture", "negated", "noise"):
        assert found.values[name].tolist() == pytest.approx([1, 1, 1])
    assert found.values["constant"].isnan().all()


# --- a slow version -----------------------------------------------------------------------------


@pytest.mark.parametrize("other", [1, [3, 0, 1]])
def test_method_by_method(other):
    model, x = seeded(lambda: Conv(nn.ReLU()), seed=2).double(), noisy(3).double()
    target, asked = [2, 1, 0], [other] * 3 if isinstance(other, int) else other
    methods = [*METHODS, "integrated_gradients"]
    found = class_sensitivity(model, x, methods, target, other, layer="second")
    slow = {
        "gradient": captum.attr.Saliency(model).attribute,
        "input_x_gradient": captum.attr.InputXGradient(model).attribute,
        "guided_backprop": cg.GuidedBackprop(model).attribute,
        "deconvolution": cg.Deconvolution(model).attribute,
        "grad_cam": lambda x, target: captums_cam(model, model.second, x, target, "bilinear"),
        "guided_grad_cam": partial(
            cg.GuidedGradCam(model, "second").attribute, interpolate_mode="bilinear"
        ),
        "integrated_gradients": captum.attr.IntegratedGradients(model).attribute,
    }
    assert slow.keys() == found.values.keys()
    for name, method in slow.items():
        for i in range(3):
            one, two = (
                method(x[i : i + 1].clone().requires_grad_(), target=t[i]) for t in (target, asked)
            )
            magnitudes = [m.detach().abs().flatten().numpy() for m in (one, two)]
            expected = NAN if target[i] == asked[i] else stats.spearmanr(*magnitudes)[0]
            got = float(found.values[name][i])
            assert got == pytest.approx(expected, abs=1e-6, nan_ok=True), name


# --- costs, seeds, batches ----------------------------------------------------------------------


def test_the_six_methods_share_one_forward_pass():
    model, x = seeded(Conv), noisy(4)
    class_sensitivity(model, x, METHODS, 0, layer="second")
    assert (model.calls, model.examples) == (1, 4)
    with nothing_changed(model, x):
        found = class_sensitivity(model, x, METHODS, "prediction", "random", seed=0)
    assert (model.calls, model.examples) == (2, 8)
    assert list(found.values) == list(METHODS)


def test_an_image_s_numbers_are_its_own():
    model, x = seeded(Conv).double(), noisy(4).double()
    methods = ["gradient", "guided_backprop", "smooth_grad"]
    whole = class_sensitivity(model, x, methods, "prediction", "random", seed=3)
    for order in ([2], [3, 0]):
        some = class_sensitivity(
            model, x[order], methods, "prediction", "random", seed=3, image_indices=order
        )
        assert torch.equal(some.other, whole.other[order])
        for name in methods:
            torch.testing.assert_close(some.values[name], whole.values[name][order])
    other_seed = class_sensitivity(model, x.repeat(9, 1, 1, 1), methods[:1], 0, "random", seed=4)
    same = class_sensitivity(
        model, x.repeat(9, 1, 1, 1), methods[:1], 0, "random",
        generator=torch.Generator().manual_seed(4),
    )  # fmt: skip
    assert not torch.equal(other_seed.other, same.other)  # a seed is drawn from a generator


def test_further_arguments_and_a_method_that_does_not_apply():
    def model(x, factor):
        return F.gelu(x @ torch.tensor(ROWS).double().T) * factor

    x = noisy(2, (4,)).double()
    found = class_sensitivity(
        model, x, ["gradient", "guided_backprop"], 0, 1, torch.tensor([[1.0], [2.0]])
    )
    assert found.values["gradient"].isfinite().all()
    assert found.values["guided_backprop"].isnan().all()
    assert all("no rectifier" in reason for reason in found.reasons["guided_backprop"])


def test_a_warning_is_said_once():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.GELU(), nn.Linear(6, 3))
    with pytest.warns(UserWarning, match="defined for rectifiers only") as caught:
        class_sensitivity(model, noisy(2, (4,)), ["guided_backprop"], 0, 1)
    assert len(caught) == 1


# --- what does not fit --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "options", "kind", "words"),
    [
        (nn.Linear(4, 1), {"target": 0}, cg.ModelError, r"shape \(2, 1\), and class sens"),
        (nn.Identity(), {"target": 0, "x": torch.ones(2, 3, 4)}, cg.ModelError, r"\(2, 3, 4\)"),
        (nn.Linear(4, 3), {}, cg.TargetError, "target is missing"),
        (nn.Linear(4, 3), {"target": 3}, cg.TargetError, "target 3 is out of range"),
        (nn.Linear(4, 3), {"target": 0, "other": 7}, cg.TargetError, "7 is out of range"),
        (nn.Linear(4, 3), {"target": "zebra"}, cg.ModelError, "the classes have no names"),
        (nn.Linear(4, 3), {"target": 0, "other": "top3"}, ValueError, "and is 'top3'"),
        (nn.Linear(4, 3), {"target": 0, "methods": ["lime"]}, ValueError, "no method is called"),
        (nn.Linear(4, 3), {"target": 0, "x": (torch.ones(2, 4),)}, TypeError, "must be one tensor"),
        (nn.Linear(4, 3), {"target": 0, "x": torch.full((2, 4), NAN)}, ValueError, "holds NaN"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(model, options, kind, words):
    options = {"methods": ["gradient"], "x": torch.ones(2, 4)} | options
    with pytest.raises(kind, match=words):
        class_sensitivity(model, options.pop("x"), **options)
