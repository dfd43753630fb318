"""Remembering what layers put out during one forward pass, and only what belongs to that pass."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor, nn

from captum_guided_ext.autograd._path import nodes_between
from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from types import FrameType

    import torch
    from torch.autograd.graph import Node

    Record = tuple[Tensor, ...]


@contextmanager
def recorded(layer: nn.Module | None, *, at_input: bool = False) -> Iterator[list[Record]]:
    """Collect what ``layer`` puts out while the ``with`` block lasts, by a forward hook.

    The hook returns a clone: an in-place operation behind the layer would change what was kept.
    Forward passes of other threads meet the hook too; :func:`own_records` leaves theirs out.

    Args:
        layer: The layer; None records nothing.
        at_input: Record what the layer takes instead of what it returns.
    """
    records: list[Record] = []

    def record(value: Any) -> Any:
        values = value if isinstance(value, (tuple, list)) else [value]
        records.append(tuple(v for v in values if isinstance(v, Tensor)))
        return _clone(value)

    def before(_: nn.Module, args: Any) -> Any:
        return record(args)

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        return record(output)

    try:
        if layer is not None and at_input:
            layer.register_forward_pre_hook(before)
        elif layer is not None:
            layer.register_forward_hook(after)
        yield records
    finally:
        # By identity, and not by the handle, which an interruption may have kept from coming back.
        for hooks in () if layer is None else (layer._forward_hooks, layer._forward_pre_hooks):  # noqa: SLF001
            for key in [key for key, hook in list(hooks.items()) if hook in (before, after)]:
                del hooks[key]


class Call(NamedTuple):
    """One call of a module that returned one tensor.

    Attributes:
        module: The module.
        output: What it returned; a tensor of four dimensions is kept, of another only its shape.
        shape: Of what it returned.
        version: How often the output had been written to when it was returned.
    """

    module: nn.Module
    output: Tensor | None
    shape: tuple[int, ...]
    version: int

    @property
    def is_intact(self) -> bool:
        """Whether nothing has written to the output since it was returned."""
        return self.output is not None and _version(self.output) == self.version


@contextmanager
def watched_calls() -> Iterator[list[Call]]:
    """Collect the calls of modules while the ``with`` block lasts, in the order in which they end.

    By the hook that Python has for profilers, which is this thread's alone: no module is changed
    or copied, and other threads are not watched. It sees what modules return from Python; inside
    of a script, and in the threads of a ``DataParallel`` with several devices, it sees nothing.

    Raises:
        ModelError: if a profiler is watching this thread already, or torch calls modules by another
            function than it does today.
    """
    if sys.getprofile() is not None:
        raise ModelError(
            "a profiler is at work, and layers are looked for by the same means: name one (--layer)"
        )
    calls: list[Call] = []
    call_of_a_module = getattr(getattr(nn.Module, "_call_impl", None), "__code__", None)
    if call_of_a_module is None:
        raise ModelError(
            "this torch calls its modules in a way not known here: name a layer (--layer)"
        )

    def watch(frame: FrameType, event: str, value: Any) -> None:
        if event == "return" and frame.f_code is call_of_a_module and isinstance(value, Tensor):
            kept = value if value.dim() == 4 else None  # noqa: PLR2004
            shape = tuple(value.shape)
            calls.append(Call(frame.f_locals["self"], kept, shape, _version(value)))

    sys.setprofile(watch)
    try:
        yield calls
    finally:
        sys.setprofile(None)


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


def own_records(records: Iterable[Record], inputs: Collection[Node]) -> dict[torch.device, Record]:
    """Return the last record of each device that lies on a path to ``inputs``."""
    own = [record for record in records if nodes_between(record, inputs)]
    return {record[0].device: record for record in own}


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*map(_clone, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(_clone, value))
    return value
