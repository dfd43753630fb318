"""Tiny networks, pictures and processes for the tests of ``benchmark``.

Commands find the networks as ``small_benchmark:net``. Environment variables change them where a
test needs the same name to mean another network, or a slow or a mortal one.
"""

import contextlib
import csv
import functools
import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from captum.attr import GradientShap, NoiseTunnel
from networks import Conv, seeded
from PIL import Image
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.data import TensorDataset
from tqdm import tqdm

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.networks import Network, Preprocessing

HELPERS = Path(__file__).parent
CLASSES = 4
FEW = ("--methods", "gradient,grad_cam,guided_backprop",
       "--metrics", "infidelity,sensitivity_mean")  # fmt: skip
SUMMARIES = ("scores.csv", "summary.csv", "summary.json", "summary.png")


class Cnn(Conv):
    """A network that may take its time or die."""

    def __init__(self, act=F.relu, **sizes):
        super().__init__(act, classes=CLASSES, **sizes)
        self.last.weight.data.abs_()  # so that no Grad-CAM is zero everywhere

    def forward(self, x):
        time.sleep(float(os.environ.get("SMALL_SLEEP", "0")))
        flag = os.environ.get("SMALL_FLAG")
        if flag and os.environ.get("RANK") == "1" and self.examples + len(x) > 12:
            with contextlib.suppress(FileExistsError):  # on the first attempt only
                Path(flag).touch(exist_ok=False)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def cnn(act=F.relu, **sizes):
    return seeded(lambda: Cnn(act, **sizes), int(os.environ.get("SMALL_SEED", "3")))


def grey():
    return cnn(channels=1)


def gelu():
    return cnn(F.gelu)


def net(act=F.relu, **sizes):
    """Return a network that takes pixels in [0, 1] at the picture's own size, and says so."""
    return Network(cnn(act, **sizes), Preprocessing(), name=act.__name__)


def grey_net():
    return net(channels=1)


def gelu_net():
    return net(F.gelu)


def normed():
    """Return a network with a batch norm behind each convolution."""

    def build():
        parts = [
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
            nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES),
        ]  # fmt: skip
        for one in (parts[1], parts[4]):
            for values in (one.weight, one.bias, one.running_mean, one.running_var):
                values.data.copy_(torch.rand(values.shape) / 2 + 0.2)
        parts[-1].weight.data.abs_()
        return nn.Sequential(*parts)

    return Network(seeded(build, 3), Preprocessing(), name="normed")


def named():
    """Return a network whose classes have names and whose pictures are cut to 8 x 8."""
    names = ("tabby cat", "spaniel, dog", "great_white shark", "wren")
    return Network(cnn(), Preprocessing(8, 8), names, name="named")


def dataset(count=7):
    pictures = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1
    return TensorDataset(pictures, torch.arange(count) % CLASSES)


def drawing(folder, network=None, **options):
    """Benchmark methods that draw from the global generator, beside one that does not."""
    network = network or cnn()
    shap = GradientShap(network).attribute
    methods = {
        "smooth": NoiseTunnel(cg.GuidedBackprop(network)),
        "shap": functools.partial(shap, baselines=torch.zeros(1, 3, 8, 8), n_samples=3),
        "guided_backprop": "guided_backprop",
    }
    settings = {"n_perturb_samples": 3, "batch_size": 2, "seed": 5, "show_progress": False}
    metrics = ["infidelity_square", "sensitivity_max"]
    return cg.benchmark(
        network, dataset(9), output=folder, methods=methods, metrics=metrics,
        **settings | options,
    )  # fmt: skip


def drawings_in_a_group_of_ones_own(folders):
    """Do so several times in a process group that is there before and after."""
    dist.init_process_group("gloo")
    for folder in folders:
        found = drawing(folder)
        assert (found is None) == (dist.get_rank() != 0)
    assert dist.is_initialized()
    dist.destroy_process_group()


def save_pictures(folder, count=8, size=(8, 8), labels=("0", "1", "2", "3")):
    """Save noise as ``folder/label/number.png``, without labels as ``folder/number.png``."""
    noise = np.random.default_rng(5)
    for number in range(count):
        place = folder / labels[number % len(labels)] if labels else folder
        place.mkdir(parents=True, exist_ok=True)
        pixels = noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    return folder


def command(data, output, *more, model="small_benchmark:net"):
    """Return the arguments of a small and quick benchmark."""
    return [
        "benchmark", "--data", str(data), "--output", str(output), "--model", model,
        "--batch-size", "2", "--samples", "2", "--device", "cpu", *map(str, more),
    ]  # fmt: skip


# Processes are forked from one that has imported everything: importing takes seconds.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["small_benchmark", "torchvision.datasets", "matplotlib.figure"])


def start(run, *, errors=os.devnull, **environment):
    """Start a function or a command in a process of its own; ``errors`` gets what it says."""
    run = run if callable(run) else functools.partial(cli.main, run)
    environment = {name: str(value) for name, value in environment.items()}
    process = _CONTEXT.Process(target=_main, args=(run, str(errors), environment))
    process.start()
    return process


def _main(run, errors, environment):
    os.environ.update(environment)
    tqdm.set_lock(threading.RLock())  # its own lock outlives a killed process
    with Path(errors).open("w") as file, Path(os.devnull).open("w") as nothing:
        sys.stderr, sys.stdout = file, nothing
        sys.exit(run())


def start_many(size, run, folder, **environment):
    """Start ``size`` processes of one run, as torchrun would but without its watch over them."""
    return _start_group([run] * size, range(size), folder, environment)


def start_machines(runs, folder, **environment):
    """Start one process of a run on each of several machines, which share no folder."""
    return _start_group(runs, [0] * len(runs), folder, environment)


def _start_group(runs, local_ranks, folder, environment):
    port = _port()
    return [
        start(
            run, errors=folder / f"errors-{rank}", RANK=rank, LOCAL_RANK=local_rank,
            WORLD_SIZE=len(runs), MASTER_ADDR="127.0.0.1", MASTER_PORT=port, **environment,
        )
        for rank, (run, local_rank) in enumerate(zip(runs, local_ranks, strict=True))
    ]  # fmt: skip


def _port():
    """Return a free port below those that systems hand out (32768 and up on Linux).

    One that the system had handed out could be another process's before this one's binds it.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)  # whatever a test has seeded
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def codes(processes, patience=60):
    """Return the exit codes, of the killed ones the negative signal."""
    for process in processes:
        process.join(patience)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise AssertionError("a process did not end")
    return [process.exitcode for process in processes]


def complaint(said):
    """Return the one line that says what is wrong; a progress bar has lines of its own."""
    lines = said.splitlines()
    (line,) = (one for one in lines if one.strip() and not one.startswith("benchmark: "))
    assert line.startswith("captum-guided benchmark: ")
    return line


def called(capsys, output, data, *more, **options):
    """Run a command in this process; return its exit code, output and errors."""
    capsys.readouterr()
    try:
        code = cli.main(command(data, output, *more, **options))
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def table(text):
    """Return the rows of a CSV file."""
    return list(csv.DictReader(text.splitlines()))


def values(rows):
    """Return each value by image, method and metric, of rows from a CSV file or of a result."""
    found = [row if isinstance(row, dict) else vars(row) for row in rows]
    return {
        (int(one["image"]), one["method"], one["metric"]): None
        if one["value"] in ("", None)
        else float(one["value"])
        for one in found
    }


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
