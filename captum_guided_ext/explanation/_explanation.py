"""What was found about one prediction, as words, rows, a figure and files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import method_title
from captum_guided_ext.autograd import listed
from captum_guided_ext.explanation._files import OfOnePicture
from captum_guided_ext.explanation._html_report import article
from captum_guided_ext.output import (
    Article,
    MapPanel,
    PicturePanel,
    Table,
    draw_maps,
    percent,
    sections,
    versions,
    views_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch import Tensor

    from captum_guided_ext.autograd import RectifierReport
    from captum_guided_ext.explanation._shares import RegionShare
    from captum_guided_ext.explanation._trust import LastLayer
    from captum_guided_ext.pictures import Mask


@dataclass(frozen=True)
class ScoredClass:
    """A class with the probability the network gives it, 0 to 1."""

    index: int
    name: str
    probability: float


@dataclass(frozen=True, repr=False)
class Explanation(OfOnePicture):
    """What was found about one prediction.

    Attributes:
        image: The picture's name.
        view: What the network saw of it, RGB.
        network: The network's name.
        weights: Where its weights are from.
        preprocessing: How the picture became the network's input, in words.
        assumed: What nobody said, and was assumed.
        predictions: The five most probable classes, most probable first.
        target: The class that is explained.
        contrast: The class the map is compared with: the most probable other one. None for a
            network with one class.
        layer: The layer of Grad-CAM, or None where no method needs one.
        rectifiers: What lies between prediction and image.
        maps: The map of each method, of shape (C, H, W), on the CPU.
        reasons: Why a method that was asked for does not apply.
        shares: What each region holds, by method.
        masks: The regions, (H, W) each.
        ignored_share: Of the gradient the rectifiers let pass, the share of magnitude that was
            negative and ignored by guided backprop; None where that does not apply.
        contrast_correlation: Spearman's rank correlation of the main map with the one for
            ``contrast``; None where either is constant.
        input_recovery: Pearson's correlation of the main map with what the network sees; None where
            either is constant.
        edge_recovery: That of the main map's strength with the picture's edges; None likewise.
        last_layer: The last layer, and the rank correlation of the main map with the one after that
            layer's weights were permuted; None for a model that is no module, or cannot be copied.
        notes: What the methods warned of.
    """

    image: str
    view: Image
    network: str
    weights: str
    preprocessing: str
    assumed: tuple[str, ...]
    predictions: tuple[ScoredClass, ...]
    target: ScoredClass
    contrast: ScoredClass | None
    layer: str | None
    rectifiers: RectifierReport
    maps: Mapping[str, Tensor]
    reasons: Mapping[str, str]
    shares: Mapping[str, Sequence[RegionShare]]
    masks: Mapping[str, Mask]
    ignored_share: float | None
    contrast_correlation: float | None
    input_recovery: float | None
    edge_recovery: float | None
    last_layer: LastLayer | None
    notes: tuple[str, ...]

    @property
    def main(self) -> str:
        """The method the report speaks about: guided backprop where it applies."""
        return main_method(self.maps)

    def __str__(self) -> str:
        """Return the report for a terminal, about 95 characters wide."""
        return f"{_report_headline(self)}\n\n{sections(_report(self))}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the pictures as data that JSON can hold, with the versions."""
        return {
            "image": self.image,
            "network": {"name": self.network, "weights": self.weights, "layer": self.layer},
            "preprocessing": self.preprocessing,
            "assumed": list(self.assumed),
            "predictions": [vars(prediction) for prediction in self.predictions],
            "target": vars(self.target),
            "rectifiers": vars(self.rectifiers),
            "regions": {
                method: [share.to_dict() for share in shares]
                for method, shares in self.shares.items()
            },
            "limits": {
                "negative_gradient_ignored": self.ignored_share,
                "other_class": self.contrast and vars(self.contrast),
                "rank_correlation_with_other_class": self.contrast_correlation,
                "input_recovery": self.input_recovery,
                "edge_recovery": self.edge_recovery,
                "last_layer": self.last_layer and self.last_layer.name,
                "rank_correlation_with_last_layer_permuted": self.last_layer
                and self.last_layer.correlation,
                "probability_of_target": self.target.probability,
            },
            "methods": {"main": self.main, "not_applicable": dict(self.reasons)},
            "notes": list(self.notes),
            "versions": versions(),
        }

    def plot(self, views: Sequence[str] = ("signed",)) -> Figure:
        """Draw the picture with its regions, and the map of each method on its own scale.

        Args:
            views: How each map is drawn, a panel for each: of ``"signed"``, ``"overlay"`` and
                ``"colours"``. One that a map does not have, such as colours of Grad-CAM's, is left
                out; a map that has none of them is drawn signed.

        Raises:
            ValueError: for an unknown view, or for none.
        """
        title = " · ".join(_answers(self))
        return draw_maps([self.panels(views)], title=title, caption=self.caption, wrap=True)

    @property
    def caption(self) -> str:
        """What stands below a figure: the network, and how the picture became its input."""
        return f"Network: {self.network}. Preprocessing: {self.preprocessing}."

    def panels(self, views: Sequence[str] = ("signed",)) -> tuple[PicturePanel, list[MapPanel]]:
        """Return the picture and the maps, as :meth:`plot` draws them."""
        maps = [
            MapPanel(method_title(method, self.layer), one, view=view)
            for method, one in self.maps.items()
            for view in views_of(one, views)
        ]
        return PicturePanel(self.image, self.view, self.masks), maps

    def _headline(self) -> str:
        probability = percent(self.target.probability)
        return f"{self.image}, {self.target.name} ({probability}), by {', '.join(self.maps)}"

    def rows(self) -> list[dict[str, Any]]:
        """Return what each region holds of each method's map."""
        return [
            {"method": method, "region": share.name} | share.to_dict()
            for method, shares in self.shares.items()
            for share in shares
        ]

    def own_maps(self) -> tuple[Mapping[str, Tensor], Mapping[str, Any]]:
        """Return the maps by method, and what is true of them all, as data."""
        names = ("image", "network", "preprocessing", "target", "rectifiers")
        about = self.to_dict()
        return self.maps, {name: about[name] for name in names}

    def _table(self) -> Table:
        columns = (
            *("method", "region", "attribution_share", "area_share"),
            *("share_of_places_with_as_much", "holds_more", "seen"),
        )
        return Table.of_rows(columns, self.rows())

    def _articles(self) -> Iterator[Article]:
        yield article(
            title=f"{self.image}: {self.target.name} ({percent(self.target.probability)})",
            headline=_report_headline(self),
            report={title: list(lines) for title, lines in _report(self)},
            about=self.to_dict(),
            panels=self.panels(),
            shares=self.shares,
            main=self.main,
        )

    @property
    def _image(self) -> str:
        return self.image

    def _reports(self) -> list[dict[str, Any]]:
        return [self.to_dict()]

    def _maps(self) -> Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]]:
        return [self.own_maps()]


