"""Where a result comes from: versions, and what a model, data, a method or a metric is.

The same words and digests stand for the same settings, in whatever process.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from types import CodeType, FunctionType
from typing import Any

import captum
import torch
from captum.attr import Attribution
from torch import Tensor, nn

_OF_THE_MODEL = ("forward_func", "model")  # what an attribution explains is said once, not here
_DIGITS = 12


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
    show it; what a callable object or a local function keeps elsewhere is not seen.
    """
    if isinstance(value, functools.partial):
        given = [described(one) for one in value.args]
        given += [f"{name}={described(one)}" for name, one in sorted(value.keywords.items())]
        return f"{described(value.func)}({', '.join(given)})"
    if isinstance(owner := getattr(value, "__self__", None), Attribution):
        return f"{described(owner)}.{value.__name__}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return f"{type(value).__name__}({_named(fields)})"
    if isinstance(value, Attribution):
        return _attribution(value)
    return _plain(value)


def bytes_of(values: Tensor) -> bytes:
    """Return the bytes of a tensor, whatever its type, shape and device."""
    flat = values.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _plain(value: Any) -> str:
    if isinstance(value, Tensor):
        digest = hashlib.sha256(bytes_of(value)).hexdigest()[:_DIGITS]
        return f"tensor{tuple(value.shape)} {digest}"
    if isinstance(value, (list, tuple, dict)):
        parts = value.items() if isinstance(value, dict) else value
        return f"[{', '.join(map(described, parts))}]"
    if isinstance(value, FunctionType):
        return _function(value)
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    if isinstance(value, nn.Module) or " at 0x" in text:
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return text


def _attribution(value: Attribution) -> str:
    held = {name: one for name, one in vars(value).items() if name not in _OF_THE_MODEL}
    model = value.forward_func
    if isinstance(model, nn.Module):
        names = {id(module): name for name, module in model.named_modules()}
        held = {name: names.get(id(one), one) for name, one in held.items()}
    return f"{type(value).__module__}.{type(value).__qualname__}({_named(held)})"


def _named(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={described(values[name])}" for name in sorted(values))


def _function(value: FunctionType) -> str:
    name = f"{value.__module__}.{value.__qualname__}"
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    simple = [one for one in cells if isinstance(one, (bool, int, float, str, Tensor))]
    inner = [code_of(one.__code__) for one in cells if isinstance(one, FunctionType)]
    shown = (code_of(value.__code__), inner, described(simple), described(value.__defaults__ or ()))
    return f"{name} {hashlib.sha256(repr(shown).encode()).hexdigest()[:_DIGITS]}"


def code_of(code: CodeType) -> list[Any]:
    """Return what a function's code does, without where it is written."""
    return [code.co_code, code.co_names, [_constant(one) for one in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return code_of(value)
    if isinstance(value, frozenset):  # whose order is another one in each process
        return sorted(map(repr, value))
    return repr(value)
