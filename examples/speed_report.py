"""What ``speed.py`` writes: the tables, the goals, the figure."""

import json
import platform
from pathlib import Path
from statistics import median

from speed_cases import LAYERS, RIGHT, TASKS, TITLES
from speed_contenders import CONTENDERS, is_right
from speed_figure import draw
from speed_measuring import Spread, ratios, spread

SHOWN = [name for name in CONTENDERS if name != "bare"]
WITH_NORM = [name for name in LAYERS if name != "vgg16"]
GUIDED = ("deconvolution", "guided_backprop")

HEAD = """# Speed

Written by `python examples/speed.py{quick}` on {date}.

{cpu}, {threads} threads, {device}; {versions}.

Each number is a multiple of one plain gradient, `torch.autograd.grad(model(x)[:, t].sum(), x)`, of
the same model and batch: the median over rounds in which all contenders take turns, with its
quartiles. Networks have random weights, and batch norm the statistics of noise. **WRONG** stands at
the speed of a map that is farther than {right:g} of its norm from the reference of the tests, which
replaces every rectifier by a function written from the papers; of a comparison or a metric, where
one of its maps is. Scores themselves are not compared: they are drawn.

What is timed: making the explainer, setting and removing its hooks, and the passes.

* *This package*: `attribute` of the class for deconvolution, guided backprop and Guided Grad-CAM;
  `compare` for all others, one call. Metrics: `compare(..., metrics=...)`, {samples} samples of
  each example, the default perturbations; it scores the floors as well.
* *Passes alone*: the forward and backward passes that the task needs if methods share them, by
  torch, with nothing drawn, summed or scored.
* *Captum*: a call for each method; for metrics `infidelity(normalize=True)` and `sensitivity_max`
  once for each method, noise of the same distribution, as many perturbed inputs at a time.
* *zennit*: `Gradient` with the composites `DeconvNet` and `GuidedBackprop`, as they come.
* *pytorch-grad-cam*: `GuidedBackpropReLUModel` takes one picture, so that a batch is a loop; it and
  `GradCAM` ask for the gradients of all weights too. Its Grad-CAM ends in 0 to 1, and is compared
  with the reference brought to that.
* *Quantus*: `MaxSensitivity` of Captum's maps, the same quantity, in one small cell. Its infidelity
  is another: squares are blackened one after another, and nothing is scaled.
* "-": not offered, or not installed.
"""


def cpu():
    """Return what the processor is called."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def mark(name, one):
    """Return what stands at the number of a contender whose maps are not right."""
    if not is_right(name, one):
        return " WRONG"
    return f", maps off by {one['distance']:.1g}" if one["distance"] > RIGHT else ""


def to_bare(found, name, of="bare"):
    """Return the median and quartiles of a contender's ratios to another."""
    return spread(ratios(found[name]["seconds"], found[of]["seconds"]))


def line(task, found):
    """Return what a cell shows on the terminal."""
    shown = [
        f"{CONTENDERS[name].title} {to_bare(found, name).middle:.2f}{mark(name, found[name])}"
        for name in SHOWN
        if name in found
    ]
    own = median(found["bare"]["seconds"]) * 1000
    return f"{title(task)}, in gradients of {own:.1f} ms: " + "; ".join(shown)


def short(found):
    """Return what a step of growth shows on the terminal."""
    if "maps" in found:  # what fast=True changes
        return "; ".join(
            f"{what}: " + ", ".join(f"{name} {number:.1g}" for name, number in numbers.items())
            for what, numbers in found.items()
        )
    timed = {name: one for name, one in found.items() if isinstance(one, dict)}
    return ", ".join(
        f"{name} {1000 * median(one['seconds']):.1f} ms" for name, one in timed.items()
    )


def title(task):
    """Return a task in words."""
    return TITLES.get(task, task.replace("_", " "))


def cells_of(cells, task):
    """Return the cells of a task: network, batch and size, to what was found."""
    return {key[:3]: found for key, found in cells.items() if key[-1] == task and key[0] in LAYERS}


