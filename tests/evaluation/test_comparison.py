"""compare(): the maps are the methods' own, the scores the metrics' own, and the cost is shared."""

import pytest
import small_benchmark as small
import torch
from captum.attr import InputXGradient, IntegratedGradients, NoiseTunnel, Saliency
from chance import global_state, state_of
from floors import of_methods
from networks import seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.attr import METHODS
from captum_guided_ext.evaluation import InfidelityMetric, LocalisationMetric, SensitivityMetric
from captum_guided_ext.metrics import NoisyBaseline, SquareRemoval, UniformBall


@pytest.fixture
def net():
    return small.cnn()


@pytest.fixture
def backward_passes(monkeypatch):
    """Note of each backward pass whether it goes all the way down to the pictures."""
    full, grad = [], torch.autograd.grad

    def noted(outputs, inputs, *args, **kwargs):
        full.append(any(one.shape[1:] == X.shape[1:] for one in inputs))
        return grad(outputs, inputs, *args, **kwargs)

    monkeypatch.setattr(torch.autograd, "grad", noted)
    return full


X = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(1)) + 0.1
TARGET = [0, 1, 3]


def scores(result, metric):
    rows = of_methods(result.rows)
    return {
        method: [r.value for r in rows if (r.method, r.metric) == (method, metric)]
        for method in dict.fromkeys(r.method for r in rows)
    }


def test_the_maps_are_the_methods_own(net):
    maps = cg.compare(net, X, TARGET, layer="second", metrics=[]).maps
    expected = {
        "gradient": Saliency(net).attribute(X.clone().requires_grad_(), TARGET, abs=False),
        "input_x_gradient": InputXGradient(net).attribute(X.clone().requires_grad_(), TARGET),
        "deconvolution": cg.Deconvolution(net).attribute(X, TARGET),
        "guided_backprop": cg.GuidedBackprop(net).attribute(X, TARGET),
        "guided_grad_cam": cg.GuidedGradCam(net, "second").attribute(
            X, TARGET, interpolate_mode="bilinear"
        ),
    }
    assert tuple(maps) == METHODS
    for method, one in expected.items():
        torch.testing.assert_close(maps[method], one.detach())
    assert maps["grad_cam"].shape == (3, 1, 9, 9)
    assert not any(one.requires_grad for one in maps.values())


def test_six_methods_cost_one_forward_and_three_backward_passes(net, backward_passes):
    cg.compare(net, X, TARGET, layer="second", metrics=[])
    assert net.examples == len(X)
    assert backward_passes == [True, True, True]  # the layer's gradient is a part of the first


def test_metrics_share_the_perturbed_inputs(net, backward_passes):
    def examples(*metrics):
        net.examples = 0
        backward_passes.clear()
        options = {"n_perturb_samples": 7, "max_examples_per_batch": 6, "metrics": metrics}
        cg.compare(net, X, TARGET, layer="second", **options)
        return net.examples

    assert examples("infidelity") == len(X) * (1 + 7)
    assert examples("sensitivity_max", "sensitivity_mean") == len(X) * (1 + 7)
    # Chunks of two samples: 1 + 4 explanations, each a backward pass for each of the three rules.
    assert sum(backward_passes) == 3 * (1 + 4)
    assert examples("infidelity", "infidelity_square") == len(X) * (1 + 7 + 7)


def test_the_scores_are_those_of_the_metric_functions(net):
    metrics = [
        InfidelityMetric(NoisyBaseline(0.3), 6, normalize=False),
        SensitivityMetric(UniformBall(0.1), 6),
    ]
    methods = {"mine": cg.GuidedBackprop(net), "ig": IntegratedGradients(net)}
    result = cg.compare(net, X, TARGET, methods=methods, metrics=metrics, seed=4)
    maps = {name: method.attribute(X, target=TARGET) for name, method in methods.items()}
    expected = cg.infidelity(
        net, NoisyBaseline(0.3), X, maps, target=TARGET, n_perturb_samples=6, seed=4,
        multiplies_by_inputs=["ig"], return_standard_error=True,
    )  # fmt: skip
    for name, (values, errors) in expected.items():
        rows = [r for r in result.rows if (r.method, r.metric) == (name, "infidelity")]
        assert [r.value for r in rows] == pytest.approx(values.tolist(), rel=1e-5)
        assert [r.standard_error for r in rows] == pytest.approx(errors.tolist(), rel=1e-4)
        assert all(r.interval_low is None for r in rows)
    for name, method in methods.items():
        found = cg.metrics.sensitivity(
            method.attribute, X, UniformBall(0.1), n_perturb_samples=6, target=TARGET, seed=4
        )
        assert scores(result, "sensitivity_max")[name] == pytest.approx(found.maximum.tolist())
        assert scores(result, "sensitivity_mean")[name] == pytest.approx(found.mean.tolist())


