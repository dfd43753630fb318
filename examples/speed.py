"""How fast maps and their scores are: beside one gradient, and beside other packages.

``python examples/speed.py`` says how long it will take, and times the tasks of
``speed_contenders.py`` on five networks. Contenders take turns in one process; what is shown are
medians of ratios, round by round, to the bare gradient of the same model and batch. Maps are
compared with the reference of the tests: the speed of a wrong one is marked. Then how the cost
grows (``speed_growth.py``). It writes ``speed.md``, ``table.md``, ``speed.json`` and ``speed.png``,
and goes on where it was stopped. ``--quick`` takes less than ten minutes on two cores.
"""

import argparse
import platform
from datetime import date
from itertools import product
from pathlib import Path

import speed_contenders as contenders
import speed_growth as growth
import speed_report as report
import torch
from speed_contenders import CONTENDERS, LARGE, LAYERS, METRICS, TASKS
from speed_measuring import Journal, Settings, interleaved, peak_bytes, quiet, seconds_of
from torch import nn

QUICK = Settings(least=3, most=9, seconds=0.15)
SMALL = ("resnet18", 1, 64)  # where Quantus takes part


def cells(*, quick=False, device="cpu"):
    """Return what is measured: a network, a batch, a size and a task."""
    batches, sizes = ((1, 8), (64, 224)) if device == "cpu" else ((1, 8, 64, 256), (224,))
    found = []
    for name, size, batch, task in product(LAYERS, sizes, batches, TASKS):
        slow = task in METRICS
        if slow and batch > 1 and (device != "cpu" or (name in LARGE and size > 64)):
            continue
        if quick and (size > 64 or (batch > 1 and (slow or name in LARGE))):
            shown = name in ("resnet18", "mobilenet_v2") and batch == 1 and not slow
            if not (shown and size > 64):
                continue
        found.append((name, batch, size, task))
    return found


def taking_part(cell, task):
    """Return the names of those that may offer a task in a cell."""
    return [
        name
        for name, one in CONTENDERS.items()
        if not one.missing and (name != "quantus" or (cell == SMALL and task == "sensitivity"))
    ]


def measure(case, task, names, settings, *, wanted=None, device="cpu", makers=CONTENDERS):
    """Time a task by all who offer it, and tell what is wrong.

    Args:
        case: Network and batch.
        task: One of the tasks.
        names: Who takes part.
        settings: How many rounds.
        wanted: The maps of the reference. Default: they are computed.
        device: Where the network is.
        makers: The contenders by name.

    Returns:
        By contender: ``seconds`` of each round, ``bytes`` at most, ``distance`` of its worst map
        from the reference.
    """
    wanted = wanted or contenders.references(case)
    calls, found = {}, {}
    with quiet():
        for name in names:
            call = makers[name].calls(case).get(task)
            if call is None:
                continue
            distance = contenders.worst_distance(call(), wanted)
            found[name] = {"distance": distance, "bytes": peak_bytes(call, device)}
            calls[name] = call
    for name, seconds in interleaved(calls, settings, device).items():
        found[name]["seconds"] = seconds
    return found


def tiny(settings):
    """Return the seconds of a call on a network that costs next to nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3)).eval()
    case = contenders.Case(model, "1", torch.randn(4, 8), 0)
    calls = {
        name: CONTENDERS[name].calls(case)["guided_backprop"]
        for name in ("bare", "ours", "captum", "zennit")
        if not CONTENDERS[name].missing
    }
    with quiet():
        for call in calls.values():
            for _ in range(20):
                call()
    return interleaved(calls, settings)


def estimate(todo, settings, device="cpu", grown=0.0):
    """Return about how many seconds the cells take, from one forward pass of each network."""
    total = grown
    forward = {}
    for name, size in {(name, size) for name, _, size, _ in todo}:
        model, x = contenders.network(name, device), contenders.noise(1, size, device)
        with torch.no_grad():
            model(x)
            forward[name, size] = seconds_of(lambda model=model, x=x: model(x), device=device)
    for name, batch, size, task in todo:
        one = batch * forward[name, size]
        each = []
        for who in taking_part((name, batch, size), task):
            down, up = contenders.passes(who, task)
            if who in contenders.OFFERS and task not in contenders.OFFERS[who]:
                continue
            each.append(one * (down + contenders.BACKWARD * up))
        # a call to warm up and to check, one for its memory, one to count the rounds
        total += (3 + settings.rounds(max(each))) * sum(each)
    return total


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
        "fast": "fast" in taking,
    }
    journal = Journal(given.output / "cells.jsonl", run)
    todo = cells(quick=given.quick, device=given.device)
    steps = growth.steps(quick=given.quick) if given.device == "cpu" else {}
    left = [cell for cell in todo if cell not in journal.cells]
    grown = sum(step.seconds for key, step in steps.items() if key not in journal.cells)
    seconds = estimate(left, settings, given.device, grown)
    print(f"{len(left)} of {len(todo)} cells to measure: about {said_of(seconds)}", flush=True)
    if given.estimate:
        return
    if given.device == "cpu":
        journal.get(("tiny",), lambda: tiny(Settings()))
    made = {}
    for name, batch, size, task in todo:
        key = (name, batch, size, task)
        if key not in journal.cells and (name, batch, size) not in made:
            made = {(name, batch, size): _prepared(name, batch, size, given.device)}

        def find(key=key):
            case, wanted = made[key[:3]]
            names = taking_part(key[:3], key[3])
            return measure(case, key[3], names, settings, wanted=wanted, device=given.device)

        found = journal.get(key, find)
        print(f"{name}, batch {batch}, {size} pixels: {report.line(task, found)}", flush=True)
    for key, step in steps.items():
        found = journal.get(key, step.measure)
        print(f"{' '.join(map(str, key))}: {report.short(found)}", flush=True)
    report.write(given.output, run | {"date": date.today().isoformat()}, journal.cells)


def _prepared(name, batch, size, device):
    model = contenders.network(name, device)
    case = contenders.case(model, LAYERS[name], contenders.noise(batch, size, device))
    return case, contenders.references(case)


if __name__ == "__main__":
    main()
