"""What stands around a model and does nothing to its weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def inside(model: nn.Module) -> nn.Module | None:
    """Return what ``torch.compile`` or ``DistributedDataParallel`` wrapped; None of any other."""
    found = getattr(model, "_orig_mod", None)  # of torch.compile, without importing it
    if isinstance(model, nn.parallel.DistributedDataParallel):
        found = model.module
    return found if isinstance(found, nn.Module) else None


def deep_copy(model: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Return a deep copy of the model within all wrappers.

    Args:
        model: The model.
        memo: As ``copy.deepcopy`` takes and fills it; the wrappers lead to the copy, too.
    """
    inner, wrapper = opened(model), model
    # Without a graph: a script's tensors would be copied with one to the original's.
    with torch.inference_mode(False), torch.no_grad():  # noqa: FBT003
        copied = copy.deepcopy(inner, memo)
    while wrapper is not inner and (within := inside(wrapper)) is not None:
        memo[id(wrapper)] = copied  # and who refers to a wrapper finds the copy
        wrapper = within
    return copied


def opened(model: nn.Module) -> nn.Module:
    """Return the model within all wrappers."""
    while (found := inside(model)) is not None:
        model = found
    return model
