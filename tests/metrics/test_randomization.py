"""Maps under random weights: known answers, slow versions, batches, costs, and what goes wrong."""

import functools
import math
from collections import Counter
from contextlib import nullcontext

import pytest
import scipy.stats
import torch
from captum.attr import Attribution, InputXGradient, NoiseTunnel, Saliency
from networks import Conv, Dense, Stateful, make, seeded
from torch import nn
from unchanged import changed, nothing_changed, state_of

from captum_guided_ext.errors import ModelError
from captum_guided_ext.metrics import (
    efficient_parameter_randomization,
    parameter_randomization,
    randomized_layers,
    smooth_parameter_randomization,
)
from captum_guided_ext.metrics._utils.randomized_copy import ORDERS, RandomizedCopy
from captum_guided_ext.metrics._utils.similarity import MEASURES

NET = seeded(lambda: Dense(features=8, classes=3).double())
X = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).double()
TARGET = torch.tensor([0, 2, 1, 1])
FORMS = {
    "parameter": parameter_randomization,
    "smooth": functools.partial(smooth_parameter_randomization, n_noise_samples=3),
    "efficient": efficient_parameter_randomization,
}
each_form = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


class Counted(Conv):
    """Counts the forward passes of all its copies."""

    passes = 0

    def forward(self, x):
        type(self).passes += 1
        return super().forward(x)


does_not_look = pytest.mark.filterwarnings("ignore:with all weights random")


class OfInput(Attribution):
    """Does not look at the model."""

    def attribute(self, inputs, target=None):
        return inputs.clone()


class OfSign(Attribution):
    """The input times the sign of the model's first weight: it may turn round, and no more."""

    def attribute(self, inputs, target=None):
        return inputs * next(self.forward_func.parameters()).flatten()[0].sign()


class Spy(Attribution):
    """Writes down what it sees of the model, and of the inputs, each time it is asked."""

    seen = None  # by the class: its copies write here, too

    def attribute(self, inputs, target=None):
        state = {name: one.clone() for name, one in self.forward_func.state_dict().items()}
        type(self).seen.append((state, inputs.clone()))
        return inputs.clone()


@pytest.fixture
def seen():
    Spy.seen = []
    yield Spy.seen
    Spy.seen = None


def gradients(model, x, target):
    x = x.detach().clone().requires_grad_()
    scores = model(x).gather(1, torch.as_tensor(target).reshape(-1, 1).expand(len(x), 1))
    return torch.autograd.grad(scores.sum(), x)[0]


def spearman(first, second):
    return scipy.stats.spearmanr(first.flatten(), second.flatten()).statistic


# Known answers


def test_of_a_linear_model_the_permuted_row_is_the_map():
    model = seeded(lambda: nn.Linear(8, 3).double())
    found = parameter_randomization(model, X, "gradient", TARGET, seed=7, n_draws=2)
    assert found.layers == ("Linear",)
    copied = RandomizedCopy(model, "permuted", 7)
    copied.find_layers_by(X, None, "cascading")
    for draw in range(2):
        copied.randomize("Linear", draw)
        for example, target in enumerate(TARGET.tolist()):
            rows = model.weight[target].detach(), copied.model.weight[target].detach()
            value = found.values["spearman"]["gradient"][example, 0, draw]
            assert float(value) == pytest.approx(spearman(*rows), abs=1e-12)
            value = found.values["spearman_abs"]["gradient"][example, 0, draw]
            assert float(value) == pytest.approx(spearman(*map(torch.abs, rows)), abs=1e-12)


class Ignoring(nn.Module):
    """Multiplies what one layer says by zero."""

    def __init__(self):
        super().__init__()
        self.used, self.ignored = nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head((self.used(x) + 0 * self.ignored(x)).tanh())


def test_a_layer_that_the_output_ignores_leaves_every_map_as_it_is():
    model = seeded(Ignoring).double()
    found = parameter_randomization(model, X, ("gradient", "input_x_gradient"), TARGET,
                                    order="independent", seed=0)  # fmt: skip
    assert found.layers == ("head", "ignored", "used")
    for method, values in found.values["spearman"].items():
        assert (values[:, 1] == 1).all(), method
        assert (values[:, 0] < 1).any()
        assert (values[:, 2] < 1).any()


