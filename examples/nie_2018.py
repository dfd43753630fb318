"""Guided backprop shows the picture, whatever the network: Nie et al. 2018 (arXiv:1805.07039).

A random network of one convolution, as in the authors' code: 7 x 7, zero padding, no bias, weights
from a truncated normal distribution of deviation 0.1; a ReLU; a max-pool of 9 x 9 with stride 1, or
none; and one output of a random linear layer. Pixels are 0 to 255 with ImageNet's mean colour taken
off. Maps are correlated with the picture, and with its fine structure: map and picture less their
means over 9 x 9 pixels. Intervals are over networks: each counts with its mean over the photos.

Run: python examples/nie_2018.py
"""

import torch
import torch.nn.functional as F
from shared_photos import arguments, estimate, print_table
from torch import nn
from torchvision.transforms.functional import center_crop, resize, to_tensor

import captum_guided_ext as cg
from captum_guided_ext.metrics import input_recovery
from captum_guided_ext.pictures import open_data

RULES = ("gradient", "deconvolution", "guided")
MEAN = (123.68, 116.779, 103.939)  # of ImageNet's red, green and blue, as the authors have it
STD = 0.1


def read(folder, size, limit):
    """Return photos (N, 3, size, size) as the network takes them."""
    data = open_data(str(folder))
    pictures = [data[place].image.convert("RGB") for place in range(len(data))[:limit]]
    pixels = [center_crop(resize(to_tensor(one), size), size) for one in pictures]
    return 255 * torch.stack(pixels) - torch.tensor(MEAN).view(3, 1, 1)


def random_network(filters, size, seed, *, pooled):
    """Return a network that nobody trained."""
    draws = torch.Generator().manual_seed(seed)
    pooling = [nn.MaxPool2d(9, stride=1, padding=4)] if pooled else []
    net = nn.Sequential(
        nn.Conv2d(3, filters, 7, padding=3, bias=False),
        nn.ReLU(),
        *pooling,
        nn.Flatten(),
        nn.Linear(filters * size**2, 1, bias=False),
    )
    for weights in net.parameters():
        nn.init.trunc_normal_(weights, std=STD, a=-2 * STD, b=2 * STD, generator=draws)
    return net.eval()


def fine(pictures):
    """Return what is left of pictures without their means over 9 x 9 pixels."""
    return pictures - F.avg_pool2d(pictures, 9, 1, 4, count_include_pad=False)


def recovered(net, x):
    """Return each rule's mean correlation with the photos, and with what is fine in them."""
    forward_pass = cg.ForwardPass(net, x)
    maps = {rule: forward_pass.input_gradients(rule, target=0)[0] for rule in RULES}
    return {
        rule: (input_recovery(one, x).mean(), input_recovery(fine(one), fine(x)).mean())
        for rule, one in maps.items()
    }


def main():
    """Measure, print."""
    parser = arguments(__doc__, quick="a few seconds and two photos, to see that it runs")
    parser.add_argument("--size", type=int, default=112, help="of the photos, in pixels")
    parser.add_argument("--networks", type=int, default=8, help="random networks of each kind")
    given = parser.parse_args()
    if given.quick:
        given.size, given.networks = 64, 2
    x = read(given.data / "photos", given.size, 2 if given.quick else None)
    rows = []
    for pooled in (False, True):
        for filters in (16, 64) if given.quick else (16, 64, 256):
            found = [
                recovered(random_network(filters, given.size, seed, pooled=pooled), x)
                for seed in range(given.networks)
            ]
            rows.extend(
                ["max-pool" if pooled else "none", filters, rule]
                + [estimate([one[rule][which] for one in found]) for which in (0, 1)]
                for rule in RULES
            )
    print_table(["pooling", "filters", "rule", "the picture", "its fine structure"], rows)


if __name__ == "__main__":
    main()
