"""A benchmark that is killed, meets a full disk or is asked again ends with the rows it should."""

import functools
import os
import random
import re
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import small_benchmark as small
import torch
from captum.attr import IntegratedGradients, Saliency
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation._journal import Journal, start_run
from captum_guided_ext.evaluation._records import BatchRecord, ScoredImage, SkippedImage
from captum_guided_ext.evaluation._rows import ScoreRow

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
    for name in small.SUMMARIES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
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
    records = [
        BatchRecord(0, (ScoreRow(0, "é", "m", 1.5),), {0: ScoredImage("a", 3, None)}),
        BatchRecord(1, (ScoreRow(1, "x\n", "m", 2e-7),), skipped=(SkippedImage(2, "b", "no"),)),
    ]
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


@pytest.mark.parametrize("name", small.SUMMARIES)
def test_a_lost_summary_is_made_again(data, finished, whole, name):
    (finished / name).unlink()
    assert cli.main(small.command(data, finished, *FEW)) == 0
    assert (finished / name).read_bytes() == (whole / name).read_bytes()


CHANGES = {
    "seed": (("--seed", "1"), "seed was 0, now it is 1"),
    "methods": (("--methods", "gradient"), "methods guided_backprop was .*, now it is missing"),
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
    line = small.complaint(capsys.readouterr().err)
    assert re.search(message, line), line
    assert "Choose another folder, or empty this one" in line


def test_other_weights_are_refused(data, finished, capsys, monkeypatch):
    monkeypatch.setenv("SMALL_SEED", "4")
    before = contents(finished)
    assert cli.main(small.command(data, finished, *FEW)) == 2
    refused(capsys, "model digest was .* now it is ")
    assert contents(finished) == before
    assert cli.main(small.command(data, finished, *FEW, model="small_benchmark:gelu")) == 2
    refused(capsys, "model name was small_benchmark:cnn, now it is small_benchmark:gelu")


METHODS = {
    "rule": lambda net, one: cg.with_rule(Saliency(net), cg.GUIDED if one else cg.DECONVNET),
    "layer": lambda net, one: cg.GuidedGradCam(net, net.first if one else net.second),
    "factor": lambda net, one: IntegratedGradients(net, multiply_by_inputs=one),
    "baseline": lambda net, one: functools.partial(
        IntegratedGradients(net).attribute, baselines=torch.full((1, 3, 8, 8), float(one))
    ),
}


@pytest.mark.parametrize("change", METHODS)
def test_a_method_with_other_settings_is_refused(tmp_path, change):
    network = small.cnn()

    def run(*, one):
        methods = {"mine": METHODS[change](network, one)}
        return cg.benchmark(
            network, small.dataset(2), output=tmp_path, methods=methods, show_progress=False,
            metrics=["sensitivity_max"], n_perturb_samples=1,
        )  # fmt: skip

    rows = run(one=True).rows
    assert run(one=True).rows == rows
    with pytest.raises(DataError, match=r"methods mine was .*, now it is "):
        run(one=False)


def test_other_pictures_are_refused(data, finished, capsys):
    other = small.save_pictures(finished.parent / "pictures", 12, labels=("0", "1", "2"))
    assert cli.main(small.command(other, finished, *FEW)) == 2
    refused(capsys, "data digest .*was .*, now it is ")


def test_other_masks_are_refused(data, tmp_path, capsys):
    for name, value in (("none", 0), ("all", 255)):
        for picture in data.rglob("*.png"):
            mask = tmp_path / name / picture.relative_to(data)
            mask.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), value).save(mask)
    arguments = small.command(data, tmp_path / "run", "--metrics", "relevance_mass")
    assert cli.main([*arguments, "--masks", str(tmp_path / "none")]) == 0
    before = contents(tmp_path / "run")
    capsys.readouterr()
    # Every score would be 1 instead of 0.
    assert cli.main([*arguments, "--masks", str(tmp_path / "all")]) == 2
    refused(capsys, "data digest .*was .*, now it is ")
    assert contents(tmp_path / "run") == before


def test_other_digits_under_the_same_names_are_refused(tmp_path, capsys):
    noise = np.random.default_rng(1)
    for folder in ("mine", "yours"):
        (tmp_path / folder).mkdir()
        pixels = noise.integers(0, 256, (4, 8, 8), dtype=np.uint8)
        header = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4, "big") for n in pixels.shape)
        (tmp_path / folder / "images").write_bytes(header + pixels.tobytes())
        labels = bytes([0, 0, 8, 1]) + (4).to_bytes(4, "big") + bytes([0, 1, 2, 3])
        (tmp_path / folder / "labels").write_bytes(labels)

    def run(folder):
        data = f"idx:{tmp_path / folder / 'images'},{tmp_path / folder / 'labels'}"
        return cli.main(small.command(data, tmp_path / "run", *FEW, model="small_benchmark:grey"))

    assert run("mine") == 0
    capsys.readouterr()
    assert run("yours") == 2
    refused(capsys, "data digest .*was .*, now it is ")


def test_rows_or_settings_that_cannot_be_read_are_refused(data, finished, capsys):
    def refusal():
        capsys.readouterr()
        assert cli.main(small.command(data, finished, *FEW)) == 2
        return small.complaint(capsys.readouterr().err)

    rows, settings = finished / "rows-0.jsonl", finished / "run.json"
    written, wanted = rows.read_bytes(), settings.read_bytes()
    settings.write_bytes(wanted[:50])
    assert re.search(r"run\.json cannot be read .*: empty the folder", refusal())
    settings.unlink()
    assert re.search(r"holds rows without their settings \(run\.json\): empty it", refusal())
    settings.write_bytes(wanted)
    first = written.index(b"\n")
    rows.write_bytes(bytes(first) + written[first:])  # as a power failure may leave a file
    assert re.search(r"rows-0\.jsonl cannot be read .*: empty the folder", refusal())
    assert (finished / "rows-0.jsonl").read_bytes()[first:] == written[first:]


def no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_rows(data, whole, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "run"
    real, room = os.write, 2500

    def write(descriptor, content):  # takes what there is room for, as the system does
        nonlocal room
        if room == 0:
            no_room()
        taken = content[:room]
        room -= len(taken)
        return real(descriptor, taken)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        assert cli.main(small.command(data, folder, *FEW)) == 2
    line = small.complaint(capsys.readouterr().err)
    assert re.search("No space left on device.*rows are kept; make room and run the same", line)
    assert (folder / "rows-0.jsonl").stat().st_size == 2500
    assert not (folder / "scores.csv").exists()
    assert cli.main(small.command(data, folder, *FEW)) == 0
    assert_as_uninterrupted(folder, whole)


def test_a_full_disk_leaves_no_half_written_file(data, finished, whole, capsys, monkeypatch):
    before = contents(finished)
    (finished / "summary.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_room)
        assert cli.main(small.command(data, finished, *FEW)) == 2
    assert re.search(
        "No space left on device.*rows are kept", small.complaint(capsys.readouterr().err)
    )
    before.pop("summary.json")
    assert contents(finished) == before
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_room)
        assert cli.main(small.command(data, finished.parent / "new", *FEW)) == 2
    assert "No space left on device" in small.complaint(capsys.readouterr().err)
    assert list((finished.parent / "new").iterdir()) == []
    assert cli.main(small.command(data, finished, *FEW)) == 0
    assert_as_uninterrupted(finished, whole)