def main_method(maps: Mapping[str, Tensor]) -> str:
    """Return the method a report speaks about: guided backprop where it applies."""
    return "guided_backprop" if "guided_backprop" in maps else next(iter(maps))


def _report(explanation: Explanation) -> Iterator[tuple[str, Iterable[str]]]:
    size = " x ".join(map(str, explanation.view.size))
    yield "picture", [f"{explanation.image}, seen by the network at {size}"]
    weights = f" ({explanation.weights})" if explanation.weights else ""
    yield "network", [f"{explanation.network}{weights}"]
    yield "preprocessed", [explanation.preprocessing]
    if explanation.assumed:
        yield "assumed", [f"- {one}" for one in explanation.assumed]
    yield (
        "prediction",
        [f"{percent(one.probability):>5}  {one.name}" for one in explanation.predictions],
    )
    yield "explained", [_target(explanation)]
    yield "overridden", _overridden(explanation)
    yield "regions", _regions(explanation)
    yield "limits", _limits(explanation)
    if explanation.notes:
        yield "notes", explanation.notes


def _answers(explanation: Explanation) -> list[str]:
    """What is predicted, and what is explained where that is another class."""
    best, target = explanation.predictions[0], explanation.target
    said = [f"prediction: {best.name} ({percent(best.probability)})"]
    if target.index != best.index:
        said.append(f"explained: {target.name} ({percent(target.probability)})")
    return said


