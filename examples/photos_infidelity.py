"""Attribution methods on photos, scored on a network trained on ImageNet.

Run: python examples/photos_infidelity.py
"""

import argparse
from functools import partial
from pathlib import Path

from captum.attr import IntegratedGradients, NoiseTunnel, Saliency

import captum_guided_ext as cg
from captum_guided_ext.datasets import PreparedPictures, open_data
from captum_guided_ext.metrics import NoisyBaseline, SquareRemoval
from captum_guided_ext.models import load_network
from captum_guided_ext.report import benchmark_report
from captum_guided_ext.scoring import InfidelityMetric, SensitivityMetric

STD = 0.2  # of the noise, where a channel's own standard deviation over ImageNet is 1


def main():
    """Score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, default=Path("../shared/data"), help="photos and weights")
    add("--output", type=Path, default=Path("captum-guided-output/photos"), help="for the results")
    add("--quick", action="store_true", help="one photo and two samples, to see that it runs")
    arguments = parser.parse_args()
    quick = arguments.quick
    network = load_network(
        "squeezenet1_0",
        checkpoint=arguments.data / "squeezenet1_0_imagenet" / "squeezenet1_0_imagenet.pth",
    )
    net = network.model
    net.classifier[1].padding = (1, 1)  # these weights were trained with it

    def smoothed(method, **options):
        tunnel = NoiseTunnel(method)
        return partial(tunnel.attribute, nt_samples=2 if quick else 20, stdevs=STD, **options)

    samples = 2 if quick else 50
    found = cg.benchmark(
        network,
        PreparedPictures(open_data(str(arguments.data / "photos")), network, use_labels=False),
        output=arguments.output,
        methods={
            "gradient": "gradient",
            "gradient_smoothed": smoothed(Saliency(net), abs=False),
            "integrated_gradients": partial(
                IntegratedGradients(net, multiply_by_inputs=False).attribute,
                n_steps=2 if quick else 20,
                internal_batch_size=20,
            ),
            "deconvolution": "deconvolution",
            "guided_backprop": "guided_backprop",
            "guided_backprop_smoothed": smoothed(cg.GuidedBackprop(net)),
            "grad_cam": "grad_cam",
            "guided_grad_cam": "guided_grad_cam",
        },
        metrics=[
            InfidelityMetric(NoisyBaseline(STD), samples),
            InfidelityMetric(SquareRemoval((16, 32, 64)), samples, name="infidelity_square"),
            SensitivityMetric(n_perturb_samples=2 if quick else 5, names=("sensitivity_max",)),
        ],
        layer="features",
        target="prediction",
        limit=1 if quick else None,
        max_examples_per_batch=10,
        seed=0,
    )
    print(benchmark_report(found))


if __name__ == "__main__":
    main()
