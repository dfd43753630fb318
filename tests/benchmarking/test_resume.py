"""A benchmark that is killed, meets a full disk or is asked again ends with the rows it should."""

import errno
import functools
import json
import os
import random
import re
import sys
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_benchmark as small
import torch
from captum.attr import IntegratedGradients
from picture_files import save, write_idx
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.benchmarking._journal import (
    Journal,
    damaged_lines,
    digest_of_settings,
    read_records,
    start_run,
)
from captum_guided_ext.benchmarking._lines import line_of, run_of
from captum_guided_ext.benchmarking._records import (
    BatchRecord,
    ScoreColumns,
    ScoredImage,
    SkippedImage,
)
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation import CAPTUM_METHODS
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
    assert report(folder) == report(whole)
    for name in set(small.SUMMARIES) - {"summary.json"}:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert {path.name for path in folder.iterdir()} == {path.name for path in whole.iterdir()}


def report(folder):
    """Return what a run says of itself, but for how its data was looked at when it went on."""
    said = json.loads((folder / "summary.json").read_text())
    said["settings"].pop("data checked", None)
    return said


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
        # three methods and three floors by two metrics, and infidelity's best constant
        assert len(set(scored)) == len(scored) == 12 * (6 * 2 + 1)
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
    with closing(Journal(tmp_path, 0, SETTINGS)) as journal:
        for record in records:
            journal.append(record)
    (file,) = tmp_path.glob("rows-*")
    written = file.read_bytes()
    first = written.index(b"\n") + 1
    assert start_run(tmp_path, SETTINGS) == dict(enumerate(records))
    for cut in range(first, len(written)):
        file.write_bytes(written[:cut])
        assert start_run(tmp_path, SETTINGS) == {0: records[0]}
        with closing(Journal(tmp_path, 0, SETTINGS)) as journal:
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
    rows = cg.benchmark(network, data, **options).rows
    assert network.examples > 0
    first = cg.benchmark(network, data, **options)
    assert first.rows == rows
    assert first.settings["data checked"] == "all 7 images by content"
    before = small.contents(folder)
    network.examples = 0
    for name in small.SUMMARIES:
        (folder / name).unlink()
        assert cg.benchmark(network, data, **options) == first
        assert small.contents(folder) == before
    assert network.examples == 0


CHANGES = {
    "seed": (("--seed", "1"), "seed was 0, now it is 1"),
    "methods": (("--methods", "gradient"), "methods guided_backprop was .*, now it is missing"),
    "many": (("--methods", ",".join(CAPTUM_METHODS)), r"deep_lift was missing.*; and \d more\. Ch"),
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
    words = "model name was relu, now it is gelu"
    refused(finished, command(finished, model="small_benchmark:gelu_net"), words, CHOOSE)


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


def test_a_method_must_have_a_text_as_its_name(tmp_path):
    with pytest.raises(TypeError, match=r"1 is no name of a method: call it by a text"):
        cg.benchmark(small.cnn(), small.dataset(2), output=tmp_path, methods={1: "gradient"})


class Named:
    """Images whose names have a beginning."""

    def __init__(self, beginning):
        self.images, self.beginning = small.dataset(2), beginning

    def __len__(self):
        return len(self.images)

    def __getitem__(self, image):
        return self.images[image]

    def name(self, image):
        return f"{self.beginning}{image}"


def test_rows_that_say_something_else_of_their_images_are_written_again(tmp_path):
    for beginning in ("a", "b"):
        cg.benchmark(
            small.cnn(), Named(beginning), output=tmp_path, methods=["gradient"],
            metrics=["sensitivity_max"], n_perturb_samples=1, show_progress=False,
        )  # fmt: skip
        names = {row["name"] for row in small.table((tmp_path / "scores.csv").read_text())}
        assert names == {f"{beginning}0", f"{beginning}1"}
        (tmp_path / "rows-0.jsonl").unlink()


OTHER_DATA = "data digest .*was .*, now it is "


def test_other_pictures_are_refused(finished, refused):
    other = small.save_pictures(finished.parent / "pictures", 12, labels=("0", "1", "2"))
    refused(finished, small.command(other, finished, *small.FEW), OTHER_DATA, CHOOSE)


def test_other_masks_are_refused(data, tmp_path, refused):
    one = Image.new("L", (8, 8))
    one.putpixel((4, 4), 255)
    for name, mask in (("one", one), ("all", Image.new("L", (8, 8), 255))):
        for picture in data.rglob("*.png"):
            save(tmp_path / name / picture.relative_to(data), mask)
    arguments = small.command(data, tmp_path / "run", "--metrics", "relevance_mass")
    assert cli.main([*arguments, "--masks", str(tmp_path / "one")]) == 0
    # Every score would be 1.
    words = r"image 0 \(0/0\.png\) has changed since it was scored: its label or mask is another"
    refused(tmp_path / "run", [*arguments, "--masks", str(tmp_path / "all")], words)


def test_other_digits_under_the_same_names_are_refused(tmp_path, refused):
    noise = np.random.default_rng(1)

    def arguments():
        data = write_idx(tmp_path, noise.integers(0, 256, (4, 8, 8)), np.arange(4))
        return small.command(data, tmp_path / "run", *small.FEW, model="small_benchmark:grey_net")

    assert cli.main(arguments()) == 0
    refused(tmp_path / "run", arguments(), OTHER_DATA, CHOOSE)


def flip(content, bit):
    """Return bytes with one bit changed."""
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def written_rows(folder, count=6):
    """Write a run of some batches, one image each, and return the records."""
    assert start_run(folder, SETTINGS) == {}
    records = {
        batch: BatchRecord.of(
            batch, [ScoreRow(batch, "é", "m", 1.5 + batch)], {batch: ScoredImage("a", 3, None)}
        )
        for batch in range(count)
    }
    with closing(Journal(folder, 0, SETTINGS)) as journal:
        for record in records.values():
            journal.append(record)
    return records


def test_a_flipped_bit_of_the_rows_is_never_read(tmp_path):
    records = written_rows(tmp_path)
    rows, aside = tmp_path / "rows-0.jsonl", tmp_path / "damaged-0.jsonl"
    written = rows.read_bytes()
    ends = [place for place, byte in enumerate(written) if byte == ord("\n")]
    draw = random.Random(7)
    bits = draw.sample(range(8 * len(written)), 200) + [8 * end + draw.randrange(8) for end in ends]
    for bit in bits:
        rows.write_bytes(flip(written, bit))
        found = start_run(tmp_path, SETTINGS)
        assert found.items() <= records.items()
        in_newline = bit // 8 in ends[:-1]
        assert len(found) == len(records) - 1 - in_newline
        with closing(Journal(tmp_path, 0, SETTINGS)) as journal:
            assert start_run(tmp_path, SETTINGS) == found
            for batch in records.keys() - found.keys():
                journal.append(records[batch])
        assert start_run(tmp_path, SETTINGS) == records
        # A changed bit may be another line's end; then both halves are damaged.
        assert damaged_lines(tmp_path) in (1, 2)
        aside.unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"run.json", "rows-0.jsonl"}


