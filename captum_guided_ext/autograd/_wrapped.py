"""What stands around a model and does nothing to its weights."""

from __future__ import annotations

from torch import nn


def inside(model: nn.Module) -> nn.Module | None:
    """Return what ``torch.compile`` or ``DistributedDataParallel`` wrapped; None of any other."""
    found = getattr(model, "_orig_mod", None)  # of torch.compile, without importing it
    if isinstance(model, nn.parallel.DistributedDataParallel):
        found = model.module
    return found if isinstance(found, nn.Module) else None


def opened(model: nn.Module) -> nn.Module:
    """Return the model within all wrappers."""
    while (found := inside(model)) is not None:
        model = found
    return model
