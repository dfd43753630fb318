"""What the sanity checks found, as words, rows, a figure and files."""

from __future__ import annotations

import json
import math
import operator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from captum_guided_ext.output import (
    Article,
    Drawing,
    Result,
    Rows,
    Section,
    Table,
    Words,
    counted,
    figure_bytes,
    wrapped,
)
from captum_guided_ext.sampling import FEWEST
from captum_guided_ext.sanity._names import CHECKS, OTHER_CLASS, Name
from captum_guided_ext.sanity._report import draw, tables
from captum_guided_ext.sanity._sentences import sentences

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from captum_guided_ext.benchmarking import Collected
    from captum_guided_ext.sanity._numbers import Line, Numbers

_SHOWN = 10  # of the images that were left out, and of what has no number


class SanityRow(NamedTuple):
    """One number.

    Attributes:
        image: The picture's number.
        method: The method's name.
        other: What its map was compared with, where that is not its own: another method, another
            class (its index), ``"random_map"``; else empty.
        check: Which check it is.
        layer: The last layer that was randomised; the first one of the network for all of them.
            Empty where none was.
        draw: The number of the draw, from 0; None where nothing is drawn.
        value: The number.
    """

    image: int
    method: str
    other: str
    check: str
    layer: str
    draw: int | None
    value: float


