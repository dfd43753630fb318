"""A model may write in place to what it takes: scores are those of the same model out of place."""

import pytest
import torch
from networks import seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.evaluation import METRICS
from captum_guided_ext.metrics import GaussianNoise, Perturbation, infidelity

METHODS = ["gradient", "guided_backprop", "grad_cam"]
# Completeness is that of Captum's methods, and Captum cannot explain such a model.
SCORED = [name for name in METRICS if name != "completeness_gap"]


class Normalising(nn.Module):
    """Brings its pictures to mean and scale, in place or not."""

    def __init__(self, *, in_place):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)
        self.last, self.in_place = nn.Linear(6, 5), in_place

    def forward(self, x):
        x = x.sub_(0.5).div_(0.25) if self.in_place else (x - 0.5) / 0.25
        return self.last(self.second(self.first(x).relu()).relu().mean((2, 3)))


@pytest.fixture
def models():
    """One that writes and one that does not, of the same weights."""
    return [seeded(lambda one=one: Normalising(in_place=one)) for one in (True, False)]


@pytest.mark.filterwarnings("ignore")  # of chance, few images and the like
@pytest.mark.parametrize("metric", SCORED)
def test_every_metric_scores_what_the_model_was_given(metric, models):
    x = torch.rand(2, 3, 8, 8)
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, 2:5, 2:6] = True
    given = x.clone()
    written, whole = (
        cg.compare(
            model,
            given,
            [0, 1],
            methods=METHODS,
            metrics=[metric],
            masks=masks,
            n_perturb_samples=3,
        )
        for model in models
    )
    assert torch.equal(given, x)
    assert written.rows == whole.rows
    assert any(row.value is not None for row in written.rows)


@pytest.mark.parametrize("seed", [None, 0])
def test_infidelity_leaves_the_inputs_as_they_are(seed, models):
    x, attributions = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    given, scores = x.clone(), []
    for model in models:
        torch.manual_seed(0)
        scores.append(
            infidelity(model, GaussianNoise(0.1), given, attributions, target=1, seed=seed)
        )
    assert torch.equal(given, x)
    assert torch.equal(*scores)


def in_place(x):
    noise = torch.randn_like(x) * 0.1
    return noise, x.sub_(noise)


def out_of_place(x):
    noise = torch.randn_like(x) * 0.1
    return noise, x - noise


@pytest.mark.parametrize("seed", [None, 0])
def test_a_perturbation_may_write_to_what_it_takes(seed, models):
    x, attributions = torch.rand(2, 3, 8, 8), torch.randn(2, 3, 8, 8)
    given, scores = x.clone(), []
    for perturb in (in_place, out_of_place):
        torch.manual_seed(0)
        scores.append(infidelity(models[1], perturb, given, attributions, target=1, seed=seed))
    assert torch.equal(given, x)
    assert torch.equal(*scores)


class Grey(Perturbation):
    """Returns one channel of three."""

    def perturbed(self, x, baseline, samples, generator):
        return x.mean(1, keepdim=True)


@pytest.mark.parametrize("seed", [None, 0])
def test_a_perturbation_of_another_shape_is_refused(seed):
    x = torch.rand(2, 3, 8, 8)
    said = r"Grey object .* returned shape \(\d+, 1, 8, 8\) for an input of shape \(\d+, 3, 8, 8\)"
    with pytest.raises(ValueError, match=said):
        infidelity(lambda x: x.mean((1, 2, 3)), Grey(), x, torch.ones_like(x), seed=seed)
