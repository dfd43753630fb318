"""Running a model in a way that shows the rectifiers its autograd graph would hide.

Three things hide a rectifier: a scripted module (one opaque node from its second call on), a
compiled one, and an in-place ReLU on a view. None of them is changed here: a *shadow* of the
model, which shares every parameter and buffer with it, holds eager stand-ins in their places.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import contextmanager
from functools import partial
from inspect import signature
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.autograd.graph import Node

__all__ = ["InPlaceAsCopy", "forced_eager", "private_twin", "rewinder", "shadow_of"]


class _Stance:
    """torch's process-wide ``force_eager``, held while any thread needs it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._stance: Any = None

    @contextmanager
    def held(self) -> Iterator[None]:
        set_stance = getattr(torch.compiler, "set_stance", None)
        with self._lock:
            if self._users == 0 and set_stance is not None:
                self._stance = set_stance("force_eager")
                self._stance.__enter__()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0 and self._stance is not None:
                    self._stance.__exit__(None, None, None)
                    self._stance = None


forced_eager = _Stance().held
"""Run compiled functions eagerly inside the ``with`` block: in the whole process, newer torch."""


def shadow_of(model: Any) -> tuple[Any, dict[nn.Module, nn.Module]]:
    """Return an eager twin of ``model`` that shares its parameters, and its modules' twins.

    Compiled modules run as they were written, and scripted ones from their lowered graph.
    ``model`` and its modules are read, never written. What holds neither, and a callable that is
    no module, is returned as it is.
    """
    if isinstance(model, torch.jit.ScriptFunction):
        return _LoweredFunction(model), {}
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
        one.__dict__ |= {"training": False, "_buffers": own}
    return twin


def _hides(module: nn.Module) -> bool:
    compiled = hasattr(module, "_orig_mod") or vars(module).get("_compiled_call_impl") is not None
    return compiled or isinstance(module, torch.jit.ScriptModule)


_SHARED = frozenset(vars(nn.Module())) - {"_modules", "_forward_hooks", "_forward_pre_hooks"}


def _twin(module: nn.Module, twins: dict[nn.Module, nn.Module]) -> nn.Module:
    if module in twins:
        return twins[module]
    if isinstance(module, torch.jit.ScriptModule):
        twins[module] = _LoweredScript(module)
        return twins[module]
    compiled = hasattr(module, "_orig_mod")
    twin: nn.Module = object.__new__(_Uncompiled if compiled else type(module))
    twins[module] = twin  # before its parts are looked at: they may refer to it
    attributes = dict(module.__dict__) | {"_compiled_call_impl": None}  # set by module.compile()
    if compiled:
        attributes.pop("forward", None)  # the compiled one
    for name in attributes.keys() - _SHARED:
        attributes[name] = _rebound(attributes[name], twins)
    for name in ("_modules", "_forward_hooks", "_forward_pre_hooks"):
        attributes[name] = attributes[name].copy()  # also where nothing was rebound
    twin.__dict__ = attributes
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
    if type(value) in (list, tuple):
        parts = [_rebound(part, twins) for part in value]
        same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if same else type(value)(parts)
    if type(value) in (dict, OrderedDict):
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
        graph = _with_constants(method.graph, scripted._c)  # noqa: SLF001
        graph, tensors = torch._C._jit_pass_lower_graph(graph, scripted._c)  # noqa: SLF001
        parameters = method.schema.arguments[1:]  # the first is the module, which is lowered away
        return _run_unfused(graph, parameters, args, kwargs, tensors)


class _LoweredFunction:
    """A scripted function, likewise."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        function = self._function
        return _run_unfused(function.graph, function.schema.arguments, args, kwargs, ())


def _with_constants(graph: Any, module: Any) -> Any:
    """Write the module's plain values (``training``, a dropout's ``p``) into a copy of its graph.

    Lowering takes tensors only.
    """
    graph = graph.copy()
    torch._C._jit_pass_inline(graph)  # noqa: SLF001
    owners = {next(graph.inputs()).debugName(): module}
    for node in graph.findAllNodes("prim::GetAttr"):
        owner = owners.get(next(node.inputs()).debugName())
        if owner is None:
            continue
        value = owner.getattr(node.s("name"))
        if isinstance(value, torch._C.ScriptModule):  # noqa: SLF001
            owners[node.output().debugName()] = value
        elif not isinstance(value, Tensor):
            graph.setInsertPoint(node)
            node.output().replaceAllUsesWith(graph.insertConstant(value))
    torch._C._jit_pass_dce(graph)  # noqa: SLF001
    return graph


def _run_unfused(graph: Any, parameters: Any, args: Any, kwargs: Any, tensors: Any) -> Any:
    function = torch._C._create_function_from_graph("forward", graph)  # noqa: SLF001
    rest = [kwargs.get(p.name, p.default_value) for p in parameters[len(args) :]]
    with torch.jit._fuser.optimized_execution(False):  # noqa: FBT003, SLF001
        return function(*args, *rest, *tensors)


def rewinder(model: Any, inputs: tuple[Tensor, ...]) -> Callable[[], None]:
    """Return a function that undoes what a run of ``model`` does from now on, for a second run.

    It restores the random number generators of the CPU and of the inputs' GPUs, and the buffers
    of modules in training mode.
    """
    gpus = {x.device for x in inputs if x.device.type == "cuda"}
    cpu_state = torch.get_rng_state()
    gpu_states = {gpu: torch.cuda.get_rng_state(gpu) for gpu in gpus}
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [m for m in modules if getattr(m, "training", False)]
    kept = [(b, b.clone()) for m in training for b in m.buffers(recurse=False)]

    def rewind() -> None:
        torch.set_rng_state(cpu_state)
        for gpu, state in gpu_states.items():
            torch.cuda.set_rng_state(state, gpu)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)

    return rewind


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
_RECTIFYING_NOTHING: tuple[Any, ...] = (
    Tensor.__setitem__,
    Tensor.copy_,
    Tensor.fill_,
    Tensor.zero_,
    *(getattr(Tensor, f"__i{name}__") for name in ("add", "sub", "mul", "truediv")),
    *(getattr(Tensor, f"{name}_") for name in ("add", "sub", "mul", "div")),
)


class InPlaceAsCopy(TorchFunctionMode):
    """Write an in-place rectifier on a view as ``view.copy_(rectifier(view))``.

    The copy is the same numbers; the rectifier becomes a node of its own instead of hiding in
    the ``CopySlices`` of the view's base.

    Attributes:
        harmless: The ``CopySlices`` nodes of the in-place calls seen here that hide no rectifier.
            What this mode does not see (scripted code, a custom function) is not among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.harmless: set[Node] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        rectify = _OUT_OF_PLACE.get(func)
        others = args[1:], kwargs
        if func in _WITH_INPLACE_FLAG:
            bound = signature(func).bind(*args, **kwargs)
            if bound.arguments.pop("inplace", False):
                rectify, others = func, (bound.args[1:], bound.kwargs)
        if rectify is not None and args and args[0]._is_view():  # noqa: SLF001
            # Of a clone: clamp keeps its input for the backward pass, and this one is written to.
            result = args[0].copy_(rectify(args[0].clone(), *others[0], **others[1]))
        else:
            result = func(*args, **kwargs)
            if func not in _RECTIFYING_NOTHING:
                return result
        written = args[0] if args[0]._base is None else args[0]._base  # noqa: SLF001
        if written.grad_fn is not None:
            self.harmless.add(written.grad_fn)
        return result
