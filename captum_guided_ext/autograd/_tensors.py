"""What several files ask of tensors."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor has been written to."""
    return 0 if tensor.is_inference() else tensor._version  # noqa: SLF001


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in tuples, lists and dictionaries, however deep."""
    found: list[Tensor] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Tensor):
            found.append(one)
        elif isinstance(one, (tuple, list)):
            waiting.extend(reversed(one))
        elif isinstance(one, dict):
            waiting.extend(reversed(one.values()))
    return found
