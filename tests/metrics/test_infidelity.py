"""Infidelity: Captum's numbers, the paper's definition, its cost, types, layouts and errors."""

import inspect
import re

import captum.metrics
import pytest
import slow_metrics
import torch
from chance import as_tuple, from_seed, numpy_noise
from networks import Dense, seeded

import captum_guided_ext.metrics
from captum_guided_ext import _captum
from captum_guided_ext.metrics import (
    GaussianNoise,
    NoisyBaseline,
    SquareRemoval,
    UniformBall,
    infidelity,
    infidelity_perturb_func_decorator,
)


class Net(Dense):
    """Pictures to five scores."""

    def __init__(self):
        super().__init__(features=72, classes=5)

    def forward(self, x, other=None, factor=1.0):
        return super().forward(x.flatten(1), other, factor)


NET = seeded(Net)
with torch.random.fork_rng():
    torch.manual_seed(0)
    X, OTHER = torch.rand(3, 2, 6, 6) + 0.1, torch.rand(3, 4) + 0.1
    MAPS, OTHER_MAPS = torch.randn(3, 2, 6, 6) * 0.1, torch.randn(3, 4)
    FACTORS = torch.rand(3, 1) + 0.5


def noise(inputs, baselines=None):
    made = tuple(torch.randn_like(x) * 0.1 for x in as_tuple(inputs))
    return made, tuple(x - one for x, one in zip(as_tuple(inputs), made, strict=True))


def half_way(inputs, baselines=0.0):
    """Go a random part of the way to the baseline; returns perturbed inputs only."""
    xs = as_tuple(inputs)
    goals = baselines if isinstance(baselines, tuple) else (baselines,) * len(xs)
    return tuple(x - torch.rand_like(x) * (x - goal) for x, goal in zip(xs, goals, strict=True))


def cube(x):
    return NET(x).unsqueeze(2) * torch.tensor([1.0, -2.0])


BOTH_INPUTS = {"inputs": (X, OTHER), "attributions": (MAPS, OTHER_MAPS)}
CASES = {
    "one class": {"target": 3},
    "one score each": {"forward_func": lambda x: NET(x)[:, 1]},
    "one score each, a column": {"forward_func": lambda x: NET(x)[:, 1:2]},
    "one-element tensor": {"target": torch.tensor([2])},
    "list of classes": {"target": [4, 0, 2]},
    "tensor of classes": {"target": torch.tensor([4, 0, 2])},
    "tuple": {"forward_func": cube, "target": (3, 1)},
    "list of tuples": {"forward_func": cube, "target": [(3, 1), (0, 0), (4, 1)]},
    "one example": {"inputs": X[:1], "attributions": MAPS[:1], "target": [1]},
    "number as baseline": {"target": 1, "perturb_func": half_way, "baselines": 0.5},
    "baseline of each": {"target": 1, "perturb_func": half_way, "baselines": X.flip(0) / 3},
    "baseline of all": {"target": 1, "perturb_func": half_way, "baselines": X[:1] / 3},
    "two inputs": BOTH_INPUTS | {"target": [0, 1, 2]},
    "two inputs and baselines": BOTH_INPUTS
    | {"target": 1, "perturb_func": half_way, "baselines": (X.flip(0) / 3, 0.2)},
    "a factor of each": {"target": 1, "additional_forward_args": (None, FACTORS)},
    "a factor of all": {"target": 1, "additional_forward_args": (None, 2.5)},
    "a tensor alone": {"target": 1, "additional_forward_args": OTHER},
    "numpy's noise": {"target": 1, "perturb_func": numpy_noise},
    "a perturbation": {"target": 1, "perturb_func": NoisyBaseline(bounds=(0, 1))},
    "another": {"target": 1, "perturb_func": SquareRemoval((2, 3)), "baselines": 0.3},
}


