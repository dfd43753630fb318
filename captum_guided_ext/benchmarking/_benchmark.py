"""Attribution methods on a whole data set: resumable, on one process or many."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import METHODS
from captum_guided_ext.benchmarking._run import Run
from captum_guided_ext.benchmarking._summarize import sum_up
from captum_guided_ext.benchmarking._visit import visit
from captum_guided_ext.evaluation import DEFAULT_METRICS, find_metrics
from captum_guided_ext.methods import FastMethods, MethodSet
from captum_guided_ext.networks import as_network
from captum_guided_ext.output import described
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import nn
    from torch.utils.data import DataLoader, Dataset

    from captum_guided_ext.benchmarking._benchmark_result import Benchmark
    from captum_guided_ext.evaluation import Metric
    from captum_guided_ext.methods import Method
    from captum_guided_ext.networks import Network


def benchmark(
    model: Callable[..., Any] | Network,
    data: Dataset[Any] | DataLoader[Any],
    *,
    output: str | Path,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    metrics: Iterable[str | Metric] = DEFAULT_METRICS,
    target: str = "label",
    layer: nn.Module | str | None = None,
    n_perturb_samples: int = 10,
    interpolate_mode: str = "bilinear",
    generator: torch.Generator | None = None,
    seed: int | None = 0,
    batch_size: int | None = None,
    limit: int | None = None,
    max_examples_per_batch: int = 32,
    fast: bool = False,
    strict: bool = False,
    show_progress: bool = True,
) -> Benchmark | None:
    """Score attribution methods on a data set, image by image, and sum up.

    Rows are written as they come. A run that was killed goes on where it was when it is called
    again with the same arguments, and ends with the rows it would have had. An image's scores come
    from the seed and its number alone: not from the batch (within rounding), nor the order. Under
    ``torchrun`` batches are shared out among the processes, of one machine or of several, and the
    rows are those of a single process, to the bit where each process has as many threads.

    An image that cannot be scored is skipped and listed, with its reason: one whose item raises any
    ``Exception`` or ends the worker that reads it; an input that holds NaN, or is not of the first
    one's type and shape; a label that is no class of the model, a mask of another shape; one for
    which the model raises or returns NaN. What no image can be scored for is raised.

    A run that goes on compares what was scored with what the data has now: all names; sizes and
    times of files, where the data set has a method ``stamp(index)`` that says them in words; and
    contents, for about three seconds.

    Args:
        model: A network from :func:`captum_guided_ext.load_network`, a module, or any
            callable that returns (N, classes), or what holds it (see
            :class:`~captum_guided_ext.ForwardPass`).
        data: A data set of ``(input, label)``, ``(input, label, mask)``, ``(input,)`` or ``input``,
            whose length is known. Of a ``DataLoader`` the data set, the batch size and the number
            of workers are taken; its images are always visited in the order of the data set. Data
            with a true ``reads_files`` is read by one worker where no loader says otherwise.
        output: The folder for ``scores.csv``, ``summary.csv``, ``summary.json``, ``summary.png``,
            ``summary.html``, and the rows as they come.
        methods: As in :func:`captum_guided_ext.compare`.
        metrics: As in :func:`captum_guided_ext.compare`.
        target: Which class is explained: "label", the data's; or "prediction" (the same as "top1"),
            the network's; or "top2", ... Default: "label".
        layer: As in :func:`captum_guided_ext.compare`.
        n_perturb_samples: As in :func:`captum_guided_ext.compare`. Default: 10.
        interpolate_mode: As in :func:`captum_guided_ext.compare`.
        generator: As in :func:`captum_guided_ext.compare`.
        seed: As in :func:`captum_guided_ext.compare`. Default: 0. A run without one cannot go on.
        batch_size: Images at a time. Default: the loader's, or 8.
        limit: Only this many images, the first ones. Default: all.
        max_examples_per_batch: Most perturbed inputs at a time, at least one of each image.
            Default: 32.
        fast: As in :func:`captum_guided_ext.compare`; each process makes one copy of the network.
            Every batch is checked, and an image whose outputs differ is skipped. The first batch is
            scored exactly as well, and the result says by how much the scores of its images change,
            beside their standard errors. Default: False.
        strict: Raise for the first image that cannot be scored, instead of skipping it. Default:
            False.
        show_progress: Show a progress bar with the time left on standard error. Default: True.

    Returns:
        The scores and their summary; None in all processes but the first.

    Raises:
        TypeError: for data, methods or metrics of a wrong kind.
        ValueError: as :func:`captum_guided_ext.compare`.
        DataError: for no image, a data set of which no image can be scored, a folder that holds a
            run with other settings or of other images, or cannot be written to.

    Example:
        >>> network = load_network("resnet50")
        >>> found = benchmark(network, PictureDataset("photos", network), output="results")
        >>> print(found)
    """
    network = as_network(model)
    run = Run.of(network, data, target, batch_size, limit, generator=generator, seed=seed)
    asked = MethodSet(network.model, methods, layer=layer, interpolate_mode=interpolate_mode)
    scored = find_metrics(metrics, n_perturb_samples=n_perturb_samples)
    check_positive_count("max_examples_per_batch", max_examples_per_batch)

    def make_settings() -> dict[str, Any]:
        return run.with_form().settings(network) | {
            "methods": asked.describe(),
            "metrics": {", ".join(metric.names): described(metric) for metric in scored},
            "higher_is_better": {
                name: metric.higher_is_better for metric in scored for name in metric.names
            },
            "layer": asked.describe_layer(),
            "interpolate_mode": interpolate_mode,
            "max_examples_per_batch": max_examples_per_batch,
            **({"fast": True} if fast else {}),
        }

    return visit(
        run,
        network,
        asked,
        scored,
        Path(output),
        make_settings=make_settings,
        sum_up=sum_up,
        max_examples_per_batch=max_examples_per_batch,
        fast=FastMethods(asked) if fast else None,
        strict=strict,
        show_progress=show_progress,
        label="benchmark",
    )
