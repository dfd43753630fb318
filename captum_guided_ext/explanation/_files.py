"""How an explanation, or several of one picture, are written to disk."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import DataError
from captum_guided_ext.output import Result, figure_bytes, file_stem, map_files, write_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.figure import Figure
    from torch import Tensor

_AXES = ("channel", "row", "column")


class OfOnePicture(Result):
    """What was found about one picture, with files that are called after it."""

    @property
    @abstractmethod
    def _image(self) -> str:
        """The picture's name."""

    @abstractmethod
    def _reports(self) -> list[dict[str, Any]]:
        """Return the reports, as data."""

    @abstractmethod
    def _maps(self) -> Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]]:
        """Return the maps of each report by method, and what is true of them all."""

    @abstractmethod
    def plot(self, views: Sequence[str] = ("signed",)) -> Figure:
        """Draw it, each map in these views."""

    @property
    def stem(self) -> str:
        """What its files are called by default, without their endings: the picture's name."""
        return file_stem(self._image)

    def save(
        self,
        folder: str | Path,
        *,
        stem: str | None = None,
        formats: Sequence[str] = ("png",),
        views: Sequence[str] = ("signed",),
    ) -> tuple[Path, ...]:
        """Write the figure, and the report as JSON, a list; as :meth:`Result.save`.

        Args:
            folder: Where to.
            stem: What the files are called, without their endings. Default: the picture's name.
            formats: Of the figure: "png", "svg", "pdf", a file each.
            views: Of the figure, as :meth:`plot` takes them.

        Raises:
            ValueError: for an unknown format or view.
        """
        files = self._files(Path(folder), _checked(stem, folder), formats, views)
        return write_files(Path(folder), files)

    def save_maps(self, folder: str | Path, *, stem: str | None = None) -> tuple[Path, ...]:
        """Write the raw maps, a file of NumPy each, and a JSON that says what each is.

        Args:
            folder: Where to; it is made if it is not there.
            stem: What the files' names begin with. Default: the picture's name.

        Returns:
            The files: ``STEM-METHOD.npy``, (C, H, W), and ``STEM-maps.json``.

        Raises:
            DataError: if the folder cannot be written to.
        """
        stem = _checked(stem, folder) or self.stem
        return write_files(Path(folder), map_files(stem, self._maps(), _AXES))

    def _files(
        self,
        folder: Path,
        stem: str | None = None,
        formats: Sequence[str] = ("png",),
        views: Sequence[str] = ("signed",),
    ) -> dict[str, bytes]:
        del folder  # all of them are written
        stem = stem or self.stem
        figure = self.plot(views)
        formats = [formats] if isinstance(formats, str) else formats
        files = {f"{stem}.{kind}": figure_bytes(figure, kind) for kind in formats}
        return files | {f"{stem}.json": json.dumps(self._reports(), indent=2).encode()}


def _checked(stem: str | None, folder: str | Path) -> str | None:
    if stem is not None and (Path(stem).name != stem or not stem):
        raise DataError(f"{stem!r} cannot be the name of a file in {folder}")
    return stem
