"""What a comparison found, as words, rows, a figure and files."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from captum_guided_ext.attr import method_title
from captum_guided_ext.evaluation._rows import COLUMNS, ScoreRow
from captum_guided_ext.methods import BEST_CONSTANT, FLOORS
from captum_guided_ext.output import (
    Article,
    Drawing,
    MapPanel,
    PicturePanel,
    Result,
    Rows,
    Section,
    Table,
    Words,
    as_picture,
    counted,
    draw_maps,
    figure_bytes,
    map_files,
    number,
    versions,
    views_of,
    wrapped,
    write_files,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd import FastCheck

_GIVEN = "inputs as they were given"
_DRAWN = 8  # pictures in a figure, at the most


@dataclass(frozen=True, repr=False)
class Comparison(Result):
    """What :func:`compare` found.

    Attributes:
        inputs: What was explained, (N, ...).
        target: The class or score explained of each, as in Captum.
        maps: By method, of the shape of ``inputs``; Grad-CAM's have one channel.
        rows: The scores, one row for each image, method and metric, and those of the floors.
        reasons: Why a method has no map, by method.
        layer: The dotted name of Grad-CAM's layer, where it is known.
        higher_is_better: By metric.
        fast: What ``fast=True`` did, and how far outputs are from the exact ones; None without it.
    """

    inputs: Tensor
    target: TargetType
    maps: Mapping[str, Tensor]
    rows: tuple[ScoreRow, ...]
    reasons: Mapping[str, str]
    layer: str | None
    higher_is_better: Mapping[str, bool] = field(default_factory=dict)
    fast: FastCheck | None = None

    def __str__(self) -> str:
        """Return a table of methods and metrics, each the mean over the images; floors last."""
        lines = [self._means().to_markdown(), *self._best()]
        return "\n".join([*lines, wrapped(self._lacking())]).rstrip()

    def _means(self) -> Table:
        """Return a row for each method and floor, with its mean of each metric."""
        values: dict[tuple[str, str], dict[int, float]] = {}
        for one in self.rows:
            if one.value is not None:
                values.setdefault((one.method, one.metric), {})[one.image] = one.value
        means = {place: math.fsum(some.values()) / len(some) for place, some in values.items()}
        total = len(self._images)
        rows = []
        for method in (*self.maps, *self.reasons, *self._floors):
            row: dict[str, Any] = {"method": method}
            for metric in self._metrics:
                scored = values.get((method, metric), {})
                gaps = f" ({len(scored)} of {total})" if 0 < len(scored) < total else ""
                mean = means.get((method, metric))
                row[metric] = None if mean is None else number(mean) + gaps
                constant = means.get((BEST_CONSTANT, metric))
                if mean is not None and constant and not gaps:
                    row[f"{metric} / constant's"] = number(mean / constant)
            rows.append(row)
        columns = dict.fromkeys(name for row in rows for name in row)
        return Table.of_rows(tuple(columns), rows)

    def _best(self) -> Iterator[str]:
        """Yield how to read the means."""
        if self.rows:
            yield f"means over {counted(len(self._images), 'image')}"
            best = ", ".join(
                f"{name} {'high' if higher else 'low'}"
                for name, higher in self.higher_is_better.items()
            )
            if best:
                yield f"best: {best}"
        if self._floors:
            yield f"floors, which know nothing of the network: {', '.join(self._floors)}"
        if self.fast is not None:
            yield str(self.fast)

    def _lacking(self) -> list[str]:
        """Return why a method has no map, or no score of an image."""
        missing = {
            f"{one.method} lacks {one.metric} of an image: {one.reason}"
            for one in self.rows
            if one.value is None and one.method in self.maps
        }
        alike: dict[str, list[str]] = {}
        for method, reason in self.reasons.items():
            alike.setdefault(reason, []).append(method)
        no_map = [f"no map of {', '.join(some)}: {reason}" for reason, some in alike.items()]
        return [*no_map, *sorted(missing)]

    def to_dict(self) -> dict[str, Any]:
        """Return everything but inputs and maps, with the versions that made it."""
        return {
            "target": self.target.tolist() if isinstance(self.target, Tensor) else self.target,
            "layer": self.layer,
            "preprocessing": _GIVEN,
            "methods": [*self.maps, *self.reasons],
            "not_applicable": dict(self.reasons),
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "versions": versions(),
        } | ({} if self.fast is None else {"fast": self.fast._asdict()})

    def plot(self, views: Sequence[str] = ("signed",)) -> Figure:
        """Draw each picture with its maps and their scores, up to eight pictures.

        Args:
            views: How each map is drawn, a panel for each: of ``"signed"``, ``"overlay"`` and
                ``"colours"``. One that a map does not have, such as colours of Grad-CAM's, is left
                out; a map that has none of them is drawn signed.

        Raises:
            ValueError: if the inputs are no pictures (N, 1 or 3 channels, H, W), if no method has
                a map, or for an unknown view.
        """
        if reason := self._why_not_drawn():
            raise ValueError(reason)
        scores: dict[tuple[int, str], list[str]] = {}
        for row in self.rows:
            if row.value is not None:
                score = f"{row.metric} {row.value:.3g}"
                scores.setdefault((row.image, row.method), []).append(score)
        images = self._images or range(len(self.inputs))
        return draw_maps(
            [
                (
                    PicturePanel(f"image {image}", as_picture(self.inputs[place])),
                    [
                        MapPanel(
                            method_title(m, self.layer),
                            one[place],
                            scores.get((image, m), []),
                            view,
                        )
                        for m, one in self.maps.items()
                        for view in views_of(one[place], views)
                    ],
                )
                for place, image in enumerate(images[:_DRAWN])
            ],
            caption=f"Preprocessing: {_GIVEN}.",
        )

    def save_maps(self, folder: str | Path) -> tuple[Path, ...]:
        """Write the raw maps, a file of NumPy each, and a JSON that says what each is.

        Args:
            folder: Where to; it is made if it is not there.

        Returns:
            The files: ``comparison-METHOD.npy``, (N, C, ...), and ``comparison-maps.json``.

        Raises:
            DataError: if the folder cannot be written to.
        """
        about = {name: self.to_dict()[name] for name in ("target", "layer", "preprocessing")}
        axes = ["example", "channel", "row", "column"]
        if self.inputs.dim() != len(axes):  # no pictures
            axes = ["example", *(f"dimension {n}" for n in range(1, self.inputs.dim()))]
        return write_files(Path(folder), map_files("comparison", [(self.maps, about)], axes))

    def _why_not_drawn(self) -> str:
        if self.inputs.dim() != 4 or self.inputs.shape[1] not in (1, 3):  # noqa: PLR2004
            return f"inputs of shape {tuple(self.inputs.shape)} are no pictures to draw"
        if not self.maps:
            return f"no method has a map to draw: {next(iter(self.reasons.values()))}"
        return ""

    @property
    def _images(self) -> list[int]:
        return list(dict.fromkeys(row.image for row in self.rows))

    @property
    def _floors(self) -> list[str]:
        scored = {row.method for row in self.rows if row.value is not None}
        return [name for name in FLOORS if name in scored]

    @property
    def _metrics(self) -> list[str]:
        return list(dict.fromkeys(row.metric for row in self.rows))

    def _headline(self) -> str:
        methods = counted(len(self.maps) + len(self.reasons), "method")
        metrics = ", ".join(self._metrics) or "no scores"
        return f"{methods} on {counted(len(self.inputs), 'example')}: {metrics}"

    def _table(self) -> Table:
        return Table.of_rows(COLUMNS, [dataclasses.asdict(row) for row in self.rows], COLUMNS[4:])

    def _articles(self) -> Iterator[Article]:
        sections = [
            Section("Scores", [Rows.of(self._means()), Words(list(self._best()))], in_short=True)
        ]
        if lacking := self._lacking():
            sections.append(Section("Without a map or a score", [Words(lacking)]))
        if not self._why_not_drawn():
            titles = ", ".join(map(method_title, self.maps))
            alt = f"Each picture beside its maps: {titles}; below each map its scores"
            sections.append(
                Section("Maps", [Drawing(lambda: figure_bytes(self.plot(), "png"), alt)])
            )
        about = self.to_dict()
        settings = {name: about[name] for name in ("target", "layer", "preprocessing", "versions")}
        sections.append(Section("Settings and versions", [Rows.of_settings(settings)]))
        yield Article(
            "Comparison of attribution methods", [self._headline()], sections, self._code()
        )

    def _code(self) -> str:
        """Return Python that makes it again."""
        arguments = {
            "methods": [*self.maps, *self.reasons],
            "metrics": self._metrics,
            "target": self.to_dict()["target"],
            "layer": self.layer,
            "fast": self.fast and True,
        }
        lines = [f"    {name}={value!r}," for name, value in arguments.items() if value is not None]
        return "\n".join(
            [
                "import captum_guided_ext as cg",
                "",
                "network = ...  # your network",
                f"inputs = ...  # your batch of shape {tuple(self.inputs.shape)}",
                "found = cg.compare(",
                "    network, inputs,",
                *lines,
                ")",
                "print(found)",
            ]
        )

    def _files(self, folder: Path) -> dict[str, bytes]:
        del folder  # all of them are written
        files = {
            "comparison.csv": self.to_csv().encode(),
            "comparison.json": json.dumps(self.to_dict(), indent=2).encode(),
        }
        if not self._why_not_drawn():
            files["comparison.png"] = figure_bytes(self.plot(), "png")
        return files
