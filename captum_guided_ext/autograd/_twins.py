"""Twins of a model: other modules around the same parameters, for what must not touch the model.

A scripted module is one opaque node of the autograd graph from its second call on, and so is a
compiled one. They are not changed: the model's *shadow* has eager stand-ins in their places.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from types import MethodType
from typing import Any

from torch import nn

from captum_guided_ext.autograd import _scripts

__all__ = ["private_twin", "shadow_of"]


def shadow_of(model: Any) -> tuple[Any, dict[nn.Module, nn.Module]]:
    """Return an eager twin of ``model`` that shares its parameters, and its modules' twins.

    Compiled modules run as they were written, and scripted ones from their lowered graph.
    ``model`` and its modules are read, never written. What holds neither, and a callable that is
    no module, is returned as it is.
    """
    if _scripts.is_function(model):
        return _scripts.LoweredFunction(model), {}
    if not isinstance(model, nn.Module) or not any(map(_hides, model.modules())):
        return model, {}
    twins: dict[nn.Module, nn.Module] = {}
    return _twin(model, twins), twins


def private_twin(model: nn.Module) -> nn.Module:
    """Return an eager twin in eval mode, to watch a forward pass that ``model`` takes no part in.

    It shares the parameters, and has flags, hooks and buffers of its own. What the model keeps in
    objects of other kinds, or in closures, is shared too.
    """
    twins: dict[nn.Module, nn.Module] = {}
    twin = _twin(model, twins)
    for one in twins.values():
        buffers = one._buffers.items()  # noqa: SLF001
        own = {name: None if kept is None else kept.clone() for name, kept in buffers}
        vars(one).update({"training": False, "_buffers": own})
    return twin


def _hides(module: nn.Module) -> bool:
    compiled = hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None
    return compiled or _scripts.is_module(module)


_SHARED = frozenset(vars(nn.Module())) - {"_modules", "_forward_hooks", "_forward_pre_hooks"}
_PLAIN = frozenset({bool, int, float, str, type(None)})  # what refers to no module


def _twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in twins:
        return twins[module]
    if _scripts.is_module(module):
        twins[module] = _scripts.LoweredModule(module)
        return twins[module]
    compiled = hasattr(module, "_orig_mod")
    twin: nn.Module = object.__new__(_Uncompiled if compiled else type(module))
    twins[module] = twin  # before its parts are looked at: they may refer to it
    attributes = dict(module.__dict__) | {"_compiled_call_impl": None}  # set by module.compile()
    if compiled:
        attributes.pop("forward", None)  # the compiled one
    for name, value in attributes.items():
        if type(value) not in _PLAIN and name not in _SHARED:
            attributes[name] = _rebound(value, twins)  # of a name that is there: no new entry
    for name in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        attributes[name] = attributes[name].copy()  # also where nothing was rebound
    vars(twin).update(attributes)
    return twin


def _rebound(value: Any, twins: dict[nn.Module, nn.Module]) -> Any:
    """Return ``value`` with each module that it refers to replaced by its twin."""
    if isinstance(value, nn.Module):
        return _twin(value, twins)
    if isinstance(value, MethodType) and isinstance(value.__self__, nn.Module):
        return MethodType(value.__func__, _twin(value.__self__, twins))
    if type(value) is partial:
        held = (value.func, value.args, value.keywords)
        func, args, keywords = (_rebound(one, twins) for one in held)
        return partial(func, *args, **keywords)
    if type(value) in (list, tuple) and not _PLAIN.issuperset(map(type, value)):
        parts = [_rebound(part, twins) for part in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if value and type(value) in (dict, OrderedDict):
        named = [(name, _rebound(part, twins)) for name, part in list(value.items())]
        return value if all(value.get(n) is part for n, part in named) else type(value)(named)
    return value


class _Uncompiled(nn.Module):
    """``torch.compile(module)`` with its hooks, but without the compilation."""

    _orig_mod: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__["_modules"]
        return modules[name] if name in modules else getattr(modules["_orig_mod"], name)