@pytest.mark.parametrize("order", ORDERS)
def test_a_method_that_does_not_look_at_the_model_is_shown_to_be_so(order):
    model, x = make(Conv)
    words = "with all weights random, the map of x is the same to the bit"
    says = nullcontext() if order == "independent" else pytest.warns(UserWarning, match=words)
    with says:
        found = parameter_randomization(model, x, {"x": OfInput(model)}, 0, order=order, seed=0)
    for measure in MEASURES:
        torch.testing.assert_close(
            found.values[measure]["x"], torch.ones(2, 3, 3).double(), rtol=0, atol=1e-6
        )
    assert (found.values["spearman"]["x"] == 1).all()


def test_a_method_of_a_trace_of_the_model_is_noticed():
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
    model, x = make(lambda: nn.Sequential(*layers), (2, 3, 8, 8))
    methods = {"traced": Saliency(torch.jit.trace(model, x)), "own": Saliency(model)}
    with pytest.warns(UserWarning, match="the map of traced is .* it explains another network"):
        found = parameter_randomization(model, x, methods, 0, seed=0, n_draws=2)
    assert (found.values["spearman"]["traced"] == 1).all()
    assert (found.values["spearman"]["own"] < 1).any()


def test_a_map_that_turns_round_keeps_its_magnitudes():
    model = seeded(lambda: nn.Linear(8, 1, bias=False).double())
    found = parameter_randomization(model, X, {"sign": OfSign(model)}, 0, n_draws=8, seed=0)
    signs = Counter(found.values["spearman"]["sign"].flatten().tolist())
    assert set(signs) == {1.0, -1.0}
    assert (found.values["spearman_abs"]["sign"] == 1).all()


def test_a_constant_map_has_no_rank_correlation_but_a_reason():
    model, x = make(Conv)
    methods = {"flat": lambda inputs, target: torch.ones_like(inputs), "gradient": "gradient"}
    found = parameter_randomization(model, x, methods, 0, seed=0)
    for measure in MEASURES[:2]:
        assert found.values[measure]["flat"].isnan().all()
        assert found.values[measure]["gradient"].isfinite().all()
        assert found.mean(measure)["flat"].isnan().all()
    assert (found.values["ssim"]["flat"] == 1).all()  # it has not changed
    assert list(found.reasons) == ["flat"]
    assert found.reasons["flat"].startswith("18 of 18 maps have nothing to compare: they or the or")


# Against a slow version


@pytest.mark.parametrize("reinitialization", ["permuted", "normal", "reset"])
@pytest.mark.parametrize("order", ORDERS)
def test_each_step_is_the_map_of_a_model_with_those_weights(order, reinitialization):
    found = parameter_randomization(
        NET, X, ("gradient", "input_x_gradient"), TARGET,
        order=order, reinitialization=reinitialization, seed=5, n_draws=2,
    )  # fmt: skip
    down = ("last", "second", "first")
    assert found.layers == (down[::-1] if order == "bottom_up" else down)
    before = gradients(NET, X, TARGET)
    for draw in range(2):
        for step in range(3):
            fresh = RandomizedCopy(NET, reinitialization, 5)
            fresh.find_layers_by(X, None, order)
            random = (
                found.layers[step : step + 1]
                if order == "independent"
                else found.layers[: step + 1]
            )
            for layer in random:
                fresh.randomize(layer, draw)
            for name in down:
                is_same = torch.equal(
                    fresh.model.get_submodule(name).weight, NET.get_submodule(name).weight
                )
                assert is_same == (name not in random)
            after = gradients(fresh.model, X, TARGET)
            for example in range(4):
                for method, factor in (("gradient", 1), ("input_x_gradient", X[example])):
                    maps = before[example] * factor, after[example] * factor
                    for measure, of in (("spearman", lambda one: one), ("spearman_abs", torch.abs)):
                        value = float(found.values[measure][method][example, step, draw])
                        assert value == pytest.approx(spearman(*map(of, maps)), abs=1e-12)


def test_once_all_weights_are_random_the_order_does_not_matter():
    down, up = (
        parameter_randomization(NET, X, "gradient", TARGET, order=order, seed=3).values["spearman"]
        for order in ("cascading", "bottom_up")
    )
    assert torch.equal(down["gradient"][:, -1], up["gradient"][:, -1])
    assert not torch.equal(down["gradient"][:, 0], up["gradient"][:, 0])


