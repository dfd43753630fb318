"""Rows as text: CSV for programs, a table for people."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Rows under named columns, some rows at a time.

    Attributes:
        columns: Their names, in order.
        blocks: Gives the rows as often as it is called: in each block the values of each column;
            what has none is None or empty.
        optional: Columns that are left out of the Markdown where no row has a value.
    """

    columns: tuple[str, ...]
    blocks: Callable[[], Iterable[Mapping[str, Sequence[Any]]]]
    optional: tuple[str, ...] = ()

    @classmethod
    def of_rows(
        cls,
        columns: tuple[str, ...],
        rows: Sequence[Mapping[str, Any]],
        optional: tuple[str, ...] = (),
    ) -> Table:
        """Return the table of rows; a column that a row lacks is None there."""
        block = {name: [row.get(name) for row in rows] for name in columns}
        return cls(columns, lambda: [block], optional)

    def csv(self) -> Iterator[bytes]:
        """Yield the rows as CSV, numbers with all their digits, in pieces."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        for block in self.blocks():
            writer.writerows(zip(*(block[name] for name in self.columns), strict=True))
            yield text.getvalue().encode(errors="backslashreplace")
            text.seek(0)
            text.truncate()
        yield text.getvalue().encode(
            errors="backslashreplace"
        )  # the names, where there are no rows

    def to_csv(self) -> str:
        """Return the rows as CSV."""
        return b"".join(self.csv()).decode()

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table, numbers to four digits."""
        return markdown_table(*self.cells())

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the columns that are used, and rows as words, numbers to four digits."""
        columns = self._whole()
        used = [
            name
            for name in self.columns
            if name not in self.optional or any(one not in (None, "") for one in columns[name])
        ]
        rows = zip(*(columns[name] for name in used), strict=True)
        return used, [[_cell(value) for value in row] for row in rows]

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame.

        Raises:
            ImportError: if pandas is not installed.
        """
        try:
            import pandas as pd  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(
                'to_pandas needs pandas: pip install "captum-guided-ext[pandas]"'
            ) from error
        return pd.DataFrame(self._whole(), columns=list(self.columns))

    def to_parquet(self, path: Path) -> None:
        """Write the rows as a Parquet file.

        Raises:
            ImportError: if pyarrow is not installed.
        """
        try:
            import pyarrow as pa  # noqa: PLC0415
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(
                'Parquet needs pyarrow: pip install "captum-guided-ext[parquet]"'
            ) from error
        blocks = [pa.table({name: one[name] for name in self.columns}) for one in self.blocks()]
        blocks = blocks or [pa.table({name: [] for name in self.columns})]
        parquet.write_table(pa.concat_tables(blocks, promote_options="permissive"), path)

    def _whole(self) -> dict[str, list[Any]]:
        blocks = list(self.blocks())
        return {name: [one for block in blocks for one in block[name]] for name in self.columns}


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as a Markdown table that is aligned for reading as it is."""
    cells = [[_cell(value).replace("|", "\\|") for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    numeric = [
        any(row[i] for row in cells) and all(row[i][-1:].isdigit() or not row[i] for row in cells)
        for i in range(len(columns))
    ]

    def line(values: Sequence[str]) -> str:
        padded = (
            value.rjust(width) if right else value.ljust(width)
            for value, width, right in zip(values, widths, numeric, strict=True)
        )
        return f"| {' | '.join(padded)} |"

    rule = (
        "-" * (width + 1) + (":" if right else "-")
        for width, right in zip(widths, numeric, strict=True)
    )
    return "\n".join([line(columns), f"|{'|'.join(rule)}|", *map(line, cells)])


def number(value: float) -> str:
    """Return a number with four digits that say something."""
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)
