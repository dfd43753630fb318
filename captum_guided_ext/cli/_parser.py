"""What the commands have in common: how mistakes are answered, and the options of a network."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from captum_guided_ext.cli._terminal import fit
from captum_guided_ext.errors import CaptumGuidedError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

USAGE_ERROR = 2  # exit codes
SKIPPED = 3


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
            name = word.partition("=")[0]
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


def add_network(add: Callable[..., Any], default: str) -> None:
    """Add the options that say which network it is; ``default`` says it in words."""
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


def count(text: str) -> int:
    """Return an option's number, 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 1 or more")
    return int(text)


def names(text: str, kind: str, known: Collection[str]) -> list[str]:
    """Return the names that an option lists, each once.

    Raises:
        UsageError: for a name that is not known.
    """
    asked = [name.strip() for name in text.split(",")]
    for name in asked:
        if name not in known:
            near = nearest(name, known, otherwise=None)
            raise UsageError(f"--{kind}s: no {kind} is called {name!r}{near}")
    return list(dict.fromkeys(asked))
