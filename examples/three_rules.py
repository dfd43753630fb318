"""Three rules side by side: what each sends back at a ReLU, and its map of the demo's picture.

``python examples/three_rules.py`` draws examples/three_rules.png and prints what share of
each map lies on the parts of the picture, and how much negative evidence each rule ignored.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from shared_photos import save_small

import captum_guided_ext as cg
from captum_guided_ext.demo import CATEGORIES, PictureWorld, load_demo_network, prepare

RULES = ("gradient", "deconvolution", "guided")
TITLES = ("gradient", "deconvolution", "guided backprop")
BEYOND = 0.02  # of a map's pixels, drawn as the ends of its scale


def what_passes(axes, rule):
    """Colour the part of the plane of input x and arriving gradient g that a rule lets pass."""
    x, g = np.meshgrid([-0.5, 0.5], [-0.5, 0.5])
    gate = g > 0 if rule == "deconvolution" else x > 0
    passes = gate & (g > 0) if rule == "guided" else gate
    shown = np.where(passes, np.sign(g), 0)
    axes.imshow(shown, "RdBu_r", vmin=-2.2, vmax=2.2, origin="lower", extent=(-1, 1, -1, 1))
    for place in zip(x.flat, g.flat, passes.flat, strict=True):
        axes.text(*place[:2], "g" if place[2] else "0", ha="center", va="center", fontsize=14)
    axes.axhline(0, color="black", lw=0.8)
    axes.axvline(0, color="black", lw=0.8)
    axes.set_xticks([-0.5, 0.5], ["x < 0", "x > 0"])
    axes.set_yticks([-0.5, 0.5], ["g < 0", "g > 0"], rotation=90, va="center")
    axes.tick_params(length=0)


def draw(picture, maps, file):
    """Draw the rules above, and below the picture with its maps, each on its own scale."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    above, below = figure.subplots(2, 4)
    line = np.array([-1, 0, 1])
    above[0].plot(line, np.maximum(line, 0), color="black")
    above[0].set(aspect="equal", xlabel="x", ylabel="max(x, 0)")
    above[0].set(xticks=line, yticks=[0, 1], ylim=(-1, 1))
    above[0].set_title("a ReLU, forward", fontsize=11)
    for axes, rule, title in zip(above[1:], RULES, TITLES, strict=True):
        what_passes(axes, rule)
        axes.set_title(f"back: {title}", fontsize=11)
    below[0].imshow(picture.image, interpolation="nearest")
    for axes, found in zip(below[1:], maps, strict=True):
        shown = found.sum(dim=0).numpy()
        end = np.quantile(np.abs(shown), 1 - BEYOND)
        axes.imshow(shown, "RdBu_r", vmin=-end, vmax=end, interpolation="nearest")
    for axes, title in zip(below, ("picture", *TITLES), strict=True):
        axes.set(xticks=[], yticks=[])
        axes.set_title(title, fontsize=11)
    figure.supxlabel(
        "Above: x is what the ReLU got, g is the gradient that arrives. Below: maps of "
        f"{CATEGORIES[picture.label]}, summed over colours,\neach on its own scale: red is "
        "positive, blue is negative.",
        fontsize=9,
    )
    save_small(figure, file, dpi=100)


def main():
    """Compute the maps, print their numbers, draw them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".png"))
    arguments = parser.parse_args()
    picture = PictureWorld(1, seed=2026)[0]  # that of `captum-guided explain`
    forward_pass = cg.ForwardPass(load_demo_network(), prepare(picture.image)[None])
    maps = []
    print(f"| rule | {' | '.join(picture.masks)} | ignored |\n|---|---|---|---|---|")
    areas = [f"{mask.mean():.0%}" for mask in picture.masks.values()]
    print(f"| share of the area | {' | '.join(areas)} | |")
    for rule in RULES:
        found = forward_pass.input_gradients(rule, target=picture.label)[0][0]
        strength = found.abs().sum(dim=0).numpy()
        held = [f"{strength[m].sum() / strength.sum():.0%}" for m in picture.masks.values()]
        ignored = 0 if rule == "gradient" else forward_pass.ignored_share(rule, picture.label)
        print(f"| {rule} | {' | '.join(held)} | {ignored:.0%} |")
        maps.append(found)
    draw(picture, maps, arguments.output)


if __name__ == "__main__":
    main()
