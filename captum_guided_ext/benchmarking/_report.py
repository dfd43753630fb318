"""A summary for people: its tables, how to read them, and its figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captum_guided_ext.attr import method_title
from captum_guided_ext.output import (
    Estimate,
    EstimatePanel,
    Table,
    counted,
    draw_estimates,
    number,
    percent,
)
from captum_guided_ext.sampling import FEWEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matplotlib.figure import Figure

    from captum_guided_ext.benchmarking._summary import SummaryLine


def reading(
    lines: Sequence[SummaryLine], object_area: float | None, level: str, runs: int
) -> Iterator[str]:
    """Yield how to read the tables of a summary.

    Args:
        lines: The summary.
        object_area: The mean share of the picture that the object covers; None without masks.
        level: What several runs that were put together differ in; empty for one run.
        runs: How many there are.
    """
    metrics = {line.metric for line in lines}
    if object_area is not None and "relevance_mass" in metrics:
        yield (
            f"the object covers {percent(object_area)} of the picture: a map that is the "
            "same everywhere has that relevance_mass"
        )
    if any(metric.startswith("infidelity") for metric in metrics):
        yield (
            "infidelity after the scaling that suits each map best; Grad-CAM's is of its map laid "
            "over the picture, one number for all channels. Relative to the best constant: 1 is no "
            "better than predicting the same fall for every perturbation"
        )
    if any(_few_decide(line) for line in lines):
        yield "where a few images decide a mean, the median stands beside it"
    if any(_has_gaps(line) for line in lines):
        yield (
            "* has no score on some images: its mean is over the images that it has, and is "
            "compared on those that all ranked methods have; below nine tenths of the images that "
            "any method has a score on it is not ranked"
        )
    shared = [line.shared_images for line in lines if line.shared_images is not None]
    if shared and min(shared) < FEWEST:
        yield f"fewer than {FEWEST} images: nothing is claimed, and no method has a rank"
    if shared and max(shared) >= FEWEST:
        yield (
            "of all pairs: 95 % intervals of differences, all pairs of ranked methods under one "
            "metric together. Methods share ranks where that of their difference holds 0, or where "
            "a few images decide it and it has none: none of them is called better. Floors are no "
            "methods, and have no rank"
        )
    yield _about(level, runs)


def _about(level: str, runs: int) -> str:
    """Return what the intervals speak of."""
    if not level:
        return (
            "intervals of means: 95 %, over images like these; not over other seeds, and not over "
            "other weights of the network"
        )
    return (
        f"means over {counted(runs, 'run')} with different {level}. Intervals of means and "
        f"of differences: over images like these, for the mean of these {runs} {level}. "
        f'"over {level}": 95 % by Student\'s t, over {level} like these, on these '
        "images"
    )


def _few_decide(line: SummaryLine) -> bool:
    if line.is_floor or line.mean is None:
        return False
    assert line.lower_quartile is not None  # noqa: S101 - for the type checker: as the mean
    assert line.upper_quartile is not None  # noqa: S101
    quartiles = {line.lower_quartile, line.median, line.upper_quartile}
    is_hit = quartiles <= {0, 1} and 0 <= line.mean <= 1
    return not is_hit and not line.lower_quartile <= line.mean <= line.upper_quartile


def _has_gaps(line: SummaryLine) -> bool:
    return not line.is_floor and bool(line.images and line.missing)


def summary_tables(lines: Iterable[SummaryLine], level: str = "") -> str:
    """Return the summary for a terminal, a table for each metric."""
    tables = metric_tables(lines, level)
    return "\n\n".join(f"{title}\n{table.to_markdown()}" for title, table in tables)


def metric_tables(lines: Iterable[SummaryLine], level: str = "") -> Iterator[tuple[str, Table]]:
    """Yield a table for each metric, with its title."""
    by_metric: dict[str, list[SummaryLine]] = {}
    for line in lines:
        by_metric.setdefault(line.metric, []).append(line)
    for metric, some in by_metric.items():
        better = "higher" if some[0].higher_is_better else "lower"
        yield f"{metric} ({better} is better)", _table_of(some, level)


def _table_of(lines: Sequence[SummaryLine], level: str) -> Table:
    medians = any(map(_few_decide, lines))
    shared = any(
        line.shared_images is not None and line.shared_images != line.images for line in lines
    )
    rows = [
        {
            "method": line.method + (" *" if _has_gaps(line) else ""),
            "mean": _number(line.mean),
            "95 % interval": _interval(line.ci_low, line.ci_high),
            f"over {level}": _interval(line.runs_low, line.runs_high),
            "median": _number(line.median) if medians else None,
            "relative": _number(line.relative),
            "shared mean": _number(line.shared_mean) if shared else None,
            "less the best": _number(line.difference),
            "of all pairs": _interval(line.difference_ci_low, line.difference_ci_high),
            "rank": _rank(line),
            "over": _over(line),
        }
        for line in lines
    ]
    optional = (f"over {level}", "median", "relative", "shared mean", "of all pairs", "rank")
    return Table.of_rows(tuple(rows[0]), rows, optional)


def _rank(line: SummaryLine) -> str:
    if line.is_floor:
        return "floor"
    if line.rank is None:
        return "not ranked" if line.shared_images is None else ""
    return str(line.rank) if line.rank == line.last_rank else f"{line.rank} to {line.last_rank}"


def _over(line: SummaryLine) -> str:
    if not _has_gaps(line):
        return counted(line.images, "image")
    return f"{line.images} of {counted(line.images + line.missing, 'image')}"


def _number(value: float | None) -> str | None:
    return None if value is None else number(value)


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def draw_summary(lines: Sequence[SummaryLine], preprocessing: str = "") -> Figure:
    """Draw means, and the family's intervals about the best one's; a panel a metric."""
    panels = []
    for metric in dict.fromkeys(line.metric for line in lines):
        own = [line for line in lines if line.metric == metric]
        shown = [line for line in own if line.mean is not None]
        better = "higher" if own[0].higher_is_better else "lower"
        images = max((line.images for line in shown), default=0)
        best = next((one.shared_mean for one in shown if one.difference == 0), None)
        panels.append(
            EstimatePanel(
                metric.replace("_", " "),
                f"mean over {counted(images, 'image')}\n{better} is better",
                [_estimate(one, best) for one in shown],
                references=() if best is None or not any(one.rank for one in shown) else (best,),
            )
        )
    bars = (
        "Bars: the 95 % interval of the difference to the best method (dashed), all pairs "
        "together; a bar that does not reach the dashed line is a method that differs. "
    )
    rest = "Hollow: nothing is claimed. Grey: floors, and methods that are not ranked."
    caption = (bars if any(one.rank for one in lines) else "") + rest
    said = f" Preprocessing: {preprocessing}." if preprocessing else ""
    return draw_estimates(panels, caption=caption + said)


def _estimate(line: SummaryLine, best: float | None) -> Estimate:
    mean = line.mean if line.shared_mean is None else line.shared_mean
    assert mean is not None  # noqa: S101 - for the type checker: it is shown
    title = method_title(line.method)
    low, high = line.difference_ci_low, line.difference_ci_high
    if best is None or low is None or high is None:
        return Estimate(title, mean, muted=line.is_floor or line.shared_images is None)
    return Estimate(title, mean, best + low, best + high)
