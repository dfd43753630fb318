"""TorchScript, and nowhere else: when torch renames a part of it, this is the one file to change.

What torch no longer has is missed where a scripted part is run, and only there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from typing import TypeGuard


def is_module(value: object) -> TypeGuard[torch.jit.ScriptModule]:
    """Whether ``value`` is a scripted or a traced module."""
    kind = getattr(torch.jit, "ScriptModule", None)
    return kind is not None and isinstance(value, kind)


def is_function(value: object) -> bool:
    """Whether ``value`` is a scripted function."""
    kind = getattr(torch.jit, "ScriptFunction", None)
    return kind is not None and isinstance(value, kind)


class LoweredModule(nn.Module):
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


class LoweredFunction:
    """A scripted function run in the same way."""

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
