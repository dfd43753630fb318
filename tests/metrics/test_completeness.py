"""By how much attributions miss f(x) - f(baseline): linear models by hand, Captum's own delta."""

import captum.attr as ca
import pytest
import torch
from networks import Dense, seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext import MethodSpec, with_rule
from captum_guided_ext.methods import ALL_METHODS, MethodSet
from captum_guided_ext.metrics import completeness_gap

W = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.5, 0.5]]).double()
C = torch.tensor([10.0, -1.0]).double()
X = torch.tensor([[1.0, 1.0, 1.0], [2.0, 0.0, -1.0]]).double()


def affine(x):
    return x @ W.T + C


def test_an_affine_model_by_hand():
    # f(x) - f(0) is 2 and -1 for the first class
    exact = X * W[0]
    maps = {
        "exact": exact,
        "half": exact / 2,
        "nothing": 0 * exact,
        "negated": -exact,
        "grey": torch.tensor([[0.5], [0.0]]).double(),  # one number: misses 1.5 of 2, and all
    }
    found = completeness_gap(affine, X, maps, target=0)
    assert {name: gap.tolist() for name, gap in found.items()} == {
        "exact": [0, 0], "half": [0.5, 0.5], "nothing": [1, 1], "negated": [2, 2],
        "grey": [0.75, 1],
    }  # fmt: skip
    assert completeness_gap(affine, X, exact, target=0).tolist() == [0, 0]


def test_a_wrong_baseline_by_hand():
    # With the baseline 1 everywhere f(b) - f(0) is 2: 0 and -3 is promised, 2 and -1 accounted for.
    found = completeness_gap(affine, X, X * W[0], target=0, baselines=1.0)
    assert found.tolist() == pytest.approx([float("nan"), 2 / 3], nan_ok=True)
    right = completeness_gap(affine, X, (X - 1) * W[0], target=0, baselines=torch.ones(1, 3))
    assert right.tolist() == pytest.approx([float("nan"), 0], nan_ok=True)
    # of the other class: 1.5 and 0.5 accounted for, 1.5 and 0.5 less half of the baselines' sum
    each_its_own = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]).double()
    found = completeness_gap(affine, X, X * W[1], target=1, baselines=each_its_own)
    assert found.tolist() == pytest.approx([0.5, 1 / 0.5])


def test_several_baselines_count_with_the_mean_of_their_scores():
    def square(x):
        return x.pow(2).sum(1)

    x = torch.tensor([[3.0]])
    # the mean of 0 and 4 is 2, and not the square of the mean, 1
    assert float(completeness_gap(square, x, torch.tensor([[7.0]]), baselines=[0.0, 2.0])) == 0
    # and 8 misses 1 of 7
    found = completeness_gap(square, x, torch.tensor([[8.0]]), baselines=(0, torch.tensor(2.0)))
    assert float(found) == pytest.approx(1 / 7)


def test_where_nothing_is_promised_there_is_no_number():
    big = 1e6 + torch.tensor([[0.0], [0.125], [5.0]])
    found = completeness_gap(lambda x: x.sum(1), big, torch.ones(3, 1), baselines=1e6)
    assert found[:2].isnan().all()  # single precision has sixteenths there
    assert float(found[2]) == pytest.approx(0.8) if not found[2].isnan() else True
    found = completeness_gap(lambda x: x.sum(1), torch.tensor([[1e-6]]), torch.ones(1, 1))
    assert float(found) == pytest.approx(1e6)  # small, but exact


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_captum_measures_the_same(baseline):
    model = seeded(lambda: Dense(nn.Tanh())).double()
    x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)).double()
    target = [2, 0, 1, 1]
    attribution, delta = ca.IntegratedGradients(model).attribute(
        x, baselines=baseline, target=target, n_steps=3, return_convergence_delta=True
    )
    found = completeness_gap(model, x, attribution, target, baseline)
    picked = range(4), target
    promised = (model(x) - model(torch.full_like(x, baseline)))[picked].detach()
    torch.testing.assert_close(found, (delta / promised).abs())
    assert (found > 1e-6).all()
    alone = [completeness_gap(model, x[i : i + 1], attribution[i : i + 1], target[i], baseline)
             for i in range(4)]  # fmt: skip
    torch.testing.assert_close(torch.cat(alone), found)


