"""From photos to figures and reports on disk."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

from captum_guided_ext.explanation._explain import DEFAULT_METHODS, explain
from captum_guided_ext.pictures import Photo, lay_regions, open_photo

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from captum_guided_ext.explanation._explanation import Explanation
    from captum_guided_ext.networks import Network


def explain_photos(
    network: Network,
    photos: Iterable[Photo | str | Path] | Photo | str | Path,
    *,
    output: str | Path,
    target: str = "prediction",
    methods: Sequence[str] = DEFAULT_METHODS,
    layer: str | None = None,
) -> Iterator[tuple[Explanation, Path]]:
    """Explain photos one by one, and write the figure and the report of each.

    Args:
        network: As in :func:`captum_guided_ext.explain`.
        photos: What :func:`captum_guided_ext.pictures.open_photo` returns, or paths.
        output: The folder for ``NAME.png`` and ``NAME.json``. Of two photos of one name, the
            second's files are called ``NAME-2``.
        target: As in :func:`captum_guided_ext.explain`.
        methods: As in :func:`captum_guided_ext.explain`.
        layer: As in :func:`captum_guided_ext.explain`.

    Yields:
        The explanation, and the file of its figure.

    Raises:
        DataError: for a picture that cannot be read, or a folder that cannot be written to.
        CaptumGuidedError: as :func:`captum_guided_ext.explain`.
    """
    stems: list[str] = []
    for given in [photos] if isinstance(photos, (str, Path, Photo)) else photos:
        photo = given if isinstance(given, Photo) else open_photo(given)
        explanation = explain(
            network,
            photo.image,
            name=photo.name,
            target=target,
            methods=methods,
            layer=layer,
            regions=photo.regions and lay_regions(photo.regions, network)[0],
        )
        stems.append(_free(explanation.stem, stems))
        figure, _ = explanation.save(output, stem=stems[-1])
        yield explanation, figure


def _free(stem: str, taken: Sequence[str]) -> str:
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(name for name in names if name not in taken)
