"""Tables (N, features) and sequences (N, T, E) are compared as pictures are, but not drawn."""

import json

import captum.metrics
import pytest
import small_benchmark as small
import torch
from captum.attr import IntegratedGradients
from floors import of_methods
from networks import Dense, seeded
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext import MethodSpec
from captum_guided_ext.attr import METHODS
from captum_guided_ext.evaluation import CAPTUM_METHODS, InfidelityMetric


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.act, self.last = nn.GRU(4, 6, batch_first=True), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        states, _ = self.cells(x)
        return self.last(self.act(states).mean(1))


class Convolved(nn.Module):
    """It brings rows into the shape of pictures on the way, which makes no pictures of them."""

    def __init__(self):
        super().__init__()
        self.conv, self.act, self.last = nn.Conv2d(1, 5, 2), nn.ReLU(), nn.Linear(5, 3)

    def forward(self, x):
        x = x.reshape(len(x), 1, -1, 3)
        return self.last(self.act(self.conv(x)).mean((2, 3)))


def drawn(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) + 0.1


CASES = {
    "rows": (lambda: Dense(nn.functional.relu), drawn(5, 5), "DeepLift's hooks would miss 2 ReLU"),
    "rows as pictures": (Convolved, drawn(5, 9), ""),
    "sequences": (Recurrent, drawn(5, 7, 4), "would miss 14 Sigmoid, 7 Tanh"),
    "sequences as pictures": (Convolved, drawn(5, 4, 3), ""),
    "signals": (
        lambda: nn.Sequential(nn.Conv1d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(15, 3)),
        drawn(5, 4, 7),
        "",
    ),
}
TARGET = [0, 1, 2, 0, 1]
METHODS_OF_ALL = (*METHODS, *CAPTUM_METHODS)
SCORES = ["infidelity", "sensitivity_max", "sensitivity_mean"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:the .* is zero everywhere"),
    # of the gates of a GRU
    pytest.mark.filterwarnings("ignore:the .* rule is defined for rectifiers only"),
]

each_case = pytest.mark.parametrize("case", CASES)


def compare(case, rows=slice(None), **options):
    build, x, _ = CASES[case]
    settings = {"methods": METHODS_OF_ALL, "metrics": SCORES, "n_perturb_samples": 2} | options
    return cg.compare(seeded(build), x[rows], TARGET[rows], **settings)


def numbers(rows):
    """Return the values of those that have one."""
    return {key: value for key, value in small.values(rows).items() if value is not None}


@each_case
def test_they_are_scored_and_grad_cam_says_why_it_is_not(case):
    _, x, no_deep_lift = CASES[case]
    result = compare(case)
    reasons = dict(result.reasons)
    for method in ("grad_cam", "guided_grad_cam"):
        shape = tuple(x.shape)
        assert reasons.pop(method) == f"the input must be pictures (N, C, H, W), not {shape}"
    assert no_deep_lift in reasons.pop("deep_lift", "")
    assert reasons == {}
    for row in result.rows:
        assert (row.value is None) == (row.method in result.reasons)
    assert all(one.shape == x.shape for one in result.maps.values())


@each_case
def test_scores_do_not_depend_on_the_batch(case):
    whole = numbers(compare(case).rows)
    part = numbers(compare(case, slice(2, 4), image_indices=[2, 3], max_examples_per_batch=2).rows)
    assert {key for key in whole if key[0] in (2, 3)} == set(part)
    assert part == pytest.approx({key: whole[key] for key in part}, rel=1e-2, abs=1e-4)


@each_case
def test_infidelity_is_captum_s(case):
    build, x, _ = CASES[case]
    model = seeded(build)
    maps = IntegratedGradients(model).attribute(x[:1], target=TARGET[:1])

    def plain(inputs):
        torch.manual_seed(4)
        made = torch.randn(inputs.shape) * 0.1
        return made, inputs - made

    metric = InfidelityMetric(plain, 1, normalize=False)
    methods = {"ig": IntegratedGradients(model)}
    rows = cg.compare(model, x[:1], TARGET[:1], methods=methods, metrics=[metric]).rows

    def divided(inputs):
        made, moved = plain(inputs)
        return made / inputs, moved

    expected = captum.metrics.infidelity(model, divided, x[:1], maps, target=TARGET[:1],
                                         n_perturb_samples=1)  # fmt: skip
    assert rows[0].value == pytest.approx(float(expected), rel=1e-3, abs=1e-9)


@each_case
def test_a_benchmark_gives_the_scores_of_a_comparison(case, tmp_path):
    build, x, _ = CASES[case]
    methods = ["input_x_gradient", "integrated_gradients", "grad_cam"]
    options = {"methods": methods, "metrics": SCORES, "n_perturb_samples": 2}
    data = TensorDataset(x, torch.tensor(TARGET))
    found = cg.benchmark(
        seeded(build), data, output=tmp_path, batch_size=2, show_progress=False, **options
    )
    expected = numbers(compare(case, **options).rows)
    assert numbers(found.rows) == pytest.approx(expected, rel=1e-2, abs=1e-4)
    assert (tmp_path / "summary.png").exists()
    (reason,) = {row.reason for row in found.rows if row.method == "grad_cam"}
    assert "the input must be pictures" in reason


@each_case
def test_they_are_saved_and_not_drawn(case, tmp_path):
    result = compare(case, methods=["gradient"], metrics=["infidelity"])
    with pytest.raises(ValueError, match=r"inputs of shape \(5, .*\) are no pictures to draw"):
        result.plot()
    result.save(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["comparison.csv", "comparison.json"]
    written = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    table = small.table((tmp_path / "comparison.csv").read_text())
    assert len(of_methods(written)) == len(of_methods(table)) == 5


@each_case
def test_a_map_of_one_number_is_none_of_theirs(case):
    """As one channel counts for all channels of a picture."""
    _, x, _ = CASES[case]
    shape = (5, 1, *x.shape[2:])

    def narrow(inputs, target):
        return inputs.new_ones(shape)

    spec = MethodSpec(narrow, multiplies_by_inputs=False)
    reason = compare(case, methods={"narrow": spec}).reasons["narrow"]
    assert f"the method returned shape {shape} for inputs of {tuple(x.shape)}" in reason


def test_metrics_of_pictures_refuse_them():
    with pytest.raises(ValueError, match=r"SquareRemoval needs pictures"):
        compare("rows", metrics=["infidelity_square"])
    with pytest.raises(ValueError, match="masks of the object are needed"):
        compare("rows", metrics=["relevance_mass"])
