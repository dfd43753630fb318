"""Do maps depend on the class? A zebra and an elephant on one photo, explained for each.

The photo is from Sixt et al. 2020 (arXiv:1912.09818), the network is SqueezeNet 1.0. For each
method: the rank correlation of the two classes' maps, the share of each map in the half of the
photo where its animal is, and whether the largest value lies there. Also draws
examples/class_sensitivity.png.

Run: python examples/class_sensitivity.py
"""

from pathlib import Path

import torch
from matplotlib.figure import Figure
from shared_photos import arguments, load, photos, print_table, save_small

import captum_guided_ext as cg
from captum_guided_ext.metrics import class_sensitivity, pointing_game, relevance_mass

METHODS = ("gradient", "input_x_gradient", "guided_backprop", "grad_cam", "guided_grad_cam")
ELEPHANT, ZEBRA = slice(0, 113), slice(114, 227)  # columns: it stands on the left, it on the right
ANIMALS = {"zebra": (340, ZEBRA), "elephant": (386, ELEPHANT)}  # classes of ImageNet
COLUMNS = {"gradient": "gradient", "guided_backprop": "guided backprop",
           "grad_cam": "Grad-CAM", "guided_grad_cam": "guided Grad-CAM"}  # fmt: skip


def mask_of(x, columns):
    """Return a mask (1, H, W) of some columns of the photo."""
    mask = torch.zeros(1, *x.shape[2:], dtype=torch.bool)
    mask[..., columns] = True
    return mask


def draw(maps, correlations, file):
    """Draw both classes' maps, with their rank correlation below; the photo is not ours to show."""
    figure = Figure(figsize=(8, 4.3), layout="constrained")
    grid = figure.subplots(len(ANIMALS), len(COLUMNS))
    for place, animal in enumerate(ANIMALS):
        for axes, (name, title) in zip(grid[place], COLUMNS.items(), strict=True):
            strength = maps[animal][name][0].abs().sum(dim=0)
            axes.imshow((strength / strength.quantile(0.995)).numpy(), vmax=1, cmap="gray_r")
            axes.axvline(ELEPHANT.stop, color="0.4", linestyle=":", linewidth=1)
            axes.set(xticks=[], yticks=[])
            if place == 0:
                axes.set_title(title, fontsize=9)
            else:
                axes.set_xlabel(f"rank correlation {correlations[name]:.2f}", fontsize=8)
        grid[place][0].set_ylabel(f"for “{animal}”")
    words = "left of the dotted line stands the elephant, right of it the zebra"
    figure.supxlabel(words, fontsize=8)
    save_small(figure, file, dpi=100)


def main():
    """Explain both, print, draw."""
    parser = arguments(__doc__, quick="no figure")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    given = parser.parse_args()
    network = load(given.data)
    names, x = photos(given.data, network)
    x = x[[names.index("zebra_elephant.jpg")]]
    (zebra, _), (elephant, _) = ANIMALS.values()
    found = class_sensitivity(network.model, x, METHODS, zebra, elephant, seed=0)
    correlations = {method: float(found.values[method]) for method in METHODS}

    maps, shares = {}, {}
    for animal, (target, columns) in ANIMALS.items():
        mask = mask_of(x, columns)
        maps[animal] = cg.compare(network.model, x, target, methods=METHODS, metrics=()).maps
        for method, one in maps[animal].items():
            hit = "peak" if pointing_game(one, mask).item() else "no peak"
            shares[animal, method] = f"{relevance_mass(one, mask).item():.0%}, {hit}"
    header = ["method", "zebra against elephant", *(f"{animal}: in its half" for animal in ANIMALS)]
    print_table(
        header,
        [
            [method, f"{correlations[method]:.2f}", *(shares[animal, method] for animal in ANIMALS)]
            for method in METHODS
        ],
    )
    if not given.quick:
        draw(maps, correlations, given.output)


if __name__ == "__main__":
    main()
