"""``captum-guided sanity``."""

from __future__ import annotations

import argparse
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.cli._parser import (
    UsageError,
    add_network,
    add_run,
    check_output,
    count,
    methods_of,
    network_of,
    own_device,
    skipped,
)
from captum_guided_ext.cli._terminal import complain, say
from captum_guided_ext.networks import check_network_name
from captum_guided_ext.output import counted, writable_folder, write_files
from captum_guided_ext.pictures import PhotoFiles, PictureDataset, open_data
from captum_guided_ext.sanity import sanity

if TYPE_CHECKING:
    from captum_guided_ext.pictures import Pictures

_FOLDER = "captum-guided-output"


def add_command(commands: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "sanity",
        help="ask whether maps depend on the network, the class, or on the picture alone",
        description=(
            "Ask how far the maps of a network can be trusted: whether they change when its layers "
            "are randomised and when another class is asked for, how far they are the picture "
            "itself, and whether methods agree. Without arguments: a picture and a network that "
            "come with the package."
        ),
        epilog=(
            "example: captum-guided sanity zebra.jpg --model resnet50 --layers 10. Exit code: 0; 1 "
            "if another process died; 2 for a mistake, or if no picture could be used; 3 if some "
            "were left out (0 under torchrun); 130 after Ctrl-C."
        ),
    )
    add = parser.add_argument
    add("images", nargs="*", metavar="PHOTO", help="picture files")
    add(
        "--data",
        metavar="DATA",
        help=(
            "instead: a folder of pictures, or of one folder per class; 'demo', the pictures that "
            "come with the package; or idx:IMAGES,LABELS for files as MNIST's"
        ),
    )
    add(
        "--target",
        default="prediction",
        metavar="CLASS",
        help=(
            "the class to explain: a name, an index, prediction or top1, top2, ..., or label, the "
            "data's (default: %(default)s)"
        ),
    )
    add(
        "--other-target",
        default="top2",
        metavar="CLASS",
        help=(
            "the class to compare with: a name, an index, prediction, top2, ..., the next best "
            "where that is explained (default: %(default)s)"
        ),
    )
    add_run(parser, batch_size=4)
    add(
        "--layers",
        type=_layers,
        default="all",
        metavar="all|N",
        help="compare after each layer is randomised, or after every N-th (default: %(default)s)",
    )
    add(
        "--draws",
        type=count,
        default=3,
        metavar="N",
        help="how often each layer is randomised (default: %(default)s)",
    )
    add(
        "--output",
        metavar="FOLDER",
        help=(
            "where table, report, figure and page go; a run that was stopped goes on there "
            f"(default: {_FOLDER}, where none goes on)"
        ),
    )
    add_network(parser, "resnet50 for a photo or a folder, demo without one")
    stopped = "; with --output, the same command goes on from there"
    parser.set_defaults(run=_run, command="sanity", stopped=stopped)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        check_network_name(arguments.model)
    methods = methods_of(arguments)
    if arguments.images and arguments.data is not None:
        raise UsageError(f"--data {arguments.data} or photos: leave one of them out")
    is_demo = not arguments.images and arguments.data in (None, "demo")
    if is_demo and arguments.data is None and arguments.model not in (None, "demo"):
        raise UsageError(f"--model {arguments.model} needs a photo to look at: name one")
    folder = _folder(arguments)
    pictures = _pictures(arguments)
    network = network_of(arguments, "demo" if is_demo else "resnet50", own_device(arguments.device))
    with nullcontext() if arguments.output else writable_folder(folder):
        found = sanity(
            network,
            PictureDataset(pictures, network, use_labels=arguments.target == "label"),
            output=arguments.output,
            methods=methods,
            target=arguments.target,
            other_target=arguments.other_target,
            layers=arguments.layers,
            draws=arguments.draws,
            layer=arguments.layer,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            limit=arguments.limit,
        )
        if found is None:
            return 0
        if arguments.output is None:
            found.save(folder)
        if os.access(folder, os.W_OK):  # a finished run may be read where it is not
            page = found.to_html(made_by=arguments.command_line).encode()
            write_files(folder, {"sanity.html": page})
    say(found)
    say(f"\nsanity.csv, .json, .html and .png are in {folder}")
    if not found.skipped:
        return 0
    complain(
        "captum-guided sanity",
        f"{len(found.skipped)} of {counted(found.settings['images'], 'picture')} left out",
    )
    return skipped()


def _folder(arguments: argparse.Namespace) -> Path:
    """Return where the results go, which is not on top of the pictures."""
    folder = Path(arguments.output or _FOLDER)
    if arguments.data is not None:
        check_output(str(folder), arguments.data)
    figure = folder / "sanity.png"
    if any(Path(one).resolve() == figure.resolve() for one in arguments.images):
        raise UsageError(f"the figure would overwrite the photo {figure}: name another --output")
    return folder


def _pictures(arguments: argparse.Namespace) -> Pictures:
    if arguments.images:
        found = PhotoFiles(arguments.images)
        found.check()
        return found
    return open_data(arguments.data or "demo", limit=arguments.limit if arguments.data else 1)


def _layers(text: str) -> str | int:
    try:
        return text if text == "all" else count(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, or all") from None
