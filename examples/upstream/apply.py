"""Applies the patches of this folder to a checkout of Captum, one after the other, and proves each.

    python examples/upstream/apply.py CHECKOUT

For each patch: its tests alone, of which some have to fail; then the whole patch, by `git am -3`,
with which all of them have to pass; then the checkout's own tests of what the patch touches, where
it has any, of which none may fail that passed before. What is proven stays in the checkout, a
commit a patch. At the first patch that is not as expected, the checkout goes back to the one
before, and the status is 1.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent

_RELUS = ("attr/test_guided_backprop.py", "attr/test_deconvolution.py")
_DEEP_LIFT = ("attr/test_deeplift_basic.py", "attr/test_deeplift_classification.py")
_LAYERS = (
    "attr/layer/test_layer_deeplift.py",
    "attr/layer/test_layer_lrp.py",
    "attr/neuron/test_neuron_deeplift.py",
    "attr/neuron/test_neuron_gradient.py",
    "attr/test_hook_removal.py",
    "attr/test_lrp.py",
    "robust/test_FGSM.py",
)
_GRADIENTS = ("attr/test_saliency.py", "attr/test_input_x_gradient.py")

# Captum's own tests of the files that a patch touches, by the patch's number.
OWN_TESTS = {
    "0001": (
        *_RELUS,
        *_DEEP_LIFT,
        *_LAYERS,
        "utils/test_gradient.py",
        "utils/test_sample_gradient.py",
    ),
    "0002": (*_RELUS, *_DEEP_LIFT, "attr/test_hook_removal.py"),
    "0003": (*_RELUS, *_DEEP_LIFT, *_LAYERS, *_GRADIENTS),
    "0004": ("attr/test_guided_grad_cam.py",),
    "0005": ("metrics/test_sensitivity.py",),
    "0006": ("metrics/test_infidelity.py",),
    "0007": ("metrics/test_infidelity.py",),
    "0008": (*_RELUS, "attr/test_guided_grad_cam.py"),
    "0009": ("metrics/test_sensitivity.py",),
}


class NotProvenError(Exception):
    """A patch, or a checkout, is not as it has to be."""


class Proof(NamedTuple):
    """How many of its tests fail without a patch and pass with it, and of Captum's own pass."""

    failed_before: int
    passed: int
    own_passed: int


def patches() -> list[Path]:
    """The patches, in their order."""
    return sorted(HERE.glob("*.patch"))


def prove(checkout: Path, patch: Path, *, failing: Collection[str] = ()) -> Proof:
    """Commits a patch to a clean checkout, if its tests fail without it and pass with it.

    `failing` names those of the checkout's own tests that fail anyway.
    """
    tests = new_tests(checkout, patch)
    with undone_by_errors(checkout, tests):
        git(checkout, "apply", "--include=tests/*", str(patch))
        failed, passed = run_tests(checkout, tests)
        expect(failed, "its tests pass without it", passed)
        git(checkout, "clean", "-q", "-f", "--", *tests)
        git(checkout, "am", "-q", "-3", str(patch))
        failed_with, passed_with = run_tests(checkout, tests)
        expect(not failed_with, "its tests fail with it", failed_with)
        expect(passed_with == failed | passed, "its tests differ with it", passed_with)
        failed_own, passed_own = run_tests(checkout, own_tests(checkout, [patch.name[:4]]))
        broken = failed_own.difference(failing)
        expect(not broken, "these of Captum's own tests fail with it", broken)
    return Proof(len(failed), len(passed_with), len(passed_own))


def new_tests(checkout: Path, patch: Path) -> list[str]:
    """The files of tests that a patch adds."""
    files = git(checkout, "apply", "--numstat", str(patch)).split()[2::3]
    return [name for name in files if name.startswith("tests/")]


@contextmanager
def undone_by_errors(checkout: Path, tests: list[str]) -> Iterator[None]:
    """Leaves a clean checkout as it was, without these new tests, if the block raises."""
    start = git(checkout, "rev-parse", "HEAD").strip()
    try:
        yield
    except BaseException:
        if under_way(checkout):
            git(checkout, "am", "--abort")
        git(checkout, "reset", "-q", "--hard", start)
        git(checkout, "clean", "-q", "-f", "--", *tests)
        raise