def test_every_nth_layer_is_a_part_of_all():
    model = seeded(lambda: nn.Sequential(*[
        module for _ in range(6) for module in (nn.Linear(8, 8), nn.Tanh())
    ])).double()  # fmt: skip
    whole = parameter_randomization(model, X, "gradient", 0, seed=1)
    assert whole.layers == ("10", "8", "6", "4", "2", "0")
    for every, steps in ((2, (0, 2, 4, 5)), (3, (0, 3, 5)), (99, (0, 5))):
        part = parameter_randomization(model, X, "gradient", 0, seed=1, every_nth_layer=every)
        assert part.layers == tuple(whole.layers[step] for step in steps)
        expected = whole.values["spearman"]["gradient"][:, list(steps)]
        assert torch.equal(part.values["spearman"]["gradient"], expected)
        assert randomized_layers(model, X, every_nth_layer=every) == part.layers


def test_the_random_map_is_the_original_shuffled():
    model, x = make(Conv, (2, 3, 40, 40))
    found = parameter_randomization(
        model, x, ("gradient", "guided_backprop"), 1, seed=0, every_nth_layer=9
    )
    for measure in MEASURES[:2]:
        for values in found.random_map[measure].values():
            assert values.shape == (2, 3)
            assert values.abs().max() < 4 / 40  # four standard errors of no correlation
    assert len(found.random_map["spearman"]["gradient"].unique()) == 6
    flat = parameter_randomization(model, x, {"m": lambda i, target: i * 0 + 2}, 1, seed=0)
    assert (flat.random_map["ssim"]["m"] == 1).all()  # the values are its own


# Batches and seeds


def drawn(model):
    return {"gradient": "gradient", "saliency": Saliency(model), "smooth": "smooth_grad",
            "noisy": NoiseTunnel(InputXGradient(model))}  # fmt: skip


@each_form
def test_numbers_do_not_depend_on_the_batch(form):
    def values(rows, at_once=None):
        found = form(
            NET, X[rows], drawn(NET), TARGET[rows], seed=2, image_indices=rows,
            max_examples_per_batch=at_once,
        ).values  # fmt: skip
        return found.get("spearman", found)

    whole = values([0, 1, 2, 3])
    assert {one.isfinite().all().item() for one in whole.values()} == {True}
    for at_once in (1, 2, 3, 4, 7):
        split = values([0, 1, 2, 3], at_once)
        for name in whole:  # a product of matrices may round otherwise for other batches
            torch.testing.assert_close(split[name], whole[name], rtol=0, atol=1e-9)
    for rows in ([2], [3, 1]):
        for name, part in values(rows).items():
            torch.testing.assert_close(part, whole[name][rows], rtol=0, atol=1e-9)