def _report_headline(explanation: Explanation) -> str:
    shares = explanation.shares[explanation.main]
    parts = [f"input image: {explanation.image}", *_answers(explanation)]
    marks = [f"{share.name} {share.mark}" for share in shares]
    held = [f"{share.name} {share.mark}" for share in shares if share.holds_more]
    few = 5
    parts += marks if len(marks) <= few else [*held, "elsewhere ✖" if held else "no region ✔"]
    return " · ".join(parts)


def _target(explanation: Explanation) -> str:
    target = explanation.target
    methods = ", ".join(explanation.maps)
    layer = f"; Grad-CAM at layer {explanation.layer}" if explanation.layer else ""
    return f"{target.name} (class {target.index}), by {methods}{layer}"


def _overridden(explanation: Explanation) -> list[str]:
    found = explanation.rectifiers
    lines = [f"{listed(found.overridden) or 'nothing'} between prediction and image"]
    if found.left_alone:
        lines.append(f"left alone, with their own gradient: {listed(found.left_alone)}")
    if found.opaque:
        lines.append(f"could not be looked into: {listed(found.opaque)}")
    lines += [
        f"{method} does not apply: {reason}" for method, reason in explanation.reasons.items()
    ]
    return lines


def _regions(explanation: Explanation) -> list[str]:
    shares = explanation.shares[explanation.main]
    width = min(max(len(share.name) for share in shares), 14)  # a longer one's line is continued
    return [
        f"of the {explanation.main} map's magnitude; places: the same region shifted anywhere:",
        *(f"{share.mark} {share.name:<{width}}  {share.words}" for share in shares),
        "✔ more than its area, as much at 5 % of places at most: 1 region in 20 by chance",
    ]


def _limits(explanation: Explanation) -> list[str]:
    lines = []
    if explanation.ignored_share is not None:
        lines.append(
            f"- Negative evidence is ignored: {percent(explanation.ignored_share)} of the "
            "gradient's magnitude that the rectifiers would have let through was negative, and "
            "guided backprop dropped it."
        )
    if explanation.contrast is not None and explanation.contrast_correlation is not None:
        lines.append(
            f"- The map is not about this class alone: asked for {explanation.contrast.name} "
            f"instead, the ranking of the pixels correlates with this one at "
            f"{explanation.contrast_correlation:.2f} (1 means the same map)."
        )
    last = explanation.last_layer
    if last is not None and last.correlation is not None:
        lines.append(
            "- How much it depends on what was learned about classes: with the weights of the "
            f"last layer, {last.name}, permuted, the ranking of the pixels correlates with this "
            f"one at {last.correlation:.2f} (1 means the same map). That is one draw, and others "
            "may be far from it."
        )
    if explanation.input_recovery is not None and explanation.edge_recovery is not None:
        lines.append(
            "- It may be the picture rather than the network: it correlates with the picture at "
            f"{explanation.input_recovery:.2f}, and its strength with the picture's edges at "
            f"{explanation.edge_recovery:.2f}. captum-guided sanity PHOTO tells more."
        )
    lines.append(
        f"- It depends on the network's quality: this one gives {explanation.target.name} "
        f"{percent(explanation.target.probability)}, and is explained whether right or wrong."
    )
    lines.append(
        "- It is not a full explanation: a map shows where small changes of pixels would move "
        "the score, not why, and not what the network would do without them."
    )
    return lines