def test_a_flipped_bit_of_the_settings_is_noticed(tmp_path):
    records = written_rows(tmp_path)
    file = tmp_path / "run.json"
    written = file.read_bytes()
    for bit in random.Random(8).sample(range(8 * len(written)), 60):
        file.write_bytes(flip(written, bit))
        # The rows say whose they are, and the settings are written anew, or have not changed.
        assert start_run(tmp_path, SETTINGS) == records
        assert read_records(tmp_path)[0] == SETTINGS
        file.write_bytes(flip(written, bit))
        with pytest.raises(DataError, match=r"holds rows of other settings(: seed was 1|, and)"):
            start_run(tmp_path, {"seed": 2})


def test_damaged_rows_are_computed_again_and_said(command, finished, whole, tmp_path):
    rows = finished / "rows-0.jsonl"
    lines = rows.read_bytes().splitlines(keepends=True)
    (finished / "rows-3.jsonl").write_bytes(b"a damaged line of a fourth process\n")
    first, half = len(lines[0]), len(lines[0]) + len(lines[1]) // 2
    rows.write_bytes(b"".join([bytes(first), flip(b"".join(lines), 8 * half)[first:]]))
    assert cli.main(command(finished)) == 0
    assert (finished / "scores.csv").read_bytes() == (whole / "scores.csv").read_bytes()
    assert sorted(rows.read_bytes().splitlines(keepends=True)) == sorted(lines)
    assert len(lines) == 6
    said = json.loads((finished / "summary.json").read_text())["notes"]
    assert [count for note, count in said.items() if "computed again" in note] == [2]
    assert (finished / "damaged-3.jsonl").exists()


def test_settings_that_are_lost_are_written_anew_or_refused(command, finished, refused):
    arguments, settings = command(finished), finished / "run.json"
    wanted = settings.read_bytes()
    for damage in (settings.unlink, lambda: settings.write_bytes(wanted[:50])):
        damage()
        other = command(finished, "--seed", "1")
        refused(finished, other, r"rows of other settings, and run\.json.*lost or damaged", CHOOSE)
        with pytest.raises(DataError, match=r"no run: there is no|run\.json is damaged: run the"):
            read_records(finished)
        assert cli.main(arguments) == 0
        assert settings.read_bytes() == wanted


def test_rows_of_0_1_0_are_refused_by_name(finished, refused, command):
    old = b'{"batch": 0, "rows": [], "images": {}, "skipped": [], "notes": []}\n'
    (finished / "rows-0.jsonl").write_bytes(old)
    refused(finished, command(finished), r"rows that version 0\.1\.0 wrote", CHOOSE)
    (finished / "run.json").write_text('{"seed": 0, "batch_size": 2}')
    refused(finished, command(finished), r"rows that version 0\.1\.0 wrote", CHOOSE)


