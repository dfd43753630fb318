"""``captum-guided explain``."""

from __future__ import annotations

import json
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext._program import NAME
from captum_guided_ext.attr import METHODS
from captum_guided_ext.cli._parser import (
    SEVERAL,
    USAGE_ERROR,
    UsageError,
    add_network,
    names,
    network_of,
    skipped,
)
from captum_guided_ext.cli._terminal import complain, say
from captum_guided_ext.errors import DataError
from captum_guided_ext.explanation import DEFAULT_METHODS, Explained, Explanations, explain_photos
from captum_guided_ext.networks import check_network_name
from captum_guided_ext.output import FORMATS, VIEWS, counted, html_of, writable_folder, write_files
from captum_guided_ext.pictures import demo_photo, open_photo

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_NAMED = 5  # of the photos of one reason


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
        epilog=(
            "example: captum-guided explain zebra.jpg --model resnet50 --target zebra. Exit code: "
            "0; 2 for a mistake, or if no photo could be explained; 3 if some were left out (0 "
            "under torchrun); 130 after Ctrl-C."
        ),
    )
    add = explain.add_argument
    add("images", nargs="*", metavar="PHOTO", help="picture files")
    add(
        "--target",
        action="append",
        metavar="CLASS",
        help=(
            "the class to explain: a name, an index, prediction or top1, top2, ... "
            f"(default: prediction){SEVERAL}"
        ),
    )
    add(
        "--methods",
        default=",".join(DEFAULT_METHODS),
        metavar="NAME,...",
        help=(f"{', '.join(METHODS)} (default: all but input_x_gradient)"),
    )
    add(
        "--views",
        default=VIEWS[0],
        metavar="NAME,...",
        help=(
            "how each map is drawn: signed, as red and blue; overlay, its strength over the "
            "picture; colours, the map itself as a picture (default: %(default)s)"
        ),
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
        help="where figures, and reports as JSON, go (default: %(default)s)",
    )
    add(
        "--format",
        default=FORMATS[0],
        metavar="NAME,...",
        help=f"of the figures: {', '.join(FORMATS)}, a file each (default: %(default)s)",
    )
    add("--html", metavar="FILE", help="one page of HTML of all the photos, to hand on")
    add("--save-maps", action="store_true", help="write the raw maps as well, as .npy and JSON")
    add("--json", action="store_true", help="print the reports as JSON, a list")
    add_network(explain, "resnet50 for a photo, demo without one", layers=True)
    explain.set_defaults(run=_run, command="explain")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.model is not None:
        check_network_name(arguments.model)
    methods = names(arguments.methods, "--methods", "method", METHODS)
    views = names(arguments.views, "--views", "view", VIEWS)
    formats = names(arguments.format, "--format", "format", FORMATS)
    photos = arguments.images
    if not photos and arguments.model not in (None, "demo"):
        raise UsageError(f"--model {arguments.model} needs a photo to look at: name one")
    different = len(set(photos)) or 1  # a photo may be given twice
    left_out = _until_one_opens(photos, arguments.regions)
    if len(left_out) == different:
        return _told(left_out, different)
    network = network_of(arguments, "resnet50" if photos else "demo", arguments.device)
    with writable_folder(Path(arguments.output)) as folder, _page(arguments) as page:
        each = explain_photos(
            network,
            photos or [demo_photo(regions=arguments.regions)],
            output=folder,
            target=_one_or_several(arguments.target) or "prediction",
            methods=methods,
            layer=_one_or_several(arguments.layer),
            regions=arguments.regions if photos else None,
            formats=formats,
            views=views,
            save_maps=arguments.save_maps,
        )
        left_out = _reported(arguments, each, len(formats), page)
    return _told(left_out, different)


def _reported(
    arguments: argparse.Namespace, each: Iterable[Explained], figures: int, page: Path | None
) -> dict[str, Exception]:
    """Say what was found as it comes, and write the page; return which photos were left out."""
    left_out: dict[str, Exception] = {}
    reports, shown = [], []
    for photo, found, files, error in each:
        if error is not None:
            left_out[photo] = error
        if found is None:
            continue
        several = found if isinstance(found, Explanations) else [found]
        reports += [one.to_dict() | {"figure": str(files[0])} for one in several]
        if page is not None:
            shown.append(found)
        if not arguments.json:
            say(f"{found}\n{'figure':<14}{', '.join(map(str, files[:figures]))}\n")
    if page is not None and shown:
        content = html_of(shown, made_by=arguments.command_line).encode()
        write_files(page.parent, {page.name: content})
        if not arguments.json:
            say(f"{'page':<14}{page}")
    if arguments.json and reports:
        say(json.dumps(reports, indent=2))
    return left_out


@contextmanager
def _page(arguments: argparse.Namespace) -> Iterator[Path | None]:
    """Return the file of the page, if one is wanted, in a folder that can be written to."""
    if arguments.html is None:
        yield None
        return
    page = Path(arguments.html)
    if page.is_dir():
        raise UsageError(f"--html {page} is a folder: name the file, such as {page / 'page.html'}")
    if page.suffix.casefold() not in (".html", ".htm"):  # which no photo and no report is called
        raise UsageError(f"--html {page} is not the name of a page, such as {page.stem}.html")
    with writable_folder(page.parent):
        yield page


def _until_one_opens(photos: Sequence[str], regions: str | None) -> dict[str, Exception]:
    """Return why the first photos cannot be used: before anything is downloaded."""
    why: dict[str, Exception] = {}
    for photo in photos:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the report says it
                open_photo(photo, regions=regions)
        except DataError as error:
            why[photo] = error
        else:
            break
    return why


def _told(left_out: Mapping[str, Exception], photos: int) -> int:
    """Say which of the photos were left out, those of one reason together; return the exit code."""
    command = f"{NAME} explain"
    together: dict[str, list[str]] = {}
    for photo, error in left_out.items():
        together.setdefault(str(error), []).append(photo)
    for reason, of in together.items():
        is_named = len(of) == photos or of[0] in reason
        which = "" if is_named else f"{', '.join(of[:_NAMED])}{', ...' * (len(of) > _NAMED)}: "
        complain(command, f"{which}{reason}", left_out[of[0]])
    if not left_out:
        return 0
    if len(left_out) == photos:
        return USAGE_ERROR
    complain(command, f"{len(left_out)} of {counted(photos, 'photo')} left out")
    return skipped()


def _one_or_several(asked: Sequence[str] | None) -> Any:
    """Return what an option was given, a list if it was given several times."""
    return asked[0] if asked and len(asked) == 1 else asked
