"""The regions that a COCO file has for one picture."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_guided_ext.errors import DataError, nearest
from captum_guided_ext.pictures._names import printable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from captum_guided_ext.pictures._regions import Mask

_FAR = 1e9
"""Coordinates beyond this, in pixels, and NaN and infinity, are mistakes."""

_KEYPOINT_SHARE, _KEYPOINT_LEAST = 0.05, 2.0  # the radius: of the longer side, and in pixels
_LISTED = 20  # names in a message; a COCO file may hold a hundred thousand


def coco_regions(
    path: Path, content: Any, image_size: tuple[int, int], file_name: str | None
) -> dict[str, Mask]:
    """Return the regions, in the order of the annotations; as :func:`load_regions`.

    Raises:
        DataError: if the content of the file is of another form or does not fit the picture.
    """
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise DataError(
            f"{path} is no COCO file: it has no list of annotations (a file that names the labels "
            "of an image is found by itself: give the image)"
        )
    regions: dict[str, Mask] = {}
    try:
        image = _image(path, content.get("images") or [], file_name)
        size = (image.get("width", image_size[0]), image.get("height", image_size[1]))
        if size != tuple(image_size):
            raise DataError(wrong_size(path, size, image_size))
        categories = {entry["id"]: entry for entry in content.get("categories") or []}
        for number, annotation in enumerate(content["annotations"]):
            if image and annotation["image_id"] != image["id"]:
                continue
            category = annotation["category_id"]
            known = categories.get(category) or {"name": f"category {category}"}
            where = f"{path}: annotation {number}"
            for name, mask in _shapes(where, annotation, known, image_size):
                regions[name] = regions.get(name, False) | mask
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} is not laid out as a COCO file ({type(error).__name__}: {error})"
        ) from error
    return regions


def wrong_size(path: Path, found: tuple[Any, ...], image_size: tuple[int, int]) -> str:
    """Say that regions are for a picture of another width and height."""
    return (
        f"{path} is for a picture of {found[0]} x {found[1]} pixels (width x height), and this one "
        f"has {image_size[0]} x {image_size[1]}: give those of the picture upright, unresized"
    )


def _image(path: Path, images: list[Any], file_name: str | None) -> dict[str, Any]:
    """Pick the picture's entry; empty where the file lists no images at all."""
    if not images:
        return {}
    if len(images) == 1:
        only: dict[str, Any] = images[0]
        named = only.get("file_name")
        if file_name and named and _base(named) != _base(file_name):
            raise DataError(
                f"{path} is for the picture {named!r}, and this one is {file_name!r}: give the "
                "regions of this picture, or leave the file_name out of that file"
            )
        return only
    if file_name is None:
        raise DataError(f"{path} holds {len(images)} images: say which, by its file_name")
    names = [image["file_name"] for image in images]
    same = [image for image in images if image["file_name"] == file_name]
    same = same or [image for image in images if _base(image["file_name"]) == _base(file_name)]
    if len(same) != 1:
        raise DataError(
            f"{path} holds {len(same)} images called {file_name!r}, and one is needed"
            f"{nearest(file_name, names, otherwise=_LISTED)}"
        )
    found: dict[str, Any] = same[0]
    return found


def _base(name: str) -> str:
    """Return a file's name without folders, of whatever system, and its accents in one form."""
    return unicodedata.normalize("NFC", re.split(r"[/\\]", name)[-1])


