"""What the numbers of the sanity checks mean, in plain sentences, by published thresholds.

A sentence names a method only where its interval lies on one side of the threshold.
``examples/sanity.md`` says where each threshold comes from.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from captum_guided_ext.output import counted
from captum_guided_ext.sampling import FEWEST
from captum_guided_ext.sanity._numbers import RANKS, SSIM, Line, Number, Numbers, number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

LARGE = 0.5
"""A large correlation (Cohen 1988, p. 80)."""
MEDIUM = 0.3
"""A medium one (Cohen 1988, p. 80)."""
VERY_STRONG = 0.8
"""A very strong one (Evans 1996)."""

_Part = tuple[str, "Number | None"]


def sentences(numbers: Numbers, lines: Sequence[Line], other: str) -> tuple[str, ...]:
    """Return two or three sentences, or fewer where the numbers do not carry them.

    Args:
        numbers: All of them.
        lines: Those of each method.
        other: The other class, in words.
    """
    lines = [line for line in lines if line.has_a_map]
    parts = (
        [*_last_layer(lines, numbers.layers), *_all_layers(lines)] or [*_undecided(numbers, lines)],
        [*_of_the_class(lines, other), *_of_the_picture(lines)],
        [*_order_of_measures(numbers, lines), *_disagreement(numbers)],
    )
    return tuple(" ".join(some) for some in parts if some)


def _last_layer(lines: Sequence[Line], layers: Sequence[str]) -> Iterator[str]:
    found = [(line.method, line.ranks[0]) for line in lines]
    kept = _those(found, lambda one: one.is_at_least(LARGE))
    lost = _those(found, lambda one: one.is_below(LARGE))
    head = (
        f"With layer {layers[0]} random, the classes mean nothing any more, and"
        if len(layers) > 1
        else f"With {layers[0]}, the only layer, random,"
    )
    if kept:
        own = "its map" if kept.count("(") == 1 else "their maps"
        yield (
            f"{head} {kept} still rank{_s(kept)} the places much as before ({LARGE} or more): "
            f"most of {own} is not about what tells the classes apart."
        )
        if lost:
            yield f"Not so {lost}."
    elif lost and _are_decided(found, LARGE):
        yield (
            f"{head} no map ranks the places as before ({LARGE} or more): {lost}. All depend "
            "on the classes' weights."
        )


def _all_layers(lines: Sequence[Line]) -> Iterator[str]:
    found = [(line.method, line.ranks[-1]) for line in lines]
    kept = _those(found, lambda one: one.is_at_least(MEDIUM))
    if kept:
        yield (
            f"With every layer random, {kept} keep{_s(kept)} {MEDIUM} or more: so much comes from "
            "the picture and the architecture, and nothing of it was learned."
        )
    elif _are_decided(found, MEDIUM):
        yield (
            f"With every layer random, no map keeps {MEDIUM}. A random map does as well, so this "
            "can show that a method fails, and not that it is right (Binder et al. 2023)."
        )


def _undecided(numbers: Numbers, lines: Sequence[Line]) -> Iterator[str]:
    """Say why nothing is said of random layers: too few draws or pictures, or maps that lack."""
    asked = [
        (line.method, found, threshold)
        for line in lines
        for found, threshold in ((line.ranks[0], LARGE), (line.ranks[-1], MEDIUM))
    ]
    undecided = [part for part in asked if part[1] and not _are_decided([part[:2]], part[2])]
    lacking = [method for method, found, _ in asked if found is None]
    if undecided:
        pictures = len(numbers.scores.images)
        over_pictures = pictures >= FEWEST
        count = pictures if over_pictures else numbers.draws
        why = (
            "there is no interval of a single draw, or of pictures that lack different ones"
            if any(found.low is None for _, found, _ in undecided if found)
            else "the intervals hold the thresholds"
        )
        yield (
            f"{counted(count, 'picture' if over_pictures else 'draw')} "
            f"do{'es' if count == 1 else ''} not decide what random layers leave of "
            f"{_listed(dict.fromkeys(part[0] for part in undecided))}: {why}. "
            f"Ask for more{'' if over_pictures else ' (--draws)'}."
        )
    elif lacking and len(lacking) < len(asked):
        yield (
            "What random layers leave of the maps is not said of all methods, since there is no "
            f"number of it for {_listed(dict.fromkeys(lacking))}: see the table for the others."
        )


def _of_the_class(lines: Sequence[Line], other: str) -> Iterator[str]:
    found = [(line.method, line.class_sensitivity) for line in lines]
    same = _those(found, lambda one: one.is_at_least(VERY_STRONG))
    large = _those(found, lambda one: one.is_at_least(LARGE) and one.is_below(VERY_STRONG))
    differ = _those(found, lambda one: one.is_below(LARGE))
    if same:
        yield (
            f"Asked for {other} instead, {same} give{_s(same)} nearly the same map "
            f"({VERY_STRONG} or more): do not read it as evidence for the class."
        )
    if large:
        yield (
            f"{'' if same else f'Asked for {other} instead, '}{large} give{_s(large)} in large "
            f"part the same ({LARGE} or more)."
        )
    if differ and not same and not large and _are_decided(found, LARGE):
        yield f"Asked for {other} instead, every map changes (below {LARGE}): {differ}."


def _of_the_picture(lines: Sequence[Line]) -> Iterator[str]:
    picture = [(line.method, line.input_recovery) for line in lines]
    edges = [(line.method, line.edge_recovery) for line in lines]
    is_picture = _those(picture, lambda one: one.is_far(LARGE))
    is_edges = _those(edges, lambda one: one.is_at_least(LARGE))
    if is_picture:
        yield (
            f"The picture itself shows in {is_picture} ({LARGE} or more), as Nie et al. 2018 found "
            "for a network that has learned nothing."
        )
    if is_edges:
        yield (
            f"The picture's edges alone are much like {is_edges} ({LARGE} or more): they need no "
            "network (Adebayo et al. 2018)."
        )
    near = all(one is not None and one.is_near(LARGE) for _, one in picture)
    if lines and near and all(one is None or one.is_below(LARGE) for _, one in edges):
        or_edges = " or its edges" if _are_decided(edges, LARGE) else ""
        yield f"No map is much like the picture{or_edges} (below {LARGE})."


def _order_of_measures(numbers: Numbers, lines: Sequence[Line]) -> Iterator[str]:
    """Say which methods Spearman and SSIM order differently, by intervals of differences."""
    named = [line.method for line in lines]
    turned: list[tuple[float, str, str]] = []
    pairs = 0
    for one, other in combinations(named, 2):
        differences = [
            number_of(
                numbers.over_layers(check, one) - numbers.over_layers(check, other), is_drawn=True
            )
            for check in (RANKS, SSIM)
        ]
        if any(found is None for found in differences):
            continue
        pairs += 1
        first, second = (_sign(found) for found in differences)
        if first * second < 0:
            gap = min(abs(found.mean) for found in differences if found is not None)
            turned.append((gap, *((one, other) if first > 0 else (other, one))))
    if turned:
        _, one, other = max(turned)
        yield (
            f"Spearman finds {one} the less sensitive of the two to random layers, and SSIM "
            f"{other}: the measures order {len(turned)} of {pairs} pairs of methods differently, "
            "so that an order by one of them is the measure's (Binder et al. 2023)."
        )


def _disagreement(numbers: Numbers) -> Iterator[str]:
    found = numbers.agreement()
    if len(found) < 2:  # noqa: PLR2004 - most and least
        return
    most, least = (choose(found, key=lambda pair: found[pair].mean) for choose in (max, min))
    few = sum(one.is_below(MEDIUM) for one in found.values())
    open_ = sum(not one.is_at_least(MEDIUM) for one in found.values()) - few
    yield (
        f"{few} of {len(found)} pairs of methods agree below {MEDIUM}"
        f"{f', and {open_} may' if open_ else ''}: most "
        f"{' and '.join(most)} ({_rounded(found[most].mean)}), least {' and '.join(least)} "
        f"({_rounded(found[least].mean)})."
    )


def _those(found: Sequence[_Part], holds: Callable[[Number], bool]) -> str:
    """Return the methods whose number a condition holds of, with it, in words."""
    return _listed(f"{name} ({_rounded(one.mean)})" for name, one in found if one and holds(one))


def _listed(words: Iterable[str]) -> str:
    some = list(words)
    return " and ".join([", ".join(some[:-1]), some[-1]] if len(some) > 1 else some)


def _rounded(value: float) -> str:
    """Return two digits, or as many as keep it on its side of each threshold."""
    thresholds = (MEDIUM, LARGE, VERY_STRONG)
    for digits in range(2, 6):
        found = round(value, digits) + 0.0  # no -0.00
        if all((found >= one) == (value >= one) for one in thresholds):
            break
    return f"{found:.{digits}f}"


def _are_decided(found: Sequence[_Part], threshold: float) -> bool:
    """Whether every method has a number, whose interval lies on one side of the threshold."""
    return bool(found) and all(
        one is not None and (one.is_below(threshold) or one.is_at_least(threshold))
        for _, one in found
    )


def _s(subjects: str) -> str:
    return "" if " and " in subjects else "s"


def _sign(found: Number | None) -> int:
    if found is None or found.low is None or found.high is None:
        return 0
    return (found.low > 0) - (found.high < 0)
