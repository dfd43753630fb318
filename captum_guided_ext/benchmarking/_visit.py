"""A run over a data set that can be stopped: visits, skips, journals, shares out, goes on."""

from __future__ import annotations

import dataclasses
import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from captum_guided_ext import _captum
from captum_guided_ext.benchmarking._data_check import check_data
from captum_guided_ext.benchmarking._journal import Journal, mend_parts
from captum_guided_ext.benchmarking._processes import joined_processes
from captum_guided_ext.benchmarking._scoring import Scorer
from captum_guided_ext.benchmarking._shared_run import begin, complete
from captum_guided_ext.errors import DataError
from captum_guided_ext.output import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from captum_guided_ext.benchmarking._records import BatchRecord
    from captum_guided_ext.benchmarking._run import Run
    from captum_guided_ext.evaluation import Metric
    from captum_guided_ext.methods import FastMethods, MethodSet
    from captum_guided_ext.networks import Network
    from captum_guided_ext.pictures import LoadedBatch

Found = TypeVar("Found", bound=Result)


def visit(
    run: Run,
    network: Network,
    methods: MethodSet,
    metrics: Sequence[Metric],
    folder: Path,
    *,
    make_settings: Callable[[], dict[str, Any]],
    sum_up: Callable[[Path, Mapping[str, Any], Iterable[BatchRecord]], Found],
    max_examples_per_batch: int,
    strict: bool,
    show_progress: bool,
    label: str,
    fast: FastMethods | None = None,
    saves: bool = True,
) -> Found | None:
    """Score what a run visits, or the rest of it, and save what it sums up to.

    Args:
        run: Which images are visited.
        network: The network.
        methods: The methods.
        metrics: The metrics; the names of their scores are known before the first batch.
        folder: Where the rows go as they come, and the result's files.
        make_settings: Returns all that decides the rows, asked in the first process: those of
            :meth:`Run.settings` at least, of the run :meth:`Run.with_form`.
        sum_up: Returns the result of the records, given the folder and the settings.
        max_examples_per_batch: Most perturbed inputs at a time.
        strict: Raise for the first image that cannot be scored.
        show_progress: Show a progress bar.
        label: Its title.
        fast: The methods with a faster copy of the network, where that is asked. Default: None.
        saves: Save the result's files to the folder. Default: True.

    Returns:
        What ``sum_up`` returns; None in all processes but the first.
    """
    with joined_processes(run.device) as processes:
        settings, finished = begin(processes, folder, make_settings)
        run = dataclasses.replace(run, seed=settings["seed"], form=settings["inputs"])
        done, checked = processes.from_first(lambda: _looked_through(run, finished, strict=strict))
        mine = [b for b in range(run.batches) if b not in done][processes.rank :: processes.size]
        said = settings | checked | {"processes": processes.size}
        shown = label if show_progress and processes.is_first else None
        found: list[BatchRecord] = []
        if len(done) == run.batches and not os.access(folder, os.W_OK):  # it is only looked at
            return sum_up(folder, said, finished.values()) if processes.is_first else None
        # The folder is this run's until its last file is written.
        with closing(Journal(folder, processes.rank, settings)) as journal:
            if processes.is_first:
                mend_parts(folder, settings, after=processes.size)
            scorer = Scorer(run, network, methods, metrics, max_examples_per_batch, strict, fast)
            with closing(_with_progress(run.load(mine), run, mine, shown)) as batches:
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
                if saves:
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
    label: str | None,
) -> Generator[tuple[int, LoadedBatch], None, None]:
    """Show images done and the time left; of many processes, this one's share."""
    size = run.batch_size
    total = sum(min((b + 1) * size, run.images) - b * size for b in mine)
    bar = _captum.progress(desc=label, total=total, unit="image", disable=label is None)
    with bar:
        for number, loaded in batches:
            yield number, loaded
            bar.update(len(loaded.images) + len(loaded.skipped))
