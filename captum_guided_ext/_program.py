"""Ctrl-C while ``captum-guided`` loads torch, which takes seconds: one line, as it is later.

The package's ``__init__`` imports this first. Where Python was not started to be ``captum-guided``,
nothing is done.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

NAME = "captum-guided"
INTERRUPTED = 130  # the exit code: 128 and the number of the signal, as shells say it


def _is_this_program() -> bool:
    started = Path(sys.argv[0]).stem if sys.argv and sys.argv[0] else ""
    # While Python looks for the module of -m, that is all the arguments say.
    return started == NAME or (started == "-m" and "captum_guided_ext" in sys.orig_argv)


def _end(_signal: int, _frame: object) -> NoReturn:
    os.write(2, f"{NAME}: stopped by Ctrl-C\n".encode())
    os._exit(INTERRUPTED)  # there is nothing yet to put in order


def loaded() -> None:
    """From now on Ctrl-C raises ``KeyboardInterrupt``."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if (
    _is_this_program()
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _end)
