"""TorchScript, and nowhere else: when torch renames a part of it, this is the one file to change.

What torch no longer has is missed where a scripted part is run, and only there.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.autograd._nodes import Role, classify
from captum_guided_ext.autograd._path import nodes_between
from captum_guided_ext.autograd._tensors import tensors_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

    from captum_guided_ext.autograd._path import Seen


def is_module(value: object) -> TypeGuard[torch.jit.ScriptModule]:
    """Whether ``value`` is a scripted or a traced module."""
    kind = getattr(torch.jit, "ScriptModule", None)
    return kind is not None and isinstance(value, kind)


_WRITE_TO_CONTAINERS = frozenset(
    f"aten::{name}"
    for name in (
        *("append", "clear", "Delete", "extend", "insert", "pop", "popitem", "remove", "reverse"),
        *("_set_item", "setdefault", "sort", "update", "add_"),
    )
)


class Lowered:
    """What is known of the scripts that one thread has run from their lowered graphs.

    Attributes:
        was_asked: Whether any was called.
        failures: Why a script could not be lowered, and was run as it is.
        seen: Arithmetic inside of scripts that may spell a rectifier, by node: calls are seen
            from Python, and a script makes them beneath.
    """

    def __init__(self) -> None:
        self.was_asked = False
        self.failures: list[Exception] = []
        self.seen: Seen = {}

    def look_into(self, function: Any, args: Any, result: Any) -> None:
        """Note the suspects between what a script took and what it returned."""
        taken = {one.grad_fn for one in tensors_in(args) if one.grad_fn is not None}
        for node in nodes_between(tensors_in(result), taken):
            kind = None if node in taken else classify(node)
            if kind is not None and kind[0] is Role.SUSPECT:
                self.seen[node] = Role.ALIKE, f"{kind[1]} in the script {function.name!r}"


class _Lowering:
    """Has this thread's calls of scripts run from their lowered graphs, while any thread asks.

    A script that has run before is one opaque node of the autograd graph. Its lowered graph,
    compiled afresh so that nothing is fused, is not. Other threads' calls go on as ever.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._users: set[Lowered] = set()
        self._calls: dict[Any, Any] = {}  # torch's own, while they are replaced
        self._here = threading.local()

    @contextmanager
    def held(self) -> Iterator[Lowered]:
        """Lower inside the ``with`` block, and say what was."""
        here, lowered = self._here, Lowered()
        outer = getattr(here, "lowered", None)
        try:
            with self._lock:
                self._users.add(lowered)
                self._replace()
            here.lowered = lowered
            yield lowered
        finally:
            # By identity: an interruption may have come at any point of the above.
            here.lowered = outer
            with self._lock:
                self._users.discard(lowered)
                if not self._users:
                    self._put_back()

    def _replace(self) -> None:
        for kind in _kinds_of_call():
            if kind not in self._calls:
                self._calls[kind] = vars(kind)["__call__"]
                kind.__call__ = self._lowering(self._calls[kind])

    def _put_back(self) -> None:
        for kind, call in list(self._calls.items()):
            kind.__call__ = call
            del self._calls[kind]

    def _lowering(self, call: Any) -> Any:
        here = self._here

        def lowered_call(function: Any, /, *args: Any, **kwargs: Any) -> Any:
            lowered: Lowered | None = getattr(here, "lowered", None)
            if lowered is None or torch._C._get_tracing_state() is not None:  # noqa: SLF001
                return call(function, *args, **kwargs)
            lowered.was_asked = True
            try:
                compiled, inputs = _lowered(function, args, kwargs)
                unfused = torch.jit._fuser.optimized_execution(False)  # noqa: FBT003, SLF001
            except Exception as error:  # noqa: BLE001 - not every script can be lowered
                # Without its traceback, which would hold the graph.
                lowered.failures.append(error.with_traceback(None))
                result = call(function, *args, **kwargs)
            else:
                here.lowered = None  # it is a script itself
                try:
                    with unfused:
                        result = compiled(*inputs)
                finally:
                    here.lowered = lowered
            lowered.look_into(function, (args, kwargs), result)
            return result

        return lowered_call


lowered = _Lowering().held


@cache
def _kinds_of_call() -> list[Any]:
    known = (getattr(torch._C, name, None) for name in ("ScriptMethod", "ScriptFunction"))  # noqa: SLF001
    return [kind for kind in known if kind is not None and "__call__" in vars(kind)]


def _lowered(function: Any, args: Any, kwargs: Any) -> tuple[Any, list[Any]]:
    """Return a script's lowered graph as a function, and what it takes."""
    graph, parameters = function.graph.copy(), function.schema.arguments
    torch._C._jit_pass_inline(graph)  # noqa: SLF001 - a script that it calls may have run before
    tensors: Any = ()
    if (owner := getattr(function, "owner", None)) is not None:  # a method
        graph = _with_constants(graph, owner)
        graph, tensors = torch._C._jit_pass_lower_graph(graph, owner)  # noqa: SLF001
        parameters = parameters[1:]  # the first is the module, which is lowered away
    rest = parameters[len(args) :]
    if len(args) > len(parameters) or not kwargs.keys() <= {p.name for p in rest}:
        raise TypeError("the arguments are not those of the script")
    if any(p.name not in kwargs and not p.has_default_value() for p in rest):
        raise TypeError("an argument of the script is missing")
    named = [kwargs.get(p.name, p.default_value) for p in rest]
    compiled = torch._C._create_function_from_graph("forward", graph)  # noqa: SLF001
    return compiled, [*args, *named, *tensors]


def _with_constants(graph: Any, module: Any) -> Any:
    """Write the module's plain values (``training``, a dropout's ``p``) into its graph.

    Lowering takes tensors only.
    """
    owners = {next(graph.inputs()).debugName(): module}
    for node in graph.findAllNodes("prim::GetAttr"):
        owner = owners.get(next(node.inputs()).debugName())
        if owner is None:
            continue
        value = owner.getattr(node.s("name"))
        if isinstance(value, torch._C.ScriptModule):  # noqa: SLF001
            owners[node.output().debugName()] = value
        elif isinstance(value, (list, dict)) and _is_changed(node.output()):
            raise TypeError(f"the script changes its attribute {node.s('name')!r}")
        elif not isinstance(value, Tensor):
            graph.setInsertPoint(node)
            node.output().replaceAllUsesWith(graph.insertConstant(value))
    torch._C._jit_pass_dce(graph)  # noqa: SLF001
    return graph


def _is_changed(container: Any) -> bool:
    """Whether a script writes to a list or a dictionary."""
    return any(use.user.kind() in _WRITE_TO_CONTAINERS for use in container.uses())
