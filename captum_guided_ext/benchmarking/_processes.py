"""The processes of one run, as ``torchrun`` starts them, over ``torch.distributed``."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import torch.distributed as dist

from captum_guided_ext.errors import OtherProcessError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import torch

    T = TypeVar("T")

# A process that finishes first waits for the others: death is noticed by the lost connection.
_PATIENCE = timedelta(days=7)
_LETS_GO = 0.2  # seconds, far more than a thread waits for its turn
_DEATH = (
    "another process of this run has died or was stopped: the finished rows are kept; run the same "
    "command again to go on"
)


def local_rank() -> int:
    """Return which of this machine's processes this one is, 0 without ``torchrun``."""
    return int(os.environ.get("LOCAL_RANK", "0"))


@dataclass(frozen=True)
class Processes:
    """How many processes there are, and which of them this one is."""

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process reads, decides and writes for all of them."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in the first process, in all of them.

        Raises:
            OtherProcessError: in the others, if it raised in the first.
        """
        if self.size == 1:
            return make()
        parcel: list[Any] = [None, None]
        failure: BaseException | None = None
        if self.is_first:
            try:
                parcel[0] = make()
            except Exception as error:  # noqa: BLE001 - whatever it is, the others must not wait
                failure = error
                parcel[1] = True
        try:
            with _peers_may_be_gone():
                dist.broadcast_object_list(parcel, src=0)
        finally:
            if failure is not None:  # what went wrong first, whether or not the others heard of it
                raise failure
        if parcel[1] is not None:
            raise OtherProcessError("the first process could not begin the run, and says why")
        made: T = parcel[0]
        return made

    def gather(self, value: T) -> list[T]:
        """Return every process's value in the first process, and nothing in the others.

        Raises:
            OtherProcessError: if a process is gone.
        """
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.is_first else None
        with _peers_may_be_gone():
            dist.gather_object(value, values, dst=0)
        return values or []


@contextmanager
def _peers_may_be_gone() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise OtherProcessError(_DEATH) from error


class _TerminatedError(BaseException):
    """Like ``KeyboardInterrupt``: no ``except Exception`` on the way may take it for a result."""


def _on_termination(_signal: int, _frame: object) -> NoReturn:
    raise _TerminatedError


@contextmanager
def _told_of_termination() -> Iterator[None]:
    """Say why the run ends, where ``torchrun`` ends it since another process has died."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGTERM, _on_termination)
    try:
        yield
    except _TerminatedError:
        raise OtherProcessError(_DEATH) from None
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes that ``torchrun`` started, or those of the caller's own process group.

    gloo on CPUs, NCCL on GPUs. Without either this process is the only one.

    Args:
        device: Where this process computes.
    """
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if started and not dist.is_initialized():
        # Until the process ends: a group that is left and joined again may not find its peers.
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
        atexit.register(_leave)
    if dist.is_available() and dist.is_initialized():
        with _told_of_termination():
            yield Processes(dist.get_rank(), dist.get_world_size())
    else:
        yield Processes()


def _leave() -> None:
    if dist.is_initialized():
        # A group of torch 2.6 ends by waiting, with Python's lock held, for threads of its own that
        # may need that lock to let go of what was sent last.
        time.sleep(_LETS_GO)
        dist.destroy_process_group()
