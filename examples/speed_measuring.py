"""How ``speed.py`` measures: interleaved rounds, peaks of memory, and a journal of what is done."""

import hashlib
import json
import math
import os
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
from speed_cases import references, worst_distance
from speed_contenders import CONTENDERS
from torch.profiler import ProfilerActivity, profile

import captum_guided_ext as cg

LONG = 10.0  # seconds: what takes longer is called three times
AT_A_TIME = 0.005  # seconds that one reading of the clock covers at least


@dataclass(frozen=True)
class Settings:
    """What decides how long a run takes."""

    least: int = 5  # rounds
    most: int = 60
    seconds: float = 1.5  # for each contender, where that is more rounds

    def rounds(self, seconds):
        """Return how many rounds there are of what takes so many seconds."""
        if seconds > LONG:
            return min(self.least, 3)
        return max(self.least, min(self.most, math.ceil(self.seconds / max(seconds, 1e-6))))


@contextmanager
def quiet():
    """Leave out what the contenders warn of: that they set hooks, that a map is zero."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def silent():
    """Leave out what C++ writes to standard error: the profiler says that it starts and stops."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def wait(device="cpu"):
    """Wait until a device has done what it was asked for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call, times=1, device="cpu"):
    """Return how long a call takes, the mean of ``times`` calls."""
    wait(device)
    start = time.perf_counter()
    for _ in range(times):
        call()
    wait(device)
    return (time.perf_counter() - start) / times


def interleaved(calls, settings, device="cpu"):
    """Time calls in turn, each once a round, and another one first in each round.

    Args:
        calls: By name; each was called before.
        settings: How many rounds.
        device: Where they compute.

    Returns:
        The seconds of each, by name and round.
    """
    with quiet():
        first = {name: seconds_of(call, device=device) for name, call in calls.items()}
        times = {name: max(1, math.ceil(AT_A_TIME / one)) for name, one in first.items()}
        names, found = list(calls), {name: [] for name in calls}
        for one in range(settings.rounds(max(first[name] * times[name] for name in names))):
            start = one % len(names)
            for name in names[start:] + names[:start]:
                found[name].append(seconds_of(calls[name], times[name], device))
    return found


def peak_bytes(call, device="cpu"):
    """Return what a call returns, and the most bytes it took at once beside what was there before.

    On a CPU that is what torch's allocator gave, event by event: the same at each run. What numpy
    takes is not seen, nor the scratchpads that oneDNN keeps for itself.
    """
    if torch.device(device).type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = call()
        return result, torch.cuda.max_memory_allocated(device) - before
    watched = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    with quiet(), silent(), watched as found:
        result = call()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return result, peak


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    middle: float
    low: float
    high: float

    def __str__(self):
        """Return the median, and the quartiles in brackets."""
        return f"{self.middle:.2f} ({self.low:.2f}–{self.high:.2f})"


def spread(values):
    """Return the median of numbers and their quartiles."""
    values = list(values)
    if len(values) == 1:
        return Spread(*values * 3)
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Spread(median(values), low, high)


def ratios(seconds, of):
    """Return round by round what one contender takes, as a multiple of another."""
    return [one / other for one, other in zip(seconds, of, strict=True)]


def measure(case, task, names, settings, *, wanted=None, device="cpu", makers=CONTENDERS):
    """Time a task by several contenders, and tell how far from right they are.

    Args:
        case: Network and batch.
        task: One of the tasks, or a tuple of methods.
        names: Who takes part.
        settings: How many rounds.
        wanted: The maps of the reference. Default: they are computed.
        device: Where the network is.
        makers: The contenders by name.

    Returns:
        By contender: ``seconds`` of each round, ``bytes`` at most, ``distance`` of its worst map
        from the reference.
    """
    calls = {name: makers[name].call(case, task) for name in names}
    found = {}
    with quiet():
        wanted = references(case) if wanted is None else wanted
        for name, call in calls.items():
            maps, peak = peak_bytes(call, device)
            found[name] = {"distance": worst_distance(maps, wanted), "bytes": peak}
    for name, seconds in interleaved(calls, settings, device).items():
        found[name]["seconds"] = seconds
    return found


def code():
    """Return a digest of this package and these scripts: one's times are not those of another."""
    here = Path(__file__).parent
    files = [*Path(cg.__file__).parent.rglob("*.py"), *here.glob("speed*.py")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class Journal:
    """Finished cells, one line of JSON each: what was written before is not measured again."""

    def __init__(self, file, run):
        self.file = Path(file)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        whole = self.file.read_text(encoding="utf-8") if self.file.exists() else ""
        lines = [*map(json.loads, whole[: whole.rfind("\n") + 1].splitlines())]  # not a torn one
        if lines and lines[0] != run:
            raise SystemExit(
                f"{self.file} holds a run of other settings, versions or code: give another "
                f"--output, or delete it\n  there: {lines[0]}\n  now:   {run}"
            )
        self.cells = {tuple(line["key"]): line["found"] for line in lines[1:]}
        whole = "".join(json.dumps(line) + "\n" for line in lines or [run])
        self.file.write_text(whole, encoding="utf-8")

    def get(self, key, measure):
        """Return what was found of a cell, measured now if it was not before."""
        if key not in self.cells:
            self.cells[key] = measure()
            with self.file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"key": key, "found": self.cells[key]}) + "\n")
        return self.cells[key]
