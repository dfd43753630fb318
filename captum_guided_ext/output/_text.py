"""Words for a terminal."""

from __future__ import annotations

from textwrap import TextWrapper
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

UNPRINTABLE = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
"""For a set of a regular expression: control characters but tab and newline, those that turn the
direction of writing, and halves of characters. The names of files may hold all of them."""

_WIDTH = 96
_MARGIN = 14


def sections(parts: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return titled sections, the lines of each beside its title; "- " begins an item of a list."""
    return "\n".join(_section(title, lines) for title, lines in parts)


def _section(title: str, lines: Iterable[str]) -> str:
    filled = []
    for line in lines:
        indent = " " * (_MARGIN + len(line) - len(line.lstrip("- ")))
        wrapper = TextWrapper(_WIDTH, initial_indent=" " * _MARGIN, subsequent_indent=indent)
        filled.append(wrapper.fill(line))
    return f"{title:<{_MARGIN}}" + "\n".join(filled)[_MARGIN:]


def wrapped(lines: Iterable[str]) -> str:
    """Return lines, those that are too long continued below and indented."""
    wrapper = TextWrapper(_WIDTH, subsequent_indent="  ")
    return "\n".join(wrapper.fill(line) for line in lines)


def counted(count: int, thing: str) -> str:
    """Return ``"1 image"``, ``"2 images"``."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share as whole per cent, a very small one as ``"<1 %"``."""
    if 0 < share <= 0.005:  # noqa: PLR2004 - what would be rounded to 0 %
        return "<1 %"
    return f"{share:.0%}".replace("%", " %")
