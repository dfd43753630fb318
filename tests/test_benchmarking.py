"""benchmark(): killed and started again, alone or with others, it ends with the same rows."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from captum.attr import NoiseTunnel
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.demo import CATEGORIES, PictureWorld
from captum_guided_ext.errors import DataError
from captum_guided_ext.journal import Journal, start_run

NETWORK = """
import os, signal, time, torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        time.sleep(float(os.environ.get("SLEEP", 0)))
        if os.environ.get("RANK") == "1" and self.calls > 5 and not os.path.exists("flag"):
            if os.environ.get("DIE"):
                open("flag", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))
"""
SETTINGS = (
    "--data", "demo", "--model", "mine:Net", "--batch-size", "3", "--metrics",
    "infidelity,sensitivity_max", "--methods", "gradient,guided_backprop",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(NETWORK)
    return tmp_path


def command(*arguments, processes=None):
    start = [sys.executable, "-m"]
    if processes:
        start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    return [*start, "captum_guided_ext", "benchmark", *SETTINGS, *arguments]


def run(folder, *arguments, processes=None, **environment):
    done = subprocess.run(
        command(*arguments, processes=processes), cwd=folder, capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_killed_at_random_moments_it_ends_with_the_same_rows(folder):
    limit = ("--limit", "45")
    assert run(folder, *limit, "--output", "whole")[0] == 0
    moments = random.Random(4)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SLEEP": "0.02"}
    kills = 0
    for _ in range(8):
        process = subprocess.Popen(
            command(*limit, "--output", "killed"), cwd=folder, env=environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        # From somewhere after the first row on, so that every run gets somewhere.
        before = rows_of(folder / "killed")
        while process.poll() is None and rows_of(folder / "killed") <= before:
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.5))
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 4
    assert run(folder, *limit, "--output", "killed")[0] == 0
    for name in ("scores.csv", "summary.csv"):
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()
    with (folder / "killed" / "scores.csv").open() as file:
        keys = [(int(r["image"]), r["method"], r["metric"]) for r in csv.DictReader(file)]
    assert len(keys) == 45 * 2 * 2
    assert keys == sorted(set(keys))
    assert not list((folder / "killed").glob(".*"))


def rows_of(folder):
    file = folder / "rows-0.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


@pytest.mark.parametrize("cut", [0, 1, 7, -2, -1])
def test_a_line_that_was_cut_off_is_dropped(tmp_path, cut):
    start_run(tmp_path, {"seed": 0})
    journal = Journal(tmp_path, 0)
    journal.append({"batch": 0, "rows": []})
    whole = (tmp_path / "rows-0.jsonl").read_bytes()
    journal.append({"batch": 1, "rows": ["é"]})
    journal.close()
    second = (tmp_path / "rows-0.jsonl").read_bytes()[len(whole) :]
    (tmp_path / "rows-0.jsonl").write_bytes(whole + second[:cut])
    assert list(start_run(tmp_path, {"seed": 0})) == [0]
    again = Journal(tmp_path, 0)
    again.append({"batch": 1, "rows": ["é"]})
    again.close()
    assert (tmp_path / "rows-0.jsonl").read_bytes() == whole + second


def test_two_processes_give_the_rows_of_one_and_go_on_after_a_death(folder):
    assert run(folder, "--limit", "20", "--output", "one")[0] == 0
    expected = (folder / "one" / "scores.csv").read_bytes()
    code, out, err = run(folder, "--limit", "20", "--output", "two", processes=2)
    assert code == 0, err
    assert out.count("infidelity (lower is better)") == 1
    assert (folder / "two" / "scores.csv").read_bytes() == expected
    assert {p.name for p in (folder / "two").glob("rows-*")} == {"rows-0.jsonl", "rows-1.jsonl"}

    code, out, err = run(folder, "--limit", "20", "--output", "died", processes=2, DIE="yes",
                         SLEEP="0.05")  # fmt: skip
    assert code != 0
    assert "another process of this run has died" in err
    assert "run the same command again to go on" in err
    assert not (folder / "died" / "scores.csv").exists()
    # What one of two processes had finished is gone on with by a single one.
    assert run(folder, "--limit", "20", "--output", "died")[0] == 0
    assert (folder / "died" / "scores.csv").read_bytes() == expected


TWICE = """
import os, sys
from captum_guided_ext import cli

