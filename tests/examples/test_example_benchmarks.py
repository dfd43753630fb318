"""The examples that score real networks run, and show what they say they show."""

import csv
import re

import pytest
from places import needs
from programs import python

METRICS = {"infidelity", "infidelity_square", "sensitivity_max"}


def run(example, folder):
    done = python(f"examples/{example}", "--quick", "--output", folder)
    with (folder / "scores.csv").open() as file:
        scores = {
            (row["image"], row["method"], row["metric"]): float(row["value"])
            for row in csv.DictReader(file)
        }
    return done.stdout, scores


@needs("mnist")
def test_mnist(tmp_path):
    out, scores = run("mnist_infidelity.py", tmp_path)
    accuracy, by_modules, by_graph = out.splitlines()[:3]
    found = re.fullmatch(r"right on ([\d.]+)% of 2000 digits it never saw", accuracy)
    assert float(found[1]) > 30  # of ten classes, after 500 digits
    assert by_modules == "guided backprop by nn.ReLU modules is the gradient: True"
    found = re.fullmatch(r"guided backprop by the graph differs from it by (\d+)% of .*", by_graph)
    assert int(found[1]) > 10
    methods = {
        "input_x_gradient",
        "noisy_baseline",
        "guided_backprop_by_modules",
        *(
            f"{method}{smoothed}"
            for method in ("gradient", "integrated_gradients", "deconvolution", "guided_backprop",
                           "guided_grad_cam")
            for smoothed in ("", "_smoothed")
        ),
    }  # fmt: skip
    assert set(scores) == {(i, method, metric) for i in "012" for method in methods
                           for metric in METRICS}  # fmt: skip
    for method in methods:
        assert out.count(f"| {method} ") == 3
    for image in "012":
        for metric in METRICS:
            gradient = scores[image, "gradient", metric]
            assert scores[image, "guided_backprop_by_modules", metric] == gradient
            assert scores[image, "guided_backprop", metric] != pytest.approx(gradient, rel=1e-2)
        # Where a square is black, I is x: the gradient's sum is that of input x gradient.
        squares = [scores[image, m, "infidelity_square"] for m in ("gradient", "input_x_gradient")]
        assert squares[0] == pytest.approx(squares[1], rel=1e-4)


@needs("squeezenet1_0_imagenet")
def test_photos(tmp_path):
    out, scores = run("photos_infidelity.py", tmp_path)
    assert out.startswith("cat_dog.jpg: ")
    methods = {
        "gradient", "gradient_smoothed", "input_x_gradient", "integrated_gradients",
        "deconvolution", "guided_backprop", "guided_backprop_smoothed", "grad_cam",
        "guided_grad_cam",
    }  # fmt: skip
    assert set(scores) == {("0", method, metric) for method in methods for metric in METRICS}
    for method in methods:
        assert out.count(f"| {method} ") == 3
