"""What several examples have in common: SqueezeNet, the shared photos, tables and figures."""

import argparse
from pathlib import Path

import torch
from PIL import Image
from scipy import stats

from captum_guided_ext.networks import load_network
from captum_guided_ext.pictures import PictureDataset, open_data


def data_folder(path):
    """Return the folder that ``--data`` names; one line says where there is none."""
    if not Path(path).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path}; name the shared data's place")
    return Path(path)


def load(folder):
    """Return the network as it was trained: its pooling, and pictures of 227 pixels."""
    file = folder / "squeezenet1_0_imagenet" / "squeezenet1_0_imagenet.pth"
    network = load_network("squeezenet1_0", checkpoint=file, overrides={"crop": 227})
    network.model.classifier[1].padding = (1, 1)
    return network


def photos(folder, network, limit=None):
    """Return the names of the photos, and what the network takes of them, (N, 3, H, W)."""
    data = PictureDataset(open_data(str(folder / "photos")), network, use_labels=False)
    several = range(len(data))[:limit]
    return [data.name(place) for place in several], torch.stack([data[i][0] for i in several])


def estimate(values):
    """Write the mean of independent values, (N,), and half of its 95 % interval (Student's t)."""
    values = torch.as_tensor(values, dtype=torch.float64)
    values = values[values.isfinite()]
    mean = f"{values.mean():.2f}".replace("-0.00", "0.00")
    if len(values) < 2:
        return mean
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
    return f"{mean} ± {half:.2f}"


def print_table(header, rows):
    """Print a table as pages show it."""
    for row in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(map(str, row)) + " |")


def save_small(figure, file, dpi):
    """Write a figure for a page, in 128 colours, which maps and letters can do with."""
    figure.savefig(file, dpi=dpi)
    with Image.open(file) as drawn:
        small = drawn.convert("RGB").quantize(128)
    small.save(file, optimize=True)


def arguments(doc, *, quick):
    """Read the command line: where the data is, and whether it is only to be seen that it runs."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    add = parser.add_argument
    add("--data", type=data_folder, default="../shared/data", help="photos and weights")
    add("--quick", action="store_true", help=quick)
    return parser
