"""Rows of results as text: CSV for programs, a table for people."""

from __future__ import annotations

import csv
import io
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["csv_text", "markdown_table", "number"]


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as CSV, numbers with all their digits and what is None left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row.get(name) for name in columns} for row in rows)
    return text.getvalue()


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
