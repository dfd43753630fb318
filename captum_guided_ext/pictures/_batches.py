"""Batches of a data set, and which of their images could not be read."""

from __future__ import annotations

import ctypes
import functools
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from captum_guided_ext.errors import brief

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from types import FrameType

    from typing_extensions import Self


_LINUX = sys.platform == "linux"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class LoadedBatch(NamedTuple):
    """The images of a batch that could be read, and those that could not.

    Attributes:
        images: The numbers of the images that could.
        items: What the data set has for each of them, as tuples.
        skipped: The numbers of the others, with the reasons.
    """

    images: list[int]
    items: list[tuple[Any, ...]]
    skipped: list[tuple[int, str]]


class _Unreadable(NamedTuple):
    reason: str


class _WorkerDiedError(Exception):
    """A process that read for this one has died."""


class _Readable(Dataset[Any]):
    """A data set whose items come with their number; those that cannot be read say why."""

    def __init__(self, data: Dataset[Any]) -> None:
        self._data = data

    def __getitem__(self, index: int) -> tuple[int, Any]:
        try:
            item = self._data[index]
        except OSError as error:
            return index, _Unreadable(str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - somebody else's data set may raise anything
            return index, _Unreadable(brief(error))
        return index, tuple(item) if isinstance(item, (tuple, list)) else (item,)


def _collate(items: Sequence[tuple[int, Any]]) -> LoadedBatch:
    read = [(index, item) for index, item in items if not isinstance(item, _Unreadable)]
    return LoadedBatch(
        [index for index, _ in read],
        [item for _, item in read],
        [(index, item.reason) for index, item in items if isinstance(item, _Unreadable)],
    )


def load_batches(
    data: Dataset[Any], indices: Sequence[Sequence[int]], *, workers: int
) -> Generator[LoadedBatch, None, None]:
    """Read batches in order; by this process, or by this number of ``workers`` where it can fork.

    An image that ends the process that reads it, however often it is tried, is skipped.
    """
    readable, left = _Readable(data), [list(batch) for batch in indices]
    # A daemon may not have children; where processes are spawned, the caller's script would begin
    # anew in each of them.
    if multiprocessing.current_process().daemon or not _LINUX:
        workers = 0
    while left:
        done = 0
        try:
            with closing(_read(readable, left, workers)) as batches:
                for batch in batches:
                    done += 1
                    yield batch
        except _WorkerDiedError:  # of this batch, or of one behind it that was read ahead
            yield _read_carefully(readable, left[done])
            done += 1
        left = left[done:]


def _read_carefully(readable: _Readable, batch: list[int]) -> LoadedBatch:
    """Read one batch by a new process; if that dies, too, each image by a process of its own."""
    try:
        (whole,) = _read(readable, [batch], 1)
    except _WorkerDiedError:
        parts = [_read_one(readable, index) for index in batch]
        whole = LoadedBatch(
            [image for part in parts for image in part.images],
            [item for part in parts for item in part.items],
            [one for part in parts for one in part.skipped],
        )
    return whole


def _read_one(readable: _Readable, index: int) -> LoadedBatch:
    try:
        (one,) = _read(readable, [[index]], 1)
    except _WorkerDiedError:
        one = LoadedBatch([], [], [(index, "the process that read it died")])
    return one


def _read(
    readable: _Readable, batches: list[list[int]], workers: int
) -> Generator[LoadedBatch, None, None]:
    loader = DataLoader(
        readable,
        batch_sampler=batches,
        collate_fn=_collate,
        num_workers=workers,
        # The default may be another one, for which everything is imported again.
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=functools.partial(_end_with_parent, os.getpid()),
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    if workers == 0:
        yield from loader
        return
    try:
        iterator = iter(loader)
        with _DeathWatch() as watch:
            for _ in batches:
                yield watch.next_of(iterator)
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise _WorkerDiedError from error


def _end_with_parent(parent: int, _worker: int) -> None:
    """Let the system end this worker when its parent is killed; torch's may outlive it."""
    # What it cannot read it returns. The thread that hands tensors over loses its pipe when the
    # parent ends, and would print a traceback behind the parent's own last word.
    sys.excepthook = lambda *_: None
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was killed before
        os._exit(1)


class _DeathWatch:
    """Lets torch say that a worker has died only while this process waits for one.

    torch's handler of SIGCHLD raises wherever the program is: in the middle of a backward pass, or
    of a line that is being written.
    """

    def __init__(self) -> None:
        self._torchs: Any = None
        self._waiting = self._died = False

    def __enter__(self) -> Self:
        is_main = threading.current_thread() is threading.main_thread()  # others set no handlers
        if is_main and hasattr(signal, "SIGCHLD"):
            self._torchs = signal.getsignal(signal.SIGCHLD)
            if callable(self._torchs):
                signal.signal(signal.SIGCHLD, self._on_death)
        return self

    def __exit__(self, *_: object) -> None:
        if callable(self._torchs):
            signal.signal(signal.SIGCHLD, self._torchs)

    def next_of(self, iterator: Iterator[LoadedBatch]) -> LoadedBatch:
        """Return the next batch, or raise if a worker has died."""
        if self._died:
            raise _WorkerDiedError
        self._waiting = True
        try:
            return next(iterator)
        finally:
            self._waiting = False

    def _on_death(self, number: int, frame: FrameType | None) -> None:
        try:
            self._torchs(number, frame)
        except RuntimeError:
            if self._waiting:
                raise
            self._died = True
