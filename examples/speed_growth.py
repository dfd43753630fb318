"""How the cost grows: with the batch, samples, depth, methods, images. Parts of ``speed.py``.

Run as a program it times :func:`captum_guided_ext.benchmark` beside its passes, in one process or,
by ``torchrun``, in several.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import speed_cases as cases
import torch
from speed_cases import LAYERS, METRICS, SINGLE, Case
from speed_contenders import CONTENDERS, passes_alone
from speed_measuring import Settings, measure, quiet
from torch import nn
from torch.utils.data import TensorDataset

import captum_guided_ext as cg

FEW = Settings(least=3, most=15, seconds=0.3)
WITH_NORM = ("resnet18", "resnet50", "densenet121", "mobilenet_v2")
BATCH, MOST = 8, 32  # benchmark's defaults: images at a time, and perturbed ones


@dataclass(frozen=True)
class Step:
    """A part of the run, and how long it takes in forward passes of ResNet-18 on 64 pixels."""

    measure: object
    passes: float


def steps(*, quick=False):
    """Return the steps by their keys: what grows, and to what size."""
    found = {}
    for batch in (1, 4, 16) if quick else (1, 2, 4, 8, 16, 32):
        found["batch", batch] = Step(partial(_batch, batch), 150 * batch)
    for samples in (10, 100) if quick else (10, 30, 100, 300, 1000):
        found["samples", samples] = Step(partial(_samples, samples), 30 + 8 * samples)
    for depth in (4, 16, 64) if quick else (4, 8, 16, 32, 64):
        found["depth", depth] = Step(partial(_depth, depth), 60 + 3 * depth)
    for count in (1, 3, 6) if quick else range(1, 7):
        found["methods", count] = Step(partial(_methods, count), 10 * 4 * (8 + 4 * count))
    # an image takes about 21 forward passes and 33 backward ones; a warm-up has eight
    for images in (8, 16) if quick else (8, 32, 128, 512):
        rounds = 1 if quick or images > 100 else 3
        work = partial(throughput, images, 32, 1, rounds)
        found["images", images] = Step(work, 30 * images * (2 * rounds + 1))
    for processes in (1, 2):
        images, rounds = (96, 1) if quick else (256, 3)
        work = partial(throughput, images, 64, processes, rounds)
        found["processes", processes] = Step(work, 60 * images * (2 * rounds + 1))
    for name in WITH_NORM:
        found["fast", name] = Step(partial(_fast, name), 150)
    return found


def _among(*names):
    return [name for name in names if not CONTENDERS[name].missing]


def _resnet(batch, size=64):
    model = cases.network("resnet18")
    return cases.case(model, LAYERS["resnet18"], cases.noise(batch, size))


def _stack(depth, channels=16, size=32):
    """Return a plain stack of convolutions and ReLUs, and a batch of one."""
    torch.manual_seed(0)
    layers = []
    for one in range(depth):
        layers += [nn.Conv2d(channels if one else 3, channels, 3, padding=1), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    model = nn.Sequential(*layers, *end).eval()
    return cases.case(model, str(len(layers) - 1), cases.noise(1, size))


def _batch(batch):
    names = _among("bare", "ours", "captum", "zennit")
    return measure(_resnet(batch), "guided_backprop", names, FEW)


def _depth(depth):
    names = _among("bare", "ours", "captum", "zennit")
    return measure(_stack(depth), "guided_backprop", names, FEW)


def _methods(count):
    return measure(
        _resnet(8), SINGLE[:count], _among("bare", "passes", "ours", "fast", "captum"), FEW
    )


def _samples(samples):
    settings = FEW if samples <= 100 else replace(FEW, least=1, most=1)
    case = replace(_stack(4), samples=samples)
    return measure(case, "metrics", _among("passes", "ours", "captum"), settings)


def _fast(name):
    """Return by how much scores change under fast=True, beside how exact they are."""
    model, x = cases.network(name), cases.noise(4, 64)
    case = cases.case(model, LAYERS[name], x)
    scored = (*METRICS["metrics"], "sensitivity_mean")  # a maximum has no standard error
    exact, fast = (
        cg.compare(
            model, x, case.target, methods=cases.FOUR, layer=case.layer, metrics=scored,
            **options,
        )
        for options in ({}, {"fast": True})
    )  # fmt: skip
    relative, beside = dict.fromkeys(scored, 0.0), {}
    for one, other in zip(exact.rows, fast.rows, strict=True):
        if one.value is None or other.value is None:
            continue
        change = abs(one.value - other.value)
        share = change / max(abs(one.value), 1e-12)
        relative[one.metric] = max(relative[one.metric], share)
        error = one.standard_error
        if one.interval_low is not None:
            error = (one.interval_high - one.interval_low) / 2
        if error:
            beside[one.metric] = max(beside.get(one.metric, 0.0), change / error)
    distances = {
        name: cases.distance(fast.maps[name], wanted) for name, wanted in exact.maps.items()
    }
    return {
        "maps": distances,
        "scores, the largest change as a share": relative,
        "in standard errors, or half-widths of the interval": beside,
    }


def throughput(images, size, processes, rounds):
    """Return the seconds of benchmark, and of its passes alone, by round; in new processes."""
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    threads = 1 if processes > 1 else torch.get_num_threads()
    command += [__file__, *map(str, (images, size, rounds, threads))]
    done = subprocess.run(command, capture_output=True, check=False, text=True)  # noqa: S603
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def _benchmark_once(case, data, folder):
    cg.benchmark(
        case.model, data, output=folder, layer=case.layer, batch_size=BATCH,
        max_examples_per_batch=MOST, show_progress=False,
    )  # fmt: skip


def main():
    """Time benchmark and its passes, in turn; the first process prints what it saw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("images", "size", "rounds", "threads"):
        parser.add_argument(name, type=int)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = cases.network("resnet18")
    inputs = cases.noise(given.images, given.size)
    data = TensorDataset(inputs, torch.zeros(given.images).int())
    case = Case(model, LAYERS["resnet18"], inputs[:BATCH], 0, most=MOST)
    with tempfile.TemporaryDirectory() as folder, quiet():
        shared = _shared(folder)
        _benchmark_once(case, TensorDataset(*data[:1]), shared / "warm")
        rank, size = _process()
        batches = [
            passes_alone(replace(case, x=x), "six_scored") for x in inputs.split(BATCH)[rank::size]
        ]
        found = {"ours": {"seconds": []}, "passes": {"seconds": []}}
        for one in range(given.rounds):
            calls = {
                "ours": partial(_benchmark_once, case, data, shared / str(one)),
                "passes": lambda: [batch() for batch in batches],
            }
            for name in list(calls)[:: 1 if one % 2 else -1]:
                _meet()
                start = time.perf_counter()
                calls[name]()
                _meet()
                found[name]["seconds"].append(time.perf_counter() - start)
    if rank == 0:
        print(json.dumps(found | {"images": given.images, "processes": size}))


def _process():
    if torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _meet():
    """Wait for the other processes, if there are any."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _shared(folder):
    """Return the folder of the first process, in all of them."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        torch.distributed.init_process_group("gloo")
        parcel = [folder]
        torch.distributed.broadcast_object_list(parcel, src=0)
        return Path(parcel[0])
    return Path(folder)


if __name__ == "__main__":
    main()
