"""Attribution methods on MNIST, scored as in Yeh et al. 2019 (arXiv:1901.09392).

Trains a small network on 8,000 digits, then scores methods on digits it never saw. The network
calls F.relu as a function, as the paper's does: code that looks for nn.ReLU modules finds none, and
what it calls guided backprop is the gradient. Both ways are computed here. Stopped and started
again, the scoring goes on where it was. Its numbers beside the paper's are in results.md here.

Run: python examples/mnist_infidelity.py
"""

import argparse
import warnings
from functools import partial
from pathlib import Path

import captum.attr
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from shared_photos import data_folder
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.transforms.functional import to_tensor

import captum_guided_ext as cg
from captum_guided_ext.evaluation import InfidelityMetric, SensitivityMetric
from captum_guided_ext.metrics import NoisyBaseline, SquareRemoval, UniformBall
from captum_guided_ext.pictures import open_data

TRAINED_ON = 8000
BASELINES = NoisyBaseline(0.2, bounds=(0, 1))
RADIUS = 0.2  # of the noise for sensitivity, in pixels of 0 to 1
STD = RADIUS / 3**0.5  # a Gaussian as wide as uniform noise of that radius


class Net(nn.Module):
    """Two convolutions and two linear layers, half as wide and less than the paper's."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 5, padding=2)
        self.pool1, self.pool2 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.fc1 = nn.Linear(7 * 7 * 32, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):
        """Return the scores of ten digits for pictures (N, 1, 28, 28) of 0 to 1."""
        x = self.pool1(F.relu(self.conv1(x)))
        x = self.pool2(F.relu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def load(folder):
    """Return pictures (10000, 1, 28, 28) of 0 to 1 and their labels."""
    digits = open_data(
        f"idx:{folder / 't10k-images-idx3-ubyte.gz'},{folder / 't10k-labels-idx1-ubyte.gz'}"
    )
    cases = [digits[i] for i in range(len(digits))]
    images = torch.stack([to_tensor(case.image) for case in cases])
    return images, torch.tensor([case.label for case in cases])


def train(images, labels, epochs):
    """Return a network trained on these, the same at every run on one machine."""
    torch.manual_seed(0)
    net = Net()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(net(images[batch]), labels[batch]).backward()
            optimiser.step()
    return net.eval()


def methods_of(net, *, nt_samples, baselines):
    """Return the methods by name, the smoothed ones as NoiseTunnels."""

    def smoothed(explainer, **options):
        tunnel = NoiseTunnel(explainer)
        return partial(tunnel.attribute, nt_samples=nt_samples, stdevs=STD, **options)

    integrated = IntegratedGradients(net, multiply_by_inputs=False)
    ten = {"n_steps": 10, "method": "riemann_left"}  # the steps the authors take
    return {
        "gradient": "gradient",
        "gradient_smoothed": smoothed(Saliency(net), abs=False),
        "input_x_gradient": "input_x_gradient",
        "integrated_gradients": partial(integrated.attribute, **ten),
        "integrated_gradients_smoothed": smoothed(integrated, **ten),
        "deconvolution": "deconvolution",
        "deconvolution_smoothed": smoothed(cg.Deconvolution(net)),
        "guided_backprop": "guided_backprop",
        "guided_backprop_smoothed": smoothed(cg.GuidedBackprop(net)),
        "guided_backprop_by_modules": cg.MethodSpec(by_modules(net), multiplies_by_inputs=False),
        "guided_grad_cam": "guided_grad_cam",
        "guided_grad_cam_smoothed": smoothed(cg.GuidedGradCam(net, "pool2")),
        "noisy_baseline": cg.MethodSpec(
            best_for_baselines(net, baselines), multiplies_by_inputs=False
        ),
    }


def best_for_baselines(net, samples):
    """Return the explanation that has the lowest infidelity under BASELINES: the paper's NB.

    It is a least squares fit of the fall of the score, on baselines that are drawn once and are
    not those it is scored on. They do not depend on the digit, so one covariance serves them all.
    """
    generator = torch.Generator().manual_seed(1)
    _, drawn = BASELINES(torch.zeros(samples, 1, 28, 28), generator=generator)
    with torch.no_grad():
        scores = torch.cat([net(part) for part in drawn.split(1000)]).double()
    flat = drawn.flatten(1).double()
    middle, score = flat.mean(0), scores.mean(0)
    covariance = (flat - middle).T @ (flat - middle) / samples
    inverse = torch.linalg.pinv(covariance, hermitian=True)
    slopes = inverse @ ((flat - middle).T @ (scores - score) / samples)

    def noisy_baseline(inputs, target):
        chosen = torch.as_tensor(target)
        with torch.no_grad():
            now = net(inputs).double().gather(1, chosen[:, None])
        # (C + d d^T) phi = C slope + d fall, by the formula of Sherman and Morrison
        away, slope = inputs.flatten(1).double() - middle, slopes.T[chosen]
        fall = now - score[chosen][:, None]
        step = away @ inverse
        missing = fall - (away * slope).sum(1, keepdim=True)
        phi = slope + step * missing / (1 + (away * step).sum(1, keepdim=True))
        return phi.to(inputs).view_as(inputs)

    return noisy_baseline


def by_modules(net):
    """Return guided backprop as it is where nn.ReLU modules are looked for: Captum's."""
    method = captum.attr.GuidedBackprop(net)

    def guided_backprop_by_modules(inputs, target):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it sets hooks
            return method.attribute(inputs, target=target)

    return guided_backprop_by_modules


