"""What an explanation, a comparison and a benchmark have in common: members, and a way to disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import DataError
from captum_guided_ext.output._files import writable_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from captum_guided_ext.output._tables import Table

__all__ = ["Result"]


class Result(ABC):
    """Something found, as words, data, rows, a figure and files."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self._headline()}>"

    @abstractmethod
    def __str__(self) -> str: ...

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold, with the versions that made it."""

    @abstractmethod
    def plot(self) -> Figure:
        """Draw it; the figure belongs to no window."""

    @abstractmethod
    def _headline(self) -> str:
        """Return what it is of, in a few words."""

    @abstractmethod
    def _table(self) -> Table:
        """Return its rows."""

    @property
    @abstractmethod
    def stem(self) -> str:
        """What the files of :meth:`save` are called by default, without their endings."""

    @abstractmethod
    def _files(self, stem: str) -> Mapping[str, bytes]:
        """Return the files that :meth:`save` writes, by name."""

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame.

        Raises:
            ImportError: if pandas is not installed.
        """
        return self._table().to_pandas()

    def to_csv(self, path: str | Path | None = None) -> str:
        """Return the rows as CSV, numbers with all their digits; written to ``path`` if given.

        Raises:
            DataError: if ``path`` cannot be written to.
        """
        text = self._table().to_csv()
        if path is not None:
            _write(Path(path), text.encode())
        return text

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table, numbers to four digits."""
        return self._table().to_markdown()

    def save(self, folder: str | Path, *, stem: str | None = None) -> tuple[Path, ...]:
        """Write it to a folder, which is made if it is not there; each file whole or not at all.

        Args:
            folder: Where to. Files of these names that are there are replaced.
            stem: What the files are called, without their endings. Default: what it is of.

        Returns:
            The files.

        Raises:
            DataError: if the folder cannot be written to.
        """
        files = self._files(stem or self.stem)
        with writable_folder(Path(folder)) as place:
            for name, content in files.items():
                _write(place / name, content)
            return tuple(place / name for name in files)


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        raise DataError(f"{path} cannot be written to: {error.strerror}") from error