def by_both(case, *, per_unit=False, **options):
    """Return Captum's numbers and ours, each from the same global streams."""
    settings = {
        "forward_func": NET, "perturb_func": noise, "inputs": X, "attributions": MAPS,
    } | case | options  # fmt: skip
    perturb, results = settings.pop("perturb_func"), []
    for metrics in (captum.metrics, captum_guided_ext.metrics):
        decorate = metrics.infidelity_perturb_func_decorator(multiply_by_inputs=per_unit)
        made = decorate(perturb) if perturb in (half_way, numpy_noise) else perturb
        results.append(from_seed(metrics.infidelity, perturb_func=made, **settings))
    assert (results[0] > 0).all()
    return results


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_one_chunk_is_captum_s_to_the_last_bit(case):
    for samples in (10, 1):
        expected, got = by_both(case, n_perturb_samples=samples)
        assert torch.equal(got, expected)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_several_chunks_and_the_optimal_scaling_are_captum_s(case):
    size = len(as_tuple(case.get("inputs", X))[0])
    for samples, at_once in ((10, 2 * size + 1), (13, 3 * size), (25, 10 * size)):
        for normalize in (False, True):
            options = {"n_perturb_samples": samples, "max_examples_per_batch": at_once}
            expected, got = by_both(case, normalize=normalize, **options)
            torch.testing.assert_close(got, expected, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("examples", "given"), [(1, 0.5), (3, 0.5), (1, X[:1] / 3), (3, X[:1] / 3), (3, X / 3)]
)
def test_functions_are_called_as_captum_calls_them(examples, given):
    x, calls = X[:examples], []

    def perturb(inputs, baselines):
        calls.append((inputs, baselines))
        return inputs, inputs - baselines

    for metric in (captum.metrics.infidelity, infidelity):
        metric(NET, perturb, x, x, given, target=1, n_perturb_samples=2)
    (inputs, baselines), (got_inputs, got_baselines) = calls
    assert torch.equal(got_inputs, inputs)
    assert type(got_baselines) is type(baselines)
    assert torch.equal(torch.as_tensor(got_baselines), torch.as_tensor(baselines))


@pytest.mark.parametrize("name", [name for name in CASES if "baseline" in name])
def test_the_decorator_divides_as_captum_s(name):
    expected, got = by_both(CASES[name], per_unit=True)
    assert torch.equal(got, expected)
    assert not torch.equal(got, by_both(CASES[name])[1])
    without = {key: value for key, value in CASES[name].items() if key != "baselines"}
    for per_unit in (False, True):
        expected, got = by_both(without, per_unit=per_unit)
        assert torch.equal(got, expected)


def test_the_decorator_divides_by_default_and_not_where_an_input_is_at_its_baseline():
    x, moved = torch.tensor([[4.0, 0.0, 1.0]]), torch.tensor([[3.0, 5.0, 3.0]])
    for metrics in (captum.metrics, captum_guided_ext.metrics):
        decorate = metrics.infidelity_perturb_func_decorator()
        made, perturbed = decorate(lambda inputs, baselines=None: moved)(x)
        assert made[0].tolist() == [[0.25, -5.0, -2.0]]
        assert torch.equal(perturbed[0], moved)
        made, _ = decorate(lambda inputs, baselines=None: moved)(x, 1.0)
        torch.testing.assert_close(made[0], torch.tensor([[1 / 3, 5.0, -2.0]]))


def test_the_signature_is_captum_s_and_goes_on():
    ours = list(inspect.signature(infidelity).parameters.values())
    theirs = list(inspect.signature(captum.metrics.infidelity).parameters.values())
    shared = zip(ours, theirs, strict=False)
    assert all((a.name, a.default, a.kind) == (b.name, b.default, b.kind) for a, b in shared)
    assert len(theirs) == 10
    assert {p.name: p.default for p in ours[10:]} == {
        "multiplies_by_inputs": False, "generator": None, "seed": None, "image_indices": None,
        "return_standard_error": False, "fast": False, "show_progress": False,
    }  # fmt: skip
    assert {p.kind for p in ours[10:]} == {inspect.Parameter.KEYWORD_ONLY}
    decorator = inspect.signature(infidelity_perturb_func_decorator).parameters.values()
    assert [(p.name, p.default) for p in decorator] == [("multiply_by_inputs", True)]


# --- the paper --------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("at_once", [None, 9])
def test_infidelity_is_the_paper_s(normalize, at_once):
    x, maps, model = X.double(), MAPS.double(), seeded(Net).double()
    steps = []

    def recorded(inputs):
        made = torch.randn_like(inputs) * 0.3
        steps.append(made.reshape(3, -1, *x.shape[1:]))
        return made, inputs - made

    options = {"n_perturb_samples": 12, "max_examples_per_batch": at_once}
    got = infidelity(model, recorded, x, maps, target=2, normalize=normalize, **options)
    expected = slow_metrics.infidelity(
        lambda one: model(one)[:, 2].detach(), x, maps, torch.cat(steps, dim=1), scaled=normalize
    )
    assert got.tolist() == pytest.approx(expected, rel=1e-9, abs=0)


