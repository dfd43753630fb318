"""A run whose processes have one folder, or one on each machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from captum_guided_ext.benchmarking._journal import read_records, start_run
from captum_guided_ext.benchmarking._processes import local_rank
from captum_guided_ext.errors import DataError, OtherProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from captum_guided_ext.benchmarking._journal import Journal
    from captum_guided_ext.benchmarking._processes import Processes
    from captum_guided_ext.benchmarking._records import BatchRecord


def begin(
    processes: Processes, folder: Path, make_settings: Callable[[], dict[str, Any]]
) -> tuple[dict[str, Any], dict[int, BatchRecord]]:
    """Make the folder of a run on each machine, or go on with what is in them.

    The first process decides the settings. The first process of every other machine reads its
    folder and hands over what the first process's folder lacks, which is nothing where they share
    one.

    Returns:
        The settings; and what was recorded of each finished batch, in the first process.

    Raises:
        DataError: as :func:`captum_guided_ext.benchmarking._journal.start_run`.
        OtherProcessError: if another process could not begin.
    """
    finished: dict[int, BatchRecord] = {}

    def start() -> tuple[dict[str, Any], frozenset[int]]:
        settings = make_settings()
        finished.update(start_run(folder, settings))
        return settings, frozenset(finished)

    settings, known = processes.from_first(start)
    if processes.size == 1:
        return settings, finished
    further: dict[int, BatchRecord] = {}
    failure: DataError | None = None
    if local_rank() == 0 and not processes.is_first:
        try:
            found = start_run(folder, settings)
            further = {batch: found[batch] for batch in found.keys() - known}
        except DataError as error:
            failure = error
    parts = processes.gather((further, failure is not None))
    try:
        processes.from_first(lambda: _check(failed for _, failed in parts))
    except OtherProcessError:
        if failure is not None:
            raise failure from None
        raise
    for part, _ in parts:
        finished |= part
    return settings, finished


def _check(failures: Iterable[bool]) -> None:
    if any(failures):
        raise OtherProcessError("a process on another machine could not begin, and says why")


def complete(folder: Path, journal: Journal, records: Iterable[BatchRecord]) -> None:
    """Append the records that the folder lacks: those that were written on other machines."""
    there = {record.batch for record in read_records(folder)[1]}
    for record in records:
        if record.batch not in there:
            journal.append(record)
