"""A wrong prediction: what the maps blame for it, and whether changing that puts it right.

SqueezeNet looks at zebra_elephant.jpg, and at a part of it without the zebra. The elephant is
ImageNet's class 386, says the README of the shared data; the network sees it in neither. Then each
part of the elephant is greyed out, and the view is moved to where the maps see an elephant; the
same changes at other places say what chance does. ``python examples/wrong_prediction.py`` prints
the tables of examples/worked_examples.md and draws examples/wrong_prediction.png.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from shared_photos import data_folder, load, save_small
from torch.nn.functional import avg_pool2d

import captum_guided_ext as cg
from captum_guided_ext.attr import METHODS
from captum_guided_ext.output import PicturePanel, draw_maps

RIGHT = "African elephant"
ELEPHANTS = [101, 385, 386]  # tusker, Indian and African elephant: what an elephant may be called
VIEWS = {"the whole photo": (0, 0, 224, 224), "a part without the zebra": (0, 40, 136, 176)}
SIDE = 136  # of a view that is moved: more would show the zebra beside the elephant
SEEN, MARGIN, RESIZED = 227, 14.5, 256  # pixels of a view that the network sees, of the resized one
PARTS = {  # what is where, as seen by us: left, top, right, bottom, in the photo's 224 pixels
    "zebra": (137, 108, 224, 176),
    "head": (60, 36, 82, 90),
    "ear": (45, 36, 60, 106),
    "trunk": (52, 106, 82, 142),
    "body, legs": (0, 36, 45, 182),
}


def chances(network, inputs):
    """Return the probability of each class, (N, 1000)."""
    with torch.no_grad():
        return torch.cat([network.model(part).softmax(1) for part in torch.stack(inputs).split(25)])


def table(heads, rows):
    """Print a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), end="\n\n")


def parts_in(box):
    """Return masks of the parts in a view of the photo, by name."""
    left, top, right, bottom = box
    masks = {}
    for name, (x0, y0, x1, y1) in PARTS.items():
        mask = np.zeros((224, 224), bool)
        mask[y0:y1, x0:x1] = True
        masks[name] = mask[top:bottom, left:right]
    return {name: mask for name, mask in masks.items() if mask.any()}


def show_shares(wrong, right):
    """Print what each part holds of each method's map, for the wrong and for the right class."""
    rows = []
    for method in METHODS:
        both = list(zip(wrong.shares[method], right.shares[method], strict=True))
        cells = [f"{one.attribution:.2f} / {other.attribution:.2f}" for one, other in both]
        held = [pair for pair in both if min(one.attribution for one in pair) > 0.005]
        most = max(held, key=lambda one: one[0].attribution / one[1].attribution, default=None)
        rows.append([method, *cells, most[0].name if most else "none: next to nothing is there"])
    names = [f"{one.name} (area {one.area:.2f})" for one in wrong.shares["gradient"]]
    table([f"{wrong.target.name} / {right.target.name}", *names, "blamed"], rows)


def show_greyed(network, x, wrong, step):
    """Print what the network says when a part is grey, and at how many places it says as much."""
    rows = []
    for name, mask in wrong.masks.items():
        shifts = [(i, j) for i in range(0, SEEN, step) for j in range(0, SEEN, step)]
        grey = [torch.from_numpy(np.roll(mask, shift, (0, 1))) for shift in shifts]
        found = chances(network, [x.masked_fill(one, 0) for one in grey])  # 0: ImageNet's mean
        falls, rises = found[:, wrong.target.index], found[:, ELEPHANTS].sum(1)
        as_low, as_high = (falls <= falls[0]).float().mean(), (rises >= rises[0]).float().mean()
        answer = network.category(int(found[0].argmax()))
        rows.append(
            [name, answer, f"{falls[0]:.3f}", f"{as_low:.0%}", f"{rises[0]:.3f}", f"{as_high:.0%}"]
        )
    heads = ["grey", "answer", wrong.target.name, "as low at", "an elephant", "as high at"]
    table(heads, rows)


