"""Weights that say nothing: how those of a layer are drawn anew.

==============  ==================================================================================
name            what a tensor of weights becomes
==============  ==================================================================================
``permuted``    its own values, in an order that is drawn
``normal``      draws from a normal distribution of its mean and standard deviation
``reset``       what ``reset_parameters`` of its module makes of it; permuted, where there is none
==============  ==================================================================================

The running statistics of a batch norm are drawn as its weights are; of normal draws for a variance
the magnitude is taken. A tensor that holds one number only, once or many times over, stays as it is
when it is permuted, and its normal distribution has no width: it stays so, too.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor

from captum_guided_ext.errors import ModelError, brief
from captum_guided_ext.sampling import seeded_globally

if TYPE_CHECKING:
    from torch import nn

Reinitialization: TypeAlias = Literal["permuted", "normal", "reset"]
REINITIALIZATIONS: tuple[Reinitialization, ...] = ("permuted", "normal", "reset")
STATISTICS = ("running_mean", "running_var")
"""The names of buffers that are learnt."""


def permuted(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return the values in another order."""
    order = torch.randperm(values.numel(), generator=generator)
    return values.flatten()[order].reshape(values.shape)


def normal(values: Tensor, generator: torch.Generator, *, is_variance: bool) -> Tensor:
    """Return draws of the mean and the standard deviation of the values."""
    wide = values if values.is_complex() else values.double()
    noise = torch.randn(wide.shape, generator=generator, dtype=wide.dtype)
    drawn = wide.mean() + wide.std(correction=0) * noise
    return (drawn.abs() if is_variance else drawn).to(values.dtype)


def reset_tensors(module: nn.Module, seed: int, name: str) -> dict[str, Tensor]:
    """Return a module's own weights and statistics as its ``reset_parameters`` makes them.

    Args:
        module: It stays as it is.
        seed: Of the global generators, from which it draws.
        name: What it is called, for an error.

    Returns:
        By name, on the CPU; nothing, if the module has no ``reset_parameters``.

    Raises:
        ModelError: if that fails.
    """
    if not callable(getattr(module, "reset_parameters", None)):
        return {}
    cpu = torch.device("cpu")
    fresh = copy.deepcopy(module).to(cpu)  # on a GPU it would draw other numbers
    reset: Any = fresh.reset_parameters
    try:
        with seeded_globally(seed, cpu):
            reset()
    except Exception as error:
        raise ModelError(
            f"reset_parameters of layer {name!r} failed ({brief(error)}): choose "
            'reinitialization="permuted"'
        ) from error
    own = [*fresh.named_parameters(recurse=False), *fresh.named_buffers(recurse=False)]
    return {tensor: values.detach() for tensor, values in own}
