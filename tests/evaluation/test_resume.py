"""A benchmark that is killed, meets a full disk or is asked again ends with the rows it should."""

import functools
import os
import random
import re
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import small_benchmark as small
import torch
from captum.attr import IntegratedGradients
from picture_files import save, write_idx
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation._journal import Journal, start_run
from captum_guided_ext.evaluation._records import BatchRecord, ScoredImage, SkippedImage
from captum_guided_ext.evaluation._rows import ScoreRow

SETTINGS = {"seed": 1}
CHOOSE = "Choose another folder, or empty this one"


@pytest.fixture
def refused(capsys):
    """Hold that a command is a mistake, said in one line, and leaves the folder as it was."""

    def hold(folder, arguments, *messages):
        before = small.contents(folder)
        capsys.readouterr()
        assert cli.main(arguments) == 2
        line = small.complaint(capsys.readouterr().err)
        for message in messages:
            assert re.search(message, line), line
        assert small.contents(folder) == before

    return hold


def assert_as_uninterrupted(folder, whole):
    for name in small.SUMMARIES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def test_killed_at_random_moments(command, whole, tmp_path):
    draw = random.Random(20)
    arguments = command(tmp_path / "timed")
    small.codes([small.start(command(tmp_path / "first"))])  # imports
    started = time.monotonic()
    assert small.codes([small.start(arguments, SMALL_SLEEP=0.02)]) == [0]
    duration = time.monotonic() - started
    kills, runs = 0, 0
    while kills < 9:
        folder, code = tmp_path / f"run-{runs}", None
        arguments, runs = command(folder), runs + 1
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
        assert len(set(scored)) == len(scored) == 12 * 3 * 2
        assert {int(image) for image, *_ in scored} == set(range(12))


def test_a_command_killed_in_the_middle_goes_on(command, whole, tmp_path):
    folder, rows = tmp_path / "run", tmp_path / "run" / "rows-0.jsonl"
    process = small.start(command(folder), SMALL_SLEEP=0.1)
    while process.is_alive() and not (rows.exists() and b"\n" in rows.read_bytes()):
        time.sleep(0.02)
    process.kill()
    assert small.codes([process]) == [-9]
    kept = rows.read_bytes()
    assert 1 <= kept.count(b"\n") < 6
    assert not (folder / "scores.csv").exists()
    assert cli.main(command(folder)) == 0
    assert rows.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert_as_uninterrupted(folder, whole)


