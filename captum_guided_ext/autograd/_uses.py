"""Which weights were used: in a forward pass, read off the graph that it left; or by any code."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from captum_guided_ext.autograd._tensors import tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor
    from torch.autograd.graph import Node


class Use(NamedTuple):
    """When a leaf of a graph was used, by the numbers that autograd gives the operations.

    Attributes:
        leaf: What was used.
        first: The number of the first operation that took it.
        last: The number of the last.
    """

    leaf: Tensor
    first: int
    last: int


def leaf_uses(output: Tensor) -> list[Use]:
    """Return the leaves that lead to ``output`` and require a gradient.

    The running mean that a batch norm took counts as one of them. What was called to use them does
    not matter: a module, another module that reaches for the weights of its parts, or a script.
    """
    if output.grad_fn is None:
        return []
    found: dict[object, Use] = {}
    seen, waiting = {output.grad_fn}, [output.grad_fn]
    while waiting:
        node = waiting.pop()
        mean = getattr(node, "_saved_running_mean", None)
        if mean is not None:
            _count(found, mean.data_ptr(), mean, node)
        for child, _ in node.next_functions:
            if child is None:
                continue
            leaf = getattr(child, "variable", None)
            if leaf is not None:
                _count(found, child, leaf, node)
            elif child not in seen:
                seen.add(child)
                waiting.append(child)
    return list(found.values())


def _count(found: dict[object, Use], key: object, leaf: Tensor, node: Node) -> None:
    number = node._sequence_nr()  # noqa: SLF001 - autograd has no other name for it
    use = found.get(key, Use(leaf, number, number))
    found[key] = Use(leaf, min(use.first, number), max(use.last, number))


@contextmanager
def memory_used() -> Iterator[set[int]]:
    """Collect the addresses of the memory that operations of this thread take in the block.

    Those within a script count, too, and what is used without a call of its module.
    """
    with _Uses() as uses:
        yield uses.memory


class _Uses(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.memory: set[int] = set()

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.memory.update(map(memory_of, tensors_in((args, kwargs))))
        return func(*args, **kwargs)


def memory_of(tensor: Tensor) -> int:
    """Return where the memory of a tensor begins, which views of it share; 0 if nobody can say."""
    if tensor.layout is not torch.strided or not tensor.numel():
        return 0
    return tensor.untyped_storage().data_ptr()
