"""Reading pictures and masks from files."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from captum_guided_ext.errors import brief, warn_user

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from captum_guided_ext.pictures._regions import Mask

_TOPS = (255, 4095, 65535)  # of 8 bits, of the 12 of cameras and scanners in medicine, and of 16
_SECOND_OF_ONE = ("MPO", "PSD")  # a phone's preview of the photo, or the layers it is made of
_INVERTED = "white is 0"
_WAS_TURNED = "was turned"
_PHOTOMETRIC = 262  # TIFF's tag, which is 0 there
_OPAQUE = 255


def open_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, upright.

    Of several frames or pages the first is read, which a warning says; for the rest see
    :func:`as_rgb`.

    Raises:
        OSError: if it cannot be read, whatever PIL raises for that.
    """
    with _upright(path) as (image, has_frames):
        picture, done = _as_rgb(image)
    _say(["has several frames: the first was taken"] if has_frames else [])
    _say(done)
    return picture


def as_rgb(image: Image.Image) -> Image.Image:
    """Return a picture of any mode as RGB, turned upright where its EXIF says how.

    What is transparent is laid over white; CMYK is converted without its colour profile. Grey
    values of more than 8 bits are scaled: 0 is black, and white is the smallest of 255, 4095 and
    65535 (for floats: of 1 as well) that none of them exceeds. Where they are negative or go
    beyond, the lowest is black and the highest white. Each of these is said in a warning, in words
    that are the same for every file.

    Raises:
        OSError: if it holds NaN or infinity, or cannot be decoded.
    """
    try:
        image = _turned(image)
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the decoder trips over
        raise OSError(brief(error)) from error
    picture, done = _as_rgb(image)
    _say(done)
    return picture


def open_mask(path: Path) -> Mask:
    """Read where a mask is not black and not transparent, upright, (H, W).

    Raises:
        OSError: as :func:`open_picture`.
    """
    with _upright(path) as (image, _):
        if image.mode[0] in "IF":
            mask: Mask = np.asarray(image) != 0
            return mask
        pixels = np.asarray(image.convert("RGBA"))
    return np.asarray(pixels[..., :3].any(axis=2) & (pixels[..., 3] > 0))


@contextmanager
def _upright(path: Path) -> Iterator[tuple[Image.Image, bool]]:
    """Open the first frame of a picture, with whether there are others."""
    try:
        with Image.open(path) as image:
            has_frames = getattr(image, "is_animated", False) and image.format not in _SECOND_OF_ONE
            yield _turned(image), has_frames
    except OSError:
        raise
    except Image.DecompressionBombError as error:
        raise OSError(f"{str(error).partition(',')[0]}: make it smaller") from error
    except Exception as error:  # a damaged file raises whatever the decoder trips over
        raise OSError(brief(error)) from error


def _turned(image: Image.Image) -> Image.Image:
    from PIL import ExifTags, ImageOps  # noqa: PLC0415 - Captum's matplotlib has loaded the rest of PIL

    upright: Image.Image = ImageOps.exif_transpose(image)
    upright.info[_INVERTED] = _is_inverted(image)
    upright.info[_WAS_TURNED] = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    return upright


def _as_rgb(image: Image.Image) -> tuple[Image.Image, list[str]]:
    """Return a picture as RGB, and what was done to it."""
    done = ["was turned upright, as its EXIF says"] if image.info.get(_WAS_TURNED) else []
    if image.mode[0] in "IF":
        image, words = _eight_bits(image)
        done.append(words)
    elif image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size, "white")
        image.paste(rgba, mask=rgba)
        if np.asarray(rgba)[..., 3].min() < _OPAQUE:
            done.append("has transparent parts: they were laid over white")
    elif image.mode == "CMYK":
        done.append("is CMYK: it was turned into RGB without its colour profile")
    return image.convert("RGB"), done


def _say(done: list[str]) -> None:
    for words in done:
        warn_user(f"the picture {words}")


def _eight_bits(image: Image.Image) -> tuple[Image.Image, str]:
    """Scale grey values of more than 8 bits, and say how."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise OSError("it holds NaN or infinity")
    low, high = float(values.min()), float(values.max())
    tops = (1, *_TOPS) if image.mode == "F" else _TOPS
    top = next((float(top) for top in tops if low >= 0 and high <= top), None)
    first, last = "0", f"{top:g}" if top else ""
    if top is None:
        first, last = "the lowest", "the highest"
        # In halves, so that the difference is finite.
        values, top = values / 2 - low / 2, high / 2 - low / 2
    scaled = (values / (top or 1) * 255).round().astype(np.uint8)
    if _is_inverted(image):
        first, last, scaled = last, first, 255 - scaled
    words = f"{first} was taken as black and {last} as white"
    return Image.fromarray(scaled), f"has grey values that are not of 8 bits: {words}"


def _is_inverted(image: Image.Image) -> bool:
    """Return what PIL looks at for pictures of 8 bits alone."""
    tags = getattr(image, "tag_v2", {})
    return bool(image.info.get(_INVERTED)) or tags.get(_PHOTOMETRIC) == 0
