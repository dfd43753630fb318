"""How the command line ends: of itself, by Ctrl-C, without a reader, by a mistake of ours."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
import small_benchmark as small
from picture_files import noise, save
from places import ROOT

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.cli import _explain, _terminal

QUICK = ("--methods", "gradient")


@pytest.fixture
def called(tmp_path, capsys):
    """Run the command line in this process; return its exit code, output and errors."""

    def run(*arguments):
        try:
            code = cli.main(list(map(str, arguments)))
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_the_versions_are_one_line(called):
    code, out, err = called("--version")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    assert line.startswith("captum-guided ")
    assert all(f"{name} {sys.modules[name].__version__}" in line for name in ("torch", "captum"))
    assert f"python {sys.version.split()[0]}" in line


def test_without_a_command_there_is_help(called):
    code, out, err = called()
    assert (code, out) == (2, "")
    assert all(command in err for command in ("explain", "benchmark", "summarize", "--version"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["compare"],
            "there is no command 'compare'; choose from explain, sanity, benchmark, summarize (",
        ),
        (["explian"], "there is no command 'explian'; the nearest is explain ("),
        (["--versoin"], "there is no option '--versoin'; the nearest is --version ("),
        (["summarize", "--parket", "x"], "no option '--parket'; the nearest is --parquet ("),
        (["benchmark", "--data", "demo", "--output", "x", "y"], "there is no place for 'y' ("),
    ],
)
def test_a_mistyped_word(called, arguments, words):
    code, out, err = called(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert words in err


def test_a_value_that_is_empty(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for arguments in (["explain", "--output", ""], ["benchmark", "--data", "demo", "--output="]):
        code, out, err = called(*arguments)
        assert (code, out) == (2, "")
        assert "is empty: a variable of the shell that is not set? (see captum-guided " in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_begins_with_a_dash(called, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "-a.png", noise(20, 20))
    code, _, err = called("explain", "-a.png")
    assert code == 2
    assert "there is no option '-a.png'; the file of that name is ./-a.png" in err
    for given in (["./-a.png"], ["--", "-a.png"]):
        assert called("explain", "--model", "demo", *QUICK, *given)[0] == 0


def test_ctrl_c_while_the_network_is_loaded(called, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_explain, "network_of", stopped)
    assert called("explain") == (130, "", "captum-guided explain: stopped by Ctrl-C\n")


def test_ctrl_c_in_a_benchmark_keeps_what_was_scored(tmp_path):
    data, out = small.save_pictures(tmp_path / "data", 30), tmp_path / "out"
    command = small.command(data, out, *small.FEW)
    process = small.start(command, errors=tmp_path / "errors", SMALL_SLEEP=0.05)
    rows = out / "rows-0.jsonl"
    limit = time.monotonic() + 60
    while not (rows.exists() and rows.read_bytes().count(b"\n") > 1):
        assert time.monotonic() < limit
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    assert small.codes([process]) == [130]
    said = (tmp_path / "errors").read_text()
    assert "Traceback" not in said
    assert small.complaint(said).endswith("is kept, and the same command goes on from there")
    assert len({row.image for row in cg.summarize(out).rows}) >= 2
    assert {file.name for file in out.iterdir()} == {"run.json", "rows-0.jsonl"}


@pytest.mark.parametrize("as_program", [True, False])
def test_ctrl_c_while_torch_is_loaded(tmp_path, as_program):
    # The first import of the package is Captum's: this one is slow, and is stopped.
    save_as = tmp_path / "captum"
    save_as.mkdir()
    (save_as / "__init__.py").write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = ["-m", "captum_guided_ext"] if as_program else ["-c", "import captum_guided_ext"]
    done = subprocess.run(
        [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": paths},
    )  # fmt: skip
    if as_program:
        assert (done.returncode, done.stderr) == (130, "captum-guided: stopped by Ctrl-C\n")
    else:
        assert "KeyboardInterrupt" in done.stderr  # somebody else's program is left alone


def test_a_reader_that_goes_away(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "captum_guided_ext", "explain", "--output", tmp_path, *QUICK],
        cwd=ROOT, stdout=write, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
    assert {file.name for file in tmp_path.iterdir()} == {"striped-cat.png", "striped-cat.json"}


class Full(io.StringIO):
    def write(self, _):
        raise OSError(28, "No space left on device")


def test_output_that_cannot_be_written(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    assert cli.main(["explain", "--output", str(tmp_path), *QUICK]) == 2
    words = "captum-guided explain: standard output cannot be written to: No space left on device\n"
    assert capsys.readouterr().err == words


def test_no_standard_output_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["explain", "--output", str(tmp_path), *QUICK]) == 0


def test_a_mistake_of_ours_is_one_line_and_its_traceback_can_be_had(called, monkeypatch):
    def broken(*_):
        raise KeyError("x")

    monkeypatch.setattr(_explain, "network_of", broken)
    code, out, err = called("explain")
    assert (code, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("captum-guided explain: internal error: KeyError: 'x' (test_endings.py:")
    assert "please report it, with what CAPTUM_GUIDED_TRACEBACK=1" in line
    monkeypatch.setenv("CAPTUM_GUIDED_TRACEBACK", "1")
    code, _, err = called("explain")
    assert code == 1
    assert err.startswith("Traceback (most recent call last):")
    assert err.endswith(line.partition("(")[0] + line[line.index("(") :] + "\n")


def test_a_warning_is_one_line_said_once(called, tmp_path, monkeypatch):
    import warnings

    def warning(*_):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for _ in range(2):
                warnings.warn("it\nlooks odd", UserWarning, stacklevel=1)
        raise KeyboardInterrupt

    monkeypatch.setattr(_explain, "network_of", warning)
    _, _, err = called("explain")
    assert err.splitlines() == [
        "captum-guided explain: warning: it looks odd", "captum-guided explain: stopped by Ctrl-C",
    ]  # fmt: skip


def test_what_a_terminal_would_obey_is_written_out():
    assert _terminal.fit("a\x1b[31mb\x07\tc\r\x9b\u202ed\udce9\ne✔é😀") == (
        r"a\x1b[31mb\x07\tc\r\x9b\u202ed\udce9" "\ne✔é😀"
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_the_marks(tmp_path, monkeypatch, encoding):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    assert cli.main(["explain", "--output", str(tmp_path), *QUICK]) == 0
    sys.stdout.flush()
    text = written.getvalue().decode(encoding)
    assert "fur + " in text.splitlines()[0]
    assert text.splitlines()[0].endswith("background -")
    assert "?" not in text
