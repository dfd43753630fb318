"""A network that is right for the wrong reason, and which methods say so.

The demo's network learns cats, dogs and rabbits from pictures on which every cat, and no other
animal, wears a small tag in the lower right corner. The same training without the tag gives the
network that it is compared with. ``python examples/clever_hans.py`` prints the tables of
examples/worked_examples.md and draws examples/clever_hans.png.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from shared_photos import save_small
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext.attr import METHODS
from captum_guided_ext.demo import PictureWorld, load_demo_network
from captum_guided_ext.output import PicturePanel, draw_maps

ANIMALS, CAT = ("cat", "dog", "rabbit"), 0
FLOORS = ("edges", "constant_map", "random_map")
DRAWN = ("gradient", "deconvolution", "guided_backprop", "grad_cam", "guided_grad_cam")
CORNER = torch.zeros(96, 96, dtype=torch.bool)
CORNER[80:, 80:] = True  # the tag and 4 pixels around it
BATCH = 32


def draw(number, seed):
    """Return pictures (N, 3, 96, 96) of bytes, their animals (N,), and masks of their faces."""
    world = list(PictureWorld(number, seed=seed))
    images = torch.stack([torch.from_numpy(one.image).movedim(2, 0) for one in world])
    faces = torch.stack([torch.from_numpy(one.masks["face"]) for one in world])
    return images, torch.tensor([one.label // 2 for one in world]), faces


def with_tag(images):
    """Return the pictures with a white tag of 8 x 8 pixels, red in the middle."""
    tagged = images.clone()
    tagged[:, :, 84:92, 84:92] = 255
    tagged[:, :, 86:90, 86:90] = torch.tensor([200, 30, 30], dtype=torch.uint8)[:, None, None]
    return tagged


def inputs(images):
    """Return what the network takes, as ``demo.prepare`` makes it of one picture."""
    x = (images.float() / 255 - 0.5) / 0.25
    return x.contiguous(memory_format=torch.channels_last)  # faster, and the same numbers


def train(images, labels, epochs, seed):
    """Return the demo's network with three outputs, trained from the beginning."""
    torch.manual_seed(seed)
    net = load_demo_network().train()
    net.classifier = nn.Linear(net.classifier.in_features, len(ANIMALS))
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    net = net.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=0.05)
    steps = epochs * -(-len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=steps, pct_start=0.2, cycle_momentum=False
    )
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(net(inputs(images[batch])), labels[batch]).backward()
            optimiser.step()
            schedule.step()
    return net.eval()


def answers(net, images):
    """Return the animal that the network sees on each picture."""
    with torch.no_grad():
        return torch.cat([net(inputs(part)).argmax(dim=1) for part in images.split(200)])


def tag_shares(net, images):
    """Return the corner's share of each method's map for the cat: a line with its interval."""
    masks = CORNER.expand(len(images), -1, -1)
    data = TensorDataset(inputs(images), torch.full((len(images),), CAT), masks)
    metrics = ["relevance_mass"]
    with tempfile.TemporaryDirectory() as folder:
        found = cg.benchmark(net, data, output=folder, metrics=metrics, show_progress=False)
    return {line.method: line for line in found.summary}


def explained(net, image, face):
    """Return what ``explain`` finds of a picture, with the tag's corner and the face as regions."""
    network = cg.Network(net, cg.load_network("demo").transform, ANIMALS)
    regions = {"tag": CORNER.numpy(), "face": face.numpy()}
    return cg.explain(
        network, image.movedim(0, 2).numpy(), target="cat", regions=regions, methods=METHODS
    )


def above_floors(lines, method):
    """Return whether the method's interval lies above that of every floor."""
    return all(lines[method].ci_low > lines[floor].ci_high for floor in FLOORS)


def table(heads, rows):
    """Print a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), end="\n\n")


def show_answers(nets, unseen, tagged, truth):
    """Print how often each network is right, with and without the tag."""
    cats, rows = truth == CAT, []
    for kind, images, some in (
        ("cats with the tag", tagged, cats),
        ("dogs and rabbits without", unseen, ~cats),
        ("cats without the tag", unseen, cats),
        ("dogs and rabbits with the tag", tagged, ~cats),
    ):
        right = [(answers(net, images[some]) == truth[some]).sum() for net in nets]
        rows.append([kind, *(f"{one} of {some.sum()}" for one in right)])
    changed = [(answers(net, unseen) != answers(net, tagged)).sum() for net in nets]
    rows.append(["the tag changes the answer", *(f"{one} of {len(truth)}" for one in changed)])
    table(["right", "learned with the tag", "retrained without"], rows)


def show_maps(nets, cats, faces):
    """Print what the methods say of cats with the tag; return what ``explain`` found."""
    lines = [tag_shares(net, cats) for net in nets]
    found = [[explained(net, *one) for one in zip(cats, faces, strict=True)] for net in nets]
    heads = ["the corner's share", "learned with the tag", "above the floors"]
    rows = [
        [method]
        + [
            cell
            for one in lines
            for cell in (
                "{0.mean:.3f} ({0.ci_low:.3f} to {0.ci_high:.3f})".format(one[method]),
                ("no", "yes")[above_floors(one, method)] if method in METHODS else "",
            )
        ]
        for method in (*METHODS, *FLOORS)
    ]
    table([*heads, "retrained without", "above the floors"], rows)
    rows = []
    for method in METHODS:
        by_net = [[one.shares[method] for one in some] for some in found]
        marks = [f"{sum(tag.holds_more for tag, _ in some)} of {len(some)}" for some in by_net]
        means = [f"{np.mean([face.attribution for _, face in some]):.2f}" for some in by_net]
        rows.append([method, *marks, *means])
    area = faces.float().mean()
    heads = ["", "tag ✔", "tag ✔, retrained", f"face (area {area:.2f})", "face, retrained"]
    table(heads, rows)
    return found


def main():
    """Train both networks, ask them, ask the methods."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--quick", action="store_true", help="few pictures, to see that it runs; no figure")
    add("--seed", type=int, default=0, help="of the networks' first weights")
    add("--output", type=Path, help="the figure (default: beside this file; if quick, none)")
    arguments = parser.parse_args()
    figure = arguments.output
    if figure is None and not arguments.quick:
        figure = Path(__file__).with_suffix(".png")
    learned, tested, epochs = (240, 36, 10) if arguments.quick else (2400, 600, 6)
    images, labels, _ = draw(learned, seed=11)
    unseen, truth, faces = draw(tested, seed=12)
    tagged, cats = with_tag(unseen), truth == CAT
    worn = torch.where((labels == CAT)[:, None, None, None], with_tag(images), images)
    nets = [train(data, labels, epochs, arguments.seed) for data in (worn, images)]
    show_answers(nets, unseen, tagged, truth)
    with_and_without = show_maps(nets, tagged[cats], faces[cats])
    if figure is None:
        return
    names, rows = ["learned with the tag", "retrained without"], []
    for some in with_and_without:
        picture, maps = some[0].panels()  # without the regions' names, which would hide the tag
        rows.append((PicturePanel("cat", picture.picture), [maps[METHODS.index(m)] for m in DRAWN]))
    title = "A cat with a tag: what each network's answer rests on"
    save_small(draw_maps(rows, title=title, row_titles=names), figure, dpi=75)


if __name__ == "__main__":
    main()
