"""What a model computes: its parts and their settings, its code, its parameters and buffers."""

from __future__ import annotations

import functools
import hashlib
import re
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = 16
_DIGITS_OF_VALUE = 12
_DEPTH = 4  # of objects in objects
_NOT_COVERED = (
    "numbers that modules hold as attributes, globals that are no modules or functions, what lies "
    "deeper than four objects, and code in C"
)
_SIMPLE = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
_NO_VALUE = re.compile(r"(, )?inplace=(True|False)| at 0x[0-9a-f]+")
_KNOWN = ("torch", "captum", "builtins", "numpy")  # their versions say what they are


def identity_of_model(model: Any, *, name: str = "", weights: str = "") -> dict[str, str]:
    """Return what a model is called, and digests of what it computes.

    Args:
        model: A module or any callable. Of a callable its code, what it holds and the modules and
            functions among its globals are known, four objects deep.
        name: What it is called. Default: its kind.
        weights: Where its parameters come from.

    Returns:
        ``digest`` is of parameters and buffers; ``structure`` of modules, their settings and
        whether they train, or of what a callable holds; ``code`` of the functions that are written
        in Python. ``not covered`` says in words what none of them sees.
    """
    seen = _Seen()
    seen.take(model, _DEPTH)
    return {
        "name": name or name_of(type(model)),
        "weights": weights,
        "digest": seen.tensors.hexdigest()[:_DIGITS],
        "structure": seen.structure.hexdigest()[:_DIGITS],
        "code": seen.code.hexdigest()[:_DIGITS],
        "not covered": _NOT_COVERED,
    }


class _Seen:
    """What was found of a model, in three digests."""

    def __init__(self) -> None:
        self.tensors, self.structure, self.code = (hashlib.sha256() for _ in range(3))
        self._taken: dict[int, Any] = {}  # kept alive, so that no other gets the same id

    def take(self, value: Any, depth: int) -> None:
        if isinstance(value, _SIMPLE):
            self._note(repr(value))
        elif id(value) in self._taken or depth < 0:
            self._note(type(value).__qualname__)
        else:
            self._taken[id(value)] = value
            self._take_new(value, depth)

    def _take_new(self, value: Any, depth: int) -> None:
        if isinstance(value, nn.Module):
            self._take_module(value, depth)
        elif isinstance(value, Tensor):
            self._take_tensor("", value)
        elif isinstance(value, np.ndarray):
            self.tensors.update(f"{value.dtype} {value.shape}".encode() + value.tobytes())
        elif isinstance(value, FunctionType):
            self._take_function(value, depth)
        elif isinstance(value, (MethodType, functools.partial)):
            parts = ("__func__", "__self__", "func", "args", "keywords")
            self._take_all(((part, getattr(value, part, None)) for part in parts), depth)
        elif isinstance(value, dict):
            self._take_all(((str(key), one) for key, one in value.items()), depth)
        elif isinstance(value, (list, tuple)):
            self._take_all((("", one) for one in value), depth)
        elif isinstance(value, type):
            self._take_class(value)
        elif isinstance(value, BuiltinFunctionType) or not hasattr(value, "__dict__"):
            self._note(name_of(value))
        else:
            self._take_class(type(value))
            self._take_all(sorted(vars(value).items()), depth - 1)

    def _take_all(self, named: Iterable[tuple[str, Any]], depth: int) -> None:
        for name, value in named:
            self._note(name)
            self.take(value, depth)

    def _take_module(self, root: nn.Module, depth: int) -> None:
        for name, module in root.named_modules():
            settings = _NO_VALUE.sub("", module.extra_repr())
            self._note(f"{name} {name_of(type(module))} {settings} {module.training}")
            self._take_class(type(module))
            if isinstance(code := getattr(module, "code", None), str):  # a script has its own
                self.code.update(code.encode())
            for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):  # noqa: SLF001
                self.take(hook, depth - 1)
            held = ((k, v) for k, v in sorted(vars(module).items()) if callable(v))
            for key, function in held:
                self._note(key)
                self.take(function, depth - 1)
        for name, values in (*root.named_parameters(), *root.named_buffers()):
            self._take_tensor(name, values)

    def _take_class(self, kind: type) -> None:
        self._note(f"{kind.__module__}.{kind.__qualname__}")
        functions = {"forward": getattr(kind, "forward", None)}
        for one in reversed(kind.__mro__):
            if not is_known(one):
                functions |= vars(one)
        for name, function in sorted(functions.items()):
            code = getattr(function, "__code__", None)
            if code is not None and name != "__init__":
                self.code.update(f"{name} {code_of(code)}".encode())
            elif isinstance(function, _SIMPLE) and not name.startswith("__"):
                self.code.update(f"{name} {function!r}".encode())

    def _take_function(self, function: FunctionType, depth: int) -> None:
        self._note(f"{function.__module__}.{function.__qualname__}")
        if is_known(function):
            return
        self.code.update(repr(code_of(function.__code__)).encode())
        self.take(function.__defaults__, depth - 1)
        self.take(function.__kwdefaults__, depth - 1)
        for cell in function.__closure__ or ():
            self.take(cell.cell_contents, depth - 1)
        for name in function.__code__.co_names:
            found = function.__globals__.get(name)
            if isinstance(found, (nn.Module, FunctionType)):
                self.take(found, depth - 1)

    def _take_tensor(self, name: str, values: Tensor) -> None:
        self.tensors.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        self.tensors.update(bytes_of(values))

    def _note(self, words: str) -> None:
        self.structure.update(f"{words}\n".encode())


def digest_of_value(value: Any) -> str:
    """Return 12 digits of all that :func:`identity_of_model` sees of any value."""
    seen = _Seen()
    seen.take(value, _DEPTH)
    parts = (seen.tensors, seen.structure, seen.code)
    return hashlib.sha256(b"".join(one.digest() for one in parts)).hexdigest()[:_DIGITS_OF_VALUE]


def is_known(value: Any) -> bool:
    """Return whether a version says what a class or a function is."""
    return str(value.__module__).split(".")[0] in _KNOWN


def name_of(value: Any) -> str:
    """Return what a class or a function is called, or what a value says it is; no address."""
    if isinstance(value, (set, frozenset)):  # whose order is another one in each process
        return f"{{{', '.join(sorted(map(repr, value)))}}}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    text = "" if isinstance(value, nn.Module) else repr(value)
    return text if text and " at 0x" not in text else name_of(type(value))


def bytes_of(values: Tensor) -> memoryview:
    """Return the bytes of a tensor, whatever its type and shape; on the CPU they are not copied."""
    flat = values.detach().cpu().contiguous().reshape(-1)
    found: memoryview = flat.view(torch.uint8).numpy().data
    return found


def code_of(code: CodeType) -> list[Any]:
    """Return what a function's code does, without where it is written."""
    return [code.co_code, code.co_names, [_constant(one) for one in code.co_consts]]


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return code_of(value)
    if isinstance(value, frozenset):  # whose order is another one in each process
        return sorted(map(repr, value))
    return repr(value)