def test_rows_of_another_run_are_not_mixed_in(tmp_path):
    records = written_rows(tmp_path / "one")
    start_run(tmp_path / "other", {"seed": 2})
    with closing(Journal(tmp_path / "other", 1, {"seed": 2})) as journal:
        journal.append(records[0])
    copied = (tmp_path / "other" / "rows-1.jsonl").read_bytes()
    (tmp_path / "one" / "rows-1.jsonl").write_bytes(copied)
    (tmp_path / "one" / "rows-0.jsonl").write_bytes(b"")
    assert list(read_records(tmp_path / "one")[1]) == []
    with closing(Journal(tmp_path / "one", 1, SETTINGS)):
        assert (tmp_path / "one" / "damaged-1.jsonl").read_bytes() == copied
    assert (tmp_path / "one" / "rows-1.jsonl").read_bytes() == b""


def test_rows_of_another_run_are_refused_and_not_set_aside(tmp_path):
    """Two runs began at once, and the settings are the other one's."""
    written_rows(tmp_path)
    rows = (tmp_path / "rows-0.jsonl").read_bytes()
    start_run(tmp_path / "other", {"seed": 2})
    (tmp_path / "other" / "run.json").replace(tmp_path / "run.json")
    with pytest.raises(DataError, match=rf"rows of other settings than run\.json. {CHOOSE}"):
        start_run(tmp_path, {"seed": 2})
    assert (tmp_path / "rows-0.jsonl").read_bytes() == rows


def test_a_run_that_failed_before_its_first_row_locks_nothing(tmp_path):
    start_run(tmp_path, SETTINGS)
    journal = Journal(tmp_path, 0, SETTINGS)
    with pytest.raises(DataError, match="another process is writing"):
        start_run(tmp_path, {"seed": 2})
    journal.close()
    assert start_run(tmp_path, {"seed": 2}) == {}
    assert read_records(tmp_path)[0] == {"seed": 2}


def is_open_for_the_same_file(one, other):
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # closed
        return False


def test_windows_locks_a_byte_behind_all_lines(tmp_path, monkeypatch):
    """By a stand-in for its locks, which belong to an open file, and end with it."""
    holders = set()

    def locking(descriptor, mode, size):
        assert (mode, size) == (2, 1)
        assert os.lseek(descriptor, 0, os.SEEK_CUR) > os.fstat(descriptor).st_size + 10**9
        if any(is_open_for_the_same_file(one, descriptor) for one in holders - {descriptor}):
            raise PermissionError(errno.EACCES, "Permission denied")
        holders.add(descriptor)

    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(sys, "platform", "win32")
    written_rows(tmp_path)
    journal = Journal(tmp_path, 0, SETTINGS)
    with pytest.raises(DataError, match="another process is writing"):
        Journal(tmp_path, 0, SETTINGS)
    journal.close()
    assert len(list(read_records(tmp_path)[1])) > 0
    rows = (tmp_path / "rows-0.jsonl").read_bytes()
    (tmp_path / "rows-0.jsonl").write_bytes(rows[:40] + b"?" + rows[41:])

    def refuse(path, target):
        raise PermissionError(errno.EACCES, "Permission denied")  # as of a file that is open

    monkeypatch.setattr(Path, "replace", refuse)
    Journal(tmp_path, 0, SETTINGS).close()
    assert (tmp_path / "rows-0.jsonl").read_bytes() == rows[rows.index(b"\n") + 1 :]
    assert damaged_lines(tmp_path) == 1
    assert holders


def test_a_finished_run_is_read_where_nothing_can_be_written(
    command, finished, capsys, monkeypatch
):
    assert cli.main(command(finished)) == 0
    table, expected = capsys.readouterr().out, small.contents(finished)

    def refuse(path, flags, *more, **options):
        assert flags & os.O_ACCMODE == os.O_RDONLY, path
        return real(path, flags, *more, **options)

    real = os.open
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    assert cli.main(command(finished)) == 0
    assert capsys.readouterr().out == table
    assert small.contents(finished) == expected


def test_a_hundred_thousand_images_are_read_in_seconds(tmp_path):
    start_run(tmp_path, SETTINGS)
    draw = random.Random(1)
    columns = [draw.random() for _ in range(8)]
    scores = {m: {n: ScoreColumns(columns, columns, None, None, {}) for n in "abcdef"}
              for m in "xyz"}  # fmt: skip
    image = ScoredImage("class/name.png", 3, 0.5, "0" * 16, "1234:1600000000000000000")
    lines = [line_of(BatchRecord(b, {8 * b + i: image for i in range(8)}, scores),
                     run_of(digest_of_settings(SETTINGS))) for b in range(1250)]  # fmt: skip
    (tmp_path / "rows-0.jsonl").write_bytes(b"".join(lines))
    started = time.process_time()
    assert sum(len(record.images) for record in read_records(tmp_path)[1]) == 10_000
    assert time.process_time() - started < 0.5


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