first, changed = [*sys.argv[1:], "--output", "a"], ["--seed", "1"]
codes = [cli.main(first), cli.main([*sys.argv[1:], "--output", "b"]), cli.main([*first, *changed])]
print("process", os.environ["RANK"], codes, flush=True)
"""


def test_a_script_of_many_processes_may_benchmark_again(folder):
    (folder / "twice.py").write_text(TWICE)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "twice.py", "benchmark", *SETTINGS, "--limit", "6"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)},
    )  # fmt: skip
    ends = sorted(line for line in done.stdout.splitlines() if line.startswith("process"))
    assert ends == ["process 0 [0, 0, 2]", "process 1 [0, 0, 1]"], done.stderr
    assert (folder / "a" / "scores.csv").read_bytes() == (folder / "b" / "scores.csv").read_bytes()


def test_a_changed_setting_under_many_processes_ends_all_of_them(folder):
    assert run(folder, "--limit", "4", "--output", "out")[0] == 0
    kept = (folder / "out" / "rows-0.jsonl").read_bytes()
    code, _, err = run(folder, "--limit", "4", "--output", "out", "--seed", "1", processes=2)
    assert code != 0
    assert err.count("seed was 0, now it is 1") >= 1
    assert (folder / "out" / "rows-0.jsonl").read_bytes() == kept


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 6)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.head(torch.relu(self.conv(x)).mean(dim=(2, 3)))


@pytest.fixture
def small():
    torch.manual_seed(2)
    return Small().eval()


IMAGES = torch.rand(7, 3, 8, 8, generator=torch.Generator().manual_seed(3))
LABELS = torch.tensor([0, 1, 2, 3, 4, 5, 0])
DATA = TensorDataset(IMAGES, LABELS)
QUIET = {"methods": ["gradient", "guided_backprop"], "show_progress": False}


def values(found):
    return {(r.image, r.method, r.metric): r.value for r in found.rows}


def test_rows_do_not_depend_on_the_batch_size(small, tmp_path):
    methods = ["gradient", "guided_backprop", NoiseTunnel(cg.GuidedBackprop(small))]
    shuffled = DataLoader(DATA, 4, shuffle=True)
    one, three, loader = (
        cg.benchmark(small, data, output=tmp_path / name, methods=methods, show_progress=False,
                     batch_size=size, seed=3)
        for name, data, size in (("one", DATA, 1), ("three", DATA, 3), ("loader", shuffled, None))
    )  # fmt: skip
    assert len(values(one)) == 7 * 3 * 2
    assert values(three) == pytest.approx(values(one), rel=1e-4, abs=1e-6)
    assert values(loader) == pytest.approx(values(one), rel=1e-4, abs=1e-6)
    alone = cg.compare(small, IMAGES[4:5], [4], methods=methods, image_indices=[4], seed=3)
    for row in alone.rows:
        key = (4, row.method, row.metric)
        assert values(one)[key] == pytest.approx(row.value, rel=1e-4, abs=1e-6)


def test_a_finished_run_is_read_and_not_made_again(small, tmp_path):
    first = cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    text = (tmp_path / "scores.csv").read_bytes()
    (tmp_path / "scores.csv").unlink()
    small.calls = 0
    second = cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    assert small.calls == 0
    assert second.rows == first.rows
    assert (tmp_path / "scores.csv").read_bytes() == text


CHANGES = {
    "seed": {"seed": 1},
    "methods guided_backprop": {"methods": ["gradient"]},
    "metrics infidelity": {"n_perturb_samples": 3},
    "batch_size": {"batch_size": 2},
    "images": {"limit": 3},
    "target": {"target": "prediction"},
    "layer": {"layer": "conv"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_setting_is_refused_and_named(small, tmp_path, name):
    cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    kept = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(DataError, match=rf"rows of other settings: {name} was "):
        cg.benchmark(small, DATA, output=tmp_path, **(QUIET | CHANGES[name]))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == kept


def test_other_weights_are_other_settings(small, tmp_path):
    cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    small.head.bias.data[0] += 1
    with pytest.raises(DataError, match="model digest was "):
        cg.benchmark(small, DATA, output=tmp_path, **QUIET)


def test_a_folder_that_is_written_to_is_refused(small, tmp_path):
    cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    journal = Journal(tmp_path, 0)
    with pytest.raises(DataError, match="another process is writing"):
        cg.benchmark(small, DATA, output=tmp_path, **QUIET)
    journal.close()


def test_a_full_disk_keeps_the_rows(small, tmp_path, monkeypatch):
    expected = cg.benchmark(small, DATA, output=tmp_path / "other", batch_size=2, **QUIET)
    write, lines = os.write, []

    def full(descriptor, content):
        if content.startswith(b'{"batch"'):
            lines.append(content)
            if len(lines) == 3:
                write(descriptor, content[:20])
                raise OSError(28, "No space left on device")
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DataError, match=r"No space left.*rows are kept; make room"):
        cg.benchmark(small, DATA, output=tmp_path / "full", batch_size=2, **QUIET)
    assert rows_of(tmp_path / "full") == 2
    monkeypatch.undo()
    small.calls = 0
    assert cg.benchmark(small, DATA, output=tmp_path / "full", batch_size=2, **QUIET).rows == (
        expected.rows
    )
    assert small.calls > 0


def test_the_folder_of_results(small, tmp_path):
    found = cg.benchmark(
        small, TensorDataset(IMAGES, LABELS, torch.ones(7, 8, 8)), output=tmp_path,
        methods=["gradient", "guided_backprop"], metrics=["sensitivity_mean", "relevance_mass"],
        show_progress=False,
    )  # fmt: skip
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["image", "method", "metric", "value", "standard_error"]
    keys = [(int(r["image"]), r["method"], r["metric"]) for r in rows]
    assert keys == sorted(keys)
    masses = {
        r["value"] for r in rows if (r["method"], r["metric"]) == ("gradient", "relevance_mass")
    }
    assert masses == {"1.0"}
    assert found.object_area == 1
    report = json.loads((tmp_path / "summary.json").read_text())
    assert report["settings"]["seed"] == 0
    assert set(report["settings"]["versions"]) == {
        "captum_guided_ext", "captum", "torch", "python",
    }  # fmt: skip
    mean = sum(float(r["value"]) for r in rows if r["method"] == "gradient") / 14
    lines = [one for one in report["summary"] if one["method"] == "gradient"]
    assert sum(one["mean"] for one in lines) / 2 == pytest.approx(mean)
    with Image.open(tmp_path / "summary.png") as image:
        assert len(image.convert("L").getcolors(256)) > 20
    assert {p.name for p in tmp_path.iterdir()} == {
        "run.json", "rows-0.jsonl", "scores.csv", "summary.csv", "summary.json", "summary.png",
    }  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """Save four pictures of the demo world, two of each of two classes."""
    root = tmp_path / "pictures"
    for index in (0, 6, 1, 7):
        picture = PictureWorld(8, seed=3)[index]
        path = root / CATEGORIES[picture.label] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.image).save(path)
        mask = tmp_path / "masks" / path.relative_to(root)
        mask.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(~picture.masks["background"]).save(mask)
    return root


@pytest.fixture
def benchmark(tmp_path, capsys):
    """Run the command in this process; return its exit code, output and errors."""

    def called(*arguments):
        options = ["--output", tmp_path / "out", "--model", "demo", "--samples", "2"]
        options += ["--methods", "gradient,guided_backprop"]
        try:
            code = cli.main(["benchmark", *map(str, (*options, *arguments))])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


def test_a_folder_of_classes_with_masks(benchmark, pictures, tmp_path):
    metrics = ("--metrics", "relevance_mass,pointing_game")
    code, out, _ = benchmark("--data", pictures, "--masks", tmp_path / "masks", *metrics)
    assert code == 0
    assert "relevance_mass (higher is better)" in out
    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    names = {row["name"]: int(row["target"]) for row in rows}
    assert names == {
        f"{CATEGORIES[label]}/{index}.png": label
        for index, label in ((0, 0), (6, 0), (1, 1), (7, 1))
    }
    assert all(0 < float(row["object_area"]) < 1 for row in rows)


def test_an_unreadable_picture_is_skipped_counted_and_named(benchmark, pictures, tmp_path):
    (pictures / CATEGORIES[0] / "3.png").write_text("no picture")
    code, out, err = benchmark("--data", pictures, "--metrics", "infidelity")
    assert code == 3
    assert "skipped 1 that could not be read" in out
    assert f"{CATEGORIES[0]}/3.png" in out
    assert "Traceback" not in err
    report = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [one["name"] for one in report["skipped"]] == [f"{CATEGORIES[0]}/3.png"]
    assert {one["images"] for one in report["summary"]} == {4}


def test_pictures_without_labels_are_explained_as_predicted(benchmark, pictures):
    flat = pictures / CATEGORIES[0]
    assert benchmark("--data", flat, "--metrics", "infidelity")[0] == 0
    code, _, err = benchmark("--data", flat, "--target", "label")
    assert code == 2
    assert "has no labels" in err


MISTAKES = {
    "empty folder": (["--data", "{tmp}/empty"], "empty holds no picture"),
    "no folder": (["--data", "{tmp}/picturs"], "there is no folder .*picturs; .*pictures"),
    "no such class": (["--data", "{tmp}/others"], "'unicorn' is none of demo's"),
    "idx": (["--data", "idx:{tmp}/a"], "must name two files"),
    "idx file": (["--data", "idx:{tmp}/text,{tmp}/text"], "is no IDX file"),
    "masks": (["--data", "{tmp}/pictures", "--metrics", "pointing_game"], "--masks"),
    "mask folder": (["--data", "{tmp}/pictures", "--masks", "{tmp}/empty"], "4 of 4 pictures"),
    "method": (["--data", "demo", "--methods", "gradint"], "choose from gradient"),
    "metric": (["--data", "demo", "--metrics", "fidelity"], "choose from infidelity"),
    "limit": (["--data", "demo", "--limit", "0"], "'0' is no number of 1 or more"),
    "seed": (["--data", "demo", "--seed", "-1"], "must not be negative"),
    "layer": (["--data", "demo", "--layer", "featurs"], "nearest are features"),
    "output": (["--data", "demo", "--limit", "1", "--output", "{tmp}/text/x"], "cannot be written"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(benchmark, pictures, tmp_path, case):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("text")
    (tmp_path / "others" / "unicorn").mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(tmp_path / "others" / "unicorn" / "1.png")
    arguments, words = MISTAKES[case]
    code, out, err = benchmark(*(one.format(tmp=tmp_path) for one in arguments))
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert re.search(words, err), err
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_a_label_the_model_does_not_have_names_the_images(small, tmp_path):
    data = TensorDataset(IMAGES, LABELS + 3)
    with pytest.raises(DataError, match=r"images 0 \(0\) to 6 \(6\): target 6 is out of range"):
        cg.benchmark(small, data, output=tmp_path, **QUIET)
