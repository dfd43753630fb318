"""What the commands have in common: how mistakes are answered, and the options of a network."""

from __future__ import annotations

import argparse
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from captum_guided_ext.attr import METHODS
from captum_guided_ext.benchmarking import local_rank
from captum_guided_ext.cli._terminal import fit
from captum_guided_ext.errors import CaptumGuidedError, nearest
from captum_guided_ext.methods import ALL_METHODS, CAPTUM_METHODS
from captum_guided_ext.networks import INTERPOLATIONS, find_device, load_network

if TYPE_CHECKING:
    from collections.abc import Collection

    from captum_guided_ext.networks import Network

USAGE_ERROR = 2  # an exit code
SEVERAL = "; given several times: side by side in one figure"
_PREPROCESSING = ("size", "crop", "interpolation", "mean", "std")


def check_output(output: str, data: str) -> None:
    """Raise if the results would lie among the pictures."""
    if Path(output).resolve() == Path(data).resolve():
        raise UsageError(
            f"--output {output} is the folder of the pictures, of which the figure would be one "
            "when the run goes on: name another"
        )


def skipped() -> int:
    """Return the exit code where pictures were left out: under torchrun, 3 would be a failure."""
    return 0 if {"WORLD_SIZE", "TORCHELASTIC_RUN_ID"} & os.environ.keys() else 3


def own_device(name: str) -> str:
    """Give each process of one machine a GPU of its own."""
    device = find_device(name)
    is_one_of_many = str(device) == "cuda" and "LOCAL_RANK" in os.environ
    return f"cuda:{local_rank()}" if is_one_of_many else str(device)


class UsageError(CaptumGuidedError):
    """An option that does not go with the others."""


class Parser(argparse.ArgumentParser):
    """Answers a mistake with one line that names it and the nearest valid names."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._negative_number_matcher = re.compile(r"-[\d.]")  # "-1,0,1" is no option either

    def error(self, message: str) -> NoReturn:
        line = fit(" ".join(message.split()))
        self.exit(USAGE_ERROR, f"{self.prog}: {line} (see {self.prog} --help)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        options = [o for action in self._actions for o in action.option_strings]
        for word in args or ():  # a mistyped option first, and only then what is missing
            name, is_given, value = word.partition("=")
            if not name or (is_given and not value and name.startswith("--")):
                where = f" of {name}" if name else ""
                self.error(f"the value{where} is empty: a variable of the shell that is not set?")
            if name == "--" or (self._subparsers is not None and not name.startswith("-")):
                break
            if name.startswith("--") and not any(o.startswith(name) for o in options):
                self._refuse(name, options)
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self._refuse(unknown[0], options)
        return known, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = nearest(str(value), action.choices, otherwise=None)
            self.error(f"there is no {str(action.metavar).lower()} {value!r}{near}")

    def _refuse(self, word: str, options: list[str]) -> NoReturn:
        if not word.startswith("-"):
            self.error(f"there is no place for {word!r}")
        if Path(word).exists():
            self.error(f"there is no option {word!r}; the file of that name is ./{word}")
        self.error(f"there is no option {word!r}{nearest(word, options, otherwise=None)}")


def add_network(parser: argparse.ArgumentParser, default: str, *, layers: bool = False) -> None:
    """Add the options that say which network it is, and what it takes.

    Args:
        parser: The command's.
        default: Which network it is otherwise, in words.
        layers: Whether there may be several of Grad-CAM's.
    """
    add = parser.add_argument_group("network").add_argument
    add(
        "--model",
        metavar="NAME",
        help=(
            "a classification network of torchvision, timm:NAME, hf:NAME_OR_FOLDER, demo, or "
            f"MODULE:FACTORY for one of your own (default: {default})"
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
        "--classes",
        metavar="FILE",
        help="what the classes are called: one name a line, or JSON",
    )
    add(
        "--layer",
        action="append" if layers else "store",
        metavar="NAME",
        help=(
            "Grad-CAM's layer, its dotted name as in model.named_modules() (default: the last "
            f"feature map){SEVERAL if layers else ''}"
        ),
    )
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or mps (default: auto)")
    add = parser.add_argument_group(
        "preprocessing",
        "How a picture becomes the network's input, part by part in place of what it is known for.",
    ).add_argument
    add(
        "--size",
        type=_size,
        metavar="PIXELS",
        help="resize the shorter side to this, or the picture to H,W",
    )
    add("--crop", type=_size, metavar="PIXELS", help="then cut a square from the centre, or H,W")
    add(
        "--interpolation",
        metavar="NAME",
        help=f"how it is resized: {', '.join(INTERPOLATIONS)}",
    )
    add(
        "--mean",
        type=_per_channel,
        metavar="R,G,B",
        help="subtracted from pixels in [0, 1]; one number stands for all channels",
    )
    add("--std", type=_per_channel, metavar="R,G,B", help="what that is divided by; likewise")


def add_run(parser: argparse.ArgumentParser, *, batch_size: int) -> None:
    """Add the options of a run over pictures: by which methods, how many, and from which seed."""
    add = parser.add_argument
    add(
        "--methods",
        default=",".join(METHODS),
        metavar="NAME,...",
        help=f"{', '.join(METHODS)} (default: these), {', '.join(CAPTUM_METHODS)}",
    )
    add("--limit", type=count, metavar="N", help="only the first N pictures (default: all)")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="S",
        help="seed of all random numbers (default: %(default)s)",
    )
    add(
        "--batch-size",
        type=count,
        default=batch_size,
        metavar="B",
        help="pictures at a time (default: %(default)s)",
    )


def methods_of(arguments: argparse.Namespace) -> list[str]:
    """Return the methods that a run asks for.

    Raises:
        UsageError: for one that is not known, or a seed that is negative.
    """
    if arguments.seed < 0:
        raise UsageError(f"--seed must not be negative, and is {arguments.seed}")
    return names(arguments.methods, "--methods", "method", ALL_METHODS)


def network_of(arguments: argparse.Namespace, default: str, device: str) -> Network:
    """Return the network that the options ask for."""
    asked = {name: getattr(arguments, name) for name in _PREPROCESSING}
    return load_network(
        arguments.model or default,
        weights=arguments.weights,
        checkpoint=arguments.checkpoint,
        device=device,
        overrides={name: value for name, value in asked.items() if value is not None},
        classes=arguments.classes and Path(arguments.classes),
    )


def _size(text: str) -> int | tuple[int, int]:
    sides = text.split(",")
    if len(sides) > 2:  # noqa: PLR2004 - height and width
        raise argparse.ArgumentTypeError(f"{text!r} must be one number of pixels, or two: H,W")
    height, width = count(sides[0]), count(sides[-1])
    return height if len(sides) == 1 else (height, width)


def _per_channel(text: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(one) for one in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be one number, or one for each of R,G,B with commas between"
        )
    return numbers


def count(text: str) -> int:
    """Return an option's number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def names(text: str, option: str, kind: str, known: Collection[str]) -> list[str]:
    """Return the names that an option lists, each once.

    Raises:
        UsageError: for a name that is not known.
    """
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in known:
            near = nearest(name, known, otherwise=None)
            raise UsageError(f"{option}: no {kind} is called {name!r}{near}")
    return list(dict.fromkeys(asked))
