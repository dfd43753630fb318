"""Where in a forward pass the weights were used, read off the graph that it left."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
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

    What was called to use them does not matter: a module, another module that reaches for the
    weights of its parts, or a script.
    """
    if output.grad_fn is None:
        return []
    found: dict[Node, Use] = {}
    seen, waiting = {output.grad_fn}, [output.grad_fn]
    while waiting:
        node = waiting.pop()
        for child, _ in node.next_functions:
            if child is None:
                continue
            leaf = getattr(child, "variable", None)
            if leaf is not None:
                number = node._sequence_nr()  # noqa: SLF001 - autograd has no other name for it
                use = found.get(child, Use(leaf, number, number))
                found[child] = Use(leaf, min(use.first, number), max(use.last, number))
            elif child not in seen:
                seen.add(child)
                waiting.append(child)
    return list(found.values())