def summary(cells, task, name, of="bare"):
    """Return the spread over cells of a contender's ratio, and on which networks it is wrong.

    It is that of the cells where it is right, if there is one; and last comes of how many networks.
    """
    both = {key: one for key, one in cells_of(cells, task).items() if name in one and of in one}
    if not both:
        return None, [], 0
    wrong = {key for key, one in both.items() if not is_right(name, one[name])}
    asked = {key: one for key, one in both.items() if key not in wrong} or both
    middle = spread(to_bare(one, name, of).middle for one in asked.values())
    networks = {key[0] for key in both}
    return middle, sorted({key[0] for key in wrong}), len(networks)


def _cell(cells, task, name):
    middle, wrong, networks = summary(cells, task, name)
    if middle is None:
        return "-"
    if len(wrong) == networks:
        return f"{middle} WRONG"
    return f"{middle}" + (f", WRONG on {len(wrong)} of {networks}" if wrong else "")


def _row(values):
    return "| " + " | ".join(map(str, values)) + " |"


def table(cells):
    """Return the table of examples/README.md: tasks by contenders, the spread over all cells."""
    rows = [
        _row(["in gradients of the same model and batch", *(CONTENDERS[n].title for n in SHOWN)]),
        _row(["---"] * (len(SHOWN) + 1)),
    ]
    rows += [
        _row([title(task), *(_cell(cells, task, name) for name in SHOWN)])
        for task in TASKS
        if cells_of(cells, task)
    ]
    found = cells.get(("tiny",))
    if found:
        times = [f"{1e6 * median(found[n]):.0f} µs" if n in found else "-" for n in SHOWN]
        own = 1e6 * median(found["bare"])
        rows.append(_row([f"a call on a tiny network (gradient: {own:.0f} µs)", *times]))
    return "\n".join(rows)


def details(cells, *, absolute=False):
    """Return a table for each task: cells by contenders, with spread, and peaks of memory.

    Args:
        cells: What was found.
        absolute: Show milliseconds too.
    """
    parts = []
    for task in TASKS:
        of_task = cells_of(cells, task)
        names = [name for name in SHOWN if any(name in found for found in of_task.values())]
        if not of_task:
            continue
        head = ["network, batch, pixels", "gradient", *(CONTENDERS[name].title for name in names)]
        parts += [f"\n## {title(task).capitalize()}\n", _row(head), _row(["---"] * len(head))]
        for key, found in of_task.items():
            own = f"{1000 * median(found['bare']['seconds']):.1f} ms"
            numbers = [_shown(found, name, absolute=absolute) for name in names]
            parts.append(_row([", ".join(map(str, key)), own, *numbers]))
        peaks = [f"{CONTENDERS[name].title} {_peak(of_task, name):.2f}" for name in names]
        parts.append(
            f"\nPeak of memory in the first call, in the gradient's (median): {', '.join(peaks)}."
        )
    return "\n".join(parts)


def _shown(found, name, *, absolute):
    if name not in found:
        return "-"
    own = f"{1000 * median(found[name]['seconds']):.2f} ms, " if absolute else ""
    return f"{own}{to_bare(found, name)}{mark(name, found[name])}"


def _peak(of_task, name):
    found = [one for one in of_task.values() if name in one]
    return median(one[name]["bytes"] / one["bare"]["bytes"] for one in found)


