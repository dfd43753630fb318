"""The machinery of examples/speed.py: what is wrong is marked, and nothing of it is a timing."""

import json
import sys

import pytest
import torch
from places import ROOT
from torch import nn

import captum_guided_ext as cg

sys.path.insert(0, str(ROOT / "examples"))
import speed
import speed_cases as cases
import speed_contenders as contenders
import speed_figure as figure
import speed_growth as growth
import speed_measuring as measuring
import speed_report as report

ONE = measuring.Settings(least=1, most=1)
KEY = ("resnet18", 2, 8)


class Small(nn.Module):
    """A convolution, a ReLU that is a function, and a layer of classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.last(x.mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def case():
    return cases.case(Small().eval(), "second", cases.noise(2, 8), samples=2)


@pytest.fixture(scope="module")
def cells(case):
    """One round of each task, by those that the tests need."""
    found = {("tiny",): {"bare": [1.0], "ours": [2.0], "captum": [4.0]}}
    for task in cases.TASKS:
        names = [
            n for n in ("bare", "passes", "ours", "captum") if n in contenders.taking_part(task)
        ]
        found[(*KEY, task)] = measuring.measure(case, task, names, ONE)
    return found


def test_maps_are_right_and_those_of_who_looks_for_modules_are_marked(cells):
    for task in cases.TASKS:
        found = cells[(*KEY, task)]
        assert report.is_right("ours", found["ours"]), task
        # F.relu is no module: what Captum calls deconvolution and guided backprop is the gradient
        no_rule = task in ("gradient", "input_x_gradient", "grad_cam")
        assert report.is_right("captum", found["captum"]) is no_rule, task
        assert ("WRONG" in report.line(task, found)) is not no_rule


def test_a_wrong_map_is_marked_wherever_it_is_shown(case):
    def slightly_wrong(case, task):
        def run():
            maps = contenders.ours(case, task)()
            maps["deconvolution"] = maps["deconvolution"] * 1.01
            return maps

        return run

    makers = {
        "bare": contenders.CONTENDERS["bare"],
        "ours": contenders.Contender("off", slightly_wrong),
    }
    found = measuring.measure(case, "four", ["bare", "ours"], ONE, makers=makers)
    assert found["ours"]["distance"] == pytest.approx(0.01, rel=1e-3)
    cells = {(*KEY, "four"): found}
    row = report.table(cells).splitlines()[-1]
    assert row.startswith("| four methods | - | ")
    assert " WRONG |" in row
    assert ") WRONG |" in report.details(cells)
    assert " WRONG" in report.line("four", found)


def test_a_map_of_another_shape_is_wrong():
    assert cases.distance(torch.zeros(2, 3), torch.zeros(3, 2)) == float("inf")
    assert cases.distance(torch.full((2,), float("nan")), torch.ones(2)) != 0
    assert not report.is_right("ours", {"distance": float("nan")})


@pytest.mark.parametrize("name", ["zennit", "grad_cam"])
def test_the_others_are_right_where_rectifiers_are_modules_used_once(name):
    contender = contenders.CONTENDERS[name]
    if contender.missing:
        pytest.skip(contender.missing)
    case = growth._stack(3, size=8)
    wanted = cases.references(case)
    for task in contender.offers:
        with measuring.quiet():
            maps = contender.call(case, task)()
        assert cases.worst_distance(maps, wanted) < cases.RIGHT


def test_the_table_has_a_row_for_each_task(cells):
    lines = report.table(cells).splitlines()
    assert [line.split(" | ")[0][2:] for line in lines[2:-1]] == [
        *(name.replace("_", " ") for name in cases.SINGLE),
        "four methods", "six methods", "sensitivity of the four",
        "infidelity and sensitivity of the four",
    ]  # fmt: skip
    assert lines[-1].startswith(
        "| a call on a tiny network (gradient: 1000000 µs) | - | 2000000 µs"
    )
    columns = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert columns[1:] == [
        one.title for name, one in contenders.CONTENDERS.items() if name != "bare"
    ]


def test_networks_on_which_a_contender_is_wrong_do_not_set_its_speed():
    def cell(seconds, distance):
        one = {"distance": distance, "bytes": 1}
        return {"bare": {"seconds": [1.0]} | one, "ours": {"seconds": [seconds]} | one}

    cells = {
        ("resnet18", 1, 64, "gradient"): cell(2.0, 0.0),
        ("vgg16", 1, 64, "gradient"): cell(0.1, 1.0),
    }
    found, wrong, networks = report.summary(cells, "gradient", "ours")
    assert (found.middle, wrong, networks) == (2.0, ["vgg16"], 2)
    assert "2.00 (2.00–2.00), WRONG on 1 of 2" in report.table(cells)


def test_goals_are_met_or_not_by_their_numbers(cells):
    said = report.goal_lines(cells)
    assert "a call on a tiny network, in Captum's time (<= 1.0): 0.500, met" in said
    slow = cells | {("tiny",): {"bare": [1.0], "ours": [4.5], "captum": [3.0]}}
    assert "a call on a tiny network, in Captum's time (<= 1.0): 1.500, not met" in (
        report.goal_lines(slow)
    )
    assert any(line.endswith("(<= 1.1): not measured") for line in said)


def test_no_slower_within_the_spread_is_met_by_the_lower_quartile():
    def said(*ours):
        one = {"distance": 0.0, "bytes": 1}
        found = {"captum": one | {"seconds": [1.0] * 3}, "ours": one | {"seconds": [*ours]}}
        cells = {("vgg16", 1, 64, "deconvolution"): found | {"bare": found["captum"]}}
        return report.goal_lines(cells)[1]

    assert said(0.9, 1.05, 1.1).endswith("within the spread (<= 1.0): 1.05 (0.98–1.08), met")
    assert said(1.01, 1.05, 1.1).endswith("(<= 1.0): 1.05 (1.03–1.08), not met")


def test_code_that_was_changed_has_another_digest(tmp_path, monkeypatch):
    assert measuring.code() == measuring.code()
    before = measuring.code()
    (tmp_path / "speed.py").write_text("changed")
    monkeypatch.setattr(measuring, "__file__", str(tmp_path / "speed_measuring.py"))
    assert measuring.code() != before


def test_who_is_not_installed_is_said_and_left_out(monkeypatch):
    gone = contenders.Contender("Gone", contenders.bare, "no_such_package", "no-such-package")
    assert gone.missing == "Gone is left out: pip install no-such-package"
    monkeypatch.setitem(contenders.CONTENDERS, "zennit", gone)
    assert "zennit" not in contenders.taking_part("gradient")
    assert not contenders.CONTENDERS["captum"].missing


@pytest.mark.parametrize("task", contenders.CONTENDERS["passes"].offers)
def test_passes_alone_are_those_that_are_counted(case, task):
    runs = []
    handle = case.model.register_forward_pre_hook(lambda module, given: runs.append(len(given[0])))
    contenders.passes_alone(case, task)()
    handle.remove()
    forward, _ = contenders.passes("passes", task, case.samples)
    assert sum(runs) == forward * len(case.x)


def test_the_tiny_network_takes_one_pass_since_no_map_of_it_is_zero():
    case, runs = speed.tiny_case(), []
    assert (
        cases.reference_gradient(case.model, case.x, "guided", target=case.target).any(dim=1).all()
    )
    handle = case.model.register_forward_pre_hook(lambda module, given: runs.append(1))
    contenders.ours(case, "guided_backprop")()
    handle.remove()
    assert len(runs) == 1


def test_peaks_are_counted_in_bytes():
    def work():
        first = torch.empty(1000, dtype=torch.float32)
        del first
        kept = torch.empty(500, dtype=torch.float64), torch.empty(250, dtype=torch.float32)
        return [one.shape for one in kept]

    assert measuring.peak_bytes(work) == ([(500,), (250,)], 5000)


def test_contenders_take_turns():
    order = []
    calls = {name: (lambda name=name: order.append(name)) for name in "abc"}
    settings = measuring.Settings(least=2, most=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring, "AT_A_TIME", 0)
        found = measuring.interleaved(calls, settings)
    assert "".join(order) == "abc" + "abc" + "bca"
    assert [len(seconds) for seconds in found.values()] == [2, 2, 2]


def test_a_run_goes_on_where_it_was_stopped(tmp_path):
    journal = measuring.Journal(tmp_path / "cells.jsonl", {"threads": 1})
    journal.get(("a", 1), lambda: 5)
    with (tmp_path / "cells.jsonl").open("a") as file:
        file.write('{"key": ["b"')  # killed while it wrote
    again = measuring.Journal(tmp_path / "cells.jsonl", {"threads": 1})
    assert again.get(("a", 1), lambda: 6) == 5
    assert again.get(("b",), lambda: 7) == 7
    assert len((tmp_path / "cells.jsonl").read_text().splitlines()) == 3
    with pytest.raises(SystemExit, match="other settings, versions or code: give another --output"):
        measuring.Journal(tmp_path / "cells.jsonl", {"threads": 2})


def test_it_says_how_long_it_takes_and_writes_everything(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cases, "network", lambda name, device="cpu": Small().eval())
    monkeypatch.setattr(speed, "LAYERS", {"resnet18": "second"})
    monkeypatch.setattr(
        speed, "cells", lambda **_: [("resnet18", 1, 8, "four"), ("resnet18", 1, 8, "six")]
    )
    step = growth.Step(lambda: growth._depth(2), 10)
    monkeypatch.setattr(growth, "steps", lambda **_: {("depth", 2): step})
    monkeypatch.setattr(growth, "FEW", ONE)
    monkeypatch.setattr(speed, "Settings", lambda: ONE)
    monkeypatch.setattr(speed, "QUICK", ONE)
    gone = contenders.Contender("Gone", contenders.bare, "no_such_package", "no-such-package")
    monkeypatch.setitem(contenders.CONTENDERS, "zennit", gone)
    speed.main(["--output", str(tmp_path), "--estimate"])
    assert "2 of 2 cells and 1 of 1 steps of growth are to be measured: about " in (
        capsys.readouterr().out
    )
    assert not (tmp_path / "speed.md").exists()
    speed.main(["--output", str(tmp_path)])
    out = capsys.readouterr().out
    assert "Gone is left out: pip install no-such-package\n" in out
    assert "resnet18, batch 1, 8 pixels: four methods, in gradients of " in out
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert (tmp_path / "table.md").read_text(encoding="utf-8") in page
    assert "## Six methods" in page
    written = json.loads((tmp_path / "speed.json").read_text())
    assert {"captum", "captum-guided-ext"} <= written["run"]["versions"].keys()
    assert [cell["key"] for cell in written["cells"]][1:] == [
        ["resnet18", 1, 8, "four"], ["resnet18", 1, 8, "six"], ["depth", 2],
    ]  # fmt: skip
    speed.main(["--output", str(tmp_path), "--estimate"])
    assert "0 of 2 cells and 0 of 1 steps" in capsys.readouterr().out


def test_the_figure_marks_what_is_wrong(tmp_path, monkeypatch):
    drawn = []
    one = {"seconds": [1.0], "bytes": 10}
    cells = {
        ("depth", n): {"ours": one | {"distance": 0.0}, "captum": one | {"distance": 1.0}}
        for n in (1, 2)
    }
    from matplotlib.axes import Axes

    plot = Axes.plot

    def seen(self, *args, **options):
        drawn.append((options["label"], args[2]))
        return plot(self, *args, **options)

    monkeypatch.setattr(Axes, "plot", seen)
    figure.draw(cells, tmp_path / "speed.png")
    assert drawn == [("this package", "o-"), ("Captum (WRONG)", "x--")]
    assert (tmp_path / "speed.png").stat().st_size > 1000


@pytest.mark.parametrize("step", [0.0, 0.01])
def test_what_fast_changes_is_shown_beside_how_exact_scores_are(monkeypatch, step):
    compare = cg.compare

    def faster(model, x, *args, fast=False, **options):
        return compare(model, x + fast * step, *args, **options)

    monkeypatch.setattr(cg, "compare", faster)
    monkeypatch.setattr(cases, "network", lambda name: Small().eval())
    monkeypatch.setattr(growth, "LAYERS", {"small": "second"})
    maps, relative, beside = growth._fast("small").values()
    assert set(maps) == set(cases.FOUR)
    assert set(relative) == {"infidelity", "sensitivity_max", "sensitivity_mean"}
    assert beside.keys() == {"infidelity", "sensitivity_mean"}
    for numbers in (maps, relative, beside):
        assert (max(numbers.values()) > 0) is (step > 0)
    assert "infidelity" in report.short({"maps": maps, "scores": relative})
