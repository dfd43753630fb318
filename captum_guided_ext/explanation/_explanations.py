"""Several explanations of one picture, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from captum_guided_ext.explanation._explanation import Explanation
from captum_guided_ext.explanation._files import OfOnePicture
from captum_guided_ext.output import Table, draw_maps, percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.figure import Figure
    from torch import Tensor

    from captum_guided_ext.output import Article


@dataclass(frozen=True, repr=False)
class Explanations(OfOnePicture, Sequence[Explanation]):
    """Explanations of one picture: of several classes, or with Grad-CAM at several layers.

    A sequence of :class:`Explanation`.

    Attributes:
        explanations: In the order in which targets and layers were asked for, a layer's together.
    """

    explanations: tuple[Explanation, ...]

    @overload
    def __getitem__(self, index: int) -> Explanation: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Explanation, ...]: ...

    def __getitem__(self, index: int | slice) -> Explanation | tuple[Explanation, ...]:
        return self.explanations[index]

    def __len__(self) -> int:
        return len(self.explanations)

    def __str__(self) -> str:
        """Return the reports, one below the other."""
        return "\n\n\n".join(map(str, self.explanations))

    def to_dict(self) -> dict[str, Any]:
        """Return the reports, as :meth:`Explanation.to_dict` does, under ``"explanations"``."""
        return {"explanations": self._reports()}

    def plot(self, views: Sequence[str] = ("signed",)) -> Figure:
        """Draw a row for each explanation: the picture, and its maps as in a single one's."""
        targets = [one.target for one in self.explanations]
        return draw_maps(
            [one.panels(views) for one in self.explanations],
            title=self._headline(),
            caption=self.explanations[0].caption,
            wrap=len(views) > 1,
            row_titles=[f"{one.name} ({percent(one.probability)})" for one in targets],
        )

    def _headline(self) -> str:
        asked = dict.fromkeys(one.target.name for one in self.explanations)
        layers = dict.fromkeys(one.layer for one in self.explanations if one.layer)
        at = f" at {', '.join(layers)}" if len(layers) > 1 else ""
        return f"{self._image}: {', '.join(asked)}{at}"

    def _table(self) -> Table:
        first, *_ = tables = [one.rows() for one in self.explanations]
        columns = ("target", "layer", *first[0])
        about = [{"target": one.target.name, "layer": one.layer} for one in self.explanations]
        rows = [said | row for said, some in zip(about, tables, strict=True) for row in some]
        return Table.of_rows(columns, rows, ("layer",))

    def _articles(self) -> Iterator[Article]:
        several = len({one.layer for one in self.explanations}) > 1
        for one in self.explanations:
            for article in one._articles():  # noqa: SLF001 - a class beside this one
                title = f"{article.title} at {one.layer}" if several else article.title
                yield replace(article, title=title)

    @property
    def _image(self) -> str:
        return self.explanations[0].image

    def _reports(self) -> list[dict[str, Any]]:
        return [one.to_dict() for one in self.explanations]

    def _maps(self) -> Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]]:
        return [one.own_maps() for one in self.explanations]