def goals(cells):
    """Return the goals: what is measured, the number, and what it should be at most or at least.

    A number is None where it was not measured. A spread is given with its quartiles, and meets a
    limit with the lower one.
    """
    found = []

    def add(text, number, limit, *, least=False):
        best = getattr(number, "low", number)
        met = number is not None and (best >= limit if least else best <= limit)
        found.append((text, number, ">=" if least else "<=", limit, met))

    for task in GUIDED:
        add(f"{title(task)}, in gradients", _middle(cells, task), 1.02)
        words = "in Captum's time, where Captum is right, within the spread"
        add(f"{title(task)}, {words}", _beside(cells, task), 1.0)
    tiny = cells.get(("tiny",), {})
    number = median(ratios(tiny["ours"], tiny["captum"])) if "captum" in tiny else None
    add("a call on a tiny network, in Captum's time", number, 1.0)
    add("six methods, in gradients", _middle(cells, "six"), 2.1)
    for name, task, limit, networks in (
        ("ours", "four", 2.3, LAYERS),
        ("ours", "metrics", 2.75, LAYERS),
        ("fast", "four", 4, WITH_NORM),
        ("fast", "metrics", 4, WITH_NORM),
    ):
        words = " with fast=True, networks with batch norm" if name == "fast" else ""
        number = _faster(cells, task, name, networks)
        add(f"{title(task)}{words}, times faster than Captum", number, limit, least=True)
    peaks = [
        one["ours"]["bytes"] / one["bare"]["bytes"] for one in cells_of(cells, "gradient").values()
    ]
    add("peak of compare of one method, in the gradient's", max(peaks, default=None), 1.25)
    sizes = sorted(key[1] for key in cells if key[0] == "samples")
    number = None
    if len(sizes) > 1:
        few, many = (cells["samples", size]["ours"]["bytes"] for size in (sizes[0], sizes[-1]))
        number = many / few
    add(f"peak of metrics with {sizes[-1] if sizes else 1000} samples, in that of 10", number, 1.1)
    for key in (("processes", 1), ("processes", 2)):
        number = None
        if key in cells:
            number = median(ratios(*(cells[key][n]["seconds"] for n in ("ours", "passes"))))
        add(f"benchmark in {key[1]} process(es), in the time of its passes", number, 1.1)
    return found


def _middle(cells, task):
    found, _, _ = summary(cells, task, "ours")
    return found and found.middle


def _beside(cells, task):
    """Return the median over cells of the spread over rounds."""
    both = [
        to_bare(one, "ours", "captum")
        for one in cells_of(cells, task).values()
        if "captum" in one and is_right("captum", one["captum"])
    ]
    if not both:
        return None
    return Spread(*(median(getattr(one, at) for one in both) for at in ("middle", "low", "high")))


def _faster(cells, task, name, networks):
    both = [
        to_bare(one, "captum", name).middle
        for key, one in cells_of(cells, task).items()
        if key[0] in networks and name in one and "captum" in one
    ]
    return median(both) if both else None


def goal_lines(cells):
    """Return each goal with its number, met or not met."""
    said = []
    for text, number, sign, limit, met in goals(cells):
        exact = f"{number:.3f}" if isinstance(number, float) else number
        shown = "not measured" if number is None else f"{exact}, {'met' if met else 'not met'}"
        said.append(f"{text} ({sign} {limit}): {shown}")
    return said


def write(folder, run, cells):
    """Write everything, and print the table and the goals."""
    with (folder / "speed.json").open("w", encoding="utf-8") as file:
        keyed = [{"key": key, "found": found} for key, found in cells.items()]
        goal = [
            {"goal": text, "number": getattr(number, "middle", number), "sign": sign,
             "limit": limit, "met": met}
            for text, number, sign, limit, met in goals(cells)
        ]  # fmt: skip
        json.dump({"run": run, "goals": goal, "cells": keyed}, file, indent=1, default=vars)
    small = table(cells)
    (folder / "table.md").write_text(small + "\n", encoding="utf-8")
    said = "\n".join(f"* {one}" for one in goal_lines(cells))
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    head = HEAD.format(
        **run | {"quick": " --quick" if run["quick"] else "", "versions": versions},
        right=RIGHT, samples=10,
    )  # fmt: skip
    where = "" if run["device"] != "cpu" else "\nNothing here was run on a GPU.\n"
    changes = {key[1]: found for key, found in cells.items() if key[0] == "fast"}
    fast = "".join(f"\n* {name}: {short(found)}" for name, found in changes.items())
    fast = f"\n## What fast=True changes\n{fast}\n" if fast else ""
    page = f"{head}{where}\n{small}\n\n## Goals\n\n{said}\n{fast}"
    page += details(cells, absolute=run["device"] != "cpu") + "\n"
    if any(key[0] == "batch" for key in cells):
        draw(cells, folder / "speed.png")
        page += "\n## Growth\n\n![how the cost grows](speed.png)\n"
    (folder / "speed.md").write_text(page, encoding="utf-8")
    print(f"\n{small}\n\n" + "\n".join(goal_lines(cells)) + f"\n\nwritten to {folder}")
