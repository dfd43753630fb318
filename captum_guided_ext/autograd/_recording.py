"""Remembering what a layer put out during one forward pass, and only what belongs to that pass."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from captum_guided_ext.autograd._path import nodes_between

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import torch
    from torch.autograd.graph import Node

    Record = tuple[Tensor, ...]

__all__ = ["own_records", "recorded"]


@contextmanager
def recorded(layer: nn.Module | None, *, at_input: bool = False) -> Iterator[list[Record]]:
    """Collect what ``layer`` puts out while the ``with`` block lasts, by a forward hook.

    The hook returns a clone: an in-place operation behind the layer would change what was kept.
    Forward passes of other threads meet the hook too; :func:`own_records` tells theirs apart.

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
