"""What metrics cost beside their passes: draws, graphs, reads of values, memory; exact counts."""

from dataclasses import dataclass

import pytest
import small_benchmark as small
import torch
from counting import counted
from live_bytes import peak_bytes
from networks import seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.evaluation import InfidelityMetric, SensitivityMetric
from captum_guided_ext.metrics import (
    NoisyBaseline,
    Perturbation,
    SquareRemoval,
    UniformBall,
    deletion,
    infidelity,
    insertion,
    road,
    sensitivity,
)

FOUR = ("gradient", "deconvolution", "guided_backprop", "guided_grad_cam")
X = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(1)) + 0.1
TARGET = [0, 1, 3]
MAPS = {name: X * k for k, name in enumerate(("one", "two", "three"), 1)}


@pytest.fixture
def net():
    return small.cnn()


@dataclass(frozen=True)
class Counted(Perturbation):
    """Another perturbation, noting whom it is asked for."""

    of: Perturbation
    asked: list

    def perturbed(self, x, baseline, samples, generator):
        self.asked.extend(zip([int(1e6 * float(one.sum())) for one in x], samples, strict=True))
        return self.of.perturbed(x, baseline, samples, generator)


@pytest.mark.parametrize("at_once", [None, 6, 7])
def test_each_perturbation_is_drawn_once_for_all_methods(net, at_once):
    drawn = {"fall": [], "ball": []}
    cg.compare(
        net, X, TARGET, layer="second", max_examples_per_batch=at_once,
        metrics=[
            InfidelityMetric(Counted(NoisyBaseline(), drawn["fall"]), 13),
            SensitivityMetric(Counted(UniformBall(), drawn["ball"]), 13),
        ],
    )  # fmt: skip
    pictures = {int(1e6 * float(x.sum())) for x in X}
    for asked in drawn.values():
        assert len(asked) == 3 * 13
        assert set(asked) == {(picture, sample) for picture in pictures for sample in range(13)}


def test_all_metrics_share_the_unperturbed_pass(net):
    metrics = ["infidelity", "infidelity_square", "sensitivity_max", "sensitivity_mean"]
    cg.compare(net, X, TARGET, metrics=metrics, n_perturb_samples=4)
    assert net.calls == 1 + 3
    assert net.examples == 3 * (1 + 3 * 4)


# --- graphs -----------------------------------------------------------------------------------


class Watched(nn.Module):
    """Notes whether a graph is recorded."""

    def __init__(self):
        super().__init__()
        self.inner, self.records = small.cnn(), []

    def forward(self, x):
        out = self.inner(x)
        self.records.append(out.requires_grad)
        return out


WITHOUT = {
    "infidelity": lambda m: infidelity(m, NoisyBaseline(), X, MAPS, target=TARGET, seed=0),
    "infidelity as Captum draws": lambda m: infidelity(
        m, NoisyBaseline(), X, MAPS, target=TARGET, n_perturb_samples=25
    ),
    "deletion": lambda m: deletion(m, X, MAPS, target=TARGET, n_steps=4, seed=0),
    "insertion": lambda m: insertion(m, X, MAPS, target=TARGET, n_steps=4, seed=0),
    "road": lambda m: road(m, X, MAPS, target=TARGET, seed=0),
}


@pytest.mark.parametrize("call", WITHOUT.values(), ids=WITHOUT)
def test_no_graph_where_no_gradient_is_asked_for(call):
    model = Watched()
    call(model)
    assert model.records
    assert not any(model.records)


METRICS = ["infidelity", "infidelity_square", "deletion", "insertion", "road_morf"]


def test_a_comparison_records_one_graph_for_them(net):
    model = Watched()
    cg.compare(model, X, TARGET, metrics=METRICS, n_perturb_samples=4)
    assert model.records[0]
    assert not any(model.records[1:])
    model.records.clear()
    cg.compare(model, X, TARGET, metrics=["sensitivity_max"], n_perturb_samples=4)
    assert model.records == [True, True]


# --- reads of values on the host --------------------------------------------------------------


