"""How a picture becomes a network's input, where that is known by its numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image
    from torch import Tensor

Size = int | tuple[int, int] | None

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")
# Wider and taller than a network's picture, larger and smaller, with sides that are odd.
_TRIED = ((301, 640), (700, 451), (64, 41))
_MEANT = 2  # a mean above it is one of pixels up to 255, unless it is divided by little
_ROUNDING = 4.0  # levels of 256: about a pixel, and one for the rounding itself


@dataclass(frozen=True)
class Preprocessing:
    """Resized, cut from the centre, scaled to [0, 1] and normalised, each channel on its own.

    The defaults leave a picture at its own size, with pixels in [0, 1].

    Attributes:
        size: Length in pixels of the shorter side after resizing, or height and width. None: not
            resized.
        crop: Side in pixels of the square cut from the centre, or its height and width, padded with
            zeros where the picture is smaller. None: not cut.
        interpolation: How it is resized: a value of torchvision's ``InterpolationMode``.
        mean: Subtracted from pixels in [0, 1]; one number for each channel, or one for all.
        std: Divided by after that; likewise. Each may be given as a list or as one number, too.

    Raises:
        ModelError: for a value that none of these can have.
    """

    size: Size = None
    crop: Size = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name in ("size", "crop"):
            object.__setattr__(self, name, _checked_size(name, getattr(self, name)))
        for name in ("mean", "std"):
            object.__setattr__(self, name, _checked_numbers(name, getattr(self, name)))
        if min(self.std) <= 0:
            raise ModelError(f"std {_numbers(self.std)} must be above 0 for each channel")
        if max(self.mean) > _MEANT and max(self.std) >= 1:
            raise ModelError(
                f"mean {_numbers(self.mean)} and std {_numbers(self.std)} are of pixels up to "
                "255, and here pixels are in [0, 1]: divide them by 255"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise ModelError(
                f"no interpolation is called {self.interpolation!r}: choose from "
                f"{', '.join(INTERPOLATIONS)}"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the input for a picture: float, (C, H, W)."""
        from torchvision.transforms import InterpolationMode, functional  # noqa: PLC0415

        if self.size is not None:
            mode = InterpolationMode(self.interpolation)
            image = functional.resize(image, _sides(self.size), interpolation=mode)
        if self.crop is not None:
            image = functional.center_crop(image, _sides(self.crop))
        pixels = functional.to_tensor(image)
        mean, std = (self._for(len(pixels), name) for name in ("mean", "std"))
        normalised: Tensor = functional.normalize(pixels, mean, std)
        return normalised

    def __str__(self) -> str:
        """Return it in words."""
        parts = ["at its own size"]
        if self.size is not None:
            side = "shorter side" if isinstance(self.size, int) else "resized"
            parts = [f"{side} to {_by(self.size)}, {self.interpolation}"]
        if self.crop is not None:
            cut = (self.crop, self.crop) if isinstance(self.crop, int) else self.crop
            sides = (self.size, self.size) if isinstance(self.size, int) else self.size or cut
            is_padded = any(side < wanted for side, wanted in zip(sides, cut, strict=True))
            parts.append(f"centre {_by(cut)}" + ", padded with black" * is_padded)
        mean, std = _numbers(self.mean), _numbers(self.std)
        parts.append(f"pixels in [0, 1], mean {mean}, std {std}")
        return "; ".join(parts)

    def _for(self, channels: int, name: str) -> list[float]:
        values = getattr(self, name)
        if len(values) not in (1, channels):
            raise ModelError(
                f"{name} has {len(values)} numbers ({_numbers(values)}), and a picture has "
                f"{channels} channels: give one for each, or one for all"
            )
        return list(values) * (channels if len(values) == 1 else 1)


@dataclass(frozen=True, eq=False)
class Described:
    """Somebody else's transform, which stays what it is, and numbers that say what it does."""

    transform: Callable[[Image.Image], Tensor]
    numbers: Preprocessing

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the input for a picture."""
        return self.transform(image)

    def __str__(self) -> str:
        """Return it in words."""
        return str(self.numbers)


def described(
    transform: Callable[[Image.Image], Tensor], numbers: Preprocessing | None, mode: str
) -> Callable[[Image.Image], Tensor]:
    """Return ``transform`` with ``numbers``, if it does what these say; else as it is.

    That is tried on a few pictures, up to about a pixel: whoever cuts an odd number of pixels from
    two sides, or resizes, rounds in a way of his own.

    Args:
        transform: From a PIL picture to a tensor (C, H, W).
        numbers: What it may be; None if no numbers say it.
        mode: Of the pictures.
    """
    if numbers is None:
        return transform
    for height, width in _TRIED:
        picture = _slopes(height, width, mode)
        try:
            found, expected = numbers(picture), transform(picture)
        except Exception:  # noqa: BLE001 - it is somebody else's, and may want other pictures
            return transform
        if found.shape != expected.shape:
            return transform
        levels = (found - expected).abs() * torch.tensor(numbers.std).reshape(-1, 1, 1) * 255
        if levels.max() > _ROUNDING:
            return transform
    return Described(transform, numbers)


def _slopes(height: int, width: int, mode: str) -> Image.Image:
    """Return a picture that rises by one level or so at each pixel of a network's."""
    from PIL import Image  # noqa: PLC0415

    rows = np.broadcast_to(np.linspace(0, 1, height)[:, None], (height, width))
    columns = np.broadcast_to(np.linspace(0, 1, width), (height, width))
    channels = [(rows + columns) / 2] if mode == "L" else [rows, columns, 1 - (rows + columns) / 2]
    pixels = np.stack(channels, axis=-1) * 255
    return Image.fromarray(pixels.round().astype(np.uint8).squeeze())


def _checked_size(name: str, given: Any) -> Size:
    sides = given if isinstance(given, (tuple, list)) else (given,)
    if given is None:
        return None
    if len(sides) > 2 or not sides or not all(isinstance(one, int) for one in sides):  # noqa: PLR2004
        raise ModelError(f"{name} must be a whole number of pixels, or two of them, not {given!r}")
    if min(sides) < 1:
        raise ModelError(f"{name} must be 1 pixel or more, and is {given}")
    return tuple(sides) if len(sides) > 1 else sides[0]


def _checked_numbers(name: str, given: Any) -> tuple[float, ...]:
    try:
        values = tuple(map(float, [given] if isinstance(given, (int, float)) else given))
    except (TypeError, ValueError):
        values = ()
    if not values or not all(map(math.isfinite, values)):
        raise ModelError(
            f"{name} must be a number for each channel, or one for all, and is {given!r}"
        )
    return values


def _sides(size: int | tuple[int, int]) -> list[int]:
    return [size] if isinstance(size, int) else list(size)


def _by(size: int | tuple[int, int]) -> str:
    return f"{size}" if isinstance(size, int) else f"{size[1]} x {size[0]}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