def test_a_last_line_cut_anywhere_is_dropped(tmp_path):
    records = [
        BatchRecord.of(0, [ScoreRow(0, "é", "m", 1.5)], {0: ScoredImage("a", 3, None)}),
        BatchRecord(1, skipped=(SkippedImage(2, "b", "no\n"),)),
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


def test_rows_cut_at_any_byte_are_computed_again(command, finished, whole):
    rows = finished / "rows-0.jsonl"
    written = rows.read_bytes()
    ends = [place for place, byte in enumerate(written) if byte == ord("\n")]
    draw = random.Random(3)
    for cut in (0, ends[2], ends[2] + 1, len(written) - 1, *draw.sample(range(len(written)), 4)):
        rows.write_bytes(written[:cut])
        (finished / "scores.csv").unlink()
        (finished / ".summary.csv.77.part").write_bytes(b"half")
        assert cli.main(command(finished)) == 0
        assert_as_uninterrupted(finished, whole)
        assert rows.read_bytes() == written


def test_what_a_kill_before_the_settings_leaves_behind_is_removed(command, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".run.json.77.part").write_bytes(b'{"data"')
    assert cli.main(command(folder)) == 0
    assert_as_uninterrupted(folder, whole)


def test_a_finished_run_computes_nothing_and_makes_a_lost_file_again(tmp_path):
    network, data, folder = small.cnn(), small.dataset(), tmp_path / "run"
    options = {"output": folder, "show_progress": False, "n_perturb_samples": 2}
    first = cg.benchmark(network, data, **options)
    before = small.contents(folder)
    assert network.examples > 0
    network.examples = 0
    for name in small.SUMMARIES:
        (folder / name).unlink()
        assert cg.benchmark(network, data, **options) == first
        assert small.contents(folder) == before
    assert network.examples == 0


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
def test_a_changed_setting_is_refused_by_its_name(command, finished, refused, change):
    arguments, message = CHANGES[change]
    refused(finished, command(finished, *arguments), message, CHOOSE)


def test_other_weights_are_refused(command, finished, refused, monkeypatch):
    monkeypatch.setenv("SMALL_SEED", "4")
    refused(finished, command(finished), "model digest was .* now it is ", CHOOSE)
    words = "model name was small_benchmark:cnn, now it is small_benchmark:gelu"
    refused(finished, command(finished, model="small_benchmark:gelu"), words, CHOOSE)


def test_a_method_with_other_settings_is_refused(tmp_path):
    network = small.cnn()

    def run(baseline):
        baselines = torch.full((1, 3, 8, 8), baseline)
        mine = functools.partial(IntegratedGradients(network).attribute, baselines=baselines)
        return cg.benchmark(
            network, small.dataset(2), output=tmp_path, methods={"mine": mine},
            metrics=["sensitivity_max"], n_perturb_samples=1, show_progress=False,
        )  # fmt: skip

    rows = run(1.0).rows
    assert run(1.0).rows == rows
    with pytest.raises(DataError, match=r"methods mine was .*, now it is "):
        run(0.0)


OTHER_DATA = "data digest .*was .*, now it is "


def test_other_pictures_are_refused(finished, refused):
    other = small.save_pictures(finished.parent / "pictures", 12, labels=("0", "1", "2"))
    refused(finished, small.command(other, finished, *small.FEW), OTHER_DATA, CHOOSE)


def test_other_masks_are_refused(data, tmp_path, refused):
    for name, value in (("none", 0), ("all", 255)):
        for picture in data.rglob("*.png"):
            save(tmp_path / name / picture.relative_to(data), Image.new("L", (8, 8), value))
    arguments = small.command(data, tmp_path / "run", "--metrics", "relevance_mass")
    assert cli.main([*arguments, "--masks", str(tmp_path / "none")]) == 0
    # Every score would be 1 instead of 0.
    refused(tmp_path / "run", [*arguments, "--masks", str(tmp_path / "all")], OTHER_DATA, CHOOSE)


def test_other_digits_under_the_same_names_are_refused(tmp_path, refused):
    noise = np.random.default_rng(1)

    def arguments():
        data = write_idx(tmp_path, noise.integers(0, 256, (4, 8, 8)), np.arange(4))
        return small.command(data, tmp_path / "run", *small.FEW, model="small_benchmark:grey")

    assert cli.main(arguments()) == 0
    refused(tmp_path / "run", arguments(), OTHER_DATA, CHOOSE)


def test_rows_or_settings_that_cannot_be_read_are_refused(command, finished, refused):
    arguments = command(finished)
    rows, settings = finished / "rows-0.jsonl", finished / "run.json"
    written, wanted = rows.read_bytes(), settings.read_bytes()
    settings.write_bytes(wanted[:50])
    refused(finished, arguments, r"run\.json cannot be read .*: empty the folder")
    settings.unlink()
    refused(finished, arguments, r"holds rows without their settings \(run\.json\): empty it")
    settings.write_bytes(wanted)
    first = written.index(b"\n")
    rows.write_bytes(bytes(first) + written[first:])  # as a power failure may leave a file
    refused(finished, arguments, r"rows-0\.jsonl cannot be read .*: empty the folder")


def no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_keeps_the_rows(command, whole, tmp_path, capsys, monkeypatch):
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
        assert cli.main(command(folder)) == 2
    line = small.complaint(capsys.readouterr().err)
    assert re.search("No space left on device.*rows are kept; make room and run the same", line)
    assert (folder / "rows-0.jsonl").stat().st_size == 2500
    assert not (folder / "scores.csv").exists()
    assert cli.main(command(folder)) == 0
    assert_as_uninterrupted(folder, whole)


def test_a_full_disk_leaves_no_half_written_file(command, finished, whole, refused, monkeypatch):
    arguments, new = command(finished), finished.parent / "new"
    (finished / "summary.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_room)
        refused(finished, arguments, "No space left on device.*rows are kept")
        new.mkdir()
        refused(new, command(new), "No space left on device")
    assert cli.main(arguments) == 0
    assert_as_uninterrupted(finished, whole)
