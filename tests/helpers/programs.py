"""Python in a process of its own."""

import subprocess
import sys

from places import ROOT


def python(*arguments, code=0, cwd=ROOT, warnings="error"):
    """Run it with these arguments; it must end with this exit code, and what it said is returned.

    A warning is an error, unless told otherwise.
    """
    of_torch = "ignore:Implicitly cleaning up:ResourceWarning"  # torch.distributed's folder
    command = [sys.executable, "-W", warnings, "-W", of_torch, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stderr
    return done