@each_form
def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_stream_alone(form):
    def values(**source):
        found = form(NET, X, ("gradient", "smooth_grad"), 1, **source).values
        found = found.get("spearman_abs", found)
        return torch.cat([one.flatten() for one in found.values()])

    state = torch.get_rng_state()
    first = values(seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(values(seed=4), first)
    assert not torch.equal(values(seed=5), first)
    by_generator = values(generator=torch.Generator().manual_seed(1))
    assert torch.equal(values(generator=torch.Generator().manual_seed(1)), by_generator)
    assert not torch.equal(values(), values())  # each a seed of the global stream


def test_targets_of_all_forms_stay_with_their_examples():
    expected = parameter_randomization(NET, X, "gradient", TARGET, seed=0).values["spearman"]
    for target in (TARGET.tolist(), TARGET[:, None].squeeze(1)):
        found = parameter_randomization(
            NET, X, "gradient", target, seed=0, max_examples_per_batch=3
        ).values["spearman"]
        torch.testing.assert_close(found["gradient"], expected["gradient"], rtol=0, atol=1e-9)


def test_further_arguments_stay_with_their_examples():
    factors = torch.tensor([[0.5], [-1.0], [2.0], [0.3]]).double()
    further = (None, factors)
    whole = parameter_randomization(NET, X, "gradient", TARGET, further, seed=0)
    split = smooth_parameter_randomization(
        NET, X, "gradient", TARGET, further, seed=0, max_examples_per_batch=3,
        n_noise_samples=2, noise_level=1e-9, order="cascading",
    )  # fmt: skip
    for measure in MEASURES[:2]:
        torch.testing.assert_close(
            split.values[measure]["gradient"], whole.values[measure]["gradient"], rtol=0, atol=1e-9
        )


# Costs


def passes(form, *methods, **settings):
    model, x = make(Counted)
    Counted.passes = 0
    form(model, x, methods or ("gradient", "guided_backprop", "grad_cam"), 1, seed=0, **settings)
    assert model.calls == 0  # the user's own network is not run
    return Counted.passes


def test_all_methods_and_images_share_a_pass_of_each_step():
    six = ("gradient", "input_x_gradient", "deconvolution", "guided_backprop", "grad_cam",
           "guided_grad_cam")  # fmt: skip
    assert passes(parameter_randomization, *six, n_draws=2) == 3 * 2 + 1
    assert passes(parameter_randomization, "gradient", n_draws=2) == 3 * 2 + 1
    assert passes(parameter_randomization, *six, n_draws=1, max_examples_per_batch=1) == 2 * (3 + 1)
    assert passes(parameter_randomization, *six, n_draws=2, every_nth_layer=2) == 2 * 2 + 1
    assert passes(efficient_parameter_randomization, *six, n_draws=4) == 4 + 1
    smooth = functools.partial(passes, smooth_parameter_randomization, *six, n_draws=1)
    assert smooth(n_noise_samples=10) == 3 + 1
    assert smooth(n_noise_samples=11) == 2 * (3 + 1)
    assert smooth(n_noise_samples=6, max_examples_per_batch=4) == 3 * (3 + 1)


# What the model keeps


class Interrupting(Attribution):
    """Raises when it is asked for the n-th time."""

    left = 0

    def __init__(self, model, kind):
        super().__init__(model)
        self.kind = kind

    def attribute(self, inputs, target=None):
        type(self).left -= 1
        self.forward_func(inputs)
        if type(self).left == 0:
            raise self.kind("in the middle")
        return inputs.clone()


@each_form
@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_model_changes(form, training):
    model, x = make(Stateful, seed=1)
    model.train(training)
    before = state_of(model, x)
    form(model, x, ("gradient", "guided_backprop", "deep_lift", "smooth_grad"), 1, seed=0)
    dropped = {"random numbers"} if training else set()  # by the dropout, as in any forward pass
    assert changed(before, state_of(model, x)) <= dropped


@each_form
def test_nothing_changes_under_an_interruption_either(form):
    model, x = make(Stateful, seed=1)
    Interrupting.left = 3
    with nothing_changed(model, x), pytest.raises(KeyboardInterrupt):
        form(model, x, {"stop": Interrupting(model, KeyboardInterrupt)}, 1, seed=0)


@does_not_look
def test_a_method_that_fails_at_a_step_has_nothing_there_and_a_reason():
    model, x = make(Stateful, seed=1)
    Interrupting.left = 3  # the original, the first step, the second: and there again, one by one
    with nothing_changed(model, x):
        methods = {"stop": Interrupting(model, RuntimeError), "gradient": "gradient"}
        found = parameter_randomization(model, x[:1], methods, 1, seed=0, n_draws=1)
    values = found.values["spearman"]["stop"][0, :, 0]
    assert values.isnan().tolist() == [False, True, *[False] * (len(found.layers) - 2)]
    assert found.reasons == {
        "stop": f"after {found.layers[1]} was randomised: RuntimeError: in the middle"
    }
    assert found.mean("spearman")["stop"].tolist() == [1]


@does_not_look
def test_statistics_of_training_are_put_back_before_each_step(seen):
    model, x = make(Stateful, seed=1)
    model.train()
    with pytest.warns(UserWarning, match="training mode"):
        parameter_randomization(model, x, {"spy": Spy(model), "gradient": "gradient"}, 1, seed=0)
    assert len(seen) > 9
    batches = {int(state["first.1.num_batches_tracked"]) for state, _ in seen}
    assert batches == {1}  # the pass of this very step


# What goes wrong


class Root(nn.Module):
    """The gradient at its input is not a number once weights are where they were not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -0.5, 2.0, 3.0]))

    def forward(self, x):
        return (x * self.weight).sum(1, keepdim=True).sqrt()


def test_an_example_that_is_no_number_any_more_costs_the_others_nothing():
    x = torch.tensor([[4.0, 0.1, 0.2, 0.3], [1.0, 1.1, 1.2, 1.3]])  # the second stays positive
    found = parameter_randomization(Root(), x, ("gradient", "input_x_gradient"), n_draws=12, seed=0)
    values = found.values["spearman"]["input_x_gradient"][:, 0]
    assert values[1].isfinite().all()
    assert 0 < values[0].isnan().sum() < 12
    assert "after Root was randomised: " in found.reasons["gradient"]
    assert "NaN or infinity" in found.reasons["gradient"]
    assert found.lost["gradient"] == {0: found.reasons["gradient"]}
    assert found.mean("spearman")["input_x_gradient"].isfinite().all()
    interval = found.interval("spearman")["input_x_gradient"]
    assert interval[0].isnan().all()
    assert interval[1].isfinite().all()
    alone = parameter_randomization(Root(), x[:1], "input_x_gradient", n_draws=12, seed=0)
    assert torch.equal(
        alone.values["spearman"]["input_x_gradient"][0, 0].isnan(), values[0].isnan()
    )


def test_a_function_around_the_model_has_a_reason():
    def around(inputs, target):
        return Saliency(NET).attribute(inputs, target=target)

    found = parameter_randomization(NET, X, [around, "gradient"], TARGET, seed=0)
    assert list(found.values["spearman"]) == ["gradient"]
    assert "it runs the network that it was made with" in found.reasons["around"]


def test_a_method_that_does_not_apply_has_a_reason():
    model = seeded(lambda: nn.Linear(8, 3).double())
    found = parameter_randomization(model, X, ("gradient", "guided_backprop"), 0, seed=0)
    assert list(found.values["spearman"]) == ["gradient"]
    assert "guided_backprop" in found.reasons


def test_where_no_method_applies_there_are_reasons_alone():
    model = seeded(lambda: nn.Linear(8, 3).double())
    found = parameter_randomization(model, X, "guided_backprop", 0, seed=0)
    assert found.values == {measure: {} for measure in MEASURES}
    assert list(found.reasons) == ["guided_backprop"]
    assert efficient_parameter_randomization(model, X, "guided_backprop", 0, seed=0).values == {}


def test_intervals_are_students():
    found = parameter_randomization(NET, X, "gradient", TARGET, seed=0, n_draws=4)
    values = found.values["spearman"]["gradient"]
    for example in range(4):
        for step in range(3):
            draws = values[example, step].numpy()
            expected = scipy.stats.t.interval(
                0.95, 3, loc=draws.mean(), scale=scipy.stats.sem(draws)
            )
            assert found.interval("spearman")["gradient"][example, step].tolist() == pytest.approx(
                expected
            )
    single = parameter_randomization(NET, X, "gradient", TARGET, seed=0, n_draws=1)
    assert single.interval("spearman")["gradient"].isnan().all()
    assert found.mean("spearman")["gradient"].tolist() == pytest.approx(
        values.mean((1, 2)).tolist()
    )


BAD = {
    "a function": ({"model": NET.forward}, ModelError, "the model is a method, which has no weig"),
    "several inputs": ({"inputs": (X, X)}, TypeError, "inputs must be one tensor for "),
    "NaN": ({"inputs": X * math.nan}, ValueError, "NaN or infinity"),
    "target": ({"target": 9}, ValueError, r"0 \.\.\. 2"),
    "no target": ({"target": None}, ValueError, "target is missing"),
    "method": ({"methods": "gradeint"}, ValueError, "no method is called 'gradeint'; the nearest"),
    "reinitialization": ({"reinitialization": "permutted"}, ValueError,
                         "no reinitialization is called 'permutted'; the nearest is permuted"),
    "n_draws": ({"n_draws": 0}, ValueError, "n_draws must be 1 or more"),
    "examples": ({"max_examples_per_batch": 0}, ValueError, "max_examples_per_batch must be 1"),
    "seed": ({"seed": -1}, ValueError, "seed must not be negative"),
}  # fmt: skip


@each_form
@pytest.mark.parametrize(("given", "kind", "words"), BAD.values(), ids=BAD)
def test_mistakes_are_named(form, given, kind, words):
    settings = {"model": NET, "inputs": X, "methods": "gradient", "target": 1} | given
    with pytest.raises(kind, match=words):
        form(**settings)


@pytest.mark.parametrize(
    ("form", "given", "words"),
    [
        ("parameter", {"order": "up"}, "no order is called 'up'"),
        ("parameter", {"every_nth_layer": 0}, "every_nth_layer must be 1 or more"),
        ("smooth", {"n_noise_samples": 0}, "n_noise_samples must be 1 or more"),
        ("smooth", {"noise_level": 0}, "noise_level must be above 0, and is 0"),
    ],
)
def test_mistakes_of_one_form_are_named(form, given, words):
    with pytest.raises(ValueError, match=words):
        FORMS[form](NET, X, "gradient", 1, **given)


def test_an_unknown_measure_is_named():
    found = parameter_randomization(NET, X, "gradient", 1, seed=0, n_draws=1)
    with pytest.raises(ValueError, match="no measure is called 'spearmann'; the nearest are spear"):
        found.mean("spearmann")


# The smooth and the efficient form


@does_not_look
def test_smooth_maps_are_means_over_the_same_noise_before_and_after(seen):
    found = smooth_parameter_randomization(
        NET, X, {"spy": Spy(NET), "gradient": "gradient"}, TARGET,
        n_noise_samples=4, n_draws=2, noise_level=0.2, order="cascading", seed=0,
    )  # fmt: skip
    assert len(seen) == 1 + 3 * 2
    assert all(torch.equal(inputs, seen[0][1]) for _, inputs in seen)
    assert (found.values["spearman"]["spy"] == 1).all()
    noisy = seen[0][1].reshape(4, 4, 8)
    assert len(noisy.flatten().unique()) == noisy.numel()
    maps = []
    for state, _ in seen:
        model = Dense(features=8, classes=3).double()
        model.load_state_dict(state)
        maps.append([
            sum(gradients(model, noisy[e, [s]], TARGET[[e]]) for s in range(4)) / 4
            for e in range(4)
        ])  # fmt: skip
    for number, after in enumerate(maps[1:]):
        draw, step = divmod(number, 3)
        for example in range(4):
            value = float(found.values["spearman"]["gradient"][example, step, draw])
            expected = spearman(maps[0][example], after[example])
            assert value == pytest.approx(expected, abs=1e-12)


@does_not_look
def test_noise_is_a_part_of_each_inputs_range(seen):
    x = torch.rand(2, 3, 32, 32) * torch.tensor([1.0, 50.0]).reshape(2, 1, 1, 1)
    model = seeded(Conv)
    smooth_parameter_randomization(
        model, x, {"spy": Spy(model)}, 0, n_noise_samples=3, noise_level=0.1, n_draws=1, seed=0,
    )  # fmt: skip
    noise = seen[0][1].reshape(2, 3, *x.shape[1:]) - x[:, None]
    for example in range(2):
        width = float(x[example].max() - x[example].min())
        assert float(noise[example].std()) == pytest.approx(0.1 * width, rel=0.03)
        assert abs(float(noise[example].mean())) < 0.01 * width


def test_efficient_is_the_rise_of_the_entropy_of_all_random(seen):
    import numpy as np

    model, x = make(Conv)
    found = efficient_parameter_randomization(
        model, x, {"spy": Spy(model), "gradient": "gradient"}, 1, n_draws=2, seed=0
    )
    assert found.values["spy"].tolist() == [[0, 0], [0, 0]]
    before = gradients(model, x, 1)
    for draw in range(2):
        state = seen[1 + draw][0]
        assert all(not torch.equal(state[n], one) for n, one in model.named_parameters())
        other = Conv().eval()
        other.load_state_dict(state)
        after = gradients(other, x, 1)
        for example in range(2):
            old, new = (
                scipy.stats.entropy(np.histogram(one[example].sum(0).numpy(), bins=100)[0])
                for one in (before, after)
            )
            assert float(found.original["gradient"][example]) == pytest.approx(old, rel=0.02)
            # a value on the edge of a bin may fall to either side by rounding
            value = float(found.values["gradient"][example, draw])
            assert value == pytest.approx((new - old) / old, abs=0.02)
    assert found.mean()["gradient"].tolist() == found.values["gradient"].mean(1).tolist()
    assert found.interval()["gradient"].shape == (2, 2)


def test_a_map_without_entropy_has_a_reason():
    model, x = make(Conv)
    flat = {"flat": lambda inputs, target: inputs * 0 + 1}
    found = efficient_parameter_randomization(model, x, flat, 1, seed=0)
    assert found.values["flat"].isnan().all()
    assert found.reasons == {"flat": "the map is the same everywhere, and has no entropy to rise"}


def test_methods_of_the_layer_follow_the_copy():
    model, x = make(Conv, draw=torch.rand)
    model.last.weight.data.abs_()
    for layer in ("second", model.second, None):
        found = parameter_randomization(
            model, x, ("grad_cam", "guided_grad_cam"), 1, layer=layer, seed=0, n_draws=1
        )
        assert not found.reasons
        assert (found.values["spearman"]["grad_cam"][:, -1] < 1).all()
