"""How fast maps and their scores are: beside one gradient, and beside other packages.

``python examples/speed.py`` says how long it will take, and times the tasks of
``speed_cases.py`` on five networks. Contenders take turns in one process; what is shown are
medians of ratios, round by round, to the bare gradient of the same model and batch. Maps are
compared with the reference of the tests: the speed of a wrong one is marked. Then how the cost
grows (``speed_growth.py``). It writes ``speed.md``, ``table.md``, ``speed.json`` and ``speed.png``,
and goes on where it was stopped. ``--quick`` takes less than ten minutes on two cores.
"""

import argparse
import platform
from datetime import datetime, timezone
from functools import lru_cache, partial
from itertools import product
from pathlib import Path

import speed_cases as cases
import speed_growth as growth
import speed_report as report
import torch
from speed_cases import LARGE, LAYERS, METRICS, TASKS
from speed_contenders import CONTENDERS, ONLY, passes, taking_part
from speed_measuring import Journal, Settings, code, interleaved, measure, quiet, seconds_of
from torch import nn

QUICK = Settings(least=3, most=9, seconds=0.15)


def cells(*, quick=False, device="cpu"):
    """Return what is measured: a network, a batch, a size and a task."""
    if quick:
        shared = (*report.GUIDED, "four", "six")
        slow = (("vgg16", "four"), ("vgg16", "metrics"))  # one minute, and over two
        single = [(name, 1, 224, task) for name, task in product(LAYERS, shared)]
        small = [
            (name, 1, 64, task)
            for name, task in product(LAYERS, TASKS)
            if task not in (*shared, "sensitivity")
        ]
        batches = product(("resnet18", "mobilenet_v2"), (8,), (64,), ("guided_backprop", "six"))
        every = [*single, *small, *batches, (*ONLY["quantus"], "sensitivity")]
        return [cell for cell in every if (cell[0], cell[-1]) not in slow]
    sizes, batches = ((64, 224), (1, 8)) if device == "cpu" else ((224,), (1, 8, 64, 256))

    def is_asked(name, size, batch, task):
        if task == "sensitivity":  # half of what the metrics take: for Quantus
            return (name, batch, size) == ONLY["quantus"]
        return (
            task not in METRICS or batch == 1 or (batch == 8 and (name not in LARGE or size == 64))
        )

    return [
        (name, batch, size, task)
        for name, size, batch, task in product(LAYERS, sizes, batches, TASKS)
        if is_asked(name, size, batch, task)
    ]


def tiny_case():
    """Return a network that costs next to nothing, and a class of which no map is all zero.

    Of a map that is, this package says why, which takes passes of its own: no cost of each call.
    """
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    return cases.Case(model, "1", torch.randn(4, 8), 1)


def tiny(settings):
    """Return the seconds of a call on a tiny network."""
    case = tiny_case()
    names = [name for name in taking_part("guided_backprop") if name != "grad_cam"]
    calls = {name: CONTENDERS[name].call(case, "guided_backprop") for name in names}
    with quiet():
        for call in calls.values():
            seconds_of(call, times=20)
    return interleaved(calls, settings)


def estimate(todo, steps, settings, device="cpu"):
    """Return about how many seconds cells and steps take, from one forward pass of each network."""
    forward, total = {}, 0.0
    for name, size in {("resnet18", 64)} | {(name, size) for name, _, size, _ in todo}:
        model, x = cases.network(name, device), cases.noise(1, size, device)
        with torch.no_grad():
            model(x)
            call = partial(model, x)
            forward[name, size] = min(seconds_of(call, device=device) for _ in range(5))
    for name, batch, size, task in todo:
        each = []
        for who in taking_part(task, (name, batch, size)):
            down, up = passes(who, task)
            each.append(batch * forward[name, size] * (down + cases.BACKWARD * up))
        # a call to warm up, to check and for its memory, one to count the rounds
        total += (2 + settings.rounds(max(each))) * sum(each)
    return total + forward["resnet18", 64] * sum(step.passes for step in steps)


def said_of(seconds):
    """Return a time in words."""
    return f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"


def main(words=None):
    """Measure what is missing, and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--output", type=Path, default=Path("captum-guided-output/speed"), help="for the results")
    add("--quick", action="store_true", help="fewer cells and rounds: less than ten minutes")
    add("--threads", type=int, help="of torch (default: its own choice)")
    add("--device", default="cpu", help="cpu, or cuda: times in milliseconds, at batch 1 to 256")
    add("--estimate", action="store_true", help="say how long it would take, and end")
    given = parser.parse_args(words)
    if given.threads:
        torch.set_num_threads(given.threads)
    settings = QUICK if given.quick else Settings()
    taking = {name: one for name, one in CONTENDERS.items() if not one.missing}
    for one in CONTENDERS.values():
        if one.missing:
            print(one.missing)
    run = {
        "quick": given.quick,
        "device": given.device if given.device == "cpu" else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "cpu": report.cpu(),
        "python": platform.python_version(),
        "versions": {one.project or "captum-guided-ext": one.version for one in taking.values()},
        "code": code(),
    }
    journal = Journal(given.output / "cells.jsonl", run)
    todo = cells(quick=given.quick, device=given.device)
    steps = growth.steps(quick=given.quick) if given.device == "cpu" else {}
    left = [cell for cell in todo if cell not in journal.cells]
    grown = [step for key, step in steps.items() if key not in journal.cells]
    seconds = estimate(left, grown, settings, given.device)
    print(
        f"{len(left)} of {len(todo)} cells and {len(grown)} of {len(steps)} steps of growth are to "
        f"be measured: about {said_of(seconds)}",
        flush=True,
    )
    if given.estimate:
        return
    if given.device == "cpu":
        journal.get(("tiny",), partial(tiny, Settings()))
    prepared = lru_cache(1)(partial(_prepared, device=given.device))
    for cell in todo:
        found = journal.get(cell, partial(_measured, cell, prepared, settings, given.device))
        name, batch, size, task = cell
        print(f"{name}, batch {batch}, {size} pixels: {report.line(task, found)}", flush=True)
    for key, step in steps.items():
        found = journal.get(key, step.measure)
        print(f"{' '.join(map(str, key))}: {report.short(found)}", flush=True)
    today = datetime.now(tz=timezone.utc).date().isoformat()
    report.write(given.output, run | {"date": today}, journal.cells)


def _prepared(name, batch, size, device):
    """Return a network and a batch, and its maps by the reference; kept for the next task."""
    model = cases.network(name, device)
    case = cases.case(model, LAYERS[name], cases.noise(batch, size, device))
    return case, cases.references(case)


def _measured(cell, prepared, settings, device):
    name, batch, size, task = cell
    case, wanted = prepared(name, batch, size)
    names = taking_part(task, (name, batch, size))
    return measure(case, task, names, settings, wanted=wanted, device=device)


if __name__ == "__main__":
    main()
