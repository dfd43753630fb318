"""The errors and warnings this package raises on purpose."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import captum
import torch

__all__ = ["NoRectifierError", "OpaqueGraphError", "warn_user"]

_NOT_THE_USERS = tuple(
    str(Path(file).parent) for file in (__file__, captum.__file__, torch.__file__) if file
)


class NoRectifierError(ValueError):
    """No rectifier lies between the outputs and the inputs, so the rule would change nothing.

    The map would be the plain gradient under another method's name.
    """


class OpaqueGraphError(ValueError):
    """A part of the autograd graph cannot be looked into, and a rectifier may hide there."""


def warn_user(message: str) -> None:
    """Raise a ``UserWarning`` that points at the caller's own line.

    The first frame outside this package, Captum and torch is the user's, however many
    wrappers (``NoiseTunnel``, a decorator, a module's ``__call__``) lie between.
    """
    level, frame = 1, sys._getframe(0)  # noqa: SLF001 - inspect.stack() reads every source file
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