def _shapes(
    where: str, annotation: dict[str, Any], category: dict[str, Any], image_size: tuple[int, int]
) -> Iterator[tuple[str, Mask]]:
    """Yield what one annotation outlines, and then each of its keypoints, by name."""
    name, shapes = printable(str(category["name"])), annotation.get("segmentation")
    keypoints = annotation.get("keypoints")
    outlines = []
    if isinstance(shapes, dict):
        yield name, _run_lengths(f"{where}: segmentation", shapes, image_size)
    elif shapes or annotation.get("bbox"):
        outlines = [_outline(where, shape) for shape in shapes or [_box(where, annotation)]]
        mask = np.zeros(image_size[::-1], dtype=bool)
        for outline in outlines:
            mask |= _inside(outline, image_size)
        yield name, mask
    elif not keypoints:
        raise DataError(
            f"{where} has no polygons or run lengths (segmentation), box (bbox) or keypoints"
        )
    if not keypoints:
        return
    numbers = _numbers(f"{where}: keypoints", keypoints, "x, y and visibility of each", 3)
    points = np.reshape(numbers, (-1, 3))
    labelled = points[:, 2] > 0
    if not labelled.any():
        return
    if annotation.get("bbox"):
        outlines = [_outline(where, _box(where, annotation))]
    extent = np.ptp(np.concatenate(outlines or [points[labelled, :2]]), axis=0).max()
    radius = max(_KEYPOINT_SHARE * extent, _KEYPOINT_LEAST)
    names = category.get("keypoints") or []
    for place, (x, y, _) in enumerate(points.tolist()):
        if not labelled[place]:
            continue
        part = names[place] if place < len(names) else f"keypoint {place + 1}"
        yield f"{name} {printable(str(part))}", _disc(x, y, radius, image_size)


def _box(where: str, annotation: dict[str, Any]) -> list[float]:
    """Return the outline of an annotation's box."""
    box = annotation["bbox"]
    x, y, width, height = _numbers(f"{where}: bbox", box, "4 numbers", 4, 4)
    if width < 0 or height < 0:
        raise DataError(f"{where}: bbox has a side below 0; COCO's is x, y, width, height")
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def _outline(where: str, shape: Any) -> npt.NDArray[np.float64]:
    """Return the corners of a polygon, ``(n, 2)``."""
    wanted = "x, y of at least three points"
    numbers = _numbers(f"{where}: segmentation", shape, wanted, 2, least=6)
    return np.reshape(np.asarray(numbers, dtype=np.float64), (-1, 2))


def _numbers(
    where: str, given: Any, wanted: str, multiple: int, most: float = math.inf, least: int = 3
) -> list[float]:
    """Return ``given`` if it is finite numbers, and as many as are wanted."""
    numbers = given if isinstance(given, list) else []
    fits = least <= len(numbers) <= most and len(numbers) % multiple == 0
    if not fits or not all(isinstance(n, (int, float)) and abs(n) < _FAR for n in numbers):
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


def _disc(x: float, y: float, radius: float, image_size: tuple[int, int]) -> Mask:
    """Return the pixels within ``radius`` of pixel ``x``, ``y``; a keypoint counts them from 0."""
    width, height = image_size
    down, across = np.arange(height)[:, None] - y, np.arange(width) - x
    return np.asarray(across**2 <= radius**2 - down**2)


def _run_lengths(where: str, given: dict[str, Any], image_size: tuple[int, int]) -> Mask:
    """Return the mask that run lengths stand for: column by column, first outside, then inside."""
    size, counts = given["size"], given["counts"]
    if size != list(image_size[::-1]):
        raise DataError(
            f"{where} is for {json.dumps(size)[:60]} pixels (height, width), and the picture has "
            f"{list(image_size[::-1])}"
        )
    runs = _decoded(counts) if isinstance(counts, str) else counts
    whole = isinstance(runs, list) and all(isinstance(run, int) and run >= 0 for run in runs)
    if not whole or sum(runs) != math.prod(image_size):
        raise DataError(
            f"{where} has counts {json.dumps(counts)[:60]}, which are not run lengths (RLE) of all "
            f"{math.prod(image_size)} pixels"
        )
    inside = np.arange(len(runs)) % 2 == 1
    return np.asarray(np.repeat(inside, runs).reshape(image_size).T)


def _decoded(counts: str) -> list[int]:
    """Read the counts of a compressed RLE as the COCO API's ``rleFrString`` does.

    A character holds 5 bits of a number, the lowest first, and says whether more follow; from the
    fourth number on it is the difference to the last but one.
    """
    decoded: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:  # the sign
                value -= 1 << shift
            decoded.append(value + (decoded[-2] if len(decoded) > 2 else 0))  # noqa: PLR2004
            value = shift = 0
    return decoded
