"""``captum-guided benchmark``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from captum_guided_ext.benchmarking import benchmark
from captum_guided_ext.cli._parser import (
    UsageError,
    add_network,
    add_run,
    check_output,
    count,
    methods_of,
    names,
    network_of,
    own_device,
    skipped,
)
from captum_guided_ext.cli._terminal import say
from captum_guided_ext.evaluation import (
    DEFAULT_METRICS,
    METRICS,
    LocalisationMetric,
)
from captum_guided_ext.networks import check_network_name
from captum_guided_ext.output import write_files
from captum_guided_ext.pictures import PictureDataset, open_data

if TYPE_CHECKING:
    import argparse


def add_command(commands: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "benchmark",
        help="score attribution methods on a data set: tables with intervals and a figure",
        description=(
            "Score attribution methods on a data set. Rows are written as they come: a run that "
            "was stopped goes on when the same command is run again. Many processes: torchrun "
            "--nproc-per-node 2 -m captum_guided_ext benchmark ..."
        ),
        epilog=(
            "example: captum-guided benchmark --data demo --limit 20 --output results. Exit code: "
            "0; 1 if another process died; 2 for a mistake; 3 if pictures were skipped (0 under "
            "torchrun, which would take it for a failure); 130 after Ctrl-C."
        ),
    )
    add = parser.add_argument
    add(
        "--data",
        required=True,
        metavar="DATA",
        help=(
            "a folder of pictures, or of one folder per class; 'demo', the pictures that come "
            "with the package; or idx:IMAGES,LABELS for files as MNIST's"
        ),
    )
    add(
        "--masks",
        metavar="FOLDER",
        help="a PNG for each picture, of the same path and size, not black where the object is",
    )
    add("--output", required=True, metavar="FOLDER", help="where rows, summary and figure go")
    add(
        "--target",
        metavar="CLASS",
        help=(
            "the class to explain: label, prediction or top1, top2, ... (default: label where the "
            "data has labels, else prediction)"
        ),
    )
    add_run(parser, batch_size=8)
    add(
        "--metrics",
        default=",".join(DEFAULT_METRICS),
        metavar="NAME,...",
        help=f"{', '.join(METRICS)} (default: {', '.join(DEFAULT_METRICS)})",
    )
    add(
        "--samples",
        type=count,
        default=10,
        metavar="N",
        help="perturbed copies of each picture, for each metric (default: %(default)s)",
    )
    add(
        "--max-examples",
        type=count,
        default=32,
        metavar="N",
        help="perturbed pictures in memory at a time (default: %(default)s)",
    )
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes that read pictures ahead; 0: none (default: 1 for a folder, else 0)",
    )
    add(
        "--fast",
        action="store_true",
        help=(
            "compute on a faster copy of the network, whose outputs are within 1e-4 of the "
            "largest; the first batch is scored exactly as well, to say what that changes"
        ),
    )
    add("--strict", action="store_true", help="end at the first picture that cannot be scored")
    add_network(parser, "demo for --data demo, else resnet50")
    stopped = "; what was scored is kept, and the same command goes on from there"
    parser.set_defaults(run=_run, command="benchmark", stopped=stopped)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        check_network_name(arguments.model)
    methods = methods_of(arguments)
    metrics = names(arguments.metrics, "--metrics", "metric", METRICS)
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"--workers must not be negative, and is {arguments.workers}")
    check_output(arguments.output, arguments.data)
    pictures = open_data(arguments.data, masks=arguments.masks, limit=arguments.limit)
    target = arguments.target or ("label" if pictures.labels else "prediction")
    localised = [name for name in metrics if name in LocalisationMetric().names]
    if localised and arguments.data != "demo" and arguments.masks is None:
        raise UsageError(f"--metrics {localised[0]} needs to know where the object is: --masks")
    default = "demo" if arguments.data == "demo" else "resnet50"
    network = network_of(arguments, default, own_device(arguments.device))
    dataset = PictureDataset(pictures, network, use_labels=target == "label")
    data: PictureDataset | DataLoader[Any] = dataset
    if arguments.workers is not None:
        data = DataLoader(dataset, arguments.batch_size, num_workers=arguments.workers)
    found = benchmark(
        network,
        data,
        output=arguments.output,
        methods=methods,
        metrics=metrics,
        target=target,
        layer=arguments.layer,
        n_perturb_samples=arguments.samples,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        limit=arguments.limit,
        max_examples_per_batch=arguments.max_examples,
        fast=arguments.fast,
        strict=arguments.strict,
    )
    if found is None:
        return 0
    if os.access(arguments.output, os.W_OK):  # a finished run may be read where it is not
        page = found.to_html(made_by=arguments.command_line).encode()
        write_files(Path(arguments.output), {"summary.html": page})
    say(found)
    say(f"\nscores.csv and summary.csv, .json, .html and .png are in {arguments.output}")
    return skipped() if found.skipped else 0
