"""Remembering what a layer put out during one forward pass, and only what belongs to that pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from captum_guided_ext.graph import nodes_between

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch
    from torch.autograd.graph import Node
    from torch.utils.hooks import RemovableHandle
    from typing_extensions import Self

__all__ = ["LayerRecorder"]


class LayerRecorder:
    """A forward hook on a layer for as long as the ``with`` block lasts.

    The hook returns a clone: an in-place operation behind the layer would change what was kept.
    While it is set, forward passes of other threads meet it too; :meth:`kept` tells theirs from
    this one's by the graph they belong to.

    Args:
        layer: The layer; None records nothing.
        at_input: Record what the layer takes instead of what it returns.
    """

    def __init__(self, layer: nn.Module | None, *, at_input: bool = False) -> None:
        self._layer = layer
        self._at_input = at_input
        self._records: list[tuple[Tensor, ...]] = []
        self._handle: RemovableHandle | None = None

    def __enter__(self) -> Self:
        records = self._records  # not self: the hook must not keep the recorder alive

        def record(value: Any) -> Any:
            several = isinstance(value, (tuple, list))
            tensors = tuple(v for v in (value if several else [value]) if isinstance(v, Tensor))
            records.append(tensors)
            return _clone(value)

        if self._layer is not None and self._at_input:
            self._handle = self._layer.register_forward_pre_hook(lambda _, args: record(args))
        elif self._layer is not None:
            self._handle = self._layer.register_forward_hook(lambda _, __, output: record(output))
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle is not None:
            self._handle.remove()

    def kept(self, inputs: Collection[Node]) -> dict[torch.device, tuple[Tensor, ...]]:
        """Return the last record of each device that lies on a path to ``inputs``."""
        own = [record for record in self._records if nodes_between(record, inputs)]
        return {record[0].device: record for record in own}


def _clone(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple
        return type(value)(*map(_clone, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(_clone, value))
    return value