def test_a_linear_model_is_explained_without_error_by_gradient_and_input_x_gradient():
    linear = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 81, 4))).double()
    result = cg.compare(
        linear, X.double(), TARGET, methods=["gradient", "input_x_gradient", "guided_backprop"],
        metrics=["infidelity", "infidelity_square"],
    )  # fmt: skip
    for metric in ("infidelity", "infidelity_square"):
        found = scores(result, metric)
        assert found["gradient"] == pytest.approx([0, 0, 0], abs=1e-20)
        assert found["input_x_gradient"] == pytest.approx([0, 0, 0], abs=1e-20)
    assert "no rectifier" in result.reasons["guided_backprop"]


def test_a_method_that_does_not_apply_is_a_row_with_its_reason():
    def broken(inputs, target):
        raise ZeroDivisionError("mine")

    def too_small(inputs, target):
        return inputs[:, :, 1:]

    smooth = seeded(lambda: small.Cnn(nn.GELU()))
    methods = [*METHODS, broken, too_small, Saliency(smooth)]
    result = cg.compare(smooth, X, TARGET, layer="second", methods=methods)
    for method in ("deconvolution", "guided_backprop", "guided_grad_cam"):
        assert "2 GELU" in result.reasons[method]
    assert result.reasons["broken"] == "ZeroDivisionError: mine"
    assert "returned shape (3, 3, 8, 9)" in result.reasons["too_small"]
    for row in result.rows:
        assert (row.value is None) == (row.method in result.reasons)
        assert row.reason == result.reasons.get(row.method, "")
    assert set(result.maps) == {"gradient", "input_x_gradient", "grad_cam", "saliency"}
    assert "2 GELU" in str(result)
    assert "2 GELU" in result.to_markdown()


def test_a_map_with_nan_is_a_row_with_its_reason(net):
    net.second.weight.data.mul_(1e30)
    net.last.weight.data.mul_(1e30)
    result = cg.compare(net, X / 1e20, TARGET, layer="second", metrics=["sensitivity_max"])
    assert "holds NaN or infinity" in result.reasons["gradient"]
    assert {row.method for row in result.rows} == set(METHODS)


def test_scores_do_not_depend_on_the_batch_nor_on_chance(net):
    def tables(rows, **options):
        result = cg.compare(
            net, X[rows], [TARGET[r] for r in rows], layer="second", image_indices=rows, seed=5,
            methods=[*METHODS, NoiseTunnel(cg.GuidedBackprop(net))],
            metrics=["infidelity", "infidelity_square", "sensitivity_mean"], **options,
        )  # fmt: skip
        return small.values(result.rows)

    before = global_state()
    whole = tables([0, 1, 2])
    assert global_state() == before
    assert tables([0, 1, 2]) == whole
    for rows in ([2], [1, 0]):
        part = tables(rows, max_examples_per_batch=5)
        assert part == pytest.approx({key: whole[key] for key in part}, rel=1e-4, abs=1e-6)


def test_a_model_of_one_score_in_a_column(net):
    def column(x):
        return net(x)[:, :1]

    options = {"methods": ["gradient"], "metrics": ["infidelity", "sensitivity_max"]}
    got = cg.compare(column, X, **options)
    expected = cg.compare(net, X, 0, **options)
    assert [r.value for r in got.rows] == pytest.approx([r.value for r in expected.rows], rel=1e-4)


def test_generator_and_seed(net):
    generator = torch.Generator().manual_seed(8)
    drawn = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(8)))
    options = {"methods": ["gradient"], "metrics": ["infidelity"]}
    given = cg.compare(net, X, TARGET, generator=generator, **options)
    assert given.rows == cg.compare(net, X, TARGET, seed=drawn, **options).rows
    assert given.rows != cg.compare(net, X, TARGET, **options).rows


def test_the_prediction_is_explained_if_asked_for(net):
    predicted = net(X).argmax(dim=1).tolist()
    result = cg.compare(net, X, "prediction", methods=["gradient"], metrics=["sensitivity_max"])
    named = cg.compare(net, X, predicted, methods=["gradient"], metrics=["sensitivity_max"])
    assert result.target == predicted
    assert result.rows == named.rows
    assert cg.compare(net, X, "top1", methods=["gradient"], metrics=[]).target == predicted
    second = cg.compare(net, X, "top2", methods=["gradient"], metrics=[])
    assert second.target == net(X).argsort(dim=1, descending=True)[:, 1].tolist()


