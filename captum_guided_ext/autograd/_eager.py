"""Compiled code as it was written: what hides its operations from the graph is run without hiding.

The model and its compiled code stay as they are, and other threads' calls of them, too.
"""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from captum_guided_ext.autograd import _scripts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


def as_written(*, may_be_scripts: bool = True) -> AbstractContextManager[Any]:
    """Run what ``torch.compile`` and TorchScript compiled as it was written, in this thread.

    Args:
        may_be_scripts: Whether scripts may be called; where not, nothing has to be done for them.
    """
    if "torch._dynamo" not in sys.modules:  # importing it takes a second
        return _scripts.lowered() if may_be_scripts else nullcontext()
    return _uncompiled_too() if may_be_scripts else _uncompiled()


def _uncompiled() -> AbstractContextManager[None]:
    from torch._dynamo import eval_frame  # noqa: PLC0415

    # This thread's own switch, where torch has it; else the whole process's.
    switch: Any = getattr(eval_frame, "_use_eager_on_nested_compile", _forced_eager)
    found: AbstractContextManager[None] = switch()
    return found


@contextmanager
def _uncompiled_too() -> Iterator[_scripts.Lowered]:
    with _uncompiled(), _scripts.lowered() as lowered:
        yield lowered


class _Stance:
    """torch's process-wide ``force_eager``, held while any thread needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._stance: Any = torch.compiler.set_stance("force_eager")
                self._stance.__enter__()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._stance.__exit__(None, None, None)


_forced_eager = _Stance().held