def show_both_ways(net, images, labels):
    """Print what guided backprop is when it looks for modules, and when it looks at the graph."""
    inputs = images.clone().requires_grad_()
    plain = Saliency(net).attribute(inputs, target=labels, abs=False)
    other = by_modules(net)(inputs, labels)
    guided = cg.GuidedBackprop(net).attribute(images, target=labels)
    difference = (guided - plain).norm() / plain.norm()
    print(f"guided backprop by nn.ReLU modules is the gradient: {torch.equal(other, plain)}")
    print(f"guided backprop by the graph differs from it by {difference:.0%} of its norm")


def main():
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=data_folder, default="../shared/data/mnist", help="MNIST's test files")
    add("--output", type=Path, default=Path("captum-guided-output/mnist"), help="for the results")
    add("--limit", type=int, default=50, help="held-out digits that are scored")
    add("--samples", type=int, default=2000, help="noisy baselines for each digit's infidelity")
    add("--quick", action="store_true", help="a few seconds and 3 digits, to see that it runs")
    arguments = parser.parse_args()
    quick = arguments.quick
    images, labels = load(arguments.data)
    learned = slice(0, 500 if quick else TRAINED_ON)
    net = train(images[learned], labels[learned], epochs=2 if quick else 6)
    held_out, truth = images[TRAINED_ON:], labels[TRAINED_ON:]
    with torch.no_grad():
        right = (net(held_out).argmax(dim=1) == truth).float().mean()
    print(f"right on {right:.1%} of {len(truth)} digits it never saw")
    show_both_ways(net, held_out[:50], truth[:50])

    limit = 3 if quick else arguments.limit
    samples = 20 if quick else arguments.samples
    squares = SquareRemoval((4,) if quick else tuple(range(1, 11)), exhaustive=True)
    perturbations = {
        "infidelity": (BASELINES, samples),
        "infidelity_square": (squares, squares.count(held_out.shape)),
    }
    found = cg.benchmark(
        net,
        TensorDataset(held_out, truth),
        output=arguments.output,
        methods=methods_of(net, nt_samples=4 if quick else 50, baselines=1000 if quick else 20_000),
        metrics=[
            *(InfidelityMetric(*given, name=name) for name, given in perturbations.items()),
            SensitivityMetric(UniformBall(RADIUS), 2 if quick else 10, names=("sensitivity_max",)),
        ],
        layer="pool2",
        limit=limit,
        max_examples_per_batch=1000,
        seed=0,
    )
    print(found)


if __name__ == "__main__":
    main()
