"""A network, with how a picture becomes its input and what its classes are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class Network:
    """A classifier, with how a picture becomes its input and what its classes are called.

    The defaults describe a network that takes a picture at its own size, with pixels in [0, 1].

    Attributes:
        name: What it was asked for by.
        model: The network, in eval mode: ``(N, 3, H, W)`` to scores ``(N, classes)``.
        categories: Name of each class; empty where they have none.
        weights: Where its parameters come from, for people to read.
        resize_size: Length in pixels of the shorter side after resizing. ``None``: not resized.
        crop_size: Side in pixels of the square cut from the centre, padded with zeros where the
            picture is smaller. ``None``: not cut.
        interpolation: How a picture is resized: a value of torchvision's ``InterpolationMode``.
        mean: Per channel, subtracted from pixels in [0, 1].
        std: Per channel, divided by after that.
        mode: What PIL turns a picture into first: "RGB", or "L" for a network of one channel.
        to_tensor: Takes the place of scaling, ``mean`` and ``std``: from a cut RGB picture to a
            float tensor ``(3, H, W)``.
    """

    name: str
    model: nn.Module
    categories: tuple[str, ...] = ()
    weights: str = ""
    resize_size: int | None = None
    crop_size: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    mode: str = "RGB"
    to_tensor: Callable[[Image.Image], Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Where the parameters are; the CPU for a network without any."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else iter(())
        return next((p.device for p in parameters), torch.device("cpu"))

    def view(self, image: Image.Image) -> Image.Image:
        """Return what the network sees of ``image``: in its mode, resized and cut."""
        if not isinstance(image, Image.Image):
            raise TypeError(f"image must be a PIL picture, not {type(image).__name__}")
        return self._lay(image.convert(self.mode), self.interpolation)

    def prepare(self, image: Image.Image) -> Tensor:
        """Return the network's input for ``image``: float, ``(C, H, W)``, on the CPU, no batch."""
        from torchvision.transforms import functional  # noqa: PLC0415

        seen = self.view(image)
        if self.to_tensor is not None:
            return self.to_tensor(seen)
        pixels = functional.convert_image_dtype(functional.pil_to_tensor(seen), torch.float)
        channels = len(pixels)
        normalised: Tensor = functional.normalize(
            pixels, list(self.mean[:channels]), list(self.std[:channels])
        )
        return normalised

    def lay_mask(self, mask: Image.Image) -> Image.Image:
        """Resize and cut a label image as ``view`` does its picture, inventing no new labels."""
        return self._lay(mask, "nearest")

    def category(self, index: int) -> str:
        """Return the name of class ``index``, or ``"class 7"`` where it has none."""
        return self.categories[index] if 0 <= index < len(self.categories) else f"class {index}"

    def _lay(self, image: Image.Image, interpolation: str) -> Image.Image:
        from torchvision.transforms import InterpolationMode, functional  # noqa: PLC0415

        if self.resize_size is not None:
            mode = InterpolationMode(interpolation)
            image = functional.resize(image, [self.resize_size], interpolation=mode)
        if self.crop_size is not None:
            image = functional.center_crop(image, [self.crop_size])
        return image
