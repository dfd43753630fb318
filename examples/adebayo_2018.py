"""Do maps change when the weights are randomised? Adebayo et al. 2018 (arXiv:1810.03292).

SqueezeNet 1.0 is randomised from the last layer down, and each photo is explained for what the
trained network predicts. How alike a map and the original are is said by the rank correlation of
magnitudes, by that with signs, and by SSIM; each is the mean over draws of weights, and intervals
are over the photos. SqueezeNet ends in a ReLU, behind which a random network may send nothing back:
such maps are left out, and counted; the last table is of the network without it. The last two
methods are guided Grad-CAM, with a Grad-CAM whose ReLU is a magnitude, or that was begun at 1.

Run: python examples/adebayo_2018.py
"""

import copy

import torch.nn.functional as F
from shared_photos import arguments, estimate, load, photos, print_table
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.metrics import parameter_randomization

NAMED = ("gradient", "guided_backprop", "grad_cam", "guided_grad_cam")
COLUMNS = {  # the measure, and how many of the layers were randomised
    "magnitudes: last layer": ("spearman_abs", 0),
    "half": ("spearman_abs", 1),
    "all layers": ("spearman_abs", 2),
    "with signs: last layer": ("spearman", 0),
    "all with signs": ("spearman", 2),
    "SSIM: last layer": ("ssim", 0),
    "all by SSIM": ("ssim", 2),
}


def magnitude(cam):
    """Keep what speaks against the class as well."""
    return cam.abs()


def begun_at_one(cam):
    """Add 1 before the ReLU, as in an early version of the package ``saliency``."""
    return (cam + 1).relu()


class GuidedTimesCam:
    """Guided backprop times a Grad-CAM of ``features`` that was changed before it is laid over."""

    def __init__(self, net, change):
        self.net, self.change = net, change

    def attribute(self, inputs, target=None):
        """Return the product, of the inputs' shape."""
        forward_pass = cg.ForwardPass(self.net, inputs, layer=self.net.features)
        (guided,) = forward_pass.input_gradients("guided", target)
        gradient, activation = forward_pass.layer_gradients(target)
        cam = (gradient.mean(dim=(2, 3), keepdim=True) * activation).sum(dim=1, keepdim=True)
        return guided * F.interpolate(self.change(cam), inputs.shape[2:], mode="bilinear")


def methods_of(net):
    """Return methods by name."""
    changed = {
        "guided_grad_cam, CAM by magnitude": GuidedTimesCam(net, magnitude).attribute,
        "guided_grad_cam, CAM begun at 1": GuidedTimesCam(net, begun_at_one).attribute,
    }
    return {name: name for name in NAMED} | changed


def measure(net, x, target, kind, draws):
    """Randomise, compare, and print a table."""
    found = parameter_randomization(
        net, x, methods_of(net), target, reinitialization=kind, every_nth_layer=13,  # of 26
        n_draws=draws, layer="features", seed=0,
    )  # fmt: skip
    rows = []
    for method, alike in found.values["spearman_abs"].items():
        cells = [
            estimate(found.values[measure][method][:, step].nanmean(dim=1))
            for measure, step in COLUMNS.values()
        ]
        left = [f"{alike[:, step].isfinite().sum()}" for step in range(3)]
        rows.append([method, *cells, f"{', '.join(left)} of {alike[:, 0].numel()}"])
    print_table(["method", *COLUMNS, "maps that are not 0"], rows)


def main():
    """Say what is done, and do it."""
    parser = arguments(__doc__, quick="a few seconds and one photo, to see that it runs")
    parser.add_argument("--draws", type=int, default=3, help="of random weights")
    given = parser.parse_args()
    net = load(given.data)
    _, x = photos(given.data, net, 1 if given.quick else None)
    net, draws = net.model, 1 if given.quick else given.draws
    target = net(x).argmax(dim=1)
    without = copy.deepcopy(net)
    without.classifier[2] = nn.Identity()
    measured = [("reset", "", net), ("permuted", "", net), ("reset", ", no last ReLU", without)]
    for kind, but, one in measured[:: 2 if given.quick else 1]:
        print(f"\nweights {kind}{but}\n")
        measure(one, x, target, kind, draws)


if __name__ == "__main__":
    main()
