"""What the first forward pass of a model found out, so that the next is right from the start."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass
class Known:
    """What is known of a model.

    Attributes:
        has_run: Whether it has run before.
        needs_a_second_look: Whether its graph shows what may hide a rectifier.
        layer: The layer whose output has to be recorded while the model runs.
    """

    has_run: bool = False
    needs_a_second_look: bool = False
    layer: weakref.ref[nn.Module] | None = None


# By identity: a callable need not be hashable, and may be equal to another.
_known: dict[int, tuple[weakref.ref[Any], dict[str, Known]]] = {}


def known_of(model: Any) -> Known:
    """Return what is known of a model, to be written to; it is kept as long as the model."""
    # A bound method is a new object each time it is asked for.
    owner, name = None, ""
    if not isinstance(model, nn.Module):
        owner, name = getattr(model, "__self__", None), getattr(model, "__name__", "")
    if owner is None or not isinstance(name, str) or not name:
        owner, name = model, ""
    key = id(owner)
    kept = _known.get(key)
    if kept is None or kept[0]() is not owner:
        try:
            reference = weakref.ref(owner, lambda _: _known.pop(key, None))
        except TypeError:  # what cannot be referred to weakly is new each time
            return Known()
        kept = _known[key] = reference, {}
    return kept[1].setdefault(name, Known())
