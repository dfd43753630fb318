"""Remembering what layers put out during one forward pass, and only what belongs to that pass."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_guided_ext.autograd._path import nodes_between
from captum_guided_ext.autograd._tensors import version_of
from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from contextlib import AbstractContextManager
    from types import FrameType

    from torch.autograd.graph import Node

    Record = tuple[Tensor, ...]

_this_thread = threading.local()  # whom a watch tells


class Records(list["Record"]):
    """What a layer put out or took, once for each of its calls.

    Attributes:
        others: What else it put out, which is no tensor: the names of their types.
    """

    def __init__(self, *, at_input: bool) -> None:
        super().__init__()
        self.others: set[str] = set()
        self._at_input = at_input

    def why_none(self) -> str:
        """Return why none of them is a tensor that depends on the inputs."""
        verb = "took" if self._at_input else "put out"
        if any(torch._C._functorch.is_functorch_wrapped_tensor(t) for one in self for t in one):  # noqa: SLF001
            return "runs inside vmap or another transformation, where no single tensor is its own"
        if self.others:
            kinds = ", ".join(sorted(self.others))
            return f"{verb} {kinds}, and a tensor or a tuple of tensors is needed: choose another"
        if self._at_input and self and not any(self):
            return "took no tensor by position, and keywords are not recorded: use its output"
        where = "it was not called (as happens inside a scripted or traced model)"
        return (
            f"{verb} nothing that depends on the inputs in this forward pass: {where}, or that is "
            "detached"
        )


def recorded(layer: nn.Module | None, *, at_input: bool = False) -> AbstractContextManager[Records]:
    """Collect what ``layer`` puts out while the ``with`` block lasts, by a forward hook.

    The hook returns a clone: an in-place operation behind the layer would change what was kept.
    Forward passes of other threads meet the hook too; :func:`own_records` leaves theirs out.

    Args:
        layer: The layer; None records nothing.
        at_input: Record what the layer takes instead of what it returns.
    """
    records = Records(at_input=at_input)
    return nullcontext(records) if layer is None else _recorded(layer, records, at_input)


@contextmanager
def _recorded(layer: nn.Module, records: Records, at_input: bool) -> Iterator[Records]:
    def record(value: Any) -> Any:
        values = value if isinstance(value, (tuple, list)) else [value]
        records.append(tuple(v for v in values if isinstance(v, Tensor)))
        records.others.update(type(v).__name__ for v in values if not isinstance(v, Tensor))
        return _clone(value)

    def before(_: nn.Module, args: Any) -> Any:
        return record(args)

    def after(_: nn.Module, __: Any, output: Any) -> Any:
        return record(output)

    try:
        # A scripted module refuses its own methods of these names, and runs the hooks all the same.
        if at_input:
            nn.Module.register_forward_pre_hook(layer, before)
        else:
            nn.Module.register_forward_hook(layer, after)
        yield records
    finally:
        # By identity, and not by the handle, which an interruption may have kept from coming back.
        for hooks in (layer._forward_hooks, layer._forward_pre_hooks):  # noqa: SLF001
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
        return self.output is not None and version_of(self.output) == self.version


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
    calls: list[Call] = []

    def see(module: nn.Module, value: Any) -> None:
        if isinstance(value, Tensor):
            is_kept = value.dim() == 4  # noqa: PLR2004
            version = version_of(value) if is_kept else 0
            calls.append(Call(module, value if is_kept else None, tuple(value.shape), version))

    with _watched(see, "name a layer (--layer)"):
        yield calls


@contextmanager
def modules_called() -> Iterator[set[nn.Module]]:
    """Collect which modules are called while the ``with`` block lasts, as :func:`watched_calls`.

    Raises:
        ModelError: as :func:`watched_calls`.
    """
    called: set[nn.Module] = set()
    with _watched(lambda module, _: called.add(module), "it is not seen what a method runs"):
        yield called


@contextmanager
def _watched(see: Callable[[nn.Module, Any], None], otherwise: str) -> Iterator[None]:
    """Tell ``see`` each module that returns from Python in this thread, and what it returned.

    One watch may stand inside another.
    """
    if (around := getattr(_this_thread, "told", None)) is not None:
        around.append(see)
        try:
            yield
        finally:
            around.remove(see)
        return
    if sys.getprofile() is not None:
        raise ModelError(
            f"a profiler is at work, and calls of modules are seen by the same means: {otherwise}"
        )
    call_of_a_module = getattr(getattr(nn.Module, "_call_impl", None), "__code__", None)
    if call_of_a_module is None:
        raise ModelError(f"this torch calls its modules in a way not known here: {otherwise}")

    told = [see]

    def watch(frame: FrameType, event: str, value: Any) -> None:
        if event == "return" and frame.f_code is call_of_a_module:
            for one in told:
                one(frame.f_locals["self"], value)

    _this_thread.told = told
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(None)
        _this_thread.told = None


def own_records(
    records: Iterable[Record], inputs: Collection[Node], known: Collection[Node]
) -> dict[torch.device, Record]:
    """Return the last record of each device that lies on a path to ``inputs``.

    Args:
        records: Of all calls, some of them of other threads.
        inputs: The nodes that accumulate the inputs' gradients.
        known: Nodes of which it is known that they lie on such a path.
    """
    own = [
        record
        for record in records
        if any(one.grad_fn in known for one in record) or nodes_between(record, inputs)
    ]
    return {record[0].device: record for record in own}


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*map(_clone, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(_clone, value))
    return value
