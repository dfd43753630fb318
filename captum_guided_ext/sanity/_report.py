"""The sanity checks for people: their tables and their figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from captum_guided_ext.attr import method_title
from captum_guided_ext.output import (
    Curve,
    CurvePanel,
    Estimate,
    EstimatePanel,
    Matrix,
    Table,
    draw_checks,
)
from captum_guided_ext.sanity._sentences import LARGE, VERY_STRONG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.figure import Figure

    from captum_guided_ext.sanity._numbers import Line, Number


def tables(lines: Sequence[Line], first: str, counts: Sequence[int]) -> Iterator[tuple[str, Table]]:
    """Yield the tables, each with its title.

    Args:
        lines: The numbers of each method.
        first: The layer that is randomised first.
        counts: How many layers are random at each step.
    """
    yield (
        f"rank correlation with the map as it was, as layers become random, {first} first",
        _of_steps([(line.method, line.ranks, line.random_ranks) for line in lines], first, counts),
    )
    if any(one for line in lines for one in line.ssim):
        yield (
            "structural similarity (SSIM), likewise",
            _of_steps(
                [(line.method, line.ssim, line.random_ssim) for line in lines], first, counts
            ),
        )
    rows = [
        {
            "method": line.method,
            "class sensitivity": _words(line.class_sensitivity),
            "input recovery": _words(line.input_recovery),
            "edge recovery": _words(line.edge_recovery),
            "agreement": _words(line.agreement),
            "smooth": _words(line.smooth[-1] if line.smooth else None),
            "entropy": _words(line.entropy),
        }
        for line in lines
    ]
    title = (
        "other checks (smooth: rank correlation of smoothed maps, all layers random; entropy: its "
        "rise then)"
    )
    yield (
        title,
        Table.of_rows(tuple(rows[0]), rows, ("edge recovery", "agreement", "smooth", "entropy")),
    )


def _of_steps(
    found: Sequence[tuple[str, tuple[Number | None, ...], Number | None]],
    first: str,
    counts: Sequence[int],
) -> Table:
    middle = min(range(len(counts)), key=lambda step: abs(counts[step] - (1 + counts[-1]) / 2))
    half = f"{counts[middle]} of {counts[-1]} layers"
    shown = {middle: half, 0: first, len(counts) - 1: "all layers"}  # the later, where two are one
    rows = [
        {"method": method}
        | {title: _words(steps[step], interval=True) for step, title in sorted(shown.items())}
        | {"random map": _words(random)}
        for method, steps, random in found
    ]
    return Table.of_rows(tuple(rows[0]), rows)


def _words(number: Number | None, *, interval: bool = False) -> str:
    if number is None:
        return ""
    words = _rounded(number.mean)
    if not interval or number.low is None or number.high is None or number.low == number.high:
        return words
    return f"{words} ({_rounded(number.low)} to {_rounded(number.high)})"


def _rounded(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # no -0.00


def draw(
    lines: Sequence[Line],
    agreement: Mapping[tuple[str, str], Number],
    first: str,
    layers: int,
    *,
    title: str,
    caption: str,
) -> Figure:
    """Draw the randomisation of each method, the other checks, and how the methods agree."""
    names = [line.method for line in lines]
    values = torch.full((len(names), len(names)), math.nan)
    for pair, number in agreement.items():
        one, other = map(names.index, pair)
        values[one, other] = values[other, one] = number.mean
    for place, line in enumerate(lines):
        values[place, place] = 1.0 if line.agreement else math.nan
    return draw_checks(
        [_curves(line) for line in lines],
        (first, f"all {layers} layers" if layers > 1 else ""),
        [
            _panel("Another class", [(one.method, one.class_sensitivity) for one in lines],
                   "rank correlation of the maps\nfor the two classes", LARGE, VERY_STRONG),
            _panel("The picture", [(one.method, one.input_recovery) for one in lines],
                   "correlation of the map\nwith the picture", -LARGE, LARGE),
            _panel("Its edges", [(one.method, one.edge_recovery) for one in lines],
                   "correlation of the map's strength\nwith the picture's edges", LARGE),
        ],
        Matrix(
            "Agreement of the methods", list(map(method_title, names)), values,
            "rank correlation of the maps' strengths",
        )
        if len(names) > 1
        else None,
        title=title,
        caption=caption,
    )  # fmt: skip


def _curves(line: Line) -> CurvePanel:
    curves = [
        _curve("rank correlation", line.ranks, line.random_ranks),
        _curve("SSIM", line.ssim, line.random_ssim),
    ]
    return CurvePanel(method_title(line.method), [one for one in curves if one is not None])


def _curve(label: str, steps: Sequence[Number | None], random: Number | None) -> Curve | None:
    if not any(steps):
        return None
    mean, low, high = (
        [math.nan if one is None else _or_nan(getattr(one, name)) for one in steps]
        for name in ("mean", "low", "high")
    )
    return Curve(label, mean, low, high, None if random is None else random.mean)


def _panel(
    title: str, found: Sequence[tuple[str, Number | None]], caption: str, *thresholds: float
) -> EstimatePanel:
    return EstimatePanel(
        title,
        caption,
        [
            Estimate(method_title(method), math.nan)
            if one is None
            else Estimate(method_title(method), one.mean, one.low, one.high)
            for method, one in found
        ],
        references=thresholds,
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
