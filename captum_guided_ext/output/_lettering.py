"""Text for figures: literal, whole, and in lines that are no wider than there is room."""

from __future__ import annotations

import unicodedata
import warnings
from bisect import bisect_right
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LITERAL: dict[str, Any] = {"parse_math": False, "usetex": False}
"""For matplotlib, for which "$" begins mathematics."""
_DPI = 150
_LINE = 1.25  # heights of a letter from one line to the next
_SLACK = 0.97  # of the room: letters are not equally wide at every resolution
_JOINTS = "._-/\\,"  # a word that is too long is cut behind these, if it has some


def lettering(text: str, room: float, size: float, *, bold: bool = False) -> str:
    """Return ``text`` as it can be drawn, on as many lines as it needs.

    Lines are cut between words, and within those that are too long. A letter that no font has, or
    that cannot be printed, becomes "�" (or "?", where the fonts lack that, too).

    Args:
        text: Any text.
        room: How wide a line may be, in inches.
        size: Of the letters, in points.
        bold: Whether they are bold.
    """
    drawn = [_drawable(line) for line in text.splitlines()]
    return "\n".join(part for line in drawn for part in _lines(line, room * _SLACK, size, bold))


def extent(text: str, size: float, *, bold: bool = False) -> tuple[float, float]:
    """Return how wide and how high the lines of a drawable text are, in inches."""
    lines = text.split("\n")
    width = max(_width(line, size, bold) for line in lines)
    return width, len(lines) * _LINE * size / 72


def _lines(text: str, room: float, size: float, bold: bool) -> Iterator[str]:
    while _width(text, size, bold) > room:
        lengths = range(2, len(text) + 1)
        # of one letter, if no more have room
        fit = 1 + bisect_right(lengths, room, key=lambda n: _width(text[:n], size, bold))
        cut = text.rfind(" ", 1, fit + 1)
        if cut < 0:
            joint = max(text.rfind(one, 0, fit) for one in _JOINTS) + 1
            cut = joint if joint > fit / 2 else fit
        if cut == len(text):
            break
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()
    yield text


def _drawable(text: str) -> str:
    """Return text whose every letter some font has, on one line."""
    return "".join(map(_letter, " ".join(text.split())))


def _letter(letter: str) -> str:
    if letter.isascii() and letter.isprintable():
        return letter
    category = unicodedata.category(letter)
    if category == "Cf":  # says how its neighbours are written, and would reorder the rest
        return ""
    if category[0] != "C" and _has_glyph(letter, *_fonts()):
        return letter
    return "�" if _has_glyph("�", *_fonts()) else "?"


def _fonts() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the settings that the glyphs there are depend on."""
    from matplotlib import rcParams  # noqa: PLC0415

    return tuple(rcParams["font.family"]), tuple(rcParams["font.sans-serif"])


@cache
def _has_glyph(letter: str, *_: tuple[str, ...]) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            _width(letter, 10, bold=False)
            _width(letter, 10, bold=True)
        except UserWarning:
            return False
    return True


def _width(text: str, size: float, bold: bool) -> float:
    from matplotlib.font_manager import FontProperties  # noqa: PLC0415

    font = FontProperties(size=size, weight="bold" if bold else "normal")
    width: float = _renderer().get_text_width_height_descent(text, font, ismath=False)[0]
    return width / _DPI


@cache
def _renderer() -> Any:
    from matplotlib.backends.backend_agg import RendererAgg  # noqa: PLC0415

    agg: Any = RendererAgg  # matplotlib types no call of it
    return agg(1, 1, _DPI)
