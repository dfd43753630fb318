"""The command line, ``captum-guided``: one file a command."""

from __future__ import annotations

import shlex
import sys
import traceback
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_guided_ext._program import INTERRUPTED, NAME, loaded
from captum_guided_ext.cli import _benchmark, _explain, _sanity, _summarize
from captum_guided_ext.cli._parser import USAGE_ERROR, Parser
from captum_guided_ext.cli._terminal import WITH_TRACEBACK, complain, let_go, set_up
from captum_guided_ext.errors import CaptumGuidedError, OtherProcessError, brief
from captum_guided_ext.output import versions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_FAILED = 1
_NOBODY_READS = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0; 1 where another process of the run died, or for a mistake in this package; 2 for a mistake of
    the caller's; 3 where pictures were left out that could not be used; 130 after Ctrl-C; 141 where
    nobody reads the output any more. An error is one line on standard error; with
    ``CAPTUM_GUIDED_TRACEBACK`` in the environment its traceback as well, such as that of a network
    of one's own.

    Args:
        argv: The arguments. Default: the process's own.
    """
    loaded()
    set_up()
    try:
        return _ended(sys.argv[1:] if argv is None else argv)
    except BrokenPipeError:
        return _NOBODY_READS
    finally:
        let_go()


def _ended(argv: Sequence[str]) -> int:
    parser = _commands()
    command, hint = NAME, ""
    try:
        if not argv:
            parser.print_help(sys.stderr)
            return USAGE_ERROR
        arguments = parser.parse_args(argv)
        arguments.command_line = shlex.join([NAME, *argv])
        command, hint = f"{NAME} {arguments.command}", getattr(arguments, "stopped", "")
        with warnings.catch_warnings():
            warnings.showwarning = _said_once(command)
            code: int = arguments.run(arguments)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        complain(command, f"stopped by Ctrl-C{hint}")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - nothing may reach the user as a traceback
        if isinstance(error, CaptumGuidedError):
            complain(command, str(error), error)
            return USAGE_ERROR
        is_told = isinstance(error, OtherProcessError)
        complain(command, str(error) if is_told else _bug(error), error)
        return _FAILED
    return code


def _said_once(command: str) -> Callable[..., None]:
    said: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in said:
            said.add(str(message))
            complain(command, f"warning: {message}")

    return show


def _bug(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return (
        f"internal error: {brief(error)}{where}: please report it, with what {WITH_TRACEBACK}=1 "
        "in the environment adds to this line"
    )


def _commands() -> Parser:
    parser = Parser(
        prog=NAME,
        description="See which pixels a network's prediction rests on, and how far to believe it.",
    )
    made_by = versions()
    own = made_by.pop("captum_guided_ext")
    others = ", ".join(f"{name} {version}" for name, version in made_by.items())
    parser.add_argument("--version", action="version", version=f"{NAME} {own} ({others})")
    commands: Any = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for command in (_explain, _sanity, _benchmark, _summarize):
        command.add_command(commands)
    return parser
