"""Results as words: what was found, and how far to believe it."""

from __future__ import annotations

from textwrap import TextWrapper
from typing import TYPE_CHECKING

from captum_guided_ext.autograd._path import listed
from captum_guided_ext.evaluation._summary import summary_table
from captum_guided_ext.explanation._explanation import main_method

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from captum_guided_ext.evaluation._benchmark import Benchmark
    from captum_guided_ext.explanation._explanation import Explanation
    from captum_guided_ext.pictures._regions import RegionShare

__all__ = ["benchmark_report", "text_report"]

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


def benchmark_report(found: Benchmark) -> str:
    """Return the summary of a benchmark for a terminal, with what it does not say."""
    lines = [summary_table(found.summary), ""]
    lines += _wrapped(_reading(found))
    if missing := {line.method: line.reason for line in found.summary if line.reason}:
        lines.append("")
        lines += _wrapped(f"{method} has no score: {why}" for method, why in missing.items())
    if found.notes:
        lines.append("")
        lines += _wrapped(
            f"{note} ({count} batch{'es' if count > 1 else ''})"
            for note, count in list(found.notes.items())[:_NOTES]
        )
        if len(found.notes) > _NOTES:
            lines.append(f"and {len(found.notes) - _NOTES} notes more, in summary.json")
    if found.skipped:
        lines.append("")
        lines += _wrapped(
            [
                f"skipped {len(found.skipped)} that could not be read:",
                *(f"  {one.name}: {one.reason}" for one in found.skipped),
            ]
        )
    lines += ["", f"scores.csv, summary.csv, summary.json and summary.png are in {found.folder}"]
    return "\n".join(lines)


_NOTES = 3


def _reading(found: Benchmark) -> Iterable[str]:
    metrics = {line.metric for line in found.summary}
    if found.object_area is not None and "relevance_mass" in metrics:
        yield (
            f"the object covers {_percent(found.object_area)} of the picture: a map that is the "
            "same everywhere has that relevance_mass"
        )
    if any(metric.startswith("infidelity") for metric in metrics):
        yield (
            "infidelity after the scaling that suits each map best; Grad-CAM's is of its map laid "
            "over the picture, one number for all channels"
        )
    yield (
        "intervals: 95 %, by resampling the images. Methods whose intervals overlap share ranks: "
        "none of them is called better"
    )


def _wrapped(lines: Iterable[str]) -> list[str]:
    wrapper = TextWrapper(_WIDTH, subsequent_indent="  ")
    return [wrapper.fill(line) for line in lines]
