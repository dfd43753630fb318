"""Room for what is computed chunk by chunk, used again each time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable


class Scratch:
    """Room for the result of one operation at a time.

    The system hands out fresh memory page by page, which takes many times longer than what a
    chunk's sums and differences are.
    """

    def __init__(self) -> None:
        self._room: Tensor | None = None

    def of(self, operation: Callable[..., Tensor], first: Tensor, second: Tensor) -> Tensor:
        """Return ``operation(first, second)``, which lasts until the next call.

        Args:
            operation: Of torch, element by element, with ``out``.
            first: Of as many dimensions as ``second``, each of the same size or of 1.
            second: On the same device.
        """
        shape = tuple(map(max, first.shape, second.shape))
        kind, size = torch.result_type(first, second), math.prod(shape)
        room = self._room
        if room is None or room.dtype != kind or room.device != second.device or len(room) < size:
            self._room = room = None  # let go of before there is more
            self._room = room = torch.empty(size, dtype=kind, device=second.device)
        return operation(first, second, out=room[:size].view(shape))
