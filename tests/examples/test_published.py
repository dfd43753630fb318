"""The examples of published results find what the papers say, on fewer photos."""

import re

import pytest
import torch
from places import ROOT, needs

PHOTOS = needs("photos")
NETWORK = needs("squeezenet1_0_imagenet")
PAGE = ROOT / "examples" / "published.md"


def tables(text):
    """Return the tables in a text, each a list of rows, by column."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, _, *rows = ([cell.strip() for cell in row.split("|")[1:-1]] for row in
                            block.splitlines())  # fmt: skip
        found.append([dict(zip(header, row, strict=True)) for row in rows])
    return found


def number(cell):
    return float(cell.split()[0])


@PHOTOS
def test_guided_backprop_recovers_the_picture_from_a_random_network(printed):
    (rows,) = tables(printed("nie_2018", "--quick"))
    found = {
        (row["pooling"], row["filters"], row["rule"]):
        (number(row["the picture"]), number(row["its fine structure"])) for row in rows
    }  # fmt: skip
    assert len(found) == 12
    few, many = found["none", "16", "guided"], found["none", "64", "guided"]
    assert 0.5 < few[0] < 0.7 < many[0] < 0.9  # more filters, more of the picture
    assert few[1] < many[1]
    for (pooling, _, rule), (picture, fine) in found.items():
        if rule == "gradient":
            assert abs(picture) < 0.05
            assert abs(fine) < 0.05
        if rule == "deconvolution":  # with pooling only
            assert (fine > 0.3) == (pooling == "max-pool")
            assert pooling == "max-pool" or abs(fine) < 0.05


@PHOTOS
@NETWORK
def test_guided_backprop_survives_the_last_layer(printed):
    with_relu, without = tables(printed("adebayo_2018", "--quick"))
    last = {row["method"]: number(row["magnitudes: last layer"]) for row in with_relu}
    every = {row["method"]: number(row["all layers"]) for row in without}
    assert last["guided_backprop"] > 0.75
    assert last["gradient"] < 0.6
    assert last["guided_grad_cam"] < 0.5
    one = "guided_grad_cam, CAM begun at 1"  # is nearly guided backprop
    assert last[one] == pytest.approx(last["guided_backprop"], abs=0.05)
    last = {row["method"]: number(row["magnitudes: last layer"]) for row in without}
    assert last["guided_backprop"] > 0.9
    assert last["gradient"] < 0.6
    assert every["gradient"] < 0.4
    assert every["guided_backprop"] < last["guided_backprop"] - 0.2
    signs = {row["method"]: number(row["with signs: last layer"]) for row in without}
    assert abs(signs["gradient"]) < 0.3
    assert signs["guided_backprop"] > 0.9


@PHOTOS
@NETWORK
def test_a_zebra_and_an_elephant_look_alike_to_guided_backprop(printed, tmp_path):
    file = tmp_path / "drawn.png"
    (rows,) = tables(printed("class_sensitivity", "--output", file))
    found = {row["method"]: row for row in rows}
    alike = {method: number(row["zebra against elephant"]) for method, row in found.items()}
    assert alike["guided_backprop"] > 0.85
    assert max(alike["gradient"], alike["grad_cam"]) < 0.5
    for half in ("zebra: in its half", "elephant: in its half"):
        assert found["grad_cam"][half].endswith("%, peak")
    assert file.stat().st_size < 200_000
    (shown,) = (one for one in tables(PAGE.read_text("utf-8")) if set(one[0]) == set(rows[0]))
    for row in shown:
        method = row["method"].strip("`")
        assert number(row["zebra against elephant"]) == pytest.approx(alike[method], abs=0.011)


@PHOTOS
@NETWORK
def test_directions_of_two_classes_become_one(printed):
    at_places, whole = (
        {row["layer"]: row for row in rows} for rows in tables(printed("sixt_2020", "--quick"))
    )
    assert (
        list(at_places) == list(whole) == [*(f"features.{i}" for i in range(12, -1, -1)), "input"]
    )
    assert all(
        number(at_places["features.12"][rule]) < 0.3 for rule in ("gradient", "guided", "z+")
    )
    assert number(at_places["features.9"]["deconvolution"]) > 0.9
    first = at_places["features.0"]
    assert number(first["gradient"]) < 0.7
    assert number(first["guided"]) > 0.9
    assert number(first["z+"]) > 0.99
    assert number(whole["features.0"]["gradient"]) < 0.2 < number(whole["features.0"]["guided"])


@torch.no_grad()
def z_plus(convolution, x, relevance):
    """Return the relevance of the inputs by the rule as it is written, weight by weight."""
    out = torch.zeros_like(x)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    weights = convolution.weight.clamp(min=0)
    for j in range(relevance.shape[1]):
        for row in range(relevance.shape[2]):
            for column in range(relevance.shape[3]):
                seen = padded[0, :, row : row + 3, column : column + 3]
                parts = seen * weights[j]
                share = torch.zeros_like(padded[0])
                share[:, row : row + 3, column : column + 3] = parts / parts.sum()
                out += share[None, :, 1:-1, 1:-1] * relevance[0, j, row, column]
    return out


def test_the_z_plus_rule_is_that_of_the_paper(example):
    kind = example("sixt_2020")["ZPlus"]
    torch.manual_seed(0)
    convolution = kind(2, 3, 3, padding=1).double()
    x = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
    out = convolution(x)
    torch.testing.assert_close(out, torch.nn.Conv2d.forward(convolution, x))
    relevance = torch.randn_like(out)
    (gradient,) = torch.autograd.grad(out, x, relevance / out.detach())  # it is R = g · y
    expected = z_plus(convolution, x.detach(), relevance)
    torch.testing.assert_close(gradient * x.detach(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    ["adebayo_2018", "class_sensitivity", "mnist_infidelity", "nie_2018", "photos_infidelity",
     "sixt_2020", "wrong_prediction"],
)  # fmt: skip
def test_an_example_says_in_a_line_that_its_data_is_missing(
    name, example, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(SystemExit) as ended:
        example(name)["main"]()
    assert ended.value.code == 2
    *_, said = capsys.readouterr().err.splitlines()
    assert "error: argument --data: there is no folder ../shared/data" in said


def test_an_interval_is_students(example):
    write = example("shared_photos")["estimate"]
    assert write([1, 2, 3]) == "2.00 ± 2.48"  # 4.303 · 1 / √3
    assert write([0.5, float("nan")]) == "0.50"
