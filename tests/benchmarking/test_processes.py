"""Two processes give the rows of one, and end together where one of them fails."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing

import pytest
import small_benchmark as small

from captum_guided_ext import cli
from captum_guided_ext.benchmarking._journal import Journal, read_records
from captum_guided_ext.errors import DataError


def torchrun(*arguments, **environment):
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        *arguments,
    ]  # fmt: skip
    path = os.pathsep.join([str(small.HELPERS), os.environ.get("PYTHONPATH", "")])
    inherited = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    with subprocess.Popen(
        command, env=inherited | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            out, err = process.communicate(timeout=150)
        except subprocess.TimeoutExpired:
            process.terminate()  # and it ends those that it started
            raise AssertionError(f"it hangs; {process.communicate()}") from None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def rows(folder):
    """Return how many batches each process has finished."""
    return [path.read_bytes().count(b"\n") for path in sorted(folder.glob("rows-*"))]


def settings_of(folder):
    return read_records(folder)[0]


def complaint(folder, rank):
    """Return the one line that a process of ``start_many`` said."""
    return small.complaint((folder / f"errors-{rank}").read_text())


def assert_as_alone(folder, whole):
    for name in ("scores.csv", "summary.csv"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not list(folder.glob(".*"))


def test_methods_that_draw_globally_give_the_rows_of_one_process(tmp_path):
    small.drawing(tmp_path / "alone")
    # The same run, of which one process had finished two batches of five.
    shutil.copytree(tmp_path / "alone", tmp_path / "begun")
    kept = (tmp_path / "alone" / "rows-0.jsonl").read_bytes().splitlines(keepends=True)[:2]
    (tmp_path / "begun" / "rows-0.jsonl").write_bytes(b"".join(kept))
    for name in small.SUMMARIES:
        (tmp_path / "begun" / name).unlink()
    folders = [tmp_path / "new", tmp_path / "begun"]
    both = functools.partial(small.drawings_in_a_group_of_ones_own, folders)
    assert small.codes(small.start_many(2, both, tmp_path)) == [0, 0]
    assert rows(tmp_path / "new") == [3, 2]
    assert rows(tmp_path / "begun") == [4, 1]
    for name in ("new", "begun"):
        assert_as_alone(tmp_path / name, tmp_path / "alone")


def test_after_a_death_the_same_command_finishes(command, whole, tmp_path):
    folder, flag = tmp_path / "run", str(tmp_path / "flag")
    died = torchrun(
        "-m", "captum_guided_ext", *command(folder), SMALL_FLAG=flag, SMALL_SLEEP="0.05"
    )
    assert died.returncode != 0
    assert died.stderr.count("another process of this run has died") == 1
    assert "run the same command again to go on" in died.stderr
    assert "Signal 9 (SIGKILL)" in died.stderr  # torchrun's own words of the one that died
    assert "captum_guided_ext/" not in died.stderr  # no traceback
    assert rows(folder)[1] == 1
    assert not (folder / "scores.csv").exists()
    shutil.copytree(folder, tmp_path / "by one")
    assert cli.main(command(tmp_path / "by one")) == 0
    assert_as_alone(tmp_path / "by one", whole)
    assert rows(tmp_path / "by one")[1] == 1
    again = small.start_many(2, command(folder), tmp_path, SMALL_FLAG=flag)
    assert small.codes(again) == [0, 0]
    assert rows(folder)[1] > 1
    assert_as_alone(folder, whole)


def test_a_changed_setting_ends_each_process_with_one_message(command, finished, tmp_path):
    before = small.contents(finished)
    started = time.monotonic()
    processes = small.start_many(2, command(finished, "--seed", 1), tmp_path)
    assert small.codes(processes) == [2, 1]
    assert time.monotonic() - started < 30
    assert "seed was 0, now it is 1" in complaint(tmp_path, 0)
    assert "seed was 0" not in (tmp_path / "errors-1").read_text()
    assert small.contents(finished) == before


TWICE = """
import os, sys
from captum_guided_ext import cli

