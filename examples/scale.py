"""What a benchmark costs beside the passes, from 1,000 to 100,000 images.

``python examples/scale.py`` scores six methods by six metrics that cost next to nothing, on a
network that costs next to nothing: what is left is reading, writing and summing up. It prints the
table of examples/benchmark.md and draws examples/scale.png. Each step runs in a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg

SIZES = (1_000, 10_000, 100_000)
NAMES = ("one", "two", "three", "four", "five", "six")


@dataclass(frozen=True)
class Drawn:
    """Scores that are drawn; half of them with intervals, as infidelity's."""

    names: tuple[str, ...] = NAMES
    higher_is_better: bool = False

    def score(self, batch):
        """Return a score of each name."""
        draws = torch.Generator().manual_seed(batch.images[0])
        found = {}
        for place, name in enumerate(self.names):
            found[name] = {}
            for method in batch.maps:
                values = torch.rand(len(batch.images), generator=draws).exp()
                ends = torch.stack([values - 0.1, values + 0.1], dim=1) if place % 2 else None
                found[name][method] = cg.Score(values, interval=ends)
        return found


class Small(nn.Module):
    """A convolution, a ReLU and a layer of classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.classes = nn.Conv2d(1, 2, 3), nn.Linear(8, 4)

    def forward(self, x):
        """Return the scores of the classes."""
        return self.classes(self.convolution(x).relu().flatten(1))


def pictures(images):
    """Return tensors that are in memory."""
    drawn = torch.rand(images, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(drawn, torch.arange(images) % 4)


def run(folder, images):
    """Benchmark; run again on a finished folder, it only reads and sums up."""
    cg.benchmark(
        Small(), pictures(images), output=folder, metrics=[Drawn()], batch_size=100,
        max_examples_per_batch=100, show_progress=False,
    )  # fmt: skip


def timed(step, folder, images):
    """Print how long a step took in this process, and the memory at its start and at most."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if step == "summarize":
        cg.summarize(folder)
    else:
        run(folder, images)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([time.perf_counter() - start, before / 1024, most / 1024]))


def draw(rows, file):
    """Draw seconds against images."""
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(5.5, 3.6), layout="constrained")
    axes = figure.subplots()
    for step in ("run", "resume", "summarize"):
        sizes = [images for images, one in rows if step in one]
        axes.loglog(sizes, [one[step][0] for _, one in rows], "o-", label=step)
    axes.set(xlabel="images", ylabel="seconds")
    axes.set_title("Six methods, six metrics, floors: all but the passes", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(file, dpi=150)


def main():
    """Run each step on each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1,000 images only")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "scale.png")
    parser.add_argument("--step", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step, folder, images = arguments.step
        timed(step, folder, int(images))
        return
    rows = []
    print("| images | step | seconds | MB at the start | MB at most |\n|---|---|---|---|---|")
    for images in SIZES[:1] if arguments.quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            found = {}
            for step in ("run", "resume", "summarize"):
                command = [sys.executable, __file__, "--step", step, folder, str(images)]
                done = subprocess.run(command, capture_output=True, check=True, text=True)  # noqa: S603
                found[step] = json.loads(done.stdout)
                seconds, before, most = found[step]
                print(f"| {images:,} | {step} | {seconds:.2f} | {before:.0f} | {most:.0f} |")
            rows.append((images, found))
    draw(rows, arguments.output)


if __name__ == "__main__":
    main()
