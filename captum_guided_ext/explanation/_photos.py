"""From photos to figures and reports on disk."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from captum_guided_ext.errors import CaptumGuidedError, DataError
from captum_guided_ext.explanation._explain import DEFAULT_METHODS, explain
from captum_guided_ext.pictures import Photo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
            second's files are called ``NAME-2``; so are those of one that lies there itself, and
            of one called ``OTHER-maps`` where that is the name of another's maps.
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
    photos = [photos] if isinstance(photos, (str, Path, Photo)) else photos
    taken = _stems_of_files([regions, *(photos if isinstance(photos, Sequence) else ())], output)
    is_any_used = False
    fault = None  # perhaps not the photo's own
    for given in photos:
        name = given.name if isinstance(given, Photo) else str(given)
        try:
            found = explain(
                network, given, target=target, methods=methods, layer=layer, regions=regions
            )
        except CaptumGuidedError as error:
            if not is_any_used and not isinstance(error, DataError):
                if str(error) == fault:
                    raise
                fault = str(error)
            yield Explained(name, None, (), error)
            continue
        is_any_used = True
        stem = _free(found.stem, taken, ("", "-maps") if save_maps else ("",))
        files = found.save(output, stem=stem, formats=formats, views=views)
        if save_maps:
            files += found.save_maps(output, stem=stem)
        yield Explained(name, found, files, None)


def _stems_of_files(given: Iterable[object], folder: str | Path) -> set[str]:
    """Return the stems under which one of the files given would be written over."""
    files = [Path(one) for one in given if isinstance(one, (str, Path))]
    return {
        file.stem.casefold()
        for file in files
        if file.suffix.casefold() in (".png", ".json")
        and file.absolute().parent.resolve() == Path(folder).resolve()
    }


def _free(stem: str, taken: set[str], ends: tuple[str, ...]) -> str:
    """Return a stem that is not taken with any of the ends, and take it with all of them."""
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))

    def wanted(name: str) -> set[str]:  # on a disk that does not tell cases apart, too
        return {f"{name}{end}".casefold() for end in ends}

    free = next(name for name in names if not wanted(name) & taken)
    taken |= wanted(free)
    return free
