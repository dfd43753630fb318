"""What a model computes: its parts and their settings, its code, its parameters and buffers."""

from __future__ import annotations

import functools
import hashlib
import re
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from captum_guided_ext.output._provenance import bytes_of, code_of, described

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIGITS = 16
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
        "name": name or described(type(model)),
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
        elif isinstance(value, (type, BuiltinFunctionType)) or not hasattr(value, "__dict__"):
            self._note(described(value))
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
            self._note(f"{name} {described(type(module))} {settings} {module.training}")
            self._take_class(type(module))
            if isinstance(module, torch.jit.ScriptModule):
                self.code.update(str(getattr(module, "code", "")).encode())
            for hook in (*module._forward_pre_hooks.values(), *module._forward_hooks.values()):  # noqa: SLF001
                self._note(_NO_VALUE.sub("", described(hook)))
            functions = (FunctionType, BuiltinFunctionType, functools.partial)
            held = ((k, v) for k, v in sorted(vars(module).items()) if isinstance(v, functions))
            for key, function in held:
                self._note(key)
                self.take(function, depth - 1)
        for name, values in (*root.named_parameters(), *root.named_buffers()):
            self._take_tensor(name, values)

    def _take_class(self, kind: type) -> None:
        self._note(f"{kind.__module__}.{kind.__qualname__}")
        functions = {"forward": getattr(kind, "forward", None)}
        for one in reversed(kind.__mro__):
            if not _is_known(one):
                functions |= vars(one)
        for name, function in sorted(functions.items()):
            code = getattr(function, "__code__", None)
            if code is not None and name != "__init__":
                self.code.update(f"{name} {code_of(code)}".encode())

    def _take_function(self, function: FunctionType, depth: int) -> None:
        self._note(f"{function.__module__}.{function.__qualname__}")
        if _is_known(function):
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


def _is_known(value: Any) -> bool:
    return str(value.__module__).split(".")[0] in _KNOWN
