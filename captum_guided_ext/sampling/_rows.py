"""Functions whose results must not depend on the batch an example is in."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from captum_guided_ext.sampling._draws import seeded_globally

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence


def _global_state(device: torch.device) -> tuple[Any, ...]:
    legacy: Any = np.random.get_state()  # noqa: NPY002
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return random.getstate(), legacy[1].tobytes(), legacy[2], *(s.numpy().tobytes() for s in states)


class RowByRow:
    """An attribution function whose results do not depend on the batch an example is in.

    It is run on the whole batch. If that moved a global generator (``NoiseTunnel`` draws its
    noise there, ``GradientShap`` its baselines), then the result is dropped, and this and every
    later batch is run example by example, each with global generators seeded for it.

    Args:
        function: Of the form of Captum's ``attribute``: ``function(inputs, **arguments)``.
        own: Names of the arguments of which each example has its own, where they are tensors or
            lists with an entry for each.
        draws: Whether it is known to draw: it then never sees more than one example. Default:
            found out.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        own: Collection[str] = ("target", "additional_forward_args"),
        draws: bool = False,
    ) -> None:
        self._function = function
        self._own = own
        self._draws_globally = draws

    def __call__(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        arguments: Mapping[str, Any],
        seeds: Sequence[int],
    ) -> Any:
        """Return the attributions of ``inputs``.

        Args:
            inputs: The examples along dimension 0.
            arguments: Keyword arguments of the function.
            seeds: Of each example.
        """
        first = inputs if isinstance(inputs, Tensor) else inputs[0]
        if not self._draws_globally:
            with seeded_globally(seeds[0], first.device):
                before = _global_state(first.device)
                result = self._function(inputs, **arguments)
                self._draws_globally = before != _global_state(first.device)
            if not self._draws_globally:
                return result
        rows = []
        for row, seed in enumerate(seeds):
            given = {
                name: of_row(value, row, len(seeds)) if name in self._own else value
                for name, value in arguments.items()
            }
            with seeded_globally(seed, first.device):
                rows.append(self._function(of_row(inputs, row, len(seeds)), **given))
        return joined(rows)


def of_row(value: Any, row: int, rows: int) -> Any:
    """Return the part of ``value`` that belongs to one example, where it has one for each."""
    return of_rows(value, slice(row, row + 1), rows)


def of_rows(value: Any, part: slice, rows: int) -> Any:
    """Return the part of ``value`` that belongs to some examples, where it has one for each."""
    if isinstance(value, Tensor):
        return value[part] if value.dim() and len(value) == rows else value
    if isinstance(value, list):
        return value[part] if len(value) == rows else value
    if isinstance(value, tuple):  # of inputs, baselines or further arguments; or one class's index
        return tuple(of_rows(one, part, rows) for one in value)
    return value


def joined(rows: Sequence[Any]) -> Any:
    """Put results of single examples together: tensors along dimension 0, others part by part.

    Raises:
        TypeError: for anything but tensors, and tuples and mappings of them.
    """
    if isinstance(rows[0], Tensor):
        return torch.cat(list(rows))
    if isinstance(rows[0], tuple):
        return tuple(joined(column) for column in zip(*rows, strict=True))
    if isinstance(rows[0], Mapping):
        return {name: joined([row[name] for row in rows]) for name in rows[0]}
    raise TypeError(f"a {type(rows[0]).__name__} is no tensor and no tuple of tensors")
