"""Reading the regions of a picture from a label image or from a COCO file."""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_guided_ext.errors import DataError, nearest

if TYPE_CHECKING:
    import numpy.typing as npt

    from captum_guided_ext.pictures._regions import Mask

_FAR = 1e9
"""Coordinates beyond this, in pixels, and NaN and infinity, are mistakes."""


def load_regions(
    path: str | Path, image_size: tuple[int, int], *, file_name: str | None = None
) -> dict[str, Mask]:
    """Read the regions of a picture from a label image or from a COCO file.

    A label image holds one whole number per pixel, in a palette, a greyscale or a black-and-white
    file without loss (PNG). A JSON file of the same stem beside it may name the numbers:
    ``{"1": "zebra", "2": "elephant"}``; the others are called ``"region 3"``, and 0
    ``"background"``.

    A COCO file (``.json``) holds polygons, or boxes ``[x, y, width, height]`` where an annotation
    has no polygon, in pixels from the top left corner. A pixel belongs to a shape that its centre
    lies in. The annotations of one category are united. Categories may overlap.

    Args:
        path: The file; ``.json`` is read as COCO, anything else as a label image.
        image_size: Width and height of the picture in pixels, as PIL gives them.
        file_name: The picture's name, which picks among the images of a COCO file that holds
            several. A folder in front of it matters only where names differ by nothing else.

    Returns:
        Name to mask ``(height, width)``, in the order of the labels or of the annotations. What no
        region covers comes last, as ``"background"``. A shape outside the picture is left empty.

    Raises:
        DataError: if the file cannot be read or does not fit the picture.
    """
    path = Path(path)
    if path.suffix.lower() == ".json":
        regions = _from_coco(path, image_size, file_name)
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
        raise DataError(_wrong_size(path, labels.shape[::-1], image_size))
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
    return names


def _from_coco(path: Path, image_size: tuple[int, int], file_name: str | None) -> dict[str, Mask]:
    content = _read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise DataError(
            f"{path} is no COCO file: it has no list of annotations (a file that names the labels "
            "of an image is found by itself: give the image)"
        )
    regions: dict[str, Mask] = {}
    try:
        image = _coco_image(path, content.get("images") or [], file_name)
        size = (image.get("width", image_size[0]), image.get("height", image_size[1]))
        if size != tuple(image_size):
            raise DataError(_wrong_size(path, size, image_size))
        names = {entry["id"]: str(entry["name"]) for entry in content.get("categories") or []}
        for number, annotation in enumerate(content["annotations"]):
            if image and annotation["image_id"] != image["id"]:
                continue
            category = annotation["category_id"]
            name = names.get(category, f"category {category}")
            mask = regions.setdefault(name, np.zeros(image_size[::-1], dtype=bool))
            for points in _outlines(f"{path}: annotation {number}", annotation):
                mask |= _inside(points, image_size)
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not laid out as a COCO file ({type(error).__name__}: {error})"
        ) from error
    return regions


def _coco_image(path: Path, images: list[Any], file_name: str | None) -> dict[str, Any]:
    """Pick the picture's entry; empty where the file lists no images at all."""
    if len(images) <= 1:
        return images[0] if images else {}
    if file_name is None:
        raise DataError(f"{path} holds {len(images)} images: say which, by its file_name")
    names = [image["file_name"] for image in images]
    same = [image for image in images if image["file_name"] == file_name]
    base = PurePath(file_name).name
    same = same or [image for image in images if PurePath(image["file_name"]).name == base]
    if len(same) != 1:
        raise DataError(
            f"{path} holds {len(same)} images called {file_name!r}, and one is needed"
            f"{nearest(file_name, names, otherwise=3)}"
        )
    found: dict[str, Any] = same[0]
    return found


def _outlines(where: str, annotation: dict[str, Any]) -> list[npt.NDArray[np.float64]]:
    """Return an annotation's polygons, each ``(n, 2)``; the box's where there are none."""
    shapes = annotation.get("segmentation")
    if isinstance(shapes, dict) or annotation.get("iscrowd"):
        raise DataError(
            f"{where} is run-length encoded (RLE), which is not read here: turn it into polygons, "
            "or give a label image"
        )
    if not shapes:
        if not annotation.get("bbox"):
            raise DataError(f"{where} has neither polygons (segmentation) nor a box (bbox)")
        x, y, width, height = _numbers(f"{where}: bbox", annotation["bbox"], 4)
        if width < 0 or height < 0:
            raise DataError(f"{where}: bbox has a side below 0; COCO's is x, y, width, height")
        shapes = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    return [np.reshape(_numbers(f"{where}: segmentation", shape), (-1, 2)) for shape in shapes]


def _numbers(where: str, given: Any, count: int | None = None) -> list[float]:
    """Return ``given`` if it is ``count`` finite numbers, or three and more pairs of them."""
    numbers = given if isinstance(given, list) else []
    fits = len(numbers) == count if count else len(numbers) >= 6 and len(numbers) % 2 == 0  # noqa: PLR2004
    if not fits or not all(isinstance(n, (int, float)) and abs(n) < _FAR for n in numbers):
        wanted = f"{count} numbers" if count else "x, y of at least three points"
        raise DataError(f"{where} is {json.dumps(given)[:60]}, not {wanted}")
    return numbers


def _inside(points: npt.NDArray[np.float64], image_size: tuple[int, int]) -> Mask:
    """Return the pixels whose centre lies in a polygon, by the even-odd rule.

    PIL's polygons hold their last row and column as well, so that a box of 5 x 6 pixels has 42, and
    matplotlib's depend on the sense of rotation where a centre lies on the edge. Here shapes that
    share an edge share no pixel.
    """
    width, height = image_size
    mask = np.zeros((height, width), dtype=bool)
    centres = np.arange(width) + 0.5
    for edge in zip(points.tolist(), np.roll(points, -1, axis=0).tolist(), strict=True):
        # From top to bottom whatever the polygon's sense, so that two polygons round alike.
        (y0, x0), (y1, x1) = sorted((y, x) for x, y in edge)
        first, last = (min(max(math.ceil(y - 0.5), 0), height) for y in (y0, y1))
        if first < last:
            crossing = x0 + (np.arange(first, last) + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            mask[first:last] ^= centres < crossing[:, None]
    return mask


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON ({error})") from error


def _wrong_size(path: Path, found: tuple[Any, ...], image_size: tuple[int, int]) -> str:
    return (
        f"{path} is for a picture of {found[0]} x {found[1]} pixels (width x height), and this one "
        f"has {image_size[0]} x {image_size[1]}: give the regions of the picture as it is on disk"
    )
