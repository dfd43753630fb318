"""Where things are, and whether they are there."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = ROOT.parent / "shared" / "data"


def needs(name):
    """Skip a test where a part of the shared data is absent, and say so."""
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"needs {DATA / name}")


def captums_testing(name):
    """Return a module of ``captum.testing``, or skip what asks for it where Captum has none."""
    module = f"captum.testing.{name}"
    return pytest.importorskip(module, reason="Captum 0.8 comes without captum.testing")
