"""The examples with real networks run, and show what they say they show."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DATA = ROOT / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")


def run(example, folder):
    done = subprocess.run(
        [sys.executable, "-W", "error", f"examples/{example}", "--quick", "--output", str(folder)],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (folder / "scores.csv").open() as file:
        scores = {
            (row["image"], row["method"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
        }
    return done.stdout, scores


def test_mnist(tmp_path):
    out, scores = run("mnist_infidelity.py", tmp_path)
    first, second, third = out.splitlines()[:3]
    assert first.startswith("right on ")
    assert float(first.split()[2].rstrip("%")) > 30  # ten classes
    assert second == "guided backprop by nn.ReLU modules is the gradient: True"
    assert float(third.split()[-4].rstrip("%")) > 10
    methods = {method for _, method, _ in scores}
    assert len(methods) == 13
    assert len(scores) == 3 * 13 * 3
    for image in "012":
        for metric in ("infidelity", "infidelity_square", "sensitivity_max"):
            gradient = scores[image, "gradient", metric]
            by_modules = scores[image, "guided_backprop_by_modules", metric]
            assert by_modules == pytest.approx(gradient, rel=1e-4)
            assert scores[image, "guided_backprop", metric] != pytest.approx(gradient, rel=1e-2)


def test_photos(tmp_path):
    out, scores = run("photos_infidelity.py", tmp_path)
    assert len(scores) == 9 * 3
    for method in ("guided_backprop_smoothed", "integrated_gradients", "grad_cam"):
        assert f"| {method} " in out