def test_the_optimal_scaling_is_no_worse_than_any_other():
    options = {"target": 1, "seed": 3, "n_perturb_samples": 20}
    best = infidelity(NET, GaussianNoise(), X, MAPS, normalize=True, **options)
    for factor in torch.linspace(-3, 3, 61):
        tried = infidelity(NET, GaussianNoise(), X, MAPS * factor, **options)
        assert (tried >= best * (1 - 1e-5)).all()
    scaled = infidelity(NET, GaussianNoise(), X, MAPS * 7, normalize=True, **options)
    torch.testing.assert_close(scaled, best, rtol=1e-4, atol=0)


WEIGHTS = torch.linspace(-2, 3, 72).reshape(2, 6, 6)


def linear(x):
    return (x * WEIGHTS).flatten(1).sum(1)


@pytest.mark.parametrize("baselines", [None, 0.05, X.flip(0) + 3, X[:1] + 3])
@pytest.mark.parametrize("perturb", [NoisyBaseline(), SquareRemoval((2, 4)), GaussianNoise(0.1)])
def test_of_a_linear_model_both_kinds_of_attribution_are_exact(perturb, baselines):
    gradient = WEIGHTS.expand_as(X)
    product = gradient * (X - (0 if baselines is None else baselines))
    maps = {"gradient": gradient, "product": product, "again": product, "none": X * 0}
    options = {"baselines": baselines, "seed": 1, "n_perturb_samples": 14}
    got = infidelity(linear, perturb, X, maps, multiplies_by_inputs=["again", "product"], **options)
    assert list(got) == list(maps)
    for name in ("gradient", "product", "again"):
        assert (got[name] < 1e-6 * got["none"]).all()
    alone = infidelity(linear, perturb, X, product, multiplies_by_inputs=True, **options)
    assert torch.equal(alone, got["product"])
    wrong = infidelity(linear, perturb, X, product, **options)
    assert (wrong > 1e-2 * got["none"]).all()


PER_CHANNEL = torch.tensor([0.2, 3.0])[:, None, None]


@pytest.mark.parametrize("perturb", [NoisyBaseline(), SquareRemoval((2, 4)), GaussianNoise(0.1)])
def test_each_product_may_have_a_baseline_of_its_own(perturb):
    x = X[:2]  # as many examples as channels
    gradient = WEIGHTS.expand_as(x)
    references = {
        "nothing": None,
        "number": 0.05,
        "again": 0.05,
        "channels": PER_CHANNEL,
        "picture": X[2:] + 3,
        "each": x.flip(0) + 3,
    }
    maps = {name: gradient * (x - (0 if b is None else b)) for name, b in references.items()}
    maps |= {"gradient": gradient, "none": x * 0}
    got = infidelity(linear, perturb, x, maps, multiplies_by_inputs=references, seed=1)
    for name in (*references, "gradient"):
        assert (got[name] < 1e-6 * got["none"]).all(), name
    swapped = {"number": references["picture"], "picture": references["number"]}
    wrong = infidelity(linear, perturb, x, maps, multiplies_by_inputs=swapped, seed=1)
    for name in references:
        assert (wrong[name] > 1e-2 * got["none"]).all(), name


def test_baselines_of_several_inputs_by_name():
    def both(x, other):
        return linear(x) + other.sum(1)

    def perturb(inputs):
        made = tuple(torch.randn_like(x) * 0.3 for x in inputs)
        return made, tuple(x - one for x, one in zip(inputs, made, strict=True))

    baselines = {"a": (0.3, OTHER[:1] * 0 + 2), "b": -1.0}
    maps = {
        "a": (WEIGHTS * (X - 0.3), OTHER - 2),
        "b": (WEIGHTS * (X + 1), OTHER + 1),
        "none": (X * 0, OTHER * 0),
    }
    got = infidelity(both, perturb, (X, OTHER), maps, multiplies_by_inputs=baselines, seed=1)
    assert (got["a"] < 1e-6 * got["none"]).all()
    assert (got["b"] < 1e-6 * got["none"]).all()


def test_perturbations_are_divided_once_for_each_baseline(monkeypatch):
    divided, divide = [], _captum.safe_div

    def noted(*args, **kwargs):
        divided.append(args)
        return divide(*args, **kwargs)

    monkeypatch.setattr(_captum, "safe_div", noted)
    picture = X[:1] / 3
    baselines = {"a": 0.5, "b": picture, "c": picture, "d": 0.5}
    maps = dict.fromkeys([*baselines, "none"], MAPS)
    options = {"n_perturb_samples": 8, "max_examples_per_batch": 12, "target": 1}
    infidelity(NET, UniformBall(), X, maps, multiplies_by_inputs=baselines, **options)
    assert len(divided) == 2 * 2  # two chunks of samples, two baselines


