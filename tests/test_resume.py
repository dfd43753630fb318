"""A benchmark that is killed, meets a full disk or is asked again ends with the rows it should."""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import small_benchmark as small
import torch
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.errors import DataError
from captum_guided_ext.journal import Journal, start_run

FEW = ("--methods", "gradient,guided_backprop", "--metrics", "infidelity")
SETTINGS = {"seed": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small.save_pictures(tmp_path_factory.mktemp("data") / "pictures", 12)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """Return the folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main(small.command(data, folder, *FEW)) == 0
    return folder


@pytest.fixture
def finished(whole, tmp_path):
    """Return a copy of that folder."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_as_uninterrupted(folder, whole):
    assert (folder / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert (folder / "summary.csv").read_bytes() == (whole / "summary.csv").read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_killed_at_random_moments(data, whole, tmp_path):
    draw = random.Random(20)
    arguments = small.command(data, tmp_path / "timed", *FEW)
    small.codes([small.start(small.command(data, tmp_path / "first", *FEW))])  # imports
    started = time.monotonic()
    assert small.codes([small.start(arguments, SMALL_SLEEP=0.02)]) == [0]
    duration = time.monotonic() - started
    kills, runs = 0, 0
    while kills < 9:
        folder, code = tmp_path / f"run-{runs}", None
        arguments, runs = small.command(data, folder, *FEW), runs + 1
        assert runs < 20, "the kills come too late"
        while code != 0:
            process = small.start(arguments, SMALL_SLEEP=0.02)
            process.join(draw.uniform(0, duration))
            process.kill()
            (code,) = small.codes([process])
            assert code in (0, -9)
            kills += code == -9
        assert_as_uninterrupted(folder, whole)
        lines = (folder / "scores.csv").read_text().splitlines()[1:]
        scored = [tuple(line.split(",")[:3]) for line in lines]
        assert len(set(scored)) == len(scored) == 12 * 2
        assert {int(image) for image, *_ in scored} == set(range(12))


def test_a_command_killed_in_the_middle_goes_on(data, whole, tmp_path):
    folder = tmp_path / "run"
    arguments = small.command(data, folder, *FEW)
    environment = os.environ | {"PYTHONPATH": str(small.TESTS), "SMALL_SLEEP": "0.3"}
    rows = folder / "rows-0.jsonl"
    with subprocess.Popen(
        [sys.executable, "-m", "captum_guided_ext", *arguments], env=environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while process.poll() is None and not (rows.exists() and b"\n" in rows.read_bytes()):
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -9
    kept = rows.read_bytes()
    assert 1 <= kept.count(b"\n") < 6
    assert not (folder / "scores.csv").exists()
    assert cli.main(arguments) == 0
    assert rows.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert_as_uninterrupted(folder, whole)


def test_a_last_line_cut_anywhere_is_dropped(tmp_path):
    records = [{"batch": 0, "rows": [[0, "é", 1.5]]}, {"batch": 1, "rows": [[1, "x\n", 2e-7]]}]
    assert start_run(tmp_path, SETTINGS) == {}
    with closing(Journal(tmp_path, 0)) as journal:
        for record in records:
            journal.append(record)
    (file,) = tmp_path.glob("rows-*")
    written = file.read_bytes()
    first = written.index(b"\n") + 1
    assert start_run(tmp_path, SETTINGS) == dict(enumerate(records))
    for cut in range(first, len(written)):
        file.write_bytes(written[:cut])
        assert start_run(tmp_path, SETTINGS) == {0: records[0]}
        with closing(Journal(tmp_path, 0)) as journal:
            assert file.read_bytes() == written[:first]
            journal.append(records[1])
        assert file.read_bytes() == written


def test_rows_cut_at_any_byte_are_computed_again(data, finished, whole):
    rows = finished / "rows-0.jsonl"
    written = rows.read_bytes()
    ends = [place for place, byte in enumerate(written) if byte == ord("\n")]
    draw = random.Random(3)
    for cut in (0, ends[2], ends[2] + 1, len(written) - 1, *draw.sample(range(len(written)), 4)):
        rows.write_bytes(written[:cut])
        (finished / "scores.csv").unlink()
        (finished / ".summary.csv.77.part").write_bytes(b"half")
        assert cli.main(small.command(data, finished, *FEW)) == 0
        assert_as_uninterrupted(finished, whole)
        assert rows.read_bytes() == written


def test_what_a_kill_before_the_settings_leaves_behind_is_removed(data, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.json.77.part").write_bytes(b'{"data"')
    assert cli.main(small.command(data, folder, *FEW)) == 0
    assert_as_uninterrupted(folder, whole)


def test_a_finished_run_computes_nothing_and_writes_the_same(tmp_path):
    network, data = small.cnn(), small.dataset()
    options = {"output": tmp_path / "run", "show_progress": False, "n_perturb_samples": 2}
    first = cg.benchmark(network, data, **options)
    before = contents(tmp_path / "run")
    (tmp_path / "run" / "summary.csv").unlink()
    (tmp_path / "run" / "summary.png").unlink()
    assert network.examples > 0
    network.examples = 0
    again = cg.benchmark(network, data, **options)
    assert network.examples == 0
    assert contents(tmp_path / "run") == before
    assert again == first


def lose(path):
    path.unlink()


@pytest.mark.parametrize("name", small.SUMMARIES)
def test_a_lost_summary_is_made_again(data, finished, whole, name):
    (finished / name).unlink()
    assert cli.main(small.command(data, finished, *FEW)) == 0
    assert (finished / name).read_bytes() == (whole / name).read_bytes()


CHANGES = {
    "seed": (("--seed", "1"), "seed was 0, now it is 1"),
    "methods": (("--methods", "gradient"), "methods guided_backprop was guided_backprop, now it"),
    "metrics": (("--metrics", "sensitivity_max"), "metrics sensitivity_max was missing, now"),
    "samples": (("--samples", "3"), r"metrics infidelity was .*samples=2.*n_perturb_samples=3"),
    "batch size": (("--batch-size", "3"), "batch_size was 2, now it is 3"),
    "limit": (("--limit", "11"), "images was 12, now it is 11"),
    "target": (("--target", "prediction"), "target was label, now it is prediction"),
    "layer": (("--layer", "second"), "layer was missing, now it is second"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_setting_is_refused_by_its_name(data, finished, capsys, change):
    arguments, message = CHANGES[change]
    before = contents(finished)
    capsys.readouterr()
    assert cli.main(small.command(data, finished, *FEW, *arguments)) == 2
    refused(capsys, message)
    assert contents(finished) == before


def refused(capsys, message):
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert re_search(message, line), line
    assert "Choose another folder, or empty this one" in line


def test_other_weights_are_refused(data, finished, capsys, monkeypatch):
    monkeypatch.setenv("SMALL_SEED", "4")
    before = contents(finished)
    assert cli.main(small.command(data, finished, *FEW)) == 2
    refused(capsys, "model digest was .* now it is ")
    assert contents(finished) == before
    assert cli.main(small.command(data, finished, *FEW, model="small_benchmark:gelu")) == 2
    refused(capsys, "model name was small_benchmark:cnn, now it is small_benchmark:gelu")