def reads(net, methods=FOUR, **options):
    call = {"layer": "second", "metrics": ["infidelity"], "n_perturb_samples": 4} | options
    cg.compare(net, X, TARGET, methods=methods, **call)
    with counted() as counts:
        cg.compare(net, X, TARGET, methods=methods, **call)
    return counts.reads


@pytest.mark.parametrize("metric", ["infidelity", "sensitivity_max"])
def test_reads_grow_with_chunks_and_not_with_samples(net, metric):
    one_chunk = [reads(net, metrics=[metric], n_perturb_samples=n) for n in (2, 4, 10)]
    assert len(set(one_chunk)) == 1
    more = reads(net, metrics=[metric], n_perturb_samples=30) - one_chunk[0]
    # Whether the perturbed inputs are finite; and whether the scores are, or what the methods ask
    # of any inputs: whether those are finite, the maps of three rules, and the Grad-CAM.
    assert more == 2 * {"infidelity": 2, "sensitivity_max": 1 + 5}[metric]


def test_a_method_costs_the_reads_of_its_own_map_and_scores(net):
    rules = ("gradient", "deconvolution", "guided_backprop")
    one, two, three = (reads(net, rules[: k + 1]) for k in range(3))
    # Its map is checked as it is made and as it is measured; its scores and their intervals.
    assert three - two == two - one == 4
    one, two, three = (reads(net, rules[: k + 1], n_perturb_samples=40) for k in range(3))
    assert three - two == two - one == 4


# --- memory -----------------------------------------------------------------------------------


def peak(call):
    call()
    with peak_bytes() as found:
        call()
    return found.bytes


LARGE = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(1))
METHODS = {
    "infidelity": lambda net, n: infidelity(
        net, NoisyBaseline(), LARGE, {"map": LARGE}, target=1, n_perturb_samples=n, seed=0
    ),
    "infidelity of squares": lambda net, n: infidelity(
        net, SquareRemoval((3,)), LARGE, LARGE, target=1, n_perturb_samples=n
    ),
    "sensitivity": lambda net, n: sensitivity(
        cg.GuidedBackprop(net).attribute, LARGE, target=1, n_perturb_samples=n, seed=0
    ),
    "comparison": lambda net, n: cg.compare(net, LARGE, 1, n_perturb_samples=n),
}


@pytest.mark.parametrize("call", METHODS.values(), ids=METHODS)
def test_memory_does_not_grow_with_the_samples(net, call):
    few, many = (peak(lambda n=n: call(net, n)) for n in (10, 300))
    assert many <= 1.1 * few


def test_the_maps_of_many_methods_are_measured_in_one_room(net):
    def most(count):
        maps = {str(k): LARGE for k in range(count)}
        return peak(lambda: infidelity(net, NoisyBaseline(), LARGE, maps, target=1, seed=0))

    assert most(40) - most(1) < LARGE.nbytes


def test_a_comparison_of_one_method_needs_what_the_bare_gradient_needs():
    net = seeded(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(8 * 20 * 20, 4)),
        )
    )

    def bare():
        x = LARGE.detach().requires_grad_()
        return torch.autograd.grad(net(x)[:, 1].sum(), x)

    most = peak(bare)
    for method in ("gradient", "deconvolution", "guided_backprop"):
        needed = peak(lambda one=method: cg.compare(net, LARGE, 1, methods=[one], metrics=()))
        assert needed <= 1.25 * most


def test_the_peak_is_that_of_what_is_alive():
    x = torch.zeros(1000)
    with peak_bytes() as found:
        first = x + 1
        second = first.view(10, 100) * 2
        del first
        third = second[3:]
        del second
        fourth = third.clone()
    assert found.bytes == 2 * x.nbytes
    assert fourth.nbytes < x.nbytes
    with peak_bytes() as found:
        kept = [x + k for k in range(5)]
    assert found.bytes == sum(one.nbytes for one in kept)
    with peak_bytes() as found:
        for k in range(5):
            x + k
        x.view(10, 100)[3:].mul_(1)
    assert found.bytes <= 2 * x.nbytes
