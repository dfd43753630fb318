"""Where a result comes from: versions, and what a model, data, a method or a metric is.

The same words and digests stand for the same settings, in whatever process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType, MethodType
from typing import Any

import captum
import numpy as np
import torch
from captum.attr import Attribution
from torch import Tensor, nn

from captum_guided_ext.output._model_identity import (
    bytes_of,
    digest_of_value,
    is_known,
    name_of,
)

_OF_THE_MODEL = ("forward_func", "model")  # what an attribution explains is said once, not here
_DIGITS = 12
_OURS = "captum_guided_ext."  # whose version is said


def package_version() -> str:
    """Return this package's version, as it was installed."""
    try:
        return version("captum-guided-ext")
    except PackageNotFoundError:  # a copy of the files that was never installed
        return "unknown"


def versions() -> dict[str, str]:
    """Return the versions that numbers depend on."""
    return {
        "captum_guided_ext": package_version(),
        "captum": captum.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def identity_of_data(data: Any) -> dict[str, Any]:
    """Return what data is: what its ``describe()`` says, else its kind."""
    describe = getattr(data, "describe", None)
    said: dict[str, Any] = describe() if describe else {"description": described(type(data))}
    return said


def described(value: Any) -> str:
    """Return a value in words without a memory address, settings it holds included.

    Two values of other settings have other words, as far as their attributes, tensors and code
    show it. Of somebody's own functions and objects, and of modules, a digest stands for what they
    hold and what they are made of, as :func:`identity_of_model` sees it.
    """
    if isinstance(value, functools.partial):
        given = [described(one) for one in value.args]
        given += [f"{name}={described(one)}" for name, one in sorted(value.keywords.items())]
        return f"{described(value.func)}({', '.join(given)})"
    if isinstance(owner := getattr(value, "__self__", None), Attribution):
        return f"{described(owner)}.{value.__name__}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        known = is_known(kind) or kind.__module__.startswith(_OURS)
        code = "" if known else f" {digest_of_value(kind)}"
        return f"{kind.__name__}({_named(fields)}){code}"
    if isinstance(value, Attribution):
        return _attribution(value)
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, (Tensor, np.ndarray)):
        content = bytes_of(value) if isinstance(value, Tensor) else value.tobytes()
        digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
        return f"{'tensor' if isinstance(value, Tensor) else 'array'}{tuple(value.shape)} {digest}"
    if isinstance(value, (list, tuple, dict)):
        parts = value.items() if isinstance(value, dict) else value
        return f"[{', '.join(map(described, parts))}]"
    is_object = hasattr(value, "__dict__") and not isinstance(value, type)
    if isinstance(value, (FunctionType, MethodType, nn.Module)) or (
        is_object and not is_known(type(value))
    ):
        return f"{name_of(value)} {digest_of_value(value)}"
    return name_of(value)


def _attribution(value: Attribution) -> str:
    held = {name: one for name, one in vars(value).items() if name not in _OF_THE_MODEL}
    model = value.forward_func
    if isinstance(model, nn.Module):
        names = {id(module): name for name, module in model.named_modules()}
        held = {name: names.get(id(one), one) for name, one in held.items()}
    return f"{type(value).__module__}.{type(value).__qualname__}({_named(held)})"


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={described(values[name])}" for name in sorted(values))
