"""How much negative evidence a rule ignores, by example and rectifier: by hand and by hooks."""

import pytest
import torch
from networks import Conv, seeded
from torch import nn
from torch.nn import functional as F  # noqa: N812
from unchanged import nothing_changed

import captum_guided_ext as cg
from captum_guided_ext.metrics import ignored_share


def test_by_hand():
    # The network and the numbers of test_forward_pass.py: at the second rectifier (1, -1) passes,
    # and the guided rule sends (1, 0) on; at the first then arrives (3, -1, 5), of which the gates
    # of x = (1, 2, -1) let (3, -1, 0) pass. In x = (-1, -1, -1) nothing is open at the first; there
    # k = 0, and nothing at the second.
    second = nn.Linear(3, 2, bias=False)
    second.weight = nn.Parameter(torch.tensor([[3.0, -1.0, 5.0], [-1.0, 2.0, -3.0]]))
    last = torch.tensor([1.0, -1.0])
    x = torch.tensor([[1.0, 2.0, -1.0], [-1.0, -1.0, -1.0]])

    def model(x):
        return F.relu(second(F.relu(x))) @ last

    found = ignored_share(model, x)
    assert found.total.tolist() == pytest.approx([1 / 3, 0])
    assert list(found.by_rectifier) == ["ReLU 1", "ReLU 2"]
    by_rectifier = {name: share.tolist() for name, share in found.by_rectifier.items()}
    assert by_rectifier == {
        "ReLU 1": pytest.approx([1 / 4, float("nan")], nan_ok=True),
        "ReLU 2": pytest.approx([1 / 2, float("nan")], nan_ok=True),
    }
    assert ignored_share(model, x, rule="gradient").total.tolist() == pytest.approx([4 / 9, 0])


def slow(model, x, target, rule):
    """Return what passes each ReLU of a Sequential for each example, by hooks on modules."""
    passed = []

    def hook(_, sent, arrived):
        passed.insert(0, sent[0].clone())
        if rule == "gradient":
            return None
        return ((arrived if rule == "deconvolution" else sent)[0].clamp(min=0),)

    relus = [one for one in model if isinstance(one, nn.ReLU)]
    handles = [one.register_full_backward_hook(hook) for one in relus]
    model(x.clone().requires_grad_())[range(len(x)), target].sum().backward()
    for handle in handles:
        handle.remove()
    model.zero_grad(set_to_none=True)
    return passed


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvolution"])
def test_a_sequential_by_hooks_on_its_modules(rule):
    model = seeded(lambda: nn.Sequential(
        nn.Conv2d(2, 5, 3), nn.ReLU(), nn.Conv2d(5, 6, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(24, 30), nn.ReLU(), nn.Linear(30, 4),
    )).double()  # fmt: skip
    x = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    target = [2, 0, 3]
    passed = slow(model, x, target, rule)
    with nothing_changed(model, x):
        found = ignored_share(model, x, target, rule)
    assert list(found.by_rectifier) == ["ReLU 1", "ReLU 2", "ReLU 3"]
    for i in range(3):
        sums = [(float(one[i].abs().sum()), float(-one[i].clamp(max=0).sum())) for one in passed]
        for (magnitude, negative), shares in zip(sums, found.by_rectifier.values(), strict=True):
            assert magnitude > 0
            assert float(shares[i]) == pytest.approx(negative / magnitude, rel=1e-5)
        total = sum(negative for _, negative in sums) / sum(magnitude for magnitude, _ in sums)
        assert 0 < total < 1
        assert float(found.total[i]) == pytest.approx(total, rel=1e-5)
        alone = cg.ForwardPass(model, x[i : i + 1]).ignored_share(rule, target[i])
        assert float(found.total[i]) == pytest.approx(alone)


def test_what_it_costs():
    model = seeded(Conv)
    passes = []
    model.last.register_full_backward_hook(lambda *_: passes.append(1))
    ignored_share(model, torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)), 1)
    assert (model.calls, model.examples, len(passes)) == (3, 3, 3)


def test_the_examples_may_lie_along_another_dimension_inside():
    """And each example has its own further argument."""
    weights = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))

    def plain(x, factor):
        return F.relu(F.relu(x @ weights) * factor - 0.1) @ weights.T

    def turned(x, factor):
        hidden = F.relu(weights.T @ x.T).flatten().reshape(9, len(x))
        return (weights @ F.relu(hidden * factor.T - 0.1)).T

    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    factor = torch.tensor([[1.0], [2.0], [0.5]])
    expected = ignored_share(plain, x, [0, 1, 2], "guided", factor)
    found = ignored_share(turned, x, [0, 1, 2], "guided", factor)
    torch.testing.assert_close(found.total, expected.total)
    for name in ("ReLU 1", "ReLU 2"):
        torch.testing.assert_close(
            found.by_rectifier[name], expected.by_rectifier[name], equal_nan=True
        )
    assert len(set(found.total.tolist())) == 3


def test_rectifiers_are_numbered_in_the_order_of_their_calls():
    def model(x):
        first = F.relu6(x)
        second = torch.clamp(x + 0.5, 0, 1)
        third = F.relu(first - 0.1)
        return (third - second).sum(1)

    x = torch.rand(1, 4, generator=torch.Generator().manual_seed(0))
    found = ignored_share(model, x)
    assert list(found.by_rectifier) == ["ReLU6 1", "clamp(0, 1) 2", "ReLU 3"]
    # ReLU 3 receives 1 and clamp 2 receives -1, everywhere
    assert float(found.by_rectifier["ReLU 3"]) == 0
    assert float(found.by_rectifier["clamp(0, 1) 2"]) == 1


def test_a_rectifier_that_no_gradient_reaches_has_no_share():
    x = torch.ones(2, 3)
    flows = cg.ForwardPass(lambda x: F.relu(x).sum(1) + 0 * F.relu(2 * x).sum(1), x).flows("guided")
    assert [(name, flow.magnitude) for name, flow in flows.items()] == [
        ("ReLU 1", 6), ("ReLU 2", 0),
    ]  # fmt: skip
    found = ignored_share(lambda x: F.relu(x).sum(1) + 0 * F.relu(2 * x).sum(1), x)
    assert found.by_rectifier["ReLU 1"].tolist() == [0, 0]
    assert found.by_rectifier["ReLU 2"].isnan().all()


@pytest.mark.parametrize(
    ("model", "options", "kind", "words"),
    [
        (nn.Linear(4, 3), {}, cg.NoRectifierError, "no rectifier"),
        (seeded(Conv), {"rule": "guidance"}, ValueError, "no rule is called 'guidance'"),
        (seeded(Conv), {"rule": 2}, TypeError, "a rule is a BackwardRule or its name, not int"),
        (seeded(Conv), {"target": 9}, cg.TargetError, "target 9 is out of range"),
        (seeded(Conv), {"x": [1.0]}, TypeError, "inputs must be a tensor or a tuple"),
        (seeded(Conv), {"x": torch.full((1, 3, 8, 8), torch.nan)}, ValueError, "holds NaN"),
    ],
)
def test_what_does_not_fit_is_named(model, options, kind, words):
    shape = (1, 4) if isinstance(model, nn.Linear) else (1, 3, 8, 8)
    options = {"x": torch.ones(shape), "target": 0} | options
    with pytest.raises(kind, match=words):
        ignored_share(model, options.pop("x"), **options)
