"""Captum's methods by name: they are Captum's, in whatever batch, or refused with a reason."""

import re
import warnings

import captum.attr as ca
import numpy as np
import pytest
import small_benchmark as small
import torch
from chance import global_state, state_of
from floors import of_methods
from networks import Dense, TwoParts, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.attr import METHODS, method_title
from captum_guided_ext.evaluation import CAPTUM_METHODS, InfidelityMetric
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics import GaussianNoise
from captum_guided_ext.sampling import Draws

X = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor(
    [1.0, 3.0, 0.2]
).reshape(3, 1, 1, 1)
TARGET = [0, 1, 3]
NET = seeded(TwoParts)


def maps(model, methods, x=X, target=TARGET, **options):
    result = cg.compare(model, x, target, methods=methods, metrics=[], **options)
    assert result.reasons == {}
    return result.maps


def gradient(x, target):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(NET(leaf)[:, target].sum(), leaf)[0]


def test_integrated_gradients_are_captum_s():
    expected = ca.IntegratedGradients(NET).attribute(X, target=TARGET, n_steps=50)
    got = maps(NET, "integrated_gradients")["integrated_gradients"]
    torch.testing.assert_close(got, expected.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["smooth_grad", "smooth_grad_square", "var_grad"])
def test_smoothed_gradients_are_the_papers(name):
    got = maps(NET, name, seed=6, image_indices=[4, 0, 9])[name]
    seeds = Draws(6, [4, 0, 9], f"method {name}").seeds([0])
    for row, seed in enumerate(seeds):
        x = X[row : row + 1]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            noise = torch.normal(0, torch.full((25, *x.shape[1:]), float(x.max() - x.min()) * 0.15))
        found = torch.cat([gradient(x + one, TARGET[row]) for one in noise]).double()
        expected = {
            "smooth_grad": found.mean(0),
            "smooth_grad_square": found.square().mean(0),
            "var_grad": found.var(0, correction=0),
        }[name]
        torch.testing.assert_close(got[row].double(), expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_those_that_draw_take_other_precisions(dtype):
    names = ["smooth_grad", "smooth_grad_square", "var_grad", "gradient_shap"]
    expected = maps(NET, names)
    got = maps(seeded(TwoParts).to(dtype), names, X.to(dtype))
    for name in names:  # how alike: noise is drawn in the range of x, which is rounded
        both = torch.stack([got[name].flatten().double(), expected[name].flatten().double()])
        assert torch.corrcoef(both)[0, 1] > 0.9  # another draw of var_grad has less than 0.8


def test_deep_lift_is_captum_s_and_complete():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        expected = ca.DeepLift(NET).attribute(X, target=TARGET)
    before = state_of(NET)
    got = maps(NET, "deep_lift")["deep_lift"]
    torch.testing.assert_close(got, expected.detach(), rtol=1e-5, atol=1e-7)
    with torch.no_grad():
        falls = (NET(X) - NET(X * 0))[range(3), TARGET]
    torch.testing.assert_close(got.flatten(1).sum(1), falls, rtol=1e-4, atol=1e-5)
    assert state_of(NET) == before
    assert not any("input" in vars(module) for module in NET.modules())


def test_gradient_shap_is_captum_s():
    got = maps(NET, "gradient_shap", seed=6)["gradient_shap"]
    seeds = Draws(6, range(3), "method gradient_shap").seeds([0])
    for row, seed in enumerate(seeds):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            expected = ca.GradientShap(NET).attribute(
                X[row : row + 1], torch.zeros(1, 3, 8, 8), n_samples=25, target=TARGET[row]
            )
        torch.testing.assert_close(got[row], expected[0].detach(), rtol=1e-4, atol=1e-6)


def slow_occlusion(score, x, windows):
    """Return at each place the mean fall over the windows on it; a window is a tuple of slices."""
    falls, covers = torch.zeros_like(x), torch.zeros_like(x)
    for window in windows:
        without = x.clone()
        without[window] = 0
        falls[window] += score(x) - score(without)
        covers[window] += 1
    return falls / covers


def test_occlusion_by_hand():
    x = torch.rand(2, 3, 16, 33, generator=torch.Generator().manual_seed(2))
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1)))
    model.append(nn.Flatten())
    windows = [  # of 2 x 4, by 1 x 2; the last ones are cut off at the edge
        (slice(None), slice(top, top + 2), slice(left, left + 4))
        for top in range(15)
        for left in range(0, 32, 2)
    ]
    with torch.no_grad():
        expected = [slow_occlusion(lambda one: model(one[None])[0, 1], x_, windows) for x_ in x]
    got = maps(model, "occlusion", x, 1)["occlusion"]
    torch.testing.assert_close(got, torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_occlusion_of_rows_and_of_sequences():
    rows = torch.rand(2, 5, generator=torch.Generator().manual_seed(2))
    sequences = torch.rand(2, 6, 3, generator=torch.Generator().manual_seed(2))
    for x, windows in (
        (rows, [slice(f, f + 1) for f in range(5)]),
        (sequences, [slice(t, t + 1) for t in range(6)]),
    ):
        model = seeded(lambda x=x: nn.Sequential(nn.Flatten(), Dense(features=x[0].numel())))
        with torch.no_grad():
            expected = [
                slow_occlusion(lambda one, m=model: m(one[None])[0, 2], one, windows) for one in x
            ]
        got = maps(model, "occlusion", x, 2)["occlusion"]
        torch.testing.assert_close(got, torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_of_a_linear_model_the_products_are_exact():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).double()
    products = ["integrated_gradients", "deep_lift", "gradient_shap"]
    metrics = [InfidelityMetric(GaussianNoise(0.3), 4, normalize=False)]
    rows = cg.compare(model, X.double(), TARGET, methods=products, metrics=metrics).rows
    assert [row.value for row in of_methods(rows)] == pytest.approx([0] * 9, abs=1e-12)


def test_scores_do_not_depend_on_the_batch_nor_on_chance():
    def table(rows, **options):
        result = cg.compare(
            NET, X[rows], [TARGET[r] for r in rows], image_indices=rows, seed=5,
            methods=CAPTUM_METHODS, n_perturb_samples=2,
            metrics=["infidelity", "sensitivity_max"], **options,
        )  # fmt: skip
        assert all(row.value is not None for row in result.rows)
        return small.values(result.rows)

    before = global_state()
    whole = table([0, 1, 2])
    assert global_state() == before
    for rows in ([2], [1, 0]):
        part = table(rows, max_examples_per_batch=2)
        assert part == pytest.approx({key: whole[key] for key in part}, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("examples", [1, 3, 40])
def test_no_pass_is_larger_than_the_batch_or_a_few(examples):
    sizes = []

    class Counting(TwoParts):
        def forward(self, x):
            sizes.append(len(x))
            return super().forward(x)

    maps(seeded(Counting), CAPTUM_METHODS, torch.rand(examples, 3, 8, 8), 0)
    assert max(sizes) <= 2 * max(examples, 32)  # DeepLift: the example and its baseline


def test_further_arguments_go_to_the_model():
    model = seeded(lambda: Dense(nn.ReLU(), features=5))
    x = torch.rand(3, 5, generator=torch.Generator().manual_seed(2))
    other, factor = torch.rand(3, 2), torch.tensor([[1.0], [2.0], [0.5]])
    names = [name for name in CAPTUM_METHODS if name != "deep_lift"]  # one ReLU, called twice
    together = maps(model, names, x, 1, additional_forward_args=(other, factor))
    for row in range(3):
        alone = maps(
            model, names, x[row : row + 1], 1, image_indices=[row],
            additional_forward_args=(other[row : row + 1], factor[row : row + 1]),
        )  # fmt: skip
        for name in names:
            torch.testing.assert_close(together[name][row], alone[name][0], rtol=1e-4, atol=1e-6)


# --- where DeepLift would be wrong ------------------------------------------------------------


class Product(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.gate = nn.Linear(6, 8), nn.Linear(6, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.first(x) * self.gate(x))


class Tabular(nn.Module):
    def __init__(self, *acts):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.one, self.other = acts

    def forward(self, x):
        return self.last(self.other(self.second(self.one(self.first(x)))))


class Softmax(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.last(self.first(x).softmax(dim=1))


class Unused(Tabular):
    """A module that is there and called, but not on the way of the functional one."""

    def forward(self, x):
        self.one(x)
        return super().forward(x)


MISSES = {
    "two functions": (lambda: Tabular(F.relu, F.relu), "2 ReLU"),
    "one function": (lambda: Tabular(nn.ReLU(), F.relu), "1 ReLU"),
    "clamp": (lambda: Tabular(lambda x: x.clamp(min=0), nn.ReLU()), r"1 clamp\(min=0\)"),
    "GELU": (lambda: Tabular(nn.GELU(), nn.ReLU()), "1 GELU"),
    "ReLU6": (lambda: Tabular(nn.ReLU6(), nn.ReLU()), "1 ReLU6"),
    "sigmoid": (lambda: Tabular(nn.ReLU(), torch.sigmoid), "1 Sigmoid"),
    "subclass": (lambda: Tabular(nn.ReLU(), type("MyReLU", (nn.ReLU,), {})()), "1 ReLU"),
    "other module": (lambda: Unused(nn.Tanh(), F.relu), "1 ReLU"),
    "product": (Product, r"do not sum to f\(x\) - f\(0\)"),
    "softmax": (Softmax, r"do not sum to f\(x\) - f\(0\)"),
}
SEES = {
    "ReLU": lambda: Tabular(nn.ReLU(), nn.ReLU()),
    "in place": lambda: Tabular(nn.ReLU(inplace=True), nn.ReLU()),
    "ELU and tanh": lambda: Tabular(nn.ELU(), nn.Tanh()),
    "sigmoid": lambda: Tabular(nn.Sigmoid(), nn.LeakyReLU()),
    "linear": lambda: nn.Linear(6, 2),
    "max pool": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten()
    ),
    "max pools": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Conv1d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
    ),
    "dropout and norm": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(), nn.Linear(5, 2)
    ),
}
ROWS = torch.rand(3, 6, generator=torch.Generator().manual_seed(2))


def deep_lift(model, x=ROWS):
    return cg.compare(model, x, 1, methods=["deep_lift"], metrics=[])


@pytest.mark.parametrize("case", MISSES)
def test_deep_lift_refuses_what_its_hooks_miss(case):
    build, words = MISSES[case]
    model = seeded(build)
    reasons = {deep_lift(model, x).reasons["deep_lift"] for x in (ROWS, ROWS[:1], ROWS * 0)}
    (reason,) = reasons  # whatever the batch
    assert re.search(words, reason)
    assert "DeepLift" in reason


@pytest.mark.parametrize("case", SEES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_deep_lift_answers_where_its_hooks_see_all(case, dtype):
    assert deep_lift(seeded(SEES[case]).to(dtype), ROWS.to(dtype)).reasons == {}


def test_deep_lift_needs_modules_that_are_called_once():
    function = deep_lift(NET.forward, X).reasons["deep_lift"]
    assert "hooks on modules, and the model is a method: give an nn.Module" in function
    twice = seeded(lambda: Tabular(*[nn.ReLU()] * 2))
    before = state_of(twice)
    assert "your module is being used more than once" in deep_lift(twice).reasons["deep_lift"]
    assert state_of(twice) == before
    assert not any("input" in vars(m) or "output" in vars(m) for m in twice.modules())


# --- names ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the Grad-CAM is zero")
def test_the_default_is_the_six():
    assert tuple(cg.compare(NET, X, TARGET, metrics=[]).maps) == METHODS
    assert not set(METHODS) & set(CAPTUM_METHODS)


def test_names_may_be_mixed_and_have_titles():
    mixed = {"ig": "integrated_gradients", "gradient": "gradient"}
    assert list(maps(NET, mixed)) == ["ig", "gradient"]
    titles = [method_title(name) for name in CAPTUM_METHODS]
    assert titles[0] == "Integrated gradients"
    assert not any("_" in title or title in CAPTUM_METHODS for title in titles)


def test_the_nearest_name_is_of_both_tables():
    for wrong, right in (("integrated_gradient", "integrated_gradients"), ("smoothgrad", "smooth")):
        with pytest.raises(
            ValueError, match=f"no method is called '{wrong}'; the nearest.*{right}"
        ):
            cg.compare(NET, X, TARGET, methods=[wrong])
    with pytest.raises(ValueError, match=r"choose from gradient, .*, occlusion"):
        cg.compare(NET, X, TARGET, methods=["qqq"])
    with pytest.raises(ValueError, match="two methods are called 'occlusion'"):
        cg.compare(NET, X, TARGET, methods=["occlusion", "occlusion"])


def test_settings_are_said():
    said = MethodSet(NET, {"mine": "smooth_grad", **{n: n for n in ("occlusion", "deep_lift")}})
    words = said.describe()
    assert words["mine"].startswith("the mean gradient under noise: captum.attr.NoiseTunnel")
    assert "25 samples of noise, its deviation 15% of each example's range" in words["mine"]
    for name in ("occlusion", "deep_lift"):
        assert "baseline 0" in words[name]


def test_the_command_line_knows_them(tmp_path, capsys):
    data = small.save_pictures(tmp_path / "data", 2)
    more = ["--methods", "gradient,smooth_grad,occlusion", "--metrics", "infidelity"]
    code, out, _ = small.called(capsys, tmp_path / "run", data, *more)
    assert code == 0
    assert "smooth_grad" in out
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "guided_grad_cam (default: these), integrated_gradients, smooth_grad" in text
    code, _, said = small.called(capsys, tmp_path / "other", data, "--methods", "oclusion")
    assert code == 2
    assert "no method is called 'oclusion'; the nearest is occlusion" in said