def test_a_constant_model_is_explained_by_nothing():
    def constant(x):
        return torch.full((len(x), 2), 7.0)

    for normalize in (False, True):
        got = infidelity(constant, noise, X, X * 0, target=1, normalize=normalize)
        assert got.tolist() == [0, 0, 0]


def test_one_channel_counts_for_every_channel():
    narrow, wide = (
        from_seed(infidelity, NET, noise, X, maps, target=1)
        for maps in (MAPS[:, :1], MAPS[:, :1].repeat(1, 2, 1, 1))
    )
    torch.testing.assert_close(narrow, wide)


def test_a_string_is_one_name():
    """Not a collection of letters, in which "gradient" is a part of "input_x_gradient"."""
    maps = {"gradient": MAPS, "input_x_gradient": MAPS * X}
    got, expected = (
        infidelity(NET, GaussianNoise(), X, maps, target=1, seed=0, multiplies_by_inputs=names)
        for names in ("input_x_gradient", ["input_x_gradient"])
    )
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


# --- cost, types and layouts ------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"seed": 2}], ids=["global", "seed"])
@pytest.mark.parametrize(
    ("samples", "at_once", "most"),
    [(100, None, 30), (7, None, 21), (20, 9, 9), (20, 11, 9), (20, 3, 3), (4, 1000, 12)],
)
def test_each_perturbed_input_goes_through_the_model_once(options, samples, at_once, most):
    sizes = []

    def model(x):
        sizes.append(len(x))
        return NET(x)

    infidelity(
        model, UniformBall(), X, {str(k): MAPS for k in range(4)}, target=1,
        n_perturb_samples=samples, max_examples_per_batch=at_once, **options,
    )  # fmt: skip
    assert sum(sizes) == 3 * (samples + 1)
    assert max(sizes) == most


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.02), (torch.float64, 1e-4)]
)
@pytest.mark.parametrize("normalize", [False, True])
def test_other_precisions_come_close(dtype, tolerance, normalize):
    def drawn(inputs):
        made = (torch.randn(inputs.shape) * 0.5).to(inputs)
        return made, inputs - made

    options = {"target": 1, "n_perturb_samples": 20, "normalize": normalize}
    expected, got = (
        from_seed(infidelity, seeded(Net).to(kind), drawn, X.to(kind), MAPS.to(kind), **options)
        for kind in (torch.float32, dtype)
    )
    torch.testing.assert_close(got.float(), expected, rtol=tolerance, atol=0)
    assert got.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize(("value", "side"), [(2.0, 300), (600.0, 2)], ids=["sum", "product"])
def test_nothing_overflows_in_half_precision(value, side):
    x = torch.full((1, 1, side, side), value, dtype=torch.float16)

    def model(one):
        return one.float().flatten(1).sum(1) * value / 2

    assert infidelity(model, lambda one: (one / 2, one / 2), x, x / 2).tolist() == [0]


def test_other_memory_layouts_work():
    def lasting(value):
        return value.to(memory_format=torch.channels_last)

    def perturb(inputs):
        made = torch.randn(inputs.shape) * 0.1
        return lasting(made), lasting(inputs - made)

    results = []
    for x, maps in ((X, MAPS), (lasting(X), lasting(MAPS)), (lasting(X), MAPS)):
        results.append(from_seed(infidelity, NET, perturb, x, maps, target=1))
        results.append(infidelity(NET, SquareRemoval((2,)), x, maps, target=1, seed=0))
    for one in results[2:4], results[4:]:
        torch.testing.assert_close(one, results[:2])


# --- errors -----------------------------------------------------------------------------------


