"""Where things are."""

from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
DATA = ROOT.parent / "shared" / "data"


def needs(name):
    """Skip a test where a part of the shared data is absent, and say so."""
    return pytest.mark.skipif(not (DATA / name).exists(), reason=f"needs {DATA / name}")
