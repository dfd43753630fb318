"""The errors and warnings this package raises on purpose.

::

    ValueError
    └── CaptumGuidedError         a mistake that the caller can fix; the message says how
        ├── NoRectifierError      the rule would change nothing on this network
        ├── OpaqueGraphError      a rectifier may hide where nobody can look
        ├── ModelError            a network, its weights, a layer, a target or a device
        │   ├── OutputError       what a model returned; Python's TypeError too
        │   └── TargetError       a target or a neuron; Captum's AssertionError too
        │       └── TargetRangeError  out of range; Captum's IndexError too
        ├── DataError             inputs, pictures, regions, data sets, folders of results
        └── CaptumVersionError    an installed Captum that lacks something
    RuntimeError
    └── OtherProcessError         another process of a run has failed, and says why itself
"""

from __future__ import annotations

import difflib
import functools
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import captum
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

__all__ = [
    "CaptumGuidedError",
    "CaptumVersionError",
    "DataError",
    "ModelError",
    "NoRectifierError",
    "OpaqueGraphError",
    "OtherProcessError",
    "OutputError",
    "TargetError",
    "TargetRangeError",
    "brief",
    "is_lack_of_memory",
    "nearest",
    "users_line",
    "warn_user",
]

_NOT_THE_USERS = (
    *(str(Path(file).parent) + os.sep for file in (__file__, captum.__file__, torch.__file__)),
    functools.__file__,  # where a cached property is asked for
)


class CaptumGuidedError(ValueError):
    """A mistake that the caller can fix. The message names it and says what to do."""


class NoRectifierError(CaptumGuidedError):
    """No rectifier lies between the outputs and the inputs, so the rule would change nothing.

    The map would be the plain gradient under another method's name.
    """


class OpaqueGraphError(CaptumGuidedError):
    """A part of the autograd graph cannot be looked into, and a rectifier may hide there."""


class ModelError(CaptumGuidedError):
    """A network, its weights, a layer, a target or a device that is not there or does not fit."""


class OutputError(ModelError, TypeError):
    """What a model returned holds no tensor that can be explained; a ``TypeError`` too."""


class TargetError(ModelError, AssertionError):
    """A target or a neuron that is missing or does not fit; Captum raises ``AssertionError``."""


class TargetRangeError(TargetError, IndexError):
    """A target or a neuron that is out of range, for which Captum raises ``IndexError``."""


class DataError(CaptumGuidedError):
    """Inputs, pictures, regions, a data set or a folder of results that cannot be used."""


class CaptumVersionError(CaptumGuidedError):
    """The installed Captum lacks a part that is needed here."""


class OtherProcessError(RuntimeError):
    """Another process of the run has failed; what failed is said by that one."""


def nearest(name: str, names: Iterable[str], *, otherwise: int | None = 0) -> str:
    """Return ``"; the nearest is ..."``, or several, for a misspelled ``name``.

    Args:
        name: What was asked for.
        names: What there is.
        otherwise: Where none is near, name this many of them, ``"; choose from ..."``; None names
            all of them. Default: 0, an empty text.
    """
    by_folded = {known.casefold(): known for known in names}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=3)
    if near:
        verb = "is" if len(near) == 1 else "are"
        return f"; the nearest {verb} {', '.join(by_folded[n] for n in near)}"
    known = list(by_folded.values())
    shown = known[:otherwise]
    words = "choose from" if len(shown) == len(known) else "the first are"
    return f"; {words} {', '.join(shown)}" if shown else ""


def brief(error: BaseException) -> str:
    """Return an error's kind and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def is_lack_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory was lacking, of a GPU or of the machine."""
    is_torchs = isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in str(
        error
    )
    return isinstance(error, MemoryError) or is_torchs


def warn_user(message: str) -> None:
    """Raise a ``UserWarning`` that points at the caller's own line.

    The first frame outside this package, Captum and torch is the user's, however many
    wrappers (``NoiseTunnel``, a decorator, a module's ``__call__``) lie between.
    """
    level, _ = _users_frame()
    warnings.warn(message, UserWarning, stacklevel=level)


def users_line() -> str:
    """Return the caller's own line, which :func:`warn_user` points at, as ``"model.py:12"``."""
    _, frame = _users_frame()
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"


def _users_frame() -> tuple[int, FrameType]:
    """Return the user's frame, and how many frames it lies above the caller of this function."""
    level, frame = 0, sys._getframe(0)  # noqa: SLF001 - inspect.stack() reads every source file
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        level, frame = level + 1, frame.f_back
    return level, frame
