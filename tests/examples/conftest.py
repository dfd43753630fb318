"""Examples run in the process of the tests: to start one for each would take most of the time."""

import runpy

import pytest
from places import ROOT


@pytest.fixture
def example(monkeypatch):
    """Return what an example defines, by its name."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    return lambda name, **how: runpy.run_path(str(ROOT / "examples" / f"{name}.py"), **how)


@pytest.fixture
def printed(example, monkeypatch, capsys):
    """Return what an example prints that is run from the project's folder with these options."""

    def run(name, *options):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr("sys.argv", [name, *map(str, options)])
        capsys.readouterr()
        example(name, run_name="__main__")
        return capsys.readouterr().out

    return run
