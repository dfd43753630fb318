"""The command line: ``captum-guided explain``."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image, ImageOps, UnidentifiedImageError

from captum_guided_ext.demo import CATEGORIES, PictureWorld
from captum_guided_ext.errors import ModelError, NoRectifierError, OpaqueGraphError
from captum_guided_ext.explanation import DEFAULT_METHODS, Explanation, explain
from captum_guided_ext.methods import METHODS
from captum_guided_ext.models import Network, load_network
from captum_guided_ext.region_files import RegionError, load_regions
from captum_guided_ext.regions import Mask, lay_regions
from captum_guided_ext.report import text_report
from captum_guided_ext.visualization import draw_explanation, save_figure, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Regions = Mapping[str, Mask]

__all__ = ["main"]

_USAGE_ERROR = 2
_INTERRUPTED = 130
_DEMO_SEED = 2026  # of the world the embedded picture is drawn from; training saw other seeds


class _UsageError(Exception):
    """Something the user can mend, in one line."""


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one line that names it and the nearest valid names."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            options = [o for action in self._actions for o in action.option_strings]
            self.error(f"there is no option {unknown[0]!r}{_choices(unknown[0], options)}")
        return known, unknown


def _choices(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(names), n=3, cutoff=0.4) or names
    return f"; choose from {', '.join(near)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 for a mistake of the caller's.

    Args:
        argv: The arguments. Default: the process's own.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no check mark
    arguments = _parser().parse_args(argv)
    mistakes = (_UsageError, ModelError, RegionError, NoRectifierError, OpaqueGraphError)
    try:
        _explain(arguments)
    except mistakes as error:
        print(f"captum-guided explain: {' '.join(str(error).split())}", file=sys.stderr)
        return _USAGE_ERROR
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="captum-guided",
        description="See which pixels a network's prediction rests on, and how far to believe it.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
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
    add(
        "--model",
        metavar="NAME",
        help=(
            "a torchvision classification network, 'demo', or MODULE:FACTORY for one of your own "
            "(default: resnet50 for a photo, demo without one)"
        ),
    )
    add(
        "--weights",
        default="DEFAULT",
        metavar="NAME",
        help="which of torchvision's weights for the network (default: %(default)s)",
    )
    add("--checkpoint", metavar="FILE", help="a local state_dict instead of a download")
    add(
        "--layer",
        metavar="NAME",
        help="Grad-CAM's layer, dotted (default: the last feature map)",
    )
    add(
        "--target",
        default="top1",
        metavar="CLASS",
        help="the class to explain: a name, an index, top1, top2, ... (default: %(default)s)",
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
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    return parser


def _explain(arguments: argparse.Namespace) -> None:
    asked = arguments.methods
    methods = DEFAULT_METHODS if asked is None else _methods(asked)
    if not arguments.images and arguments.model not in (None, "demo"):
        raise _UsageError(f"--model {arguments.model} needs a photo to look at: name one")
    photos = [(Path(name), _open(Path(name))) for name in arguments.images]
    with _output_folder(Path(arguments.output)) as folder:
        network = load_network(
            arguments.model or ("resnet50" if photos else "demo"),
            weights=arguments.weights,
            checkpoint=arguments.checkpoint,
            device=arguments.device,
        )
        cases = [
            (path.name, image, _regions(arguments.regions, network, path, image))
            for path, image in photos
        ]
        cases = cases or [_demo_case(arguments.regions, network)]
        reports = []
        for (name, image, regions), stem in zip(cases, _stems(cases), strict=True):
            explanation = explain(
                network,
                image,
                name=name,
                target=arguments.target,
                methods=methods,
                layer=arguments.layer,
                regions=regions,
            )
            figure = _write(explanation, folder, stem)
            reports.append(explanation.to_dict() | {"figure": str(figure)})
            if not arguments.json:
                print(text_report(explanation))
                print(f"{'figure':<14}{figure}\n")
    if arguments.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))


def _methods(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in METHODS:
            raise _UsageError(f"--methods: no method is called {name!r}{_choices(name, METHODS)}")
    return list(dict.fromkeys(names))


def _open(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, beside, n=3)
        hint = f"; there is {', '.join(near)}" if near else ""
        raise _UsageError(f"no such picture: {path}{hint}") from None
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise _UsageError(f"{path} cannot be read as a picture: {error}") from None


@contextmanager
def _output_folder(path: Path) -> Iterator[Path]:
    """Make the folder before any work is done; take a new one away if nothing was written to it."""
    new = not path.exists()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _UsageError(f"--output {path} cannot be written to: {error.strerror}") from None
    try:
        yield path
    finally:
        if new and not any(path.iterdir()):
            path.rmdir()


def _regions(file: str | None, network: Network, path: Path, image: Image.Image) -> Regions | None:
    if file is None:
        return None
    masks = load_regions(file, image.size, file_name=path.name)
    return lay_regions(masks, network.lay_mask)


def _demo_case(file: str | None, network: Network) -> tuple[str, Image.Image, Regions | None]:
    picture = PictureWorld(1, seed=_DEMO_SEED)[0]
    name, image = CATEGORIES[picture.label], Image.fromarray(picture.image)
    return name, image, _regions(file, network, Path(name), image) or picture.masks


def _stems(cases: Sequence[tuple[str, Image.Image, Regions | None]]) -> list[str]:
    """Name the output of each picture; of two photos with one name the second is numbered."""
    stems: list[str] = []
    for name, *_ in cases:
        stem = Path(name).stem.replace(" ", "-")
        taken = sum(1 for other in stems if other == stem or other.startswith(f"{stem}-"))
        stems.append(f"{stem}-{taken + 1}" if stem in stems else stem)
    return stems


def _write(explanation: Explanation, folder: Path, stem: str) -> Path:
    figure = folder / f"{stem}.png"
    try:
        save_figure(draw_explanation(explanation), figure)
        write_whole(folder / f"{stem}.json", json.dumps(explanation.to_dict(), indent=2).encode())
    except OSError as error:
        raise _UsageError(f"{folder} cannot be written to: {error.strerror}") from None
    return figure
