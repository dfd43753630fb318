"""An attribution that is asked about a faster copy of its network."""

from __future__ import annotations

import copy
import functools
from typing import TYPE_CHECKING, Any

from captum.attr import LRP, Attribution, LayerLRP
from torch import nn

from captum_guided_ext.autograd import checked_copy
from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor


def of_fast_copy(
    explanation_func: Callable[..., Any], inputs: tuple[Tensor, ...], additional_forward_args: Any
) -> Callable[..., Any]:
    """Return the same ``attribute`` of a copy of its network that takes less time.

    Args:
        explanation_func: The ``attribute`` of a Captum ``Attribution``, or a
            ``functools.partial`` of it.
        inputs: On which the copy is checked.
        additional_forward_args: As in Captum.

    Raises:
        ModelError: for any other function, for layer-wise relevance propagation, and as
            :func:`checked_copy`.
    """
    method: Any = explanation_func
    while isinstance(method, functools.partial):
        method = method.func
    owner = getattr(method, "__self__", None)
    if not isinstance(owner, Attribution):
        name = getattr(method, "__qualname__", type(method).__name__)
        raise ModelError(
            f"fast=True explains a copy of the network, and which network {name} explains is not "
            "known: give the attribute of an attribution (GuidedBackprop(model).attribute), or "
            "leave fast out"
        )
    parts = list(_parts(owner))
    if any(isinstance(one, (LRP, LayerLRP)) for one in parts):
        raise ModelError(
            "layer-wise relevance propagation goes module by module, and is another one where a "
            "batch norm is folded: leave fast out"
        )
    model = owner.forward_func
    layers = [one for part in parts for one in _modules(part) if one is not model]
    # It may be asked about a layer's input as well.
    made = checked_copy(model, inputs, additional_forward_args, keep=layers, at_input=True)
    found: Callable[..., Any] = copy.deepcopy(explanation_func, made.memo)
    return found


def _parts(attribution: Attribution) -> Iterator[Attribution]:
    """Yield an attribution and those that it runs."""
    yield attribution
    for value in vars(attribution).values():
        if isinstance(value, Attribution):
            yield from _parts(value)


def _modules(attribution: Attribution) -> Iterator[nn.Module]:
    """Yield the modules that an attribution holds: its network, and the layers that it reads."""
    for value in vars(attribution).values():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(one, nn.Module):
                yield one
