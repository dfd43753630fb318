"""Pages and fragments of HTML, by jinja2, which is imported only to write one.

A page is a file of its own: its pictures, style and script are inside. What is written into it is
text, whatever it looks like: jinja2 escapes all of it, and nothing but the page's own script may
run or load anything (its Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass, replace
from functools import cache, cached_property
from io import BytesIO
from itertools import groupby
from typing import TYPE_CHECKING, Any

from captum_guided_ext.output._figure_files import figure_bytes
from captum_guided_ext.output._text import UNPRINTABLE, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import jinja2
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from captum_guided_ext.output._tables import Table

_LONGEST = 800  # pixels of a picture in a page
_COARSE = 128  # pixels of a picture below which they are shown as squares
_SHORT = 20  # rows of a table in a fragment
_NUMBERS = re.compile(r"[-+.\d]\S*( to \S+)?(?<=\d)")
_UNFIT = re.compile(f"[{UNPRINTABLE}]")  # not allowed in HTML, or turns what stands beside it


@dataclass(frozen=True)
class Words:
    """Lines, a paragraph each; "- " begins an item of a list."""

    lines: Sequence[str]
    kind = "words"

    @property
    def runs(self) -> list[tuple[bool, list[str]]]:
        """The lines that follow one another as items, or as paragraphs."""
        parts = groupby(self.lines, lambda line: line.startswith("- "))
        return [(item, [one.removeprefix("- ") for one in some]) for item, some in parts]


@dataclass(frozen=True)
class Share:
    """A share, 0 to 1, that a table shows as a bar as well."""

    value: float

    def __str__(self) -> str:
        return percent(self.value)


@dataclass(frozen=True)
class Rows:
    """A table; the first cell of a row says what it is of."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Share]]
    caption: str = ""
    is_settings: bool = False
    kind = "rows"

    @classmethod
    def of(cls, table: Table, caption: str = "") -> Rows:
        """Return a table's rows as its Markdown has them."""
        return cls(*table.cells(), caption)

    @classmethod
    def of_settings(cls, settings: Mapping[str, Any]) -> Rows:
        """Return the values of nested mappings, each beside the names that lead to it."""
        return cls(("setting", "value"), list(_flat(settings)), is_settings=True)

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, or intervals of them, and stand to the right."""
        cells = [[str(row[place]) for row in self.rows] for place in range(len(self.columns))]
        return [
            any(column) and all(_NUMBERS.fullmatch(cell) for cell in column if cell)
            for column in cells
        ]


@dataclass(frozen=True)
class Drawing:
    """A figure: what draws it as a PNG file; ``alt`` says what it shows to who cannot see it."""

    draw: Callable[[], bytes]
    alt: str
    kind = "drawing"

    @cached_property
    def _png(self) -> bytes:
        return self.draw()

    @property
    def uri(self) -> str:
        """Where a page finds it: in itself."""
        return _uri(self._png)

    @property
    def width(self) -> int:
        """How many pixels it is wide: so says the file's header."""
        return int.from_bytes(self._png[16:20], "big")


@dataclass(frozen=True)
class Layer:
    """A picture that is laid over others of its size; ``alt`` says what it shows."""

    title: str
    picture: Image
    alt: str

    @property
    def uri(self) -> str:
        """Where a page finds it: in itself."""
        picture = self.picture.copy()
        picture.thumbnail((_LONGEST, _LONGEST))
        content = BytesIO()
        picture.save(content, "PNG", optimize=True)
        return _uri(content.getvalue())


@dataclass(frozen=True)
class Layers:
    """A picture and the maps that can be laid over it.

    Attributes:
        picture: The picture.
        maps: The maps, of the picture's size.
        shown: The place of the one that is seen first.
        scale: What the maps' colours stand for.
        ends: What the scale's first and last colour mean.
        caption: Lines below them.
    """

    picture: Layer
    maps: Sequence[Layer]
    shown: int
    scale: Layer
    ends: tuple[str, str]
    caption: Sequence[str] = ()
    kind = "layers"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.picture.picture.size

    @property
    def is_coarse(self) -> bool:
        """Whether the pixels are so few that they are shown as squares."""
        return max(self.size) <= _COARSE


@dataclass(frozen=True)
class Section:
    """A titled part of an article; a fragment has the tables of those that are ``in_short``."""

    title: str
    blocks: Sequence[Words | Rows | Drawing | Layers]
    in_short: bool = False


@dataclass(frozen=True)
class Article:
    """One thing that was found.

    Attributes:
        title: What it is of.
        lead: Lines below the title.
        sections: Its parts.
        code: Python that makes it again.
    """

    title: str
    lead: Sequence[str]
    sections: Sequence[Section]
    code: str


def html_page(articles: Sequence[Article], *, made_by: str = "") -> str:
    """Return a page of HTML, a file of its own.

    Args:
        articles: What it shows.
        made_by: The command line that makes it again. Default: the articles' own Python.
    """
    source = _source("page.js")
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    first, *more = [one.title for one in articles]
    return _rendered(
        "page.html",
        title=f"{first} and {len(more)} more" if more else first,
        articles=articles,
        made_by=made_by,
        style=_source("page.css"),
        script=source,
        script_digest=digest,
    )


def html_fragment(headline: str, plot: Callable[[], Figure], articles: Iterable[Article]) -> str:
    """Return HTML for a place in someone else's page, a notebook's: headline, figure and tables.

    Args:
        headline: What it is of.
        plot: Draws the figure. What it raises is said in the figure's place.
        articles: Have the tables.
    """
    figure, missing = None, ""
    try:
        content = figure_bytes(plot(), "png")
    except Exception as error:  # noqa: BLE001 - the rest is worth showing, whatever it is
        missing = f"no figure: {error}"
    else:
        figure = Drawing(lambda: content, headline)
    tables = []
    articles = list(articles)
    for article in articles:
        above = f"{article.title}: " if len(articles) > 1 else ""
        for section in article.sections:
            for block in section.blocks:
                if section.in_short and isinstance(block, Rows):
                    caption = f"{above}{block.caption or section.title}"
                    tables.append(replace(block, caption=caption))
    return _rendered(
        "fragment.html",
        headline=headline,
        figure=figure,
        missing=missing,
        tables=tables,
        most=_SHORT,
        style=_source("fragment.css"),
    )


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # noqa: PLC0415

    return jinja2.Environment(
        loader=jinja2.PackageLoader("captum_guided_ext.output"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _rendered(name: str, **values: Any) -> str:
    text = _environment().get_template(name).render(values)
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def _source(name: str) -> str:
    import jinja2  # noqa: PLC0415

    loader = _environment().loader
    assert isinstance(loader, jinja2.PackageLoader)  # noqa: S101 - for the type checker
    return loader.get_source(_environment(), name)[0]


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _flat(settings: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        path = f"{above}{name}"
        if isinstance(value, (list, tuple)) and any(isinstance(one, dict) for one in value):
            value = {str(number): one for number, one in enumerate(value, start=1)}  # noqa: PLW2901
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{path}: ")
        elif isinstance(value, (list, tuple)):
            yield path, ", ".join(map(str, value))
        else:
            yield path, "" if value is None else str(value)
