"""``captum-guided explain``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import METHODS
from captum_guided_ext.cli._parser import SKIPPED, UsageError, add_network, names, network_of
from captum_guided_ext.cli._terminal import say
from captum_guided_ext.errors import DataError
from captum_guided_ext.explanation import DEFAULT_METHODS, explain_photos
from captum_guided_ext.output import writable_folder
from captum_guided_ext.pictures import demo_photo, open_photo

if TYPE_CHECKING:
    import argparse


def add_command(commands: Any) -> None:
    """Add the command to a parser's commands."""
    explain = commands.add_parser(
        "explain",
        help="explain the prediction of a picture: a figure and a report",
        description=(
            "Explain what a network predicts for a picture: a figure with one map per method, and "
            "a report with the regions that carry the map and its limits as numbers. Without "
            "arguments: a picture and a network that come with the package."
        ),
        epilog="example: captum-guided explain zebra.jpg --model resnet50 --target zebra",
    )
    add = explain.add_argument
    add("images", nargs="*", metavar="PHOTO", help="picture files")
    add_network(add, "resnet50 for a photo, demo without one")
    add(
        "--target",
        default="prediction",
        metavar="CLASS",
        help=(
            "the class to explain: a name, an index, prediction or top1, top2, ... "
            "(default: %(default)s)"
        ),
    )
    add(
        "--methods",
        metavar="NAME,...",
        help=(f"{', '.join(METHODS)} (default: all but input_x_gradient)"),
    )
    add(
        "--regions",
        metavar="FILE",
        help="a label image, or COCO JSON (default: the demo's own parts, else a 3 x 3 grid)",
    )
    add(
        "--output",
        default="captum-guided-output",
        metavar="FOLDER",
        help="where the figure and the report go, as PNG and JSON (default: %(default)s)",
    )
    add("--json", action="store_true", help="print the report as JSON")
    explain.set_defaults(run=_run, command="explain")


def _run(arguments: argparse.Namespace) -> int:
    asked = arguments.methods
    methods = DEFAULT_METHODS if asked is None else names(asked, "method", METHODS)
    if not arguments.images and arguments.model not in (None, "demo"):
        raise UsageError(f"--model {arguments.model} needs a photo to look at: name one")
    reports: list[Any] = []
    errors: list[str] = []
    photos: list[str] = []
    for name in arguments.images:  # before anything is downloaded
        try:
            open_photo(name, regions=arguments.regions)
            photos.append(name)
        except DataError as error:
            errors.append(str(error))
    if errors and not photos:
        raise UsageError("; ".join(errors))
    default = "resnet50" if arguments.images else "demo"
    network = network_of(arguments, default, arguments.device)
    with writable_folder(Path(arguments.output)) as folder:
        for one in explain_photos(
            network,
            photos or [demo_photo(regions=arguments.regions)],
            output=folder,
            target=arguments.target,
            methods=methods,
            layer=arguments.layer,
            regions=arguments.regions if photos else None,
        ):
            if one.found is None:
                errors.append(f"{one.photo}: {one.error}")
                continue
            reports.append(one.found.to_dict() | {"figure": str(one.files[0])})
            if not arguments.json:
                say(one.found)
                say(f"{'figure':<14}{one.files[0]}\n")
        if not reports:
            raise UsageError("; ".join(errors))
    if arguments.json:
        say(json.dumps(reports, indent=2))
    for error in errors:
        print(error, file=sys.stderr)
    return SKIPPED if errors else 0
