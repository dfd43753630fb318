"""Deletion, insertion and ROAD in compare; maps of zeros; the best constant prediction."""

import pytest
import torch
from floors import FLOORS, of_methods
from networks import Conv, seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext import MethodSpec
from captum_guided_ext.evaluation import (
    DeletionMetric,
    InfidelityMetric,
    InsertionMetric,
    RoadMetric,
    SensitivityMetric,
)
from captum_guided_ext.evaluation._metrics import find_metrics
from captum_guided_ext.methods import BEST_CONSTANT
from captum_guided_ext.metrics import GaussianNoise, SquareRemoval, deletion, insertion, road
from captum_guided_ext.output import described

NET = seeded(lambda: Conv(channels=2, classes=4))
with torch.random.fork_rng():
    torch.manual_seed(0)
    X = torch.rand(3, 2, 9, 8)
TARGETS = [2, 0, 3]
REMOVALS = ["deletion", "insertion", "road_morf", "road_lerf"]
METHODS = ["gradient", "guided_backprop", "input_x_gradient"]


def scores(result, metric):
    found = {}
    for row in of_methods(result.rows):
        if row.metric == metric:
            found.setdefault(row.method, []).append(row.value)
    return found


# --- compare ----------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [METHODS, METHODS[:1]])
def test_compare_gives_what_the_functions_give(methods):
    result = cg.compare(NET, X, TARGETS, methods=methods, metrics=REMOVALS, seed=4)
    options = {"target": TARGETS, "seed": 4}
    expected = {
        "deletion": deletion(NET, X, result.maps, **options),
        "insertion": insertion(NET, X, result.maps, **options),
        "road_morf": road(NET, X, result.maps, **options),
        "road_lerf": road(NET, X, result.maps, order="lerf", **options),
    }
    for metric, by_method in expected.items():
        wanted = {name: pytest.approx(one.tolist(), rel=1e-5) for name, one in by_method.items()}
        assert scores(result, metric) == wanted
        assert list(wanted) == methods


def test_settings_arrive():
    metrics = [
        DeletionMetric(0.5, n_steps=7, name="grey"),
        InsertionMetric(0.25, n_steps=3),
        RoadMetric("lerf", noise=0.3),
    ]
    result = cg.compare(NET, X, 1, methods=["gradient"], metrics=metrics)
    one_map, options = result.maps["gradient"], {"target": 1, "seed": 0}
    expected = {
        "grey": deletion(NET, X, one_map, baselines=0.5, n_steps=7, **options),
        "insertion": insertion(NET, X, one_map, baselines=0.25, n_steps=3, **options),
        "road_lerf": road(NET, X, one_map, order="lerf", noise=0.3, **options),
    }
    for name, values in expected.items():
        assert scores(result, name) == {"gradient": pytest.approx(values.tolist(), rel=1e-5)}


def test_scores_are_an_image_s_own():
    def rows(order, **options):
        result = cg.compare(
            NET, X[order], [TARGETS[k] for k in order], image_indices=order, seed=2,
            methods=[*METHODS, "deconvolution"], metrics=REMOVALS, **options,
        )  # fmt: skip
        return {(one.image, one.method, one.metric): one.value for one in result.rows}

    whole = rows([0, 1, 2])
    assert None not in whole.values()
    for order in ([2, 0], [1]):
        for place, value in rows(order, max_examples_per_batch=len(order) * 2).items():
            assert value == pytest.approx(whole[place], rel=1e-4)


def test_what_is_removed_and_which_side_is_better_is_said():
    by_name = {one.names[0]: one for one in find_metrics(REMOVALS)}
    assert {name: one.higher_is_better for name, one in by_name.items()} == {
        "deletion": False, "insertion": True, "road_morf": False, "road_lerf": True,
    }  # fmt: skip
    assert [repr(one) for one in by_name.values()] == [
        "DeletionMetric(baseline=0.0, n_steps=30, name='deletion')",
        "InsertionMetric(start='blurred', n_steps=30, name='insertion')",
        "RoadMetric(order='morf', noise=0.01)",
        "RoadMetric(order='lerf', noise=0.01)",
    ]
    assert len({described(one) for one in by_name.values()}) == 4


def test_rows_of_numbers_have_deletion_and_a_start_of_their_own():
    net, x = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))), X[:, 0, 0]
    x = x[:, :6]
    metrics = ["deletion", InsertionMetric(0.0)]
    result = cg.compare(net, x, 1, methods=["gradient"], metrics=metrics)
    assert all(row.value is not None for row in result.rows)
    for name, words in (("insertion", "starts from a blurred"), ("road_morf", "road fills pixels")):
        with pytest.raises(ValueError, match=words):
            cg.compare(net, x, 1, methods=["gradient"], metrics=[name])


@pytest.mark.parametrize(
    ("build", "kind", "words"),
    [
        (lambda: DeletionMetric(n_steps=0), ValueError, "n_steps must be 1 or more"),
        (lambda: InsertionMetric(n_steps=0.5), TypeError, "n_steps must be a whole number"),
        (lambda: InsertionMetric("black"), ValueError, "start must be 'blurred' or a number, and"),
        (lambda: RoadMetric("first"), ValueError, "order 'first' is neither"),
        (lambda: RoadMetric(noise=-1), ValueError, "noise must be a number of 0 or more"),
    ],
)
def test_impossible_settings_are_refused_at_once(build, kind, words):
    with pytest.raises(kind, match=words):
        build()


