"""How a picture becomes a network's input, where that is known by its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from captum_guided_ext.errors import ModelError, nearest

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

Size = int | tuple[int, int] | None


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
        std: Divided by after that; likewise.

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
            sides = getattr(self, name)
            for side in sides if isinstance(sides, tuple) else (sides,):
                if side is not None and side < 1:
                    raise ModelError(f"{name} must be 1 pixel or more, and is {sides}")
        if not self.mean or not self.std or not all(one > 0 for one in self.std):
            raise ModelError(
                f"mean {_numbers(self.mean)} and std {_numbers(self.std)} must have a number for "
                "each channel, and those of std must be above 0"
            )

    def __call__(self, image: Image.Image) -> Tensor:
        """Return the input for a picture: float, (C, H, W)."""
        from torchvision.transforms import InterpolationMode, functional  # noqa: PLC0415

        if self.size is not None:
            known = [mode.value for mode in InterpolationMode]
            if self.interpolation not in known:
                near = nearest(self.interpolation, known, otherwise=None)
                raise ModelError(f"no interpolation is called {self.interpolation!r}{near}")
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
            parts.append(f"centre {_by(cut)}")
        parts.append(f"pixels in [0, 1], mean {_numbers(self.mean)}, std {_numbers(self.std)}")
        return "; ".join(parts)

    def _for(self, channels: int, name: str) -> list[float]:
        values = getattr(self, name)
        if len(values) not in (1, channels):
            raise ModelError(
                f"{name} has {len(values)} numbers ({_numbers(values)}), and a picture has "
                f"{channels} channels: give one for each, or one for all"
            )
        return list(values) * (channels if len(values) == 1 else 1)


def _sides(size: int | tuple[int, int]) -> list[int]:
    return [size] if isinstance(size, int) else list(size)


def _by(size: int | tuple[int, int]) -> str:
    return f"{size}" if isinstance(size, int) else f"{size[1]} x {size[0]}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:g}" for value in values)