def test_there_is_no_prediction_in_a_picture(net):
    with pytest.raises(cg.ModelError, match=r"no prediction in an output of .*, but in one"):
        cg.compare(net.first, X, "prediction")


def test_localisation_by_hand():
    x = torch.tensor([[[3.0, -1.0], [0.0, 4.0]], [[1.0, 0.0], [0.0, 0.0]]]).repeat(2, 1, 1, 1)
    masks = torch.tensor([[[True, False], [False, True]], [[True, False], [False, False]]])
    result = cg.compare(
        nn.Sequential(nn.Flatten(), nn.Linear(8, 2)), x, 0, masks=masks,
        methods={"x": lambda x, target: x, "nothing": lambda x, target: x * 0},
        metrics=["relevance_mass", LocalisationMetric(("pointing_game",))],
    )  # fmt: skip
    mass = scores(result, "relevance_mass")
    assert mass == {"x": pytest.approx([8 / 9, 4 / 9]), "nothing": [None, None]}
    # Places hold 4, 1, 0, 4: both of the largest are inside, and then one of them.
    assert scores(result, "pointing_game") == {"x": [1, 0.5], "nothing": [None, None]}


def test_where_the_mask_is_empty_no_object_can_be_found():
    masks = torch.tensor([[[0, 0], [0, 0]], [[1, 0], [0, 0]]])
    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    result = cg.compare(
        nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), x, 0, masks=masks,
        methods=["gradient"], metrics=["relevance_mass", "pointing_game"],
    )  # fmt: skip
    for row in result.rows:
        assert (row.value is None) == (row.image == 0)
        assert row.reason == ("the mask is empty: no object is in the picture" * (row.image == 0))


def test_what_was_found_can_be_drawn_and_written(net):
    result = cg.compare(net, X, TARGET, layer="second")
    panels = result.plot().axes
    titles = [panel.get_title() for panel in panels]
    assert titles.count("Guided backprop") == 3
    assert "image 2" in titles
    assert all("infidelity" in one.get_xlabel() for one in panels if one.get_title() == "Gradient")
    assert small.values(small.table(result.to_csv())) == small.values(result.rows)
    assert "means over 3 images" in str(result)


def test_nothing_is_left_on_the_model(net):
    x, before = X.clone(), state_of(net)
    cg.compare(net, x, TARGET, layer="second", metrics=["infidelity", "sensitivity_max"])
    assert state_of(net) == before
    assert not x.requires_grad


ERRORS = {
    "no target": ({"target": None}, ValueError, r"target is missing.*0 \.\.\. 3"),
    "target": ({"target": 9}, ValueError, r"target 9 is out of range"),
    "word": ({"target": "best"}, ValueError, "'best': the classes have no names; give an index"),
    "label": ({"target": "label"}, ValueError, "'label' is the class that a data set gives"),
    "method": ({"methods": ["guided_bakprop"]}, ValueError, "nearest is guided_backprop"),
    "twice": ({"methods": ["gradient", "gradient"]}, ValueError, "two methods are called"),
    "none": ({"methods": []}, ValueError, "methods is empty"),
    "no method": ({"methods": [3]}, TypeError, "3 is no attribution method"),
    "metric": ({"metrics": ["infidelty"]}, ValueError, "nearest are infidelity"),
    "two metrics": ({"metrics": ["infidelity", InfidelityMetric()]}, ValueError, "two metrics are"),
    "no metric": ({"metrics": [3]}, TypeError, "3 is no metric"),
    "layer": ({"layer": "secnd"}, ValueError, "no layer 'secnd'; the nearest is second"),
    "masks": ({"metrics": ["relevance_mass"]}, ValueError, "masks of the object are needed"),
    "mask size": ({"masks": torch.ones(3, 4, 4)}, ValueError, r"\(3, 4, 4\).*\(3, 9, 9\)"),
    "tuple": ({"inputs": (X, X)}, TypeError, "one tensor, not tuple"),
    "both": ({"seed": 1, "generator": torch.Generator()}, ValueError, "give one of them"),
    "samples": ({"n_perturb_samples": 0}, ValueError, "n_perturb_samples must be 1 or more"),
    "one": (
        {"n_perturb_samples": 1},
        ValueError,
        "infidelity is 1: scaled optimally, any",
    ),
    "square": ({"metrics": [InfidelityMetric(SquareRemoval((20,)))]}, ValueError, "no square of"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_offender(net, case):
    changed, kind, words = ERRORS[case]
    given = {"inputs": X, "target": TARGET, "layer": "second"} | changed
    with pytest.raises(kind, match=words):
        cg.compare(net, given.pop("inputs"), given.pop("target"), **given)
