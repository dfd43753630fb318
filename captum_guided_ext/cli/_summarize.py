"""``captum-guided summarize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from captum_guided_ext.benchmarking import summarize
from captum_guided_ext.cli._parser import UsageError
from captum_guided_ext.cli._terminal import say

if TYPE_CHECKING:
    import argparse


def add_command(commands: Any) -> None:
    """Add the command to a parser's commands."""
    parser = commands.add_parser(
        "summarize",
        help="read what benchmark wrote, without the network: tables and figure again",
        description=(
            "Read the folders that benchmark wrote to, finished or not, without the network and "
            "the data. Several folders of one setting, with other seeds or other weights, are put "
            "together: means over the runs, with an interval over them."
        ),
        epilog="example: captum-guided summarize seed-0 seed-1 seed-2 --output together",
    )
    add = parser.add_argument
    add("folders", nargs="+", metavar="FOLDER", help="a folder that benchmark wrote to")
    add("--output", metavar="FOLDER", help="where tables and figure go (default: only printed)")
    add("--parquet", metavar="FILE", help="write the rows there as well, as a Parquet file")
    parser.set_defaults(run=_run, command="summarize")


def _run(arguments: argparse.Namespace) -> int:
    found = summarize(*arguments.folders)
    say(found)
    if arguments.output is not None:
        files = found.save(arguments.output)
        say(f"\n{', '.join(file.name for file in files)} are in {arguments.output}")
    if arguments.parquet is not None:
        try:
            found.to_parquet(arguments.parquet)
        except (ImportError, OSError) as error:
            raise UsageError(f"--parquet {arguments.parquet}: {error}") from error
    return 0
