"""What is said to a terminal: every character it has, and nothing that moves its cursor."""

from __future__ import annotations

import codecs
import os
import re
import sys
import traceback
from contextlib import suppress

from captum_guided_ext._program import NAME
from captum_guided_ext.errors import DataError
from captum_guided_ext.output import UNPRINTABLE

WITH_TRACEBACK = "CAPTUM_GUIDED_TRACEBACK"  # in the environment

_UNFIT = re.compile(rf"[\t{UNPRINTABLE}]")
_SPELLED = {"✔": "+", "✖": "-", "·": "|", "×": "x", "−": "-", "…": "..."}


def set_up() -> None:
    """Let the standard streams spell what their encoding lacks."""
    codecs.register_error(NAME, _spelled)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=NAME)


def say(what: object) -> None:
    """Print to standard output, now.

    Raises:
        BrokenPipeError: if nobody reads it any more.
        DataError: if it cannot be written to.
    """
    try:
        print(fit(str(what)), flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise DataError(f"standard output cannot be written to: {error.strerror}") from error


def complain(command: str, message: str, error: Exception | None = None) -> None:
    """Print one line to standard error, and the traceback of an error if that is wanted.

    Where nobody reads it, nothing is to be done.
    """
    with suppress(OSError):
        if error is not None and os.environ.get(WITH_TRACEBACK):
            traceback.print_exception(error)
        print(f"{command}: {fit(' '.join(message.split()))}", file=sys.stderr, flush=True)


def fit(text: str) -> str:
    r"""Write out what a terminal would obey, such as ``"\x1b"``; the ends of lines stay."""
    return _UNFIT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def let_go() -> None:
    """Let Python end without a word about a stream that nobody reads any more."""
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _spelled(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_SPELLED.get(character, "?") for character in lacking), error.end
