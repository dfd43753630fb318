"""The command line: ``captum-guided explain`` and ``captum-guided benchmark``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from PIL import Image

from captum_guided_ext.attr import METHODS
from captum_guided_ext.demo import CATEGORIES, PictureWorld
from captum_guided_ext.errors import CaptumGuidedError, DataError, nearest
from captum_guided_ext.evaluation import (
    DEFAULT_METRICS,
    METRICS,
    LocalisationMetric,
    OtherProcessError,
    benchmark,
    local_rank,
)
from captum_guided_ext.explanation import DEFAULT_METHODS, explain
from captum_guided_ext.networks import Network, find_device, load_network
from captum_guided_ext.pictures import (
    DEMO_SEED,
    Mask,
    PreparedPictures,
    lay_regions,
    load_regions,
    open_data,
    open_picture,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    Regions = Mapping[str, Mask]

__all__ = ["main"]

_USAGE_ERROR = 2
_SKIPPED = 3
_FAILED = 1
_INTERRUPTED = 130


class _UsageError(CaptumGuidedError):
    """An option that does not go with the others."""


class _Parser(argparse.ArgumentParser):
    """Answers a mistake with one line that names it and the nearest valid names."""

    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE_ERROR, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options = [o for action in self._actions for o in action.option_strings]
        if self._subparsers is None:  # a mistyped option first, and only then what is missing
            for word in args or ():
                name = word.partition("=")[0]
                if name.startswith("--") and not any(o.startswith(name) for o in options):
                    self._refuse(name, options)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0], options)
        return known, unknown

    def _refuse(self, word: str, options: list[str]) -> NoReturn:
        self.error(f"there is no option {word!r}{nearest(word, options, otherwise=None)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0; 1 where another process of the run died; 2 for a mistake of the caller's; 3 where pictures of
    a data set could not be read and were left out.

    Args:
        argv: The arguments. Default: the process's own.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no check mark
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except CaptumGuidedError as error:
        _complain(arguments.command, error)
        return _USAGE_ERROR
    except OtherProcessError as error:
        _complain(arguments.command, error)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _complain(command: str, error: Exception) -> None:
    print(f"captum-guided {command}: {' '.join(str(error).split())}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="captum-guided",
        description="See which pixels a network's prediction rests on, and how far to believe it.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)
    _add_explain(commands)
    _add_benchmark(commands)
    return parser


def _add_network(add: Callable[..., Any], default: str) -> None:
    add(
        "--model",
        metavar="NAME",
        help=(
            "a torchvision classification network, 'demo', or MODULE:FACTORY for one of your own "
            f"(default: {default})"
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
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")


def _add_explain(commands: Any) -> None:
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
    _add_network(add, "resnet50 for a photo, demo without one")
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
    explain.set_defaults(run=_explain, command="explain")


def _add_benchmark(commands: Any) -> None:
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
            "0; 1 if another process died; 2 for a mistake; 3 if pictures were skipped."
        ),
    )
    add = parser.add_argument
    add(
        "--data",
        required=True,
        metavar="DATA",
        help=(
            "a folder of pictures, or of one folder per class; 'demo', the pictures that come "
            "along; or idx:IMAGES,LABELS for files as MNIST's"
        ),
    )
    add(
        "--masks",
        metavar="FOLDER",
        help="a PNG for each picture, of the same path and size, not black where the object is",
    )
    add("--output", required=True, metavar="FOLDER", help="where rows, summary and figure go")
    _add_network(add, "demo for --data demo, else resnet50")
    add(
        "--target",
        metavar="CLASS",
        help=(
            "the class to explain: label, prediction or top1, top2, ... (default: label where the "
            "data has labels, else prediction)"
        ),
    )
    add("--methods", metavar="NAME,...", help=f"{', '.join(METHODS)} (default: all)")
    add(
        "--metrics",
        metavar="NAME,...",
        help=f"{', '.join(METRICS)} (default: {', '.join(DEFAULT_METRICS)})",
    )
    add(
        "--samples",
        type=_count,
        default=10,
        metavar="N",
        help="perturbed inputs of each picture, for each metric (default: %(default)s)",
    )
    add("--limit", type=_count, metavar="N", help="only the first N pictures (default: all)")
    add("--seed", type=int, default=0, metavar="S", help="of all randomness (default: %(default)s)")
    add(
        "--batch-size",
        type=_count,
        default=8,
        metavar="B",
        help="pictures at a time (default: %(default)s)",
    )
    add(
        "--max-examples",
        type=_count,
        default=32,
        metavar="N",
        help="perturbed pictures in memory at a time (default: %(default)s)",
    )
    parser.set_defaults(run=_benchmark, command="benchmark")


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _explain(arguments: argparse.Namespace) -> int:
    asked = arguments.methods
    methods = DEFAULT_METHODS if asked is None else _names(asked, "method", METHODS)
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
            figure, _ = explanation.save(folder, stem=stem)
            reports.append(explanation.to_dict() | {"figure": str(figure)})
            if not arguments.json:
                print(explanation)
                print(f"{'figure':<14}{figure}\n")
    if arguments.json:
        print(json.dumps(reports if len(reports) > 1 else reports[0], indent=2))
    return 0


def _benchmark(arguments: argparse.Namespace) -> int:
    methods = _names(arguments.methods or ",".join(METHODS), "method", METHODS)
    metrics = _names(arguments.metrics or ",".join(DEFAULT_METRICS), "metric", METRICS)
    if arguments.seed < 0:
        raise _UsageError(f"--seed must not be negative, and is {arguments.seed}")
    pictures = open_data(arguments.data, masks=arguments.masks, limit=arguments.limit)
    target = arguments.target or ("label" if pictures.labels else "prediction")
    localised = [name for name in metrics if name in LocalisationMetric().names]
    if localised and arguments.data != "demo" and arguments.masks is None:
        raise _UsageError(f"--metrics {localised[0]} needs to know where the object is: --masks")
    network = load_network(
        arguments.model or ("demo" if arguments.data == "demo" else "resnet50"),
        weights=arguments.weights,
        checkpoint=arguments.checkpoint,
        device=_device(arguments.device),
    )
    found = benchmark(
        network,
        PreparedPictures(pictures, network, use_labels=target == "label"),
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
    )
    if found is None:
        return 0
    print(found)
    return _SKIPPED if found.skipped else 0


def _device(name: str) -> str:
    """Give each process of one machine a GPU of its own."""
    device = find_device(name)
    is_one_of_many = str(device) == "cuda" and "LOCAL_RANK" in os.environ
    return f"cuda:{local_rank()}" if is_one_of_many else str(device)


def _names(text: str, kind: str, known: Collection[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in known:
            near = nearest(name, known, otherwise=None)
            raise _UsageError(f"--{kind}s: no {kind} is called {name!r}{near}")
    return list(dict.fromkeys(names))


def _open(path: Path) -> Image.Image:
    try:
        return open_picture(path)
    except FileNotFoundError:
        beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        near = nearest(path.name, beside)
        raise DataError(f"there is no picture {path}{near}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read as a picture: {error}") from None


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
    picture = PictureWorld(1, seed=DEMO_SEED)[0]
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