# --- maps of zeros ----------------------------------------------------------------------------


def second_is_zero(x, target):
    """Return a map that is zero everywhere in the picture whose first pixel is -1."""
    return x * (x[:, :1, :1, :1] != -1)


NOTHING = "the map is zero everywhere"


def test_a_map_of_zeros_has_no_score_but_infidelity():
    x = X.clone()
    x[1, :, 0, 0] = -1
    names = ["sensitivity_max", "sensitivity_mean", "relevance_mass", "pointing_game", *REMOVALS]
    result = cg.compare(
        NET, x, 1,
        methods={
            "some": MethodSpec(second_is_zero, multiplies_by_inputs=False),
            "all": MethodSpec(lambda x, target: x, multiplies_by_inputs=False),
        },
        metrics=[*names, "infidelity", "infidelity_square"], n_perturb_samples=3,
        masks=torch.ones(3, 9, 8, dtype=torch.bool),
    )  # fmt: skip
    for row in result.rows:
        is_missing = row.metric in names and row.method == "some" and row.image == 1
        assert (row.value is None) == is_missing
        assert row.reason == (NOTHING if is_missing else "")
        if is_missing:
            assert row.standard_error is row.interval_low is None
    assert f"some lacks deletion of an image: {NOTHING}" in str(result)


def test_the_other_reason_of_the_other_images_stays():
    """The perturbed pictures are refused: of the map of zeros, what is said is that it is zero."""

    def only_the_first(x, target, seen=[]):  # noqa: B006
        seen.append(len(x))
        if len(seen) > 1:
            raise ValueError("enough")
        return second_is_zero(x, target)

    x = X.clone()
    x[1, :, 0, 0] = -1
    result = cg.compare(NET, x, 1, methods=[only_the_first], metrics=["sensitivity_max"])
    reasons = [row.reason for row in of_methods(result.rows)]
    assert reasons[1] == NOTHING
    assert all("does not apply to a perturbed input: ValueError: en" in reasons[k] for k in (0, 2))


# --- the best constant ------------------------------------------------------------------------


class Kept:
    """A metric that keeps what another one gives."""

    def __init__(self, metric):
        self.metric, self.names = metric, metric.names
        self.higher_is_better = metric.higher_is_better

    def score(self, batch):
        self.found = self.metric.score(batch)
        return self.found


def floor_of(model, x, metric, **options):
    kept = Kept(metric)
    cg.compare(model, x, 0, metrics=[kept], **{"methods": ["gradient"]} | options)
    (by_method,) = kept.found.values()
    return by_method


@pytest.mark.parametrize("normalize", [False, True])
def test_the_best_constant_by_hand(normalize):
    """Each pixel alone is removed: the falls are the pixels times their weights."""
    weights = torch.tensor([1.0, -2.0, 3.0, 0.5])
    metric = InfidelityMetric(SquareRemoval((1,), exhaustive=True), 4, normalize=normalize)
    x = torch.tensor([[2.0, 1.0, 1.0, 4.0], [1.0, 1.0, 0.0, 2.0]]).reshape(2, 1, 2, 2)
    found = floor_of(lambda one: (one.flatten(1) * weights).sum(1, keepdim=True), x, metric)
    assert list(found) == ["gradient", "constant_map", "random_map", "edges", BEST_CONSTANT]
    # falls 2, -2, 3, 2 (mean 1.25) and 1, -2, 0, 1 (mean 0)
    falls = [(0.75**2 + 3.25**2 + 1.75**2 + 0.75**2) / 4, (1 + 4 + 0 + 1) / 4]
    assert found[BEST_CONSTANT].values.tolist() == pytest.approx(falls)
    assert found[BEST_CONSTANT].standard_error is found[BEST_CONSTANT].interval is None


def test_no_constant_is_better_and_each_image_has_its_own():
    metric = InfidelityMetric(GaussianNoise(0.3), 12)
    floor = floor_of(NET, X, metric)[BEST_CONSTANT].values
    samples = []

    def model(one):
        samples.append(NET(one)[:, :1].detach())
        return samples[-1]

    other = MethodSpec(lambda x, target: x, multiplies_by_inputs=False)
    again = floor_of(model, X, metric, methods=[other])[BEST_CONSTANT].values
    torch.testing.assert_close(again, floor)
    before, *after = samples
    falls = before - torch.cat([one.reshape(3, -1) for one in after], dim=1)
    for image in range(3):
        tried = [float((falls[image] - c).square().mean()) for c in falls[image].quantile(
            torch.linspace(0, 1, 101))]  # fmt: skip
        assert float(floor[image]) <= min(tried)
        assert float(floor[image]) == pytest.approx(min(tried), rel=0.05)
    alone = floor_of(NET, X[1:2], metric, image_indices=[1])[BEST_CONSTANT].values
    torch.testing.assert_close(alone, floor[1:2])


@pytest.mark.parametrize("name", FLOORS)
def test_a_method_of_that_name_is_refused(name):
    words = f"'{name}' is the name of a floor, which every table has: call the method otherwise"
    with pytest.raises(ValueError, match=words):
        cg.compare(NET, X, 0, methods={name: "gradient"})


def test_other_metrics_have_no_best_constant():
    found = floor_of(NET, X, SensitivityMetric(names=("sensitivity_max",)))
    assert list(found) == ["gradient", "constant_map", "random_map", "edges"]
