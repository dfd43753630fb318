"""What the tests of interrupted and shared runs compare with."""

import shutil
from pathlib import Path

import pytest
import small_benchmark as small

from captum_guided_ext import cli


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return small.save_pictures(tmp_path_factory.mktemp("data") / "pictures", 12)


@pytest.fixture(scope="session")
def command(data):
    """Return the arguments of a benchmark of few methods into a folder."""

    def arguments(folder, *more, **options):
        return small.command(data, folder, *small.FEW, *more, **options)

    return arguments


@pytest.fixture(scope="session")
def whole(command, tmp_path_factory):
    """Return the folder of a run of a single process that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert cli.main(command(folder)) == 0
    return folder


@pytest.fixture
def finished(whole, tmp_path):
    """Return a copy of that folder."""
    return Path(shutil.copytree(whole, tmp_path / "run"))
