"""The command line, ``captum-guided``: one file a command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from captum_guided_ext.cli import _benchmark, _explain, _summarize
from captum_guided_ext.cli._parser import USAGE_ERROR, Parser
from captum_guided_ext.errors import CaptumGuidedError, OtherProcessError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]

_FAILED = 1
_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0; 1 where another process of the run died; 2 for a mistake of the caller's; 3 where pictures of
    a data set could not be read and were left out.

    Args:
        argv: The arguments. Default: the process's own.
    """
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no check mark
    arguments = _commands().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except CaptumGuidedError as error:
        _complain(arguments.command, error)
        return USAGE_ERROR
    except OtherProcessError as error:
        _complain(arguments.command, error)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _complain(command: str, error: Exception) -> None:
    print(f"captum-guided {command}: {' '.join(str(error).split())}", file=sys.stderr)


def _commands() -> Parser:
    parser = Parser(
        prog="captum-guided",
        description="See which pixels a network's prediction rests on, and how far to believe it.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=Parser)
    for command in (_explain, _benchmark, _summarize):
        command.add_command(commands)
    return parser