def expect(condition: object, message: str, names: Collection[str]) -> None:
    """Raises, with the names of tests, where a condition does not hold."""
    if not condition:
        raise NotProvenError(f"{message}: {', '.join(sorted(names))}")


def own_tests(checkout: Path, numbers: list[str]) -> list[str]:
    """Those of the checkout's own tests that are there, of the patches with these numbers."""
    names = dict.fromkeys(f"tests/{name}" for number in numbers for name in OWN_TESTS[number])
    return [name for name in names if (checkout / name).exists()]


def run_tests(checkout: Path, tests: list[str]) -> tuple[set[str], set[str]]:
    """The names of the tests that fail, and of those that pass, with the checkout's Captum."""
    if not tests:
        return set(), set()
    options = ["-q", "--tb=short", "-rfEp", "--color=no", "-W", "ignore", "-p", "no:cacheprovider"]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment |= {"PYTHONPATH": str(checkout), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=checkout,
        env=environment,
        capture_output=True,
        check=False,
        text=True,
    )
    ends = re.findall(r"^(PASSED|FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    if done.returncode not in (0, 1) or not ends or any(end == "ERROR" for end, _ in ends):
        raise NotProvenError(f"its tests cannot be run:\n{done.stdout}{done.stderr}")
    return tuple({name for end, name in ends if end == wanted} for wanted in ("FAILED", "PASSED"))


def git(checkout: Path, *arguments: str) -> str:
    """What a git command prints."""
    command = ["git", "-C", str(checkout), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603
    if done.returncode:
        raise NotProvenError(f"git {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def under_way(checkout: Path) -> list[str]:
    """What git has begun in a checkout and not ended."""
    names = ("rebase-apply", "rebase-merge", "MERGE_HEAD", "CHERRY_PICK_HEAD")
    paths = [git(checkout, "rev-parse", "--git-path", name).strip() for name in names]
    return [path for path in paths if (checkout / path).exists()]


def check_checkout(checkout: Path) -> None:
    """Raises where this is no clean checkout of Captum, to which somebody can commit."""
    if not (checkout / "captum" / "__init__.py").exists():
        raise NotProvenError(f"{checkout} is no checkout of Captum: it has no captum/__init__.py")
    if not (checkout / ".git").exists():
        raise NotProvenError(f"{checkout} is no git repository: clone Captum, and name the clone")
    if git(checkout, "status", "--porcelain").strip():
        raise NotProvenError(f"{checkout} has changes: commit or stash them first")
    if begun := under_way(checkout):
        raise NotProvenError(f"git is in the middle of something: end it first ({begun[0]})")
    git(checkout, "var", "GIT_COMMITTER_IDENT")
    there = [name for patch in patches() for name in new_tests(checkout, patch)]
    there = [name for name in there if (checkout / name).exists()]
    if there:
        raise NotProvenError(f"{there[0]} is there already: take a checkout without the patches")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "checkout", type=Path, metavar="CHECKOUT", help="a clean git checkout of Captum"
    )
    checkout = parser.parse_args().checkout.resolve()
    current = "nothing was applied"
    try:
        check_checkout(checkout)
        start = git(checkout, "rev-parse", "--short", "HEAD").strip()
        failing, _ = run_tests(checkout, own_tests(checkout, list(OWN_TESTS)))
        for patch in patches():
            current = patch.stem
            proof = prove(checkout, patch, failing=failing)
            print(
                f"{current}: {proof.failed_before} of {proof.passed} tests fail without it, all "
                f"pass with it, and {proof.own_passed} of Captum's own"
            )
    except (NotProvenError, KeyboardInterrupt) as error:
        print(f"{current}: {error or 'stopped'}", file=sys.stderr)
        return 1
    print(f"Each patch is a commit of {checkout}; git reset --hard {start} takes them back.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
