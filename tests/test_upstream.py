"""The patches for Captum: the tests of each fail on Captum as it is, and pass with the patch.

Captum's installed files, copied, stand for its checkout: they have none of its own tests.
"""

import importlib.metadata
import shutil
import sys
from pathlib import Path

import captum
import pytest
from places import ROOT
from programs import python

sys.path.insert(0, str(ROOT / "examples" / "upstream"))
import apply

PATCHES = apply.patches()
WRITTEN_FOR = "0.9.0"

pytestmark = [
    pytest.mark.skipif(
        importlib.metadata.version("captum") != WRITTEN_FOR,
        reason=f"the patches are written for Captum {WRITTEN_FOR}",
    ),
    pytest.mark.skipif(shutil.which("git") is None, reason="there is no git"),
]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "somebody@example.invalid")
    folder = tmp_path / "checkout"
    shutil.copytree(Path(captum.__file__).parent, folder / "captum")
    (folder / ".gitignore").write_text("__pycache__\n")
    apply.git(tmp_path, "init", "-q", str(folder))
    apply.git(folder, "add", "--all")
    apply.git(folder, "commit", "-q", "-m", "as installed")
    return folder


def patch_of(checkout, path, files):
    """Write a commit of these files, which the checkout has not got, as a patch."""
    for name, text in files.items():
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text(text)
    apply.git(checkout, "add", "--all")
    apply.git(checkout, "commit", "-q", "-m", "made up")
    path.write_text(apply.git(checkout, "format-patch", "-1", "--stdout"))
    apply.git(checkout, "reset", "-q", "--hard", "HEAD~1")
    return path


def test_all_are_known():
    assert [patch.name[:4] for patch in PATCHES] == list(apply.OWN_TESTS)


# Tests run in forks of a process that has imported what they import, but for Captum.
PROVE_ALL = """
import os, subprocess, sys, tempfile
from pathlib import Path
import matplotlib.pyplot, pytest, torch
import apply

run = subprocess.run

def forked(command, *, cwd=None, env=None, **options):
    if command[:3] != [sys.executable, "-m", "pytest"]:
        return run(command, cwd=cwd, env=env, **options)
    with tempfile.TemporaryFile("w+") as said:
        process = os.fork()
        if process == 0:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            sys.path.insert(0, env["PYTHONPATH"])
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = 3
            try:
                code = pytest.main(command[3:])
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        said.seek(0)
        return subprocess.CompletedProcess(command, code, said.read(), "")

subprocess.run = forked
for patch in apply.patches():
    proof = apply.prove(Path(sys.argv[1]), patch)
    assert "captum" not in sys.modules
    print(patch.name, proof.failed_before, proof.passed)
"""


def test_the_tests_of_each_fail_without_it_and_pass_with_it(checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "examples" / "upstream"))
    lines = python("-c", PROVE_ALL, checkout).stdout.splitlines()
    proven = {name: (int(failed), int(passed)) for name, failed, passed in map(str.split, lines)}
    assert list(proven) == [patch.name for patch in PATCHES]
    for name, (failed, passed) in proven.items():
        assert failed == passed > 0, name
    assert apply.git(checkout, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ("assert True", "its tests pass without it: tests/test_new.py::test_new"),
        ("assert False", "its tests fail with it: tests/test_new.py::test_new"),
        ("}", "its tests cannot be run:"),
    ],
)
def test_what_proves_nothing_is_not_applied(checkout, tmp_path, test, said):
    text = f"def test_new():\n    {test}\n"
    files = {"tests/test_new.py": text, "captum/new.py": "RIGHT = 1\n"}
    patch = patch_of(checkout, tmp_path / "0001-made-up.patch", files)
    start = apply.git(checkout, "rev-parse", "HEAD")
    with pytest.raises(apply.NotProvenError, match=said):
        apply.prove(checkout, patch)
    assert apply.git(checkout, "rev-parse", "HEAD") == start
    assert apply.git(checkout, "status", "--porcelain") == ""


def test_a_test_of_captums_own_that_breaks_is_noticed(checkout, tmp_path):
    name = f"tests/{apply.OWN_TESTS['0004'][0]}"
    (checkout / name).parent.mkdir(parents=True)
    (checkout / name).write_text(
        "from pathlib import Path\n\n\n"
        "def test_own():\n    assert not Path('captum/wrong.py').exists()\n\n\n"
        "def test_ill():\n    assert False\n"
    )
    apply.git(checkout, "add", "--all")
    apply.git(checkout, "commit", "-q", "-m", "its own tests")
    right, wrong = (
        patch_of(
            checkout,
            tmp_path / f"0004-{kind}.patch",
            {
                "tests/test_new.py": f"def test_new():\n    open('captum/{kind}.py').close()\n",
                f"captum/{kind}.py": "NEW = 1\n",
            },
        )
        for kind in ("right", "wrong")
    )
    ill = f"{name}::test_ill"
    assert apply.prove(checkout, right, failing={ill}) == (1, 1, 1)
    apply.git(checkout, "reset", "-q", "--hard", "HEAD~1")
    for patch, failing, broken in ((right, (), ill), (wrong, {ill}, f"{name}::test_own")):
        with pytest.raises(apply.NotProvenError) as raised:
            apply.prove(checkout, patch, failing=failing)
        assert str(raised.value) == f"these of Captum's own tests fail with it: {broken}"
        assert apply.git(checkout, "status", "--porcelain") == ""
        assert not (checkout / "tests" / "test_new.py").exists()


def test_only_a_clean_checkout_is_taken(checkout, tmp_path):
    program = ROOT / "examples" / "upstream" / "apply.py"
    (checkout / "captum" / "new.py").write_text("")
    said = python(program, checkout, code=1).stderr
    assert "has changes: commit or stash them first" in said
    (tmp_path / "empty").mkdir()
    assert "is no checkout of Captum" in python(program, tmp_path / "empty", code=1).stderr
    (checkout / ".git").rename(tmp_path / "git")
    assert "is no git repository" in python(program, checkout, code=1).stderr


def test_what_git_has_begun_is_left_alone(checkout, tmp_path):
    patch = patch_of(checkout, tmp_path / "0001-made-up.patch", {"captum/new.py": "RIGHT = 1\n"})
    patch.write_text(patch.read_text().replace("+RIGHT", "-WRONG"))
    with pytest.raises(apply.NotProvenError):
        apply.git(checkout, "am", str(patch))
    said = python(ROOT / "examples" / "upstream" / "apply.py", checkout, code=1).stderr
    assert "git is in the middle of something: end it first" in said
    assert apply.under_way(checkout)


def test_patches_that_are_there_already_are_noticed(checkout):
    apply.git(checkout, "am", "-q", str(PATCHES[0]))
    said = python(ROOT / "examples" / "upstream" / "apply.py", checkout, code=1).stderr
    assert "tests/attr/test_backward_hooks.py is there already" in said
