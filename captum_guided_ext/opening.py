"""Running a model again in a way that shows the rectifiers its autograd graph hid.

Three things hide a rectifier: a scripted module (one opaque node from its second call on), a
compiled one, and an in-place ReLU on a view. None of them is changed here: a *shadow* of the
model, which shares every parameter and buffer with it, holds eager stand-ins in their places.
"""

from __future__ import annotations

from contextlib import nullcontext
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

__all__ = ["InPlaceAsCopy", "forced_eager", "runs_script", "shadow_of", "unwrap_compiled"]


def unwrap_compiled(model: Any) -> Any:
    """Return the module inside ``torch.compile(module)``; anything else as it is."""
    return getattr(model, "_orig_mod", model)


def forced_eager() -> AbstractContextManager[Any]:
    """Run compiled functions eagerly inside the ``with`` block (process-wide, newer torch only)."""
    set_stance = getattr(torch.compiler, "set_stance", None)
    return nullcontext() if set_stance is None else set_stance("force_eager")


def shadow_of(model: Any) -> tuple[Any, dict[nn.Module, nn.Module]]:
    """Return an eager twin of ``model`` that shares its parameters, and its modules' twins.

    Compiled modules are unwrapped and scripted ones run from their lowered graph. ``model`` and
    its modules are read, never written. A callable that is no module is returned as it is.
    """
    if isinstance(model, torch.jit.ScriptFunction):
        return _LoweredFunction(model), {}
    if not isinstance(model, nn.Module):
        return model, {}
    twins: dict[nn.Module, nn.Module] = {}
    return _shadow_module(model, twins), twins


def _shadow_module(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    inner = unwrap_compiled(module)
    if inner not in twins:
        if isinstance(inner, torch.jit.ScriptModule):
            twins[inner] = _LoweredScript(inner)
        else:
            twin = object.__new__(type(inner))
            twin.__dict__ = dict(inner.__dict__)
            twin.__dict__["_compiled_call_impl"] = None  # set by module.compile()
            twins[inner] = twin
            twin._modules = {
                name: None if child is None else _shadow_module(child, twins)
                for name, child in inner._modules.items()  # noqa: SLF001
            }
    twins[module] = twins[inner]
    return twins[inner]


def runs_script(shadow: Any) -> bool:
    """Whether a shadow runs scripted code, into which :class:`InPlaceAsCopy` cannot see."""
    if not isinstance(shadow, nn.Module):
        return isinstance(shadow, _LoweredFunction)
    return any(isinstance(module, _LoweredScript) for module in shadow.modules())


class _LoweredScript(nn.Module):
    """A scripted module run from its lowered graph, compiled afresh so that nothing is fused."""

    def __init__(self, scripted: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._scripted = (scripted,)  # in a tuple, so that it is no submodule

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_scripted"][0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        (scripted,) = self._scripted
        method: Any = scripted.forward
        graph, constants = torch._C._jit_pass_lower_graph(method.graph, scripted._c)  # noqa: SLF001
        parameters = method.schema.arguments[1:]  # the first is the module, which is lowered away
        return _run_unfused(graph, parameters, args, kwargs, constants)


class _LoweredFunction:
    """A scripted function, likewise."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self._function
        return _run_unfused(function.graph, function.schema.arguments, args, kwargs, ())


def _run_unfused(graph: Any, parameters: Any, args: Any, kwargs: Any, constants: Any) -> Any:
    function = torch._C._create_function_from_graph("forward", graph)  # noqa: SLF001
    rest = [kwargs.get(p.name, p.default_value) for p in parameters[len(args) :]]
    with torch.jit._fuser.optimized_execution(False):  # noqa: FBT003, SLF001
        return function(*args, *rest, *constants)


_OUT_OF_PLACE: dict[Any, Any] = {
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
    torch.threshold_: F.threshold,
    F.hardtanh_: F.hardtanh,
    torch.clamp_: torch.clamp,
    Tensor.clamp_: torch.clamp,
    torch.clamp_min_: torch.clamp_min,
    Tensor.clamp_min_: torch.clamp_min,
    Tensor.clip_: torch.clip,
    torch.clip_: torch.clip,
}
_WITH_INPLACE_FLAG: tuple[Any, ...] = (F.relu, F.relu6, F.hardtanh, F.threshold)


class InPlaceAsCopy(TorchFunctionMode):
    """Write an in-place rectifier on a view as ``view.copy_(rectifier(view))``.

    The copy is the same numbers; the rectifier becomes a node of its own instead of hiding in
    the ``CopySlices`` of the view's base.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        rectify = _OUT_OF_PLACE.get(func)
        others = args[1:], kwargs
        if func in _WITH_INPLACE_FLAG:
            bound = signature(func).bind(*args, **kwargs)
            if bound.arguments.pop("inplace", False):
                rectify, others = func, (bound.args[1:], bound.kwargs)
        if rectify is None or not args or not args[0]._is_view():  # noqa: SLF001
            return func(*args, **kwargs)
        # Of a clone: clamp keeps its input for the backward pass, and this one is written to.
        return args[0].copy_(rectify(args[0].clone(), *others[0], **others[1]))
