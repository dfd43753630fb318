"""Attribution methods on five photos, scored as in Yeh et al. 2019 on a network from ImageNet.

The network is SqueezeNet 1.0. Its prediction is explained. All noise is in the units of the
network's input, in which a colour channel has a standard deviation of 1 over ImageNet; 0 is
ImageNet's mean colour, and what removed squares and noisy baselines are made of. Stopped and
started again, the scoring goes on where it was.

Run: python examples/photos_infidelity.py
"""

import argparse
from functools import partial
from pathlib import Path

from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from shared_photos import data_folder, load

import captum_guided_ext as cg
from captum_guided_ext.evaluation import InfidelityMetric, SensitivityMetric
from captum_guided_ext.metrics import NoisyBaseline, SquareRemoval, UniformBall
from captum_guided_ext.pictures import PictureDataset, open_data

RADIUS = 0.2  # of the noise for sensitivity
STD = RADIUS / 3**0.5  # a Gaussian as wide as uniform noise of that radius
SQUARES = SquareRemoval((16, 32, 64, 96))  # up to a sixth of 227 x 227 pixels


def methods_of(net, *, nt_samples, n_steps):
    """Return the six named methods, integrated gradients, and two smoothed by a NoiseTunnel."""

    def smoothed(explainer, **options):
        tunnel = NoiseTunnel(explainer)
        return partial(tunnel.attribute, nt_samples=nt_samples, stdevs=STD, **options)

    integrated = IntegratedGradients(net, multiply_by_inputs=False)
    return {
        "gradient": "gradient",
        "gradient_smoothed": smoothed(Saliency(net), abs=False),
        "input_x_gradient": "input_x_gradient",
        "integrated_gradients": partial(
            integrated.attribute, n_steps=n_steps, internal_batch_size=20
        ),
        "deconvolution": "deconvolution",
        "guided_backprop": "guided_backprop",
        "guided_backprop_smoothed": smoothed(cg.GuidedBackprop(net)),
        "grad_cam": "grad_cam",
        "guided_grad_cam": "guided_grad_cam",
    }


def main():
    """Say what is predicted, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=data_folder, default="../shared/data", help="photos and weights")
    add("--output", type=Path, default=Path("captum-guided-output/photos"), help="for the results")
    add("--samples", type=int, default=100, help="perturbed photos for each infidelity")
    add("--quick", action="store_true", help="a few seconds and one photo, to see that it runs")
    arguments = parser.parse_args()
    quick = arguments.quick
    network = load(arguments.data)
    photos = PictureDataset(open_data(str(arguments.data / "photos")), network, use_labels=False)
    number = 1 if quick else len(photos)
    for place in range(number):
        chances = network.model(photos[place][0][None]).softmax(dim=1)[0]
        best = int(chances.argmax())
        print(f"{photos.name(place)}: {network.category(best)} ({chances[best]:.0%})")

    samples = 2 if quick else arguments.samples
    found = cg.benchmark(
        network,
        photos,
        output=arguments.output,
        methods=methods_of(
            network.model, nt_samples=2 if quick else 20, n_steps=2 if quick else 20
        ),
        metrics=[
            InfidelityMetric(NoisyBaseline(0.2), samples),
            InfidelityMetric(SQUARES, samples, name="infidelity_square"),
            SensitivityMetric(UniformBall(RADIUS), 2 if quick else 5, names=("sensitivity_max",)),
        ],
        layer="features",
        target="prediction",
        batch_size=1,
        limit=number,
        max_examples_per_batch=10,
        seed=0,
    )
    print(found)


if __name__ == "__main__":
    main()
