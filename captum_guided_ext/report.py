"""An explanation as words: what was seen, what carries it, and how far to believe it."""

from __future__ import annotations

from textwrap import TextWrapper
from typing import TYPE_CHECKING

from captum_guided_ext.explanation import main_method
from captum_guided_ext.graph import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from captum_guided_ext.explanation import Explanation
    from captum_guided_ext.regions import RegionShare

__all__ = ["text_report"]

_WIDTH = 96
_MARGIN = 14


def text_report(explanation: Explanation) -> str:
    """Return the report for a terminal, about 95 characters wide."""
    shares = explanation.shares[main_method(explanation.maps)]
    sections = [
        _headline(explanation, shares),
        "",
        _section("picture", [f"{explanation.image}, seen by the network at {_size(explanation)}"]),
        _section("network", [f"{explanation.network} ({explanation.weights})"]),
        _section("prediction", _predictions(explanation)),
        _section("explained", [_target(explanation)]),
        _section("overridden", _overridden(explanation)),
        _section("regions", _regions(explanation, shares)),
        _section("limits", _limits(explanation)),
    ]
    if explanation.notes:
        sections.append(_section("notes", explanation.notes))
    return "\n".join(sections)


def _section(title: str, lines: Iterable[str]) -> str:
    wrapped = []
    for line in lines:
        indent = " " * (_MARGIN + len(line) - len(line.lstrip("- ")))
        wrapper = TextWrapper(_WIDTH, initial_indent=" " * _MARGIN, subsequent_indent=indent)
        wrapped.append(wrapper.fill(line))
    return f"{title:<{_MARGIN}}" + "\n".join(wrapped)[_MARGIN:]


def _percent(share: float) -> str:
    if 0 < share < 0.005:  # noqa: PLR2004 - what would be rounded to 0 %
        return "<1 %"
    return f"{share:.0%}".replace("%", " %")


def _size(explanation: Explanation) -> str:
    return " x ".join(map(str, explanation.view.size))


def _headline(explanation: Explanation, shares: Sequence[RegionShare]) -> str:
    best = explanation.predictions[0]
    parts = [
        f"input image: {explanation.image}",
        f"prediction: {best.name} ({_percent(best.probability)})",
    ]
    if explanation.target.index != best.index:
        target = explanation.target
        parts.append(f"explained: {target.name} ({_percent(target.probability)})")
    marks = [f"{share.name} {share.mark}" for share in shares]
    held = [f"{share.name} {share.mark}" for share in shares if share.holds_more]
    few = 5
    parts += marks if len(marks) <= few else [*held, "elsewhere ✖"]
    return " · ".join(parts)


def _predictions(explanation: Explanation) -> list[str]:
    return [f"{_percent(one.probability):>5}  {one.name}" for one in explanation.predictions]


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


def _regions(explanation: Explanation, shares: Sequence[RegionShare]) -> list[str]:
    width = max(len(share.name) for share in shares)
    return [
        f"of the {main_method(explanation.maps)} map's magnitude, against the share of the area:",
        *(
            f"{share.mark} {share.name:<{width}}  {_percent(share.attribution):>5} of the map, "
            f"{_percent(share.area):>5} of the area"
            for share in shares
        ),
        "✔ holds more of the map than its area would by chance, ✖ does not",
    ]


def _limits(explanation: Explanation) -> list[str]:
    lines = []
    if explanation.ignored_share is not None:
        lines.append(
            f"- Negative evidence is ignored: {_percent(explanation.ignored_share)} of the "
            "gradient's magnitude that the rectifiers would have let through was negative, and "
            "guided backprop dropped it."
        )
    if explanation.contrast is not None and explanation.contrast_correlation is not None:
        lines.append(
            f"- The map is not about this class alone: asked for {explanation.contrast.name} "
            f"instead, the ranking of the pixels correlates with this one at "
            f"{explanation.contrast_correlation:.2f} (1 means the same map)."
        )
    lines.append(
        f"- It depends on the network's quality: this one gives {explanation.target.name} "
        f"{_percent(explanation.target.probability)}, and is explained whether right or wrong."
    )
    lines.append(
        "- It is not a full explanation: a map shows where small changes of pixels would move "
        "the score, not why, and not what the network would do without them."
    )
    return lines
