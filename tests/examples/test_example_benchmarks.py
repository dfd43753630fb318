"""The examples that score real networks run, and show what they say they show."""

import csv
import re
from itertools import product

import pytest
from floors import of_methods
from places import needs

METRICS = {"infidelity", "infidelity_square", "sensitivity_max"}


def run(printed, example, folder, images, methods):
    """Run an example; it scores so many images by these methods, and prints a row for each."""
    out = printed(example, "--quick", "--output", folder)
    with (folder / "scores.csv").open() as file:
        rows = of_methods(csv.DictReader(file))
    assert {row["reason"] for row in rows if not row["value"]} <= {"the map is zero everywhere"}
    scores = {
        (row["image"], row["method"], row["metric"]): float(row["value"]) if row["value"] else None
        for row in rows
    }
    assert set(scores) == set(product(map(str, range(images)), methods, METRICS))
    for method in methods:
        assert out.count(f"| {method} ") == 3
    return out, scores


@needs("mnist")
def test_mnist(printed, tmp_path):
    each = ("gradient", "integrated_gradients", "deconvolution", "guided_backprop",
            "guided_grad_cam")  # fmt: skip
    methods = ["input_x_gradient", "noisy_baseline", "guided_backprop_by_modules"]
    methods += [f"{method}{smoothed}" for method in each for smoothed in ("", "_smoothed")]
    out, scores = run(printed, "mnist_infidelity", tmp_path, 3, methods)
    accuracy, by_modules, by_graph = out.splitlines()[:3]
    found = re.fullmatch(r"right on ([\d.]+)% of 2000 digits it never saw", accuracy)
    assert float(found[1]) > 30  # of ten classes, after 500 digits
    assert by_modules == "guided backprop by nn.ReLU modules is the gradient: True"
    found = re.fullmatch(r"guided backprop by the graph differs from it by (\d+)% of .*", by_graph)
    assert int(found[1]) > 10
    for image in "012":
        for metric in METRICS:
            gradient = scores[image, "gradient", metric]
            assert scores[image, "guided_backprop_by_modules", metric] == gradient
            assert scores[image, "guided_backprop", metric] != pytest.approx(gradient, rel=1e-2)
        # Where a square is black, I is x: the gradient's sum is that of input x gradient.
        squares = [scores[image, m, "infidelity_square"] for m in ("gradient", "input_x_gradient")]
        assert squares[0] == pytest.approx(squares[1], rel=1e-4)


@needs("squeezenet1_0_imagenet")
def test_photos(printed, tmp_path):
    methods = {
        "gradient", "gradient_smoothed", "input_x_gradient", "integrated_gradients",
        "deconvolution", "guided_backprop", "guided_backprop_smoothed", "grad_cam",
        "guided_grad_cam",
    }  # fmt: skip
    out, _ = run(printed, "photos_infidelity", tmp_path, 1, methods)
    assert out.startswith("cat_dog.jpg: ")
