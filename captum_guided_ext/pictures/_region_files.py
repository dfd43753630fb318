"""Reading the regions of a picture from a label image or from a COCO file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_guided_ext.errors import DataError
from captum_guided_ext.pictures._coco import coco_regions, wrong_size
from captum_guided_ext.pictures._names import printable

if TYPE_CHECKING:
    from captum_guided_ext.pictures._regions import Mask


def load_regions(
    path: str | Path, image_size: tuple[int, int], *, file_name: str | None = None
) -> dict[str, Mask]:
    """Read the regions of a picture from a label image or from a COCO file.

    A label image holds one whole number per pixel, in a palette, a greyscale or a black-and-white
    file without loss (PNG). A JSON file of the same stem beside it may name the numbers:
    ``{"1": "zebra", "2": "elephant"}``; the others are called ``"region 3"``, and 0
    ``"background"``.

    A COCO file (``.json``) holds polygons or run lengths (RLE), or boxes ``[x, y, width, height]``
    where an annotation has neither, in pixels from the top left corner. A pixel belongs to a shape
    that its centre lies in. Each keypoint that is labelled, as ``"dog left_eye"``, is a disc whose
    radius is 5 % of the longer side of its annotation's box (without one, of the outline, or of
    what the keypoints span), and at least 2 pixels. What has one name is united. Regions may
    overlap.

    Args:
        path: The file; ``.json`` is read as COCO, anything else as a label image.
        image_size: Width and height of the picture in pixels, as PIL gives them.
        file_name: The picture's name, which picks among the images of a COCO file, and must be
            that of the only one if it has a name. A folder in front of it matters only where names
            differ by nothing else.

    Returns:
        Name to mask ``(height, width)``, in the order of the labels or of the annotations. What no
        region covers comes last, as ``"background"``. A shape outside the picture is left empty.

    Raises:
        DataError: if the file cannot be read or does not fit the picture.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        regions = coco_regions(path, _read_json(path), image_size, file_name)
    else:
        regions = _from_label_image(path, image_size)
    covered = np.zeros(image_size[::-1], dtype=bool)
    background = regions.pop("background", covered)
    for mask in regions.values():
        covered = covered | mask
    background = background | ~covered
    if background.any():
        regions["background"] = background
    return regions


def _from_label_image(path: Path, image_size: tuple[int, int]) -> dict[str, Mask]:
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(path) as image:
            labels, mode, kind = np.array(image), image.mode, image.format
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} cannot be read as a label image ({error}): give a PNG, or COCO's .json"
        ) from error
    if kind == "JPEG" or not (mode in ("1", "L", "P", "I") or mode.startswith("I;16")):
        raise DataError(
            f"{path} is no label image but a {kind} of mode {mode}: save one whole number per "
            "pixel as a palette or greyscale PNG"
        )
    if labels.shape != image_size[::-1]:
        raise DataError(wrong_size(path, labels.shape[::-1], image_size))
    names = _label_names(path.with_suffix(".json"))
    regions: dict[str, Mask] = {}
    for label in np.unique(labels).tolist():
        name = names.get(int(label), f"region {int(label)}" if label else "background")
        regions[name] = regions.get(name, False) | (labels == label)
    return regions


def _label_names(path: Path) -> dict[int, str]:
    if not path.exists():
        return {}
    content = _read_json(path)
    try:
        names = {int(label): name for label, name in content.items()}
    except (AttributeError, ValueError):
        names = {}
    if not names or not all(isinstance(name, str) and name for name in names.values()):
        raise DataError(f'{path} does not name labels: write it as {{"1": "zebra"}}')
    return {label: printable(name) for label, name in names.items()}


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error})") from error
