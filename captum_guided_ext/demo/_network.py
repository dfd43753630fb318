"""A small ReLU network that tells the animals of the picture world apart."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_guided_ext.demo._world import CATEGORIES

if TYPE_CHECKING:
    import numpy.typing as npt

WEIGHTS_FILE = "demo_network.pt"
"""Name of the shipped weights, beside this file."""

_MEAN, _STD = 0.5, 0.25
_CHANNELS = (12, 24, 32, 32, 64, 64)
_POOLED = (True, True, False, True, False, False)


def normalise(images: Tensor) -> Tensor:
    """Bytes to the floats the network takes: ``(value / 255 - 0.5) / 0.25``, any shape."""
    return (images.to(torch.float32) / 255 - _MEAN) / _STD


def prepare(image: npt.NDArray[np.uint8]) -> Tensor:
    """One picture as the network takes it.

    Args:
        image: (H, W, 3) RGB bytes, as in ``Picture.image``.

    Returns:
        (3, H, W) floats in [-2, 2]: ``(value / 255 - 0.5) / 0.25``.

    Raises:
        ValueError: If the array has another shape or type.
    """
    if image.dtype != np.uint8 or image.shape[2:] != (3,):
        raise ValueError(f"image must be (H, W, 3) of uint8, got {image.shape} of {image.dtype}.")
    return normalise(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))


class DemoNetwork(nn.Module):
    """Six convolutions, global average pooling and one linear layer.

    Every rectifier is an ``nn.ReLU`` of its own, called once and not in place. ``features`` ends in
    a map of 12 x 12 for pictures of 96 x 96.

    Shape:
        - Input: (N, 3, H, W) floats from ``prepare``, H and W at least 8.
        - Output: (N, 6) logits in the order of ``CATEGORIES``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential()
        channels = 3
        for i, (width, pooled) in enumerate(zip(_CHANNELS, _POOLED, strict=True), start=1):
            self.features.add_module(f"conv{i}", nn.Conv2d(channels, width, 3, padding=1))
            self.features.add_module(f"relu{i}", nn.ReLU())
            if pooled:
                self.features.add_module(f"pool{i}", nn.MaxPool2d(2))
            channels = width
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, len(CATEGORIES))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, 6) of prepared pictures (N, 3, H, W)."""
        pooled: Tensor = self.pool(self.features(images)).flatten(1)
        logits: Tensor = self.classifier(pooled)
        return logits


def training_record() -> dict[str, Any]:
    """How the weights in the package were made and how well they do, as ``TrainingRecord`` says."""
    record = resources.files(__package__) / WEIGHTS_FILE.replace(".pt", ".json")
    fields: dict[str, Any] = json.loads(record.read_text("utf-8"))
    return fields


def load_demo_network() -> DemoNetwork:
    """The trained network from the weights in the package, in evaluation mode on the CPU.

    Draws no random numbers. ``python -m captum_guided_ext.demo.train`` makes the weights anew.
    """
    # On the meta device there is no initialisation to pay for, nor global randomness to disturb.
    with torch.device("meta"):
        network = DemoNetwork()
    with (resources.files(__package__) / WEIGHTS_FILE).open("rb") as stream:
        state = torch.load(stream, map_location="cpu", weights_only=True)
    network.load_state_dict(state, assign=True)
    return network.eval()
