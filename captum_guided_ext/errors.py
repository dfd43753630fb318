"""The errors and warnings this package raises on purpose."""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import captum
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "DataError",
    "ModelError",
    "NoRectifierError",
    "OpaqueGraphError",
    "brief",
    "nearest",
    "warn_user",
]

_NOT_THE_USERS = tuple(
    str(Path(file).parent) + os.sep for file in (__file__, captum.__file__, torch.__file__) if file
)


class NoRectifierError(ValueError):
    """No rectifier lies between the outputs and the inputs, so the rule would change nothing.

    The map would be the plain gradient under another method's name.
    """


class OpaqueGraphError(ValueError):
    """A part of the autograd graph cannot be looked into, and a rectifier may hide there."""


class ModelError(ValueError):
    """A network, its weights, a layer, a target or a device that cannot be had, in one line."""


class DataError(ValueError):
    """Data or a folder of results that cannot be used: which, why, what to do, in one line."""


def nearest(name: str, names: Iterable[str]) -> str:
    """Return ``"; the nearest are ..."`` for a misspelled ``name``; nothing where none is near."""
    by_folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=3)
    return f"; the nearest are {', '.join(by_folded[n] for n in near)}" if near else ""


def brief(error: BaseException) -> str:
    """Return an error's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def warn_user(message: str) -> None:
    """Raise a ``UserWarning`` that points at the caller's own line.

    The first frame outside this package, Captum and torch is the user's, however many
    wrappers (``NoiseTunnel``, a decorator, a module's ``__call__``) lie between.
    """
    level, frame = 1, sys._getframe(0)  # noqa: SLF001 - inspect.stack() reads every source file
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level)