# --- who promises it ----------------------------------------------------------------------------

ROWS = torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
MODEL = nn.Linear(3, 2)
PROMISED = {
    "IntegratedGradients": (ca.IntegratedGradients(MODEL), None, [0.0]),
    "a number": (ca.IntegratedGradients(MODEL), 0.5, [0.5]),
    "DeepLift": (ca.DeepLift(MODEL), None, [0.0]),
    "DeepLiftShap": (ca.DeepLiftShap(MODEL), ROWS, [ROWS[:1], ROWS[1:]]),
    "GradientShap": (ca.GradientShap(MODEL), ROWS, [ROWS[:1], ROWS[1:]]),
    "ShapleyValueSampling": (ca.ShapleyValueSampling(MODEL), None, [0.0]),
    "ShapleyValues": (ca.ShapleyValues(MODEL), None, [0.0]),
    "KernelShap": (ca.KernelShap(MODEL), None, [0.0]),
}
NOT_PROMISED = {
    "local": ca.IntegratedGradients(MODEL, multiply_by_inputs=False),
    "under a rule": with_rule(ca.IntegratedGradients(MODEL), "guided"),
    "smoothed": ca.NoiseTunnel(ca.IntegratedGradients(MODEL)),
    "at a layer": ca.LayerDeepLift(MODEL, MODEL),
    "of a neuron": ca.NeuronIntegratedGradients(MODEL, MODEL),
    "Saliency": ca.Saliency(MODEL),
    "InputXGradient": ca.InputXGradient(MODEL),
    "Lime": ca.Lime(MODEL),
    "Occlusion": ca.Occlusion(MODEL),
    "FeatureAblation": ca.FeatureAblation(MODEL),
    "LRP": ca.LRP(MODEL),
    "a function": lambda x, target: x,
}


@pytest.mark.parametrize("name", PROMISED)
def test_who_promises_completeness(name):
    method, baselines, expected = PROMISED[name]
    found = MethodSpec(method, baselines).promised(torch.ones(2, 3))
    assert len(found) == len(expected)
    assert all(torch.equal(torch.as_tensor(a), torch.as_tensor(b))
               for a, b in zip(found, expected, strict=True))  # fmt: skip


@pytest.mark.parametrize("name", NOT_PROMISED)
def test_who_does_not(name):
    assert MethodSpec(NOT_PROMISED[name]).promised(torch.ones(2, 3)) is None


@pytest.mark.parametrize("name", ALL_METHODS)
def test_who_of_the_named_methods_does(name):
    promising = {"integrated_gradients", "deep_lift", "gradient_shap"}
    found = MethodSet(MODEL, {"mine": name}).promised(torch.ones(2, 3), "mine")
    assert found == ([0.0] if name in promising else None)


@pytest.mark.parametrize(
    ("model", "options", "kind", "words"),
    [
        (affine, {"inputs": (X,)}, TypeError, "inputs must be one tensor, not tuple"),
        (affine, {"attributions": torch.ones(3, 3)}, ValueError, r"has shape \(3, 3\), and the"),
        (affine, {"attributions": {"a": 1}}, TypeError, r"attributions\['a'\] must be tensors"),
        (affine, {"attributions": X.log()}, ValueError, "attributions holds NaN or infinity"),
        (affine, {"baselines": torch.ones(4, 5)}, ValueError, r"baselines have shape \(4, 5\)"),
        (affine, {"baselines": []}, ValueError, "baselines is empty"),
        (affine, {"target": 2}, cg.TargetError, "target 2 is out of range"),
        (affine, {"target": None}, cg.TargetError, "target is missing"),
        (lambda x: x.sum(), {"target": None}, cg.ModelError, "returned 1 scores for 2 examples"),
        (lambda x: x.sum(1).log(), {"target": None}, ValueError, "the model's score holds NaN or"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(model, options, kind, words):
    options = {"inputs": X, "attributions": X, "target": 0} | options
    with pytest.raises(kind, match=words):
        completeness_gap(model, **options)
