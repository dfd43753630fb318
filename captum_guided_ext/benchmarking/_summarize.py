"""From records to a result: of one run, of a folder without the model, of several runs together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_guided_ext.benchmarking._benchmark_result import Benchmark
from captum_guided_ext.benchmarking._collected import collect
from captum_guided_ext.benchmarking._journal import changes, in_words, read_records
from captum_guided_ext.benchmarking._scores import Scores, Series
from captum_guided_ext.benchmarking._summary import summarise
from captum_guided_ext.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage

_OF_A_RUN = ("seed", "model")  # what runs that are put together may differ in, the model by
_OF_WEIGHTS = ("name", "weights", "digest")  # these: not by its structure or its code


def summarize(*folders: str | Path) -> Benchmark:
    """Read what :func:`benchmark` wrote, without the model and the data; write nothing.

    Several folders of one setting, with other seeds or other weights, are put together: an image's
    score is the mean over the runs, and the mean of a method has a second interval, over the runs.

    Args:
        folders: Each one that a benchmark wrote to, finished or not.

    Returns:
        What :func:`benchmark` returns; of several folders, with their ``level``.

    Raises:
        DataError: for a folder without a run, or one that is damaged; for runs of other settings
            or other images, or the same run twice.

    Example:
        >>> print(summarize("results"))
        >>> summarize("seed-0", "seed-1", "seed-2").save("together")
    """
    if not folders:
        raise DataError("no folder to summarize: name one that a benchmark wrote to")
    found = [_read(Path(folder)) for folder in folders]
    return found[0] if len(found) == 1 else _together(found)


def _read(folder: Path) -> Benchmark:
    settings, records = read_records(folder)
    if "higher_is_better" not in settings:
        raise DataError(
            f"{folder} holds sanity checks, and no benchmark: run captum-guided sanity again with "
            "the same options, which reads what is there"
        )
    return sum_up(folder, settings, records)


def sum_up(folder: Path, settings: Mapping[str, Any], records: Iterable[BatchRecord]) -> Benchmark:
    """Return the result of a run's records, which may come in any order."""
    found = collect(folder, records)
    used = {"layer": found.layer} if found.layer else {}
    return Benchmark(
        scores=found.scores,
        summary=tuple(summarise(found.scores, settings["higher_is_better"])),
        images=found.images,
        skipped=found.skipped,
        notes=found.notes,
        object_area=_mean_area(found.images.values()),
        folder=folder,
        settings=dict(settings) | used,
        threads=torch.get_num_threads(),
        changes=found.changes,
    )


def _mean_area(images: Iterable[ScoredImage]) -> float | None:
    areas = [one.object_area for one in images if one.object_area]  # an empty mask has no score
    return sum(areas) / len(areas) if areas else None


def _together(found: Sequence[Benchmark]) -> Benchmark:
    first = found[0]
    differing: dict[str, None] = {}
    for other in found[1:]:
        mine, theirs = (_in_common(one.settings) for one in (first, other))
        if changed := changes(mine, theirs):
            raise DataError(
                f"{first.folder} and {other.folder} are runs of other settings: "
                f"{in_words(changed)}. Only seeds and weights may differ"
            )
        _check_images(first, other)
    identities = [(one.settings["seed"], one.settings["model"]["digest"]) for one in found]
    for each, word in zip(zip(*identities, strict=True), ("seeds", "weights"), strict=True):
        if len(set(each)) > 1:
            differing[word] = None
    twice = [one for place, one in enumerate(found) if identities[place] in identities[:place]]
    if twice:
        raise DataError(
            f"{twice[0].folder} has the seed and the weights of a folder before it: name each run "
            "once"
        )
    runs = [one.scores for one in found]
    scores = _mean_of(runs)
    if not len(scores.images):
        raise DataError(
            f"no image has scores in all of {', '.join(str(one.folder) for one in found)}: let the "
            "benchmarks go on before they are put together"
        )
    higher = first.settings["higher_is_better"]
    seeds_and_models = [{name: one.settings[name] for name in _OF_A_RUN} for one in found]
    images = {image: _agreed(image, found) for image in scores.images.tolist()}
    return Benchmark(
        scores=scores,
        summary=tuple(summarise(scores, higher, [_of_images(one, scores) for one in runs])),
        images=images,
        skipped=tuple(sorted({one for result in found for one in result.skipped})),
        notes=sum((Counter(one.notes) for one in found), Counter()),
        object_area=_mean_area(images.values()),
        folder=first.folder,
        settings=dict(first.settings) | dict.fromkeys(_OF_A_RUN) | {"runs": seeds_and_models},
        threads=first.threads,
        level=" and ".join(differing),
        changes=first.changes,
    )


def _in_common(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that all runs must have that are put together."""
    model = {key: one for key, one in settings["model"].items() if key not in _OF_WEIGHTS}
    return {key: one for key, one in settings.items() if key not in _OF_A_RUN} | {"model": model}


def _check_images(first: Benchmark, other: Benchmark) -> None:
    for image, mine in first.images.items():
        theirs = other.images.get(image)
        if theirs is not None and (theirs.name, theirs.digest) != (mine.name, mine.digest):
            raise DataError(
                f"image {image} is {mine.name} ({mine.digest}) in {first.folder}, and "
                f"{theirs.name} ({theirs.digest}) in {other.folder}: runs are put together of the "
                "same images"
            )


def _agreed(image: int, found: Sequence[Benchmark]) -> ScoredImage:
    """Return an image; without a target where runs explained the predictions of other weights."""
    each = [one.images[image] for one in found]
    same = all(one.target == each[0].target for one in each)
    return each[0] if same else each[0]._replace(target=None)


def _of_images(scores: Scores, other: Scores) -> Scores:
    """Return the scores of those images that ``other`` has."""
    kept = np.isin(scores.images, other.images)
    return Scores(
        scores.images[kept],
        {name: Series(one.values[kept], {}) for name, one in scores.series.items()},
    )


def _mean_of(runs: Sequence[Scores]) -> Scores:
    """Return the mean over runs of each score, on the images that all of them have."""
    images = runs[0].images
    for one in runs[1:]:
        images = np.intersect1d(images, one.images)
    places = [np.searchsorted(one.images, images) for one in runs]
    series = {}
    for name in runs[0].series:
        if not all(name in one.series for one in runs):
            continue  # a floor, of a network that no method applies to
        each = [one.series[name] for one in runs]
        values = np.mean(
            [one.values[where] for one, where in zip(each, places, strict=True)], axis=0
        )
        lacking = next((one for one in each if one.why is not None), None)
        reasons = ("", lacking.reason()) if lacking else ("",)
        why = np.isnan(values).astype(np.int32) if lacking else None
        series[name] = Series(values, {}, reasons, why if why is not None and why.any() else None)
    return Scores(images, series)