@dataclass(frozen=True, repr=False, eq=False)
class Sanity(Result):
    """What :func:`sanity` found.

    Attributes:
        numbers: Where the numbers are.
        collected: What was recorded, picture by picture.
        settings: All that decides the rows.
        other: The class that each was compared with, in words.
    """

    numbers: Numbers
    collected: Collected
    settings: Mapping[str, Any]
    other: str

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """The numbers of each method, over all pictures and draws, with intervals."""
        return self.numbers.lines()

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """What the numbers mean; nothing where they do not carry it."""
        if not self.collected.images:
            return ()
        return sentences(self.numbers, self.lines, self.other)

    @property
    def rows(self) -> tuple[SanityRow, ...]:
        """The numbers as objects, by picture, method and check."""
        return tuple(row for image in self._images() for row in image)

    @property
    def skipped(self) -> tuple[Any, ...]:
        """The pictures that have no numbers, each with its number, name and reason."""
        return self.collected.skipped

    def __str__(self) -> str:
        """Return the tables, and what they mean."""
        head = f"sanity checks of {self._headline()}"
        if not self.collected.images:
            found = ["no picture has numbers"]
        else:
            found = [f"{title}\n{table.to_markdown()}" for title, table in self._tables()]
        return "\n\n".join([head, *found, *(wrapped(lines) for _, lines in self._paragraphs())])

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers with intervals and all settings; the rows are in :meth:`to_csv`."""
        agreement = self.numbers.agreement()
        return {
            "sentences": list(self.sentences),
            "methods": [line.to_dict() for line in self.lines],
            "agreement": [
                {"method": one, "other": other} | number.to_dict()
                for (one, other), number in agreement.items()
            ],
            "images": [
                {"image": image, "name": one.name, "target": one.target}
                for image, one in self.collected.images.items()
            ],
            "without a number": self._missing(),
            "skipped": [one._asdict() for one in self.skipped],
            "notes": dict(self.collected.notes),
            "settings": dict(self.settings),
        }

    def plot(self) -> Figure:
        """Draw the randomisation of each method, the other checks, and how the methods agree."""
        return draw(
            self.lines,
            self.numbers.agreement(),
            self.numbers.layers[0],
            self._counts[-1],
            title=f"Sanity checks of {self._headline()}",
            caption=self._caption(),
        )

    @property
    def _counts(self) -> tuple[int, ...]:
        """How many layers are random at each step at which maps are compared."""
        layers = self.settings["layers in all"]
        return (*range(1, layers, self.settings["every_nth_layer"]), layers)

    def _caption(self) -> str:
        first, *_, last = [*self.numbers.layers] * 2
        return (
            "Curves: similarity to the map of the network as it was, as its layers are randomised "
            f"one after the other, from {first} to {last}. Bands: 95 % intervals, none for a "
            "single draw. Dotted: a random map, the map's own values shuffled. Points: dashed "
            f"lines are the thresholds of the sentences; the other class: {self.other}. "
            f"Preprocessing: {self.settings['preprocessing']['words']}."
        )

    def _headline(self) -> str:
        layers = counted(self._counts[-1], "layer")
        return (
            f"{self.settings['model']['name']}: {counted(len(self.numbers.methods), 'method')} on "
            f"{counted(len(self.collected.images), 'picture')}, {layers} randomised in "
            f"{counted(self.numbers.draws, 'draw')}"
        )

    def _tables(self) -> Iterator[tuple[str, Table]]:
        return tables(self.lines, self.numbers.layers[0], self._counts)

    def _table(self) -> Table:
        columns = SanityRow._fields

        def blocks() -> Iterator[dict[str, list[Any]]]:
            for rows in self._images():
                yield dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))

        return Table(columns, blocks)

    def _images(self) -> Iterator[list[SanityRow]]:
        """Yield the rows of each picture that has any."""
        columns = self._columns()
        for at, image in enumerate(self.collected.scores.images.tolist()):
            rows = []
            for name, method, values, others in columns:
                value = float(values[at])
                if not math.isnan(value):
                    other = name.other if others is None else str(int(others[at]))
                    row = (image, method, other, name.check, name.layer, name.draw, value)
                    rows.append(SanityRow(*row))
            if rows:
                yield rows

    def _columns(self) -> list[tuple[Name, str, Any, Any]]:
        """Return the values of all pictures of each name and method, in the order of the rows.

        Beside them which class the other one is, where that is what they were compared with.
        """
        series = self.collected.scores.series
        methods = {method: place for place, method in enumerate(self.numbers.methods)}
        layers = {layer: place for place, layer in enumerate(self.numbers.layers)}
        found = []
        for (text, method), one in series.items():
            name = Name.of(text)
            # of the floors there is nothing, and each two methods agree once
            if method not in methods or methods.get(name.other, math.inf) <= methods[method]:
                continue
            if name.check in CHECKS:
                place = (
                    methods[method],
                    CHECKS.index(name.check),
                    methods.get(name.other, -1),
                    layers.get(name.layer, -1),
                    -1 if name.draw is None else name.draw,
                )
                others = None
                if name.check == "class_sensitivity":
                    others = series[str(Name(OTHER_CLASS)), method].values
                found.append((place, (name, method, one.values, others)))
        return [column for _, column in sorted(found, key=operator.itemgetter(0))]

    def _missing(self) -> list[dict[str, Any]]:
        """Return of each method and check the first reason why a number is missing."""
        found: dict[tuple[str, str], dict[str, Any]] = {}
        for (text, method), series in self.collected.scores.series.items():
            name = Name.of(text)
            reason = series.reason()
            # two methods disagree for want of a map, which the other checks say
            if reason and name.check in CHECKS and name.check != "agreement":
                key = method, name.check
                found.setdefault(key, {"method": method, "check": name.check, "reason": reason})
        return list(found.values())

    @cached_property
    def _drawn(self) -> bytes:
        return figure_bytes(self.plot(), "png")

    def _paragraphs(self) -> Iterator[tuple[str, list[str]]]:
        if self.sentences:
            yield "what it means", [f"- {one}" for one in self.sentences]
        yield "how to read it", [self._how_to_read()]
        if missing := self._missing():
            first = {one["method"]: one["reason"] for one in reversed(missing)}  # the file has all
            said: dict[str, list[str]] = {}
            for method, reason in first.items():
                said.setdefault(reason, []).append(method)
            lines = [f"numbers are missing for {', '.join(of)}: {why}" for why, of in said.items()]
            yield "without a number", lines[:_SHOWN]
        if self.collected.notes:
            yield "notes", list(self.collected.notes)[:_SHOWN]
        if skipped := self.skipped:
            yield (
                "skipped pictures",
                [
                    f"skipped {counted(len(skipped), 'picture')} that could not be used:",
                    *(f"  {one.name}: {one.reason}" for one in skipped[:_SHOWN]),
                    *(["  ..."] if len(skipped) > _SHOWN else []),
                ],
            )

    def _how_to_read(self) -> str:
        many = len(self.collected.images) >= FEWEST
        over = "pictures like these, for these draws" if many else "draws, for these pictures"
        return (
            f"Intervals: 95 %, over {over}. Low is not good by itself: a random map, the map's own "
            "values shuffled, stands beside it. "
            f"Preprocessing: {self.settings['preprocessing']['words']}."
        )

    def _articles(self) -> Iterator[Article]:
        alt = (
            f"For each of {counted(len(self.lines), 'method')} a curve as layers are randomised; "
            "points for another class, the picture and its edges; a matrix of how methods agree. "
            "The tables have the numbers"
        )
        there = bool(self.collected.images)
        yield Article(
            "Sanity checks",
            [self._headline()],
            [
                *(Section(_titled(name), [Words(of)]) for name, of in self._paragraphs()),
                *(
                    Section(_titled(name), [Rows.of(table)], in_short=True)
                    for name, table in (self._tables() if there else ())
                ),
                *([Section("Figure", [Drawing(lambda: self._drawn, alt)])] if there else []),
                Section("Settings and versions", [Rows.of_settings(self.settings)]),
            ],
            self._code(),
        )

    def _code(self) -> str:
        """Return Python that makes it again, as far as names say what was checked."""
        said = self.settings
        own = [name for name, words in said["methods"].items() if words != repr(name)]
        arguments = {
            "methods": list(said["methods"]),
            "target": said["target"],
            "other_target": said["other_target"],
            "layers": said["every_nth_layer"],
            "draws": said["draws"],
            "layer": said.get("layer"),
            "seed": said["seed"],
            "limit": said["images"],
        }
        return "\n".join(
            [
                "import captum_guided_ext as cg",
                "",
                *([f"# as they are under settings: {own!r}"] if own else []),
                f"network = cg.load_network({said['model']['name']!r})  # or your own of this name",
                f"data = ...  # {said['data']['description']!r}",
                "found = cg.sanity(",
                "    network, data,",
                *(f"    {name}={one!r}," for name, one in arguments.items() if one is not None),
                ")",
                "print(found)",
            ]
        )

    def _files(self, folder: Path) -> dict[str, bytes | Iterable[bytes] | None]:
        del folder
        return {
            "sanity.csv": self._table().csv(),
            "sanity.html": self.to_html().encode(),
            "sanity.json": json.dumps(self.to_dict(), indent=2).encode(),
            "sanity.png": self._drawn,
        }


def _titled(name: str) -> str:
    """Return a title whose first letter is a capital, and whose others stay as they are."""
    return name[:1].upper() + name[1:]
