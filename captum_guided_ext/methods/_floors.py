"""What a score has to beat: maps and predictions that know nothing of the network.

=================  ==============================================================================
name               what it is
=================  ==============================================================================
``constant_map``   the same everywhere
``random_map``     normal noise, other numbers for each image and each perturbed input
``edges``          the picture's own edges: the magnitude of Sobel's gradient of its mean channel
``best_constant``  for infidelity: the constant that predicts the falls of the score best
=================  ==============================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from captum_guided_ext.sampling import Draws

if TYPE_CHECKING:
    from collections.abc import Sequence

BEST_CONSTANT = "best_constant"
FLOORS = ("constant_map", "random_map", "edges", BEST_CONSTANT)


def floor_maps(
    x: Tensor, seed: int, images: Sequence[int], samples: Sequence[int]
) -> dict[str, Tensor]:
    """Return the map of each floor that ``x`` can have; edges are those of pictures.

    Args:
        x: Inputs, as many of each image as there are ``samples``, those of one image together.
        seed: Of all randomness.
        images: The number of each image.
        samples: The number of each sample.
    """
    draws = Draws(seed, images, "random map")
    noise = torch.empty(x.shape, device=x.device)
    places = [(place, sample) for place in range(len(images)) for sample in samples]
    for (place, sample), room in zip(places, noise, strict=True):
        torch.randn(room.shape, generator=draws.generator(place, sample, x.device), out=room)
    found = {"constant_map": torch.ones_like(x), "random_map": noise.to(x.dtype)}
    if x.dim() == 4:  # noqa: PLR2004 - pictures, (N, C, H, W)
        found["edges"] = edges(x)
    return found


def edges(x: Tensor) -> Tensor:
    """Return how steep the mean of the channels is at each place, by Sobel's gradient.

    Args:
        x: Pictures, (N, C, H, W), which go on behind their border as at it.

    Returns:
        The gradient's magnitude, (N, 1, H, W); exactly 0 where all is even.
    """
    grey = functional.pad(x.float().mean(dim=1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    return torch.hypot(_slope(grey), _slope(grey.mT).mT).to(x.dtype)


def _slope(grey: Tensor) -> Tensor:
    """Return Sobel's gradient from left to right, by differences: exactly 0 where all is even."""
    across = grey[..., 2:] - grey[..., :-2]
    return across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