first, second, changed = ([*sys.argv[1:], *more] for more in (
    ["--output", "a"], ["--output", "b"], ["--output", "a", "--seed", "1"],
))
codes = "".join(f" {cli.main(one)}" for one in (first, second, changed))
sys.stdout.write(f"process {os.environ['RANK']}{codes}\\n")  # at once: both of them write
"""


def test_a_script_may_benchmark_again(command, whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice.py").write_text(TWICE)
    done = torchrun("twice.py", *command(tmp_path))
    assert sorted(re.findall("^process .*", done.stdout, re.MULTILINE)) == [
        "process 0 0 0 2",
        "process 1 0 0 1",
    ], done.stderr
    assert done.stdout.count("infidelity (lower is better)") == 2
    assert done.stderr.count("seed was 0, now it is 1") == 1
    for name in ("a", "b"):
        assert_as_alone(tmp_path / name, whole)


def test_the_first_process_ends_when_another_is_killed(command, tmp_path):
    arguments, flag = command(tmp_path / "run"), tmp_path / "flag"
    processes = small.start_many(2, arguments, tmp_path, SMALL_FLAG=flag)
    assert small.codes(processes) == [1, -signal.SIGKILL]
    assert "another process of this run has died" in complaint(tmp_path, 0)


def test_all_processes_end_when_one_is_told_to(command, tmp_path):
    arguments = command(tmp_path / "run")
    processes = small.start_many(2, arguments, tmp_path, SMALL_SLEEP=0.2)
    while processes[0].is_alive() and sum(rows(tmp_path / "run")) == 0:
        time.sleep(0.02)
    processes[1].terminate()
    processes[0].terminate()
    assert small.codes(processes) == [1, 1]
    assert 1 <= sum(rows(tmp_path / "run")) < 6


def test_a_mistake_that_another_process_finds_is_said_by_that_one(tmp_path):
    data = small.save_pictures(tmp_path / "pictures", 4, labels=("0", "9"))
    arguments = small.command(data, tmp_path / "run", *small.FEW, "--strict")
    processes = small.start_many(2, arguments, tmp_path)
    assert small.codes(processes) == [1, 2]
    assert re.search(r"9/1\.png.*target 9 is out of range", complaint(tmp_path, 1))
    assert "another process of this run has died" in complaint(tmp_path, 0)
    assert rows(tmp_path / "run") == [1, 0]


def test_machines_that_share_no_folder(command, whole, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    commands = [command(first), command(second)]
    assert small.codes(small.start_machines(commands, tmp_path)) == [0, 0]
    assert_as_alone(first, whole)
    settings = (first / "run.json").read_bytes()
    assert settings == (second / "run.json").read_bytes()
    kept = (second / "rows-1.jsonl").read_bytes()
    assert {path.name for path in second.iterdir()} == {"run.json", "rows-1.jsonl"}
    assert (rows(first), rows(second)) == ([6], [3])
    # What is left of the run is what the second machine has; nothing of it is computed again.
    shutil.rmtree(first)
    assert small.codes(small.start_machines(commands, tmp_path)) == [0, 0]
    assert_as_alone(first, whole)
    assert (second / "rows-1.jsonl").read_bytes().startswith(kept)
    assert sum(rows(second)) == 3 + 1  # it did every other one of the three that were left
    assert rows(first) == [6]
    # The first machine's folder is whole.
    before = small.contents(first)
    assert cli.main(command(first)) == 0
    assert (first / "rows-0.jsonl").read_bytes() == before["rows-0.jsonl"]
    assert_as_alone(first, whole)


def test_a_machine_whose_folder_holds_another_run_says_so(command, finished, tmp_path):
    commands = [command(tmp_path / "first", "--seed", 1), command(finished, "--seed", 1)]
    assert small.codes(small.start_machines(commands, tmp_path)) == [1, 2]
    assert "seed was 0, now it is 1" in complaint(tmp_path, 1)
    assert "a process on another machine could not begin" in complaint(tmp_path, 0)


def test_a_part_that_is_being_written_ends_both(command, finished, tmp_path):
    with closing(Journal(finished, 1, settings_of(finished))):
        processes = small.start_many(2, command(finished), tmp_path)
        assert small.codes(processes) == [1, 2]
    assert re.search(r"another process is writing to .*rows-1\.jsonl", complaint(tmp_path, 1))


def test_more_processes_than_batches(command, tmp_path):
    assert cli.main(command(tmp_path / "alone", "--limit", 4)) == 0
    processes = small.start_many(3, command(tmp_path / "three", "--limit", 4), tmp_path)
    assert small.codes(processes) == [0, 0, 0]
    assert rows(tmp_path / "three") == [1, 1, 0]
    assert_as_alone(tmp_path / "three", tmp_path / "alone")


def test_another_process_that_writes_there_is_refused_and_not_disturbed(command, whole, tmp_path):
    folder = tmp_path / "run"
    arguments = command(folder)
    first = small.start(arguments, SMALL_SLEEP=0.15)
    while first.is_alive() and not (folder / "rows-0.jsonl").exists():
        time.sleep(0.01)
    second = small.start(arguments, errors=tmp_path / "errors")
    assert small.codes([second, first]) == [2, 0]
    line = small.complaint((tmp_path / "errors").read_text())
    assert re.search(r"another process is writing to .*rows-0\.jsonl: wait for it", line)
    assert_as_alone(folder, whole)


def test_a_refused_process_leaves_what_the_other_is_writing(command, finished):
    half = finished / f".scores.csv.{os.getppid()}.part"
    with closing(Journal(finished, 0, settings_of(finished))):
        half.write_bytes(b"half")
        assert cli.main(command(finished)) == 2
    assert half.exists()


def test_the_folder_is_kept_until_the_last_file_is_written(command, finished, monkeypatch):
    tried = []

    def draw_meanwhile(*_):
        with pytest.raises(DataError, match="another process is writing"):
            Journal(finished, 0, settings_of(finished))
        tried.append(True)
        return b""

    monkeypatch.setattr(
        "captum_guided_ext.benchmarking._benchmark_result.figure_bytes", draw_meanwhile
    )
    assert cli.main(command(finished)) == 0
    assert tried