def moved(maps, box):
    """Return the view of SIDE pixels around the place where a map, smoothed, is largest."""
    row, column = divmod(int(maps.argmax()), SEEN)
    scale = (box[2] - box[0]) / RESIZED
    middle = (box[0] + (column + MARGIN) * scale, box[1] + (row + MARGIN) * scale)
    left, top = (min(max(round(one - SIDE / 2), 0), 224 - SIDE) for one in middle)
    return left, top, left + SIDE, top + SIDE


def show_moved(network, photo, box, found, everywhere):
    """Print what the network says of the view that is moved to the elephant, by each method."""
    rows = []
    for method in METHODS:
        maps = [one.maps[method].abs().sum(0, keepdim=True) for one in found]
        if not all(one.any() for one in maps):
            continue  # deconvolution's is zero everywhere
        wrong, right = (avg_pool2d(one / one.sum(), 31, 1, 15)[0] for one in maps)
        row = [method]
        for by in (right, right - wrong):
            view = moved(by, box)
            (one,) = chances(network, [network.prepare(photo.crop(view))])
            chance = one[ELEPHANTS].sum()
            as_high = (everywhere >= chance).float().mean()
            row += [network.category(int(one.argmax())), f"{chance:.3f}", f"{as_high:.0%}"]
        rows.append(row)
    cells = ("an elephant", "as high at")
    heads = ["view moved by", "to the elephant's map", *cells, "to its excess over the other"]
    table([*heads, *cells], rows)


def main():
    """Explain both views, change them, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=data_folder, default="../shared/data", help="photos and weights")
    add("--quick", action="store_true", help="few places, to see that it runs")
    add("--output", type=Path, default=Path(__file__).parent / "wrong_prediction.png")
    arguments = parser.parse_args()
    network, step = load(arguments.data), 100 if arguments.quick else 23
    photo = Image.open(arguments.data / "photos" / "zebra_elephant.jpg").convert("RGB")
    corners = range(0, 224 - SIDE + 1, 44 if arguments.quick else 8)
    views = [(left, top, left + SIDE, top + SIDE) for top in corners for left in corners]
    found = chances(network, [network.prepare(photo.crop(one)) for one in views])
    everywhere = found[:, ELEPHANTS].sum(1)
    named = sum(answer in ELEPHANTS for answer in found.argmax(1).tolist())
    print(f"{named} of {len(views)} views of {SIDE} pixels, anywhere, are called an elephant\n")
    panels, titles = [], []
    for name, box in VIEWS.items():
        picture = photo.crop(box)
        found = cg.explain(
            network, picture, name=name, target=["top1", RIGHT], methods=METHODS,
            regions=parts_in(box),
        )  # fmt: skip
        x, wrong = network.prepare(picture), found[0]
        (now,) = chances(network, [x])
        print(f"{name}: {wrong.target.name} {wrong.target.probability:.3f}, ", end="")
        print(f"an elephant {now[ELEPHANTS].sum():.3f} ({RIGHT} {now[ELEPHANTS[-1]]:.3f})\n")
        show_shares(*found)
        show_greyed(network, x, wrong, step)
        show_moved(network, photo, box, found, everywhere)
        for one in found:
            drawn, maps = one.panels(("overlay",))
            blank = np.full_like(drawn.picture, 255)  # the photo is not ours to pass on
            panels.append((PicturePanel("the parts", blank, drawn.outlines), maps[3:]))
            titles.append(f"{name}: {one.target.name} ({one.target.probability:.1%})")
    title = "What an answer rests on"
    caption = f"Here over white: the photo is not ours to pass on. {wrong.caption}"
    figure = draw_maps(panels, title=title, row_titles=titles, caption=caption)
    save_small(figure, arguments.output, dpi=75)


if __name__ == "__main__":
    main()
