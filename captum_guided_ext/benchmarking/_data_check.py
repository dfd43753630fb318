"""Whether the data of a run that goes on is what was scored."""

from __future__ import annotations

import math
import time
from contextlib import closing
from typing import TYPE_CHECKING

from captum_guided_ext.benchmarking._identity import OF_INPUT
from captum_guided_ext.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage
    from captum_guided_ext.benchmarking._run import Run

_SECONDS = 3.0  # for a sample of the contents, where not all of them are asked for
_AT_A_TIME = 64


def check_data(run: Run, records: Iterable[BatchRecord]) -> str:
    """Compare what was scored with what the data has now, and return in words what was compared.

    The names of all images, and their stamps where the data has any; the contents of those whose
    stamp is another one; and, for about three seconds, those of the others, in an order that is
    spread over the data, the first and the last ones to begin with.

    Raises:
        DataError: for an image that is not what was scored.
    """
    images: dict[int, ScoredImage] = {}
    for record in records:
        images |= record.images
        for one in record.skipped:
            _check_name(run, one.image, one.name)
    for image, scored in images.items():
        _check_name(run, image, scored.name)
    stamped = {image: scored.stamp for image, scored in images.items() if scored.stamp}
    touched = [image for image, stamp in stamped.items() if run.stamp(image) != stamp]
    _compare(run, images, touched, math.inf)
    others = sorted(images.keys() - set(touched))
    compared = len(touched) + _compare(run, images, list(_spread(others)), _SECONDS)
    count = len(images)
    if compared == count:
        return f"all {count} images by content"
    stamps = f"all {count} by size and time, " if len(stamped) == count else ""
    return f"{stamps}{compared} of {count} images by content"


def _compare(
    run: Run, images: Mapping[int, ScoredImage], order: Sequence[int], seconds: float
) -> int:
    """Compare contents for a time; return how many were compared."""
    compared, end = 0, time.monotonic() + seconds
    with closing(run.read(_growing(order))) as batches:
        for loaded in batches:
            for image, reason in loaded.skipped:
                raise _changed(image, images, f"it cannot be read: {reason}")
            for image, raw in zip(loaded.images, loaded.items, strict=True):
                try:
                    digest = run.item(raw).digest
                except DataError as error:
                    raise _changed(image, images, str(error)) from error
                _check_digest(image, images, digest)
            compared += len(loaded.images)
            if time.monotonic() > end:
                break
    return compared


def _spread(images: Sequence[int]) -> Iterator[int]:
    """Yield the first, the last, and the others so that those up to any place lie evenly."""
    count = len(images)
    digits = max(count - 1, 1).bit_length()
    # van der Corput's sequence: the numbers with their binary digits turned round
    places = (int(f"{number:0{digits}b}"[::-1], 2) for number in range(2**digits))
    ends = dict.fromkeys((0, count - 1)) if count else {}
    for place in (*ends, *(one for one in places if one < count and one not in ends)):
        yield images[place]


def _growing(order: Sequence[int]) -> list[Sequence[int]]:
    """Cut an order into pieces, small ones first: a picture may take long to read."""
    pieces, start, size = [], 0, 2
    while start < len(order):
        pieces.append(order[start : start + size])
        start, size = start + size, min(2 * size, _AT_A_TIME)
    return pieces


def _check_name(run: Run, image: int, was: str) -> None:
    if (now := run.name(image)) != was:
        raise _other(f"image {image} was {was}, and is {now} now")


def _check_digest(image: int, images: Mapping[int, ScoredImage], digest: str) -> None:
    was = images[image].digest
    if digest == was:
        return
    same_input = digest[:OF_INPUT] == was[:OF_INPUT]
    same_rest = digest[OF_INPUT:] == was[OF_INPUT:]
    what = "input" if same_rest else "label or mask" if same_input else "input, and label or mask,"
    raise _changed(image, images, f"its {what} is another one")


def _changed(image: int, images: Mapping[int, ScoredImage], how: str) -> DataError:
    return _other(f"image {image} ({images[image].name}) has changed since it was scored: {how}")


def _other(what: str) -> DataError:
    return DataError(
        f"{what}. Choose another folder for the results, or give the data as it was; data that "
        "draws its images at random cannot go on"
    )
