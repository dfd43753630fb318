"""What an explanation, a comparison and a benchmark have in common: members, and a way to disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.output._files import write_files
from captum_guided_ext.output._html import html_fragment, html_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from captum_guided_ext.output._html import Article
    from captum_guided_ext.output._tables import Table


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

    @abstractmethod
    def _articles(self) -> Iterable[Article]:
        """Return what a page of HTML shows of it."""

    @abstractmethod
    def _files(self, folder: Path) -> Mapping[str, bytes | Iterable[bytes] | None]:
        """Return the files that :meth:`save` writes to a folder, by name; large ones in pieces.

        None stands for one that the folder has already.
        """

    def _repr_html_(self) -> str:
        """Return what a notebook shows: figure and tables."""
        return html_fragment(self._headline(), self.plot, self._articles())

    def to_html(self, made_by: str = "") -> str:
        """Return a page of HTML, a file of its own: nothing in it is loaded from elsewhere.

        Args:
            made_by: The command line that makes it again. Default: Python that does.
        """
        return html_of([self], made_by)

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
            path = Path(path)
            write_files(path.parent, {path.name: text.encode()})
        return text

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table, numbers to four digits."""
        return self._table().to_markdown()

    def save(self, folder: str | Path) -> tuple[Path, ...]:
        """Write it to a folder, which is made if it is not there; each file whole or not at all.

        Args:
            folder: Where to. Files of these names that are there are replaced.

        Returns:
            The files.

        Raises:
            DataError: if the folder cannot be written to.
        """
        return write_files(Path(folder), self._files(Path(folder)))


def html_of(results: Iterable[Result], made_by: str = "") -> str:
    """Return one page of HTML for several results, as :meth:`Result.to_html` for one.

    Args:
        results: At least one.
        made_by: The command line that makes it again. Default: Python that does.
    """
    return html_page([article for one in results for article in one._articles()], made_by=made_by)  # noqa: SLF001
