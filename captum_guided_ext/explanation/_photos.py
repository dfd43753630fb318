"""From photos to figures and reports on disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from captum_guided_ext.errors import CaptumGuidedError, DataError
from captum_guided_ext.explanation._explain import DEFAULT_METHODS, explain
from captum_guided_ext.pictures import Photo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from captum_guided_ext.explanation._explanation import Explanation
    from captum_guided_ext.explanation._explanations import Explanations
    from captum_guided_ext.networks import Network
    from captum_guided_ext.pictures import Mask


class Explained(NamedTuple):
    """What became of one photo.

    Attributes:
        photo: Its name, or its path as it was given.
        found: The explanation, or several; None if the photo cannot be used.
        files: What was written, the figure first.
        error: Why it cannot be used.
    """

    photo: str
    found: Explanation | Explanations | None
    files: tuple[Path, ...]
    error: CaptumGuidedError | None


def explain_photos(
    network: Network,
    photos: Iterable[Photo | str | Path] | Photo | str | Path,
    *,
    output: str | Path,
    target: str | int | Sequence[str | int] = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: str | Sequence[str] | None = None,
    regions: Mapping[str, Mask] | str | Path | None = None,
    formats: Sequence[str] = ("png",),
    views: Sequence[str] = ("signed",),
    save_maps: bool = False,
) -> Iterator[Explained]:
    """Explain photos one by one, and write the figure and the report of each.

    A photo that cannot be used is named, and the others are explained. What two of them fail for in
    the same words, while none succeeds, is no photo's fault and is raised, such as a class that is
    not there; a picture that cannot be read is always its own.

    Args:
        network: As in :func:`captum_guided_ext.explain`.
        photos: What :func:`captum_guided_ext.pictures.open_photo` returns, or paths.
        output: The folder for ``NAME.png`` and ``NAME.json``. Of two photos of one name, the
            second's files are called ``NAME-2``.
        target: As in :func:`captum_guided_ext.explain`.
        methods: As in :func:`captum_guided_ext.explain`.
        layer: As in :func:`captum_guided_ext.explain`.
        regions: As in :func:`captum_guided_ext.explain`.
        formats: As in :meth:`Explanation.save`.
        views: As in :meth:`Explanation.save`.
        save_maps: Write the raw maps as well.

    Yields:
        What became of each photo.

    Raises:
        CaptumGuidedError: for what is not one photo's fault, as
            :func:`captum_guided_ext.explain`; for a folder that cannot be written to.
    """
    stems: set[str] = set()
    fault = None  # perhaps not the photo's own
    for given in [photos] if isinstance(photos, (str, Path, Photo)) else photos:
        name = given.name if isinstance(given, Photo) else str(given)
        try:
            found = explain(
                network, given, target=target, methods=methods, layer=layer, regions=regions
            )
        except CaptumGuidedError as error:
            if not stems and not isinstance(error, DataError):
                if str(error) == fault:
                    raise
                fault = str(error)
            yield Explained(name, None, (), error)
            continue
        stem = _free(found.stem, stems)
        files = found.save(output, stem=stem, formats=formats, views=views)
        if save_maps:
            files += found.save_maps(output, stem=stem)
        yield Explained(name, found, files, None)


def _free(stem: str, taken: set[str]) -> str:
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    free = next(name for name in names if name.casefold() not in taken)
    taken.add(free.casefold())  # on a disk that does not tell cases apart, too
    return free
