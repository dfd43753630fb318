"""The page of HTML of a benchmark: its tables and figure, how to read them, and its settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from captum_guided_ext.benchmarking._report import metric_tables
from captum_guided_ext.evaluation import METRICS, find_metrics
from captum_guided_ext.output import Article, Drawing, Rows, Section, Words, counted, described

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from captum_guided_ext.benchmarking._summary import SummaryLine


_ARGUMENTS = ("target", "layer", "interpolate_mode", "batch_size", "max_examples_per_batch", "fast")
_SAMPLES = re.compile(r"\bn_perturb_samples=(\d+)")


def article(
    summary: Sequence[SummaryLine],
    *,
    headline: str,
    paragraphs: Mapping[str, Sequence[str]],
    settings: Mapping[str, Any],
    level: str,
    figure: Callable[[], bytes],
) -> Article:
    """Return what a page shows of a benchmark.

    Args:
        summary: Its lines.
        headline: What it is of, in a few words.
        paragraphs: What its report says below the tables, by title.
        settings: All that decides the rows.
        level: What several runs that were put together differ in; empty for one run.
        figure: Gives it as a PNG file.
    """
    tables = list(metric_tables(summary, level))
    alt = (
        f"For each of {counted(len(tables), 'metric')}, the means of the methods, the best first, "
        "with intervals. The tables have the numbers"
    )
    drawn = [Section("Figure", [Drawing(figure, alt)])] if tables else []
    sections = [
        *(Section(title, [Rows.of(table)], in_short=True) for title, table in tables),
        *drawn,
        *(
            Section(title.capitalize(), [Words([f"- {line.strip()}" for line in lines])])
            for title, lines in paragraphs.items()
        ),
        Section("Settings and versions", [Rows.of_settings(settings)]),
    ]
    return Article("Benchmark of attribution methods", [headline], sections, _code(settings))


def _is_known(names: str, words: str, samples: int) -> bool:
    """Whether a metric is what its names alone stand for, with this many samples."""
    asked = names.split(", ")
    if not set(asked) <= METRICS.keys():
        return False
    return words in map(described, find_metrics(asked, n_perturb_samples=samples))


def _code(settings: Mapping[str, Any]) -> str:
    """Return Python that scores the same again, as far as names say what was scored."""
    runs = settings.get("runs") or [settings]
    methods, metrics = settings.get("methods", {}), settings.get("metrics", {})
    samples = {int(n) for one in metrics.values() for n in _SAMPLES.findall(one)}
    said = {
        "methods": list(methods),
        "metrics": [name for names in metrics for name in names.split(", ")],
        "n_perturb_samples": samples.pop() if len(samples) == 1 else None,
        "limit": settings["images"],
    } | {name: settings.get(name) for name in _ARGUMENTS}
    own = [name for name, words in methods.items() if words != repr(name)]
    lines = ["import captum_guided_ext as cg", ""]
    drawn = said["n_perturb_samples"] or 10  # the default
    own += [names for names, words in metrics.items() if not _is_known(names, words, drawn)]
    lines += [f"# as they are under settings: {own!r}"] if own else []
    folders = [f"run-{place}" for place in range(1, len(runs) + 1)]
    data = settings.get("data", {}).get("description", "")
    for run, folder in zip(runs, folders, strict=True):
        name = run.get("model", {}).get("name", "")
        lines += [
            f"network = cg.load_network({name!r})  # or your own of this name",
            f"data = ...  # {data!r}",
            "found = cg.benchmark(",
            f"    network, data, output={folder!r}, seed={run['seed']!r},",
            *(f"    {name}={value!r}," for name, value in said.items() if value is not None),
            ")",
        ]
    lines += [f"found = cg.summarize(*{folders!r})"] if len(runs) > 1 else []
    return "\n".join([*lines, "print(found)"])
