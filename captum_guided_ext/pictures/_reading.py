"""Reading pictures from files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from captum_guided_ext.errors import brief

if TYPE_CHECKING:
    from pathlib import Path


def open_picture(path: Path) -> Image.Image:
    """Read a picture as RGB, upright.

    Raises:
        OSError: if it cannot be read, whatever PIL raises for that.
    """
    from PIL import ImageOps  # noqa: PLC0415 - Captum's matplotlib has loaded the rest of PIL

    try:
        with Image.open(path) as image:
            upright: Image.Image = ImageOps.exif_transpose(image)
            return upright.convert("RGB")
    except OSError:
        raise
    except Exception as error:  # a damaged file raises whatever the decoder trips over
        raise OSError(brief(error)) from error
