"""Rows as text: CSV for programs, a table for people."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd


@dataclass(frozen=True)
class Table:
    """Rows under named columns.

    Attributes:
        columns: Their names, in order.
        rows: The value of each column; what has none is empty.
        optional: Columns that are left out of the Markdown where no row has a value.
    """

    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    optional: tuple[str, ...] = ()

    def to_csv(self) -> str:
        """Return the rows as CSV, numbers with all their digits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: row.get(name) for name in self.columns} for row in self.rows)
        return text.getvalue()

    def to_markdown(self) -> str:
        """Return the rows as a Markdown table, numbers to four digits."""
        empty = {
            name for name in self.optional if all(row.get(name) in (None, "") for row in self.rows)
        }
        used = [name for name in self.columns if name not in empty]
        return markdown_table(used, ([row.get(name) for name in used] for row in self.rows))

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
        return pd.DataFrame(list(self.rows), columns=list(self.columns))


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as a Markdown table that is aligned for reading as it is."""
    cells = [[_cell(value) for value in row] for row in rows]
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
    return (number(value) if isinstance(value, float) else str(value)).replace("|", "\\|")
