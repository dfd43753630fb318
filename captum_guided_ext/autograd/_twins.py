"""Twins of a model: other modules around the same parameters, where its own hide what they do.

A scripted module is one opaque node of the autograd graph from its second call on, and so is a
compiled one. They are not changed: the model's *shadow* has eager stand-ins in their places.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from captum_guided_ext.autograd import _scripts


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


def _hides(module: nn.Module) -> bool:
    compiled = hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None
    return compiled or _scripts.is_module(module)


def _twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in twins:
        return twins[module]
    if _scripts.is_module(module):
        twins[module] = _scripts.LoweredModule(module)
        return twins[module]
    compiled = hasattr(module, "_orig_mod")
    twin: nn.Module = object.__new__(_Uncompiled if compiled else type(module))
    twin.__dict__ = dict(module.__dict__)
    twin.__dict__["_compiled_call_impl"] = None  # set by module.compile()
    if compiled:
        twin.__dict__.pop("forward", None)  # the compiled one
    twins[module] = twin
    twin.__dict__["_modules"] = {
        name: None if child is None else _twin(child, twins)
        for name, child in module._modules.items()  # noqa: SLF001
    }
    return twin


class _Uncompiled(nn.Module):
    """``torch.compile(module)`` with its hooks, but without the compilation."""

    _orig_mod: nn.Module

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._orig_mod(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        modules = self.__dict__["_modules"]
        return modules[name] if name in modules else getattr(modules["_orig_mod"], name)
