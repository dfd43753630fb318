"""``captum-guided explain``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext.attr import METHODS
from captum_guided_ext.cli._parser import UsageError, add_network, names
from captum_guided_ext.explanation import DEFAULT_METHODS, explain_photos
from captum_guided_ext.networks import load_network
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
    photos = [open_photo(name, regions=arguments.regions) for name in arguments.images]
    reports = []
    with writable_folder(Path(arguments.output)) as folder:
        network = load_network(
            arguments.model or ("resnet50" if photos else "demo"),
            weights=arguments.weights,
            checkpoint=arguments.checkpoint,
            device=arguments.device,
        )
        for explanation, figure in explain_photos(
            network,
            photos or [demo_photo(regions=arguments.regions)],
            output=folder,
            target=arguments.target,
            methods=methods,
            layer=arguments.layer,
        ):
            reports.append(explanation.to_dict() | {"figure": str(figure)})
            if not arguments.json:
                print(explanation)
                print(f"{'figure':<14}{figure}\n")
    if arguments.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))
    return 0
