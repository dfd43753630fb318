"""Attribution methods on a whole data set: resumable, on one process or many."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext import _captum
from captum_guided_ext.attr import METHODS
from captum_guided_ext.benchmarking._data_check import check_data
from captum_guided_ext.benchmarking._journal import Journal, mend_parts
from captum_guided_ext.benchmarking._processes import joined_processes
from captum_guided_ext.benchmarking._run import Run
from captum_guided_ext.benchmarking._scoring import Scorer
from captum_guided_ext.benchmarking._shared_run import begin, complete
from captum_guided_ext.benchmarking._summarize import sum_up
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation import DEFAULT_METRICS, find_metrics
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.networks import as_network
from captum_guided_ext.output import described
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from captum_guided_ext.benchmarking._benchmark_result import Benchmark
    from captum_guided_ext.benchmarking._records import BatchRecord
    from captum_guided_ext.evaluation import Metric
    from captum_guided_ext.methods import Method
    from captum_guided_ext.networks import Network
    from captum_guided_ext.pictures import LoadedBatch


def benchmark(
    model: Callable[..., Any] | Network,
    data: Dataset[Any] | DataLoader[Any],
    *,
    output: str | Path,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    metrics: Iterable[str | Metric] = DEFAULT_METRICS,
    target: str = "label",
    layer: nn.Module | str | None = None,
    n_perturb_samples: int = 10,
    interpolate_mode: str = "bilinear",
    generator: torch.Generator | None = None,
    seed: int | None = 0,
    batch_size: int | None = None,
    limit: int | None = None,
    max_examples_per_batch: int = 32,
    strict: bool = False,
    show_progress: bool = True,
) -> Benchmark | None:
    """Score attribution methods on a data set, image by image, and sum up.

    Rows are written as they come. A run that was killed goes on where it was when it is called
    again with the same arguments, and ends with the rows it would have had. An image's scores come
    from the seed and its number alone: not from the batch (within rounding), nor the order. Under
    ``torchrun`` batches are shared out among the processes, of one machine or of several, and the
    rows are those of a single process, to the bit where each process has as many threads.

    An image that cannot be scored is skipped and listed, with its reason: one whose item raises any
    ``Exception`` or ends the worker that reads it; an input that holds NaN, or is not of the first
    one's type and shape; a label that is no class of the model, a mask of another shape; one for
    which the model raises or returns NaN. What no image can be scored for is raised.

    A run that goes on compares what was scored with what the data has now: all names; sizes and
    times of files, where the data set has a method ``stamp(index)`` that says them in words; and
    contents, for about three seconds.

    Args:
        model: A network from :func:`captum_guided_ext.load_network`, a module, or any
            callable that returns (N, classes), or what holds it (see
            :class:`~captum_guided_ext.ForwardPass`).
        data: A data set of ``(input, label)``, ``(input, label, mask)``, ``(input,)`` or ``input``,
            whose length is known. Of a ``DataLoader`` the data set, the batch size and the number
            of workers are taken; its images are always visited in the order of the data set. Data
            with a true ``reads_files`` is read by one worker where no loader says otherwise.
        output: The folder for ``scores.csv``, ``summary.csv``, ``summary.json``, ``summary.png``,
            ``summary.html``, and the rows as they come.
        methods: As in :func:`captum_guided_ext.compare`.
        metrics: As in :func:`captum_guided_ext.compare`.
        target: Which class is explained: "label", the data's; or "prediction" (the same as "top1"),
            the network's; or "top2", ... Default: "label".
        layer: As in :func:`captum_guided_ext.compare`.
        n_perturb_samples: As in :func:`captum_guided_ext.compare`. Default: 10.
        interpolate_mode: As in :func:`captum_guided_ext.compare`.
        generator: As in :func:`captum_guided_ext.compare`.
        seed: As in :func:`captum_guided_ext.compare`. Default: 0. A run without one cannot go on.
        batch_size: Images at a time. Default: the loader's, or 8.
        limit: Only this many images, the first ones. Default: all.
        max_examples_per_batch: Most perturbed inputs at a time, at least one of each image.
            Default: 32.
        strict: Raise for the first image that cannot be scored, instead of skipping it. Default:
            False.
        show_progress: Show a progress bar with the time left on standard error. Default: True.

    Returns:
        The scores and their summary; None in all processes but the first.

    Raises:
        TypeError: for data, methods or metrics of a wrong kind.
        ValueError: as :func:`captum_guided_ext.compare`.
        DataError: for no image, a data set of which no image can be scored, a folder that holds a
            run with other settings or of other images, or cannot be written to.

    Example:
        >>> network = load_network("resnet50")
        >>> found = benchmark(network, PictureDataset("photos", network), output="results")
        >>> print(found)
    """
    network = as_network(model)
    run = Run.of(network, data, target, batch_size, limit, generator=generator, seed=seed)
    asked = MethodSet(network.model, methods, layer=layer, interpolate_mode=interpolate_mode)
    scored = find_metrics(metrics, n_perturb_samples=n_perturb_samples)
    check_positive_count("max_examples_per_batch", max_examples_per_batch)
    folder = Path(output)

    def make_settings() -> dict[str, Any]:
        return run.with_form().settings(network) | {
            "methods": asked.describe(),
            "metrics": {", ".join(metric.names): described(metric) for metric in scored},
            "higher_is_better": {
                name: metric.higher_is_better for metric in scored for name in metric.names
            },
            "layer": asked.describe_layer(),
            "interpolate_mode": interpolate_mode,
            "max_examples_per_batch": max_examples_per_batch,
        }

    with joined_processes(run.device) as processes:
        settings, finished = begin(processes, folder, make_settings)
        run = dataclasses.replace(run, seed=settings["seed"], form=settings["inputs"])
        done, checked = processes.from_first(lambda: _looked_through(run, finished, strict=strict))
        mine = [b for b in range(run.batches) if b not in done][processes.rank :: processes.size]
        said = settings | checked | {"processes": processes.size}
        shown = show_progress and processes.is_first
        found: list[BatchRecord] = []
        if len(done) == run.batches and not os.access(folder, os.W_OK):  # it is only looked at
            return sum_up(folder, said, finished.values()) if processes.is_first else None
        # The folder is this run's until its last file is written.
        with closing(Journal(folder, processes.rank, settings)) as journal:
            if processes.is_first:
                mend_parts(folder, settings, after=processes.size)
            scorer = Scorer(run, network, asked, scored, max_examples_per_batch, strict)
            with closing(_with_progress(run.load(mine), run, mine, show_progress=shown)) as batches:
                for number, loaded in batches:
                    record = scorer.score(number, loaded)
                    journal.append(record)
                    found.append(record)
            everything = processes.gather(found)
            if not processes.is_first:
                return None
            finished |= {record.batch: record for part in everything for record in part}
            if processes.size > 1:
                complete(folder, journal, finished.values())
            summed_up = sum_up(folder, said, finished.values())
            try:
                summed_up.save(folder)
            except DataError as error:
                raise DataError(
                    f"{error}: the rows are kept; make room and run the same command again"
                ) from error
            return summed_up


def _looked_through(
    run: Run, finished: Mapping[int, BatchRecord], *, strict: bool
) -> tuple[frozenset[int], dict[str, str]]:
    """Return which batches are finished, and how their data was compared with what it is now."""
    for record in finished.values():
        if strict and record.skipped:
            one = record.skipped[0]
            raise DataError(f"image {one.image} ({one.name}) was skipped: {one.reason}")
    checked = {"data checked": check_data(run, finished.values())} if finished else {}
    return frozenset(finished), checked


def _with_progress(
    batches: Iterator[tuple[int, LoadedBatch]],
    run: Run,
    mine: Sequence[int],
    *,
    show_progress: bool,
) -> Generator[tuple[int, LoadedBatch], None, None]:
    """Show images done and the time left; of many processes, this one's share."""
    size = run.batch_size
    total = sum(min((b + 1) * size, run.images) - b * size for b in mine)
    bar = _captum.progress(desc="benchmark", total=total, unit="image", disable=not show_progress)
    with bar:
        for number, loaded in batches:
            yield number, loaded
            bar.update(len(loaded.images) + len(loaded.skipped))
