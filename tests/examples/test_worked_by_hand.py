"""The worked example of the page of limits by arithmetic, autograd and the package; its figure."""

import re

import pytest
import torch
from PIL import Image
from places import ROOT
from torch import nn

import captum_guided_ext as cg

W = [[1, 1], [-1, 2], [1, -1]]  # a row for each hidden neuron
V = {"A": [2, -3, 1], "B": [4, -1, -2]}
P = [1, 2]
RULES = ("gradient", "deconvolution", "guided")
PICTURE = ROOT / "examples" / "three_rules.png"
PAGE = (ROOT / "examples" / "limits.md").read_text(encoding="utf-8")
WORKED = PAGE.partition("\n## Worked by hand\n")[2].partition("\n## ")[0]


def forward(p, chosen=V):
    """Return what the rectifiers get, what they give, and the score of each class."""
    x = [sum(w * one for w, one in zip(row, p, strict=True)) for row in W]
    h = [max(0, one) for one in x]
    scores = {k: sum(v * one for v, one in zip(row, h, strict=True)) for k, row in chosen.items()}
    return x, h, scores


def sent_back(rule, x, g):
    if rule == "gradient":
        return g if x > 0 else 0
    if rule == "deconvolution":
        return max(g, 0)
    return g if g > 0 and x > 0 else 0


def map_of(rule, name):
    """Return what the rectifiers send back, and the map."""
    x, _, _ = forward(P)
    back = [sent_back(rule, *pair) for pair in zip(x, V[name], strict=True)]
    return back, [sum(b * row[i] for b, row in zip(back, W, strict=True)) for i in range(2)]


def network():
    net = nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU(), nn.Linear(3, 2, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor(W))
        net[2].weight.copy_(torch.tensor([V["A"], V["B"]]))
    return net


def numbers(text):
    return [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?", text.replace("−", "-"))]


def row(first):
    """Return the numbers of a table's row, cell by cell."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", WORKED, re.MULTILINE)
    return [numbers(cell) for cell in found.split("|")]


def shown(*words):
    """Say that the page shows these words, whatever its spaces and line ends."""
    text = re.sub(r"\s+", " ", WORKED.replace("−", "-"))
    for one in words:
        assert one in text, one


def test_what_the_page_shows_of_the_way_there_is_the_arithmetic():
    x, h, scores = forward(P)
    for k in range(3):
        total, *rest = row(f"{k + 1}")
        assert total[-1] == x[k]
        assert rest == [[h[k]], [V["A"][k]], [V["B"][k]]]
    terms = f"{h[0]} - 3 · {h[1]} + 1 · {h[2]} = {scores['A']}"
    shown(f"A scores 2 · {terms}", f"= {scores['B']}.")


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_by_arithmetic_by_the_page_and_by_the_package(rule):
    (back_a, map_a), (back_b, map_b) = (map_of(rule, name) for name in "AB")
    assert row(rule) == [back_a, map_a, back_b, map_b]
    forward_pass = cg.ForwardPass(network(), torch.tensor([P], dtype=torch.float32))
    for target, expected in enumerate((map_a, map_b)):
        (found,) = forward_pass.input_gradients(rule, target=target)
        assert found.tolist() == [expected]


def test_the_rules_have_three_maps_of_a_and_guided_one_for_both_classes():
    assert len({tuple(map_of(rule, "A")[1]) for rule in RULES}) == 3
    (_, a), (_, b) = map_of("guided", "A"), map_of("guided", "B")
    assert [2 * one for one in a] == b
    (_, a), (_, b) = map_of("gradient", "A"), map_of("gradient", "B")
    assert a[0] * b[1] != a[1] * b[0]


def test_a_small_step_moves_the_score_as_the_gradient_says_and_not_as_guided_does():
    _, _, before = forward(P)
    _, _, after = forward([1, 2.1])
    assert after["A"] - before["A"] == pytest.approx(0.1 * map_of("gradient", "A")[1][1])
    assert (after["A"] - before["A"]) * map_of("guided", "A")[1][1] < 0
    shown(f"from {before['A']} to {after['A']:.1f}")


def test_the_ignored_share():
    forward_pass = cg.ForwardPass(network(), torch.tensor([P], dtype=torch.float32))
    x, _, _ = forward(P)
    for target, name in enumerate("AB"):
        passed = [v for v, one in zip(V[name], x, strict=True) if one > 0]
        share = -sum(min(0, one) for one in passed) / sum(map(abs, passed))
        assert forward_pass.ignored_share("guided", target) == pytest.approx(share)
        shown(f"{share:.0%}".replace("%", " %") + f" for {name}")


def test_input_times_gradient_is_complete_here_and_times_guided_is_not():
    _, _, scores = forward(P)
    sums = [sum(p * g for p, g in zip(P, map_of(rule, "A")[1], strict=True)) for rule in RULES]
    assert sums[0] == scores["A"] != sums[2]
    shown("1 · 5 + 2 · (-4) = -3", f"1 · 2 + 2 · 2 = {sums[2]}")


def test_the_weight_update_by_arithmetic_by_the_page_and_by_torch():
    wanted, eta = 0, 0.01
    _, h, scores = forward(P)
    error = scores["A"] - wanted
    updated = [v - eta * error * one for v, one in zip(V["A"], h, strict=True)]
    _, _, after = forward(P, chosen={"A": updated})
    losses = [0.5 * (one["A"] - wanted) ** 2 for one in (scores, after)]
    net = network()
    optimiser = torch.optim.SGD([net[2].weight], lr=eta)
    loss = 0.5 * (net(torch.tensor([P], dtype=torch.float32))[0, 0] - wanted) ** 2
    loss.backward()
    optimiser.step()
    assert net[2].weight[0].tolist() == pytest.approx(updated)
    assert net[0].weight.grad[0, 0] == error * V["A"][0] * P[0]  # the chain goes on below
    shown(
        f"({', '.join(f'{one:g}' for one in updated)})",
        f"from {losses[0]:.2f} to {losses[1]:.2f}",
        f"{error} · 2 · 1 = {error * V['A'][0] * P[0]}",
    )


def test_the_three_rules_are_drawn_and_hold_what_the_page_says(printed, tmp_path):
    out = printed("three_rules", "--output", tmp_path / "rules.png")
    with Image.open(tmp_path / "rules.png") as drawn, Image.open(PICTURE) as kept:
        assert drawn.size == kept.size
    header, _, *rows = out.splitlines()
    assert header in PAGE
    for line in rows:
        name = line.split("|")[1].strip()
        (on_page,) = re.findall(rf"^\| {re.escape(name)} \|.*\d%.*$", PAGE, re.MULTILINE)
        assert numbers(line) == pytest.approx(numbers(on_page), abs=1)  # percent, as rounded