GENERATOR = torch.Generator().manual_seed(0)
ERRORS = [
    ({"target": None}, ValueError, "target is missing.*5 values per example.*0 ... 4"),
    ({"target": 5}, ValueError, r"target 5 is out of range.*0 \.\.\. 4"),
    ({"target": [0, 1]}, ValueError, r"target \[0, 1\] does not fit"),
    ({"forward_func": lambda x: NET(x).sum()}, ValueError, "1 scores for 3 examples"),
    ({"forward_func": repr}, TypeError, "returned str, in which there is no tensor"),
    ({"attributions": MAPS[:, :, 1:]}, ValueError, r"attributions has shape \(3, 2, 5, 6\)"),
    ({"attributions": MAPS[:2]}, ValueError, r"shape \(2, 2, 6, 6\).*\(3, 2, 6, 6\)"),
    ({"attributions": (MAPS, MAPS)}, ValueError, "attributions holds 2 tensors.*hold 1"),
    ({"attributions": {"cam": MAPS[:2]}}, ValueError, r"attributions\['cam'\] has shape"),
    ({"attributions": MAPS / 0}, ValueError, "attributions holds NaN or infinity"),
    ({"inputs": X * torch.nan}, ValueError, "NaN or infinity in 216 of 216 places"),
    ({"inputs": X.int()}, TypeError, "dtype torch.int32"),
    ({"inputs": X.numpy()}, TypeError, "must be a tensor or a tuple of tensors, not ndarray"),
    ({"perturb_func": numpy_noise}, TypeError, "infidelity_perturb_func_decorator"),
    ({"perturb_func": numpy_noise, "seed": 1}, TypeError, "infidelity_perturb_func_decorator"),
    ({"perturb_func": lambda x: (x[:4], x)}, ValueError, r"perturbations of shapes \[\(4, 2"),
    ({"perturb_func": lambda x: (x, x[:4])}, ValueError, r"perturbed inputs of shapes \[\(4, 2"),
    ({"n_perturb_samples": 0}, ValueError, "n_perturb_samples must be 1 or more, and is 0"),
    ({"n_perturb_samples": 2.5}, TypeError, "n_perturb_samples must be a whole .* not float"),
    ({"n_perturb_samples": True}, TypeError, "n_perturb_samples must be a whole .* not bool"),
    ({"max_examples_per_batch": 0}, ValueError, "max_examples_per_batch must be 1 or more"),
    ({"seed": 1, "generator": GENERATOR}, ValueError, "generator and seed .* one of them"),
    ({"seed": -1}, ValueError, "seed must not be negative, and is -1"),
    ({"seed": 1.0}, TypeError, "seed must be a whole number, not float"),
    ({"generator": 3}, TypeError, "must be a torch.Generator, not int"),
    ({"image_indices": [0, 1, 2]}, ValueError, "needs a seed or a generator"),
    ({"seed": 1, "image_indices": [0.5, 1, 2]}, TypeError, "interpreted as an integer"),
    ({"seed": 1, "image_indices": [0, 1]}, ValueError, r"each of the 3 examples.*\[0, 1\]"),
    ({"seed": 1, "image_indices": [4, 0, 4]}, ValueError, r"a different number.*\[4, 0, 4\]"),
    ({"seed": 1, "image_indices": [4, 0, -1]}, ValueError, "0 or more"),
    ({"normalize": True, "return_standard_error": True}, ValueError, "no standard error"),
    ({"multiplies_by_inputs": ["inptu"], "attributions": {"input": MAPS}}, ValueError, "inptu"),
    ({"multiplies_by_inputs": {"inptu": 0}, "attributions": {"a": MAPS}}, ValueError, "inptu"),
    (
        {"multiplies_by_inputs": {"a": torch.ones(5, 1, 1)}, "attributions": {"a": MAPS}},
        ValueError,
        r"multiplies_by_inputs\['a'\] has shape \(5, 1, 1\).* broadcast .*\(3, 2, 6, 6\)",
    ),
    (
        {"multiplies_by_inputs": {"a": (0, 1)}, "attributions": {"a": MAPS}},
        ValueError,
        r"multiplies_by_inputs\['a'\] holds 2 baselines, and inputs hold 1",
    ),
    (
        {"multiplies_by_inputs": {"a": "0"}, "attributions": {"a": MAPS}},
        TypeError,
        "must be a number or a tensor, not str",
    ),
]


@pytest.mark.parametrize(("options", "kind", "words"), ERRORS, ids=[e[2] for e in ERRORS])
def test_errors_name_the_offender(options, kind, words):
    given = {
        "forward_func": NET, "perturb_func": UniformBall(), "inputs": X, "attributions": MAPS,
        "target": 1,
    } | options  # fmt: skip
    if options.get("forward_func"):
        given["target"] = None
    with pytest.raises(kind, match=re.compile(words)):
        infidelity(**given)


def test_inputs_of_one_number_per_example():
    x = torch.tensor([0.5, -1.0, 2.0, 3.0])

    def perturb(x):
        return torch.full_like(x, 0.1), x - 0.1

    # the score is x², its gradient 2 x: (0.1 * 2 x - (x² - (x - 0.1)²))² = 0.1⁴
    for metrics in (captum.metrics, captum_guided_ext.metrics):
        got = metrics.infidelity(lambda x: x * x, perturb, x, 2 * x, n_perturb_samples=3)
        assert got.shape == (4,)
        torch.testing.assert_close(got, torch.full((4,), 1e-4), rtol=1e-2, atol=1e-7)
