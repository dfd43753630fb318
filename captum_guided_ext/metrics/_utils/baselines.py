"""Baselines in the form of the inputs."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.autograd import check_finite


def filled(baselines: Tensor | float, x: Tensor) -> Tensor:
    """Return ``baselines`` in the form of ``x``."""
    (given,) = _captum.format_baseline(baselines, (x,))
    values = torch.as_tensor(given, dtype=x.dtype, device=x.device)
    try:
        filled = values.broadcast_to(x.shape)
    except RuntimeError as error:
        raise ValueError(
            f"baselines have shape {tuple(values.shape)}, which does not broadcast to the inputs' "
            f"{tuple(x.shape)}"
        ) from error
    check_finite(filled, "baselines")
    return filled
