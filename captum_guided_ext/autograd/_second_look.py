"""A second look at a model, where the graph of its first run shows what may hide a rectifier."""

from __future__ import annotations

from collections import deque
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from torch import Tensor
from torch.overrides import TorchFunctionMode

from captum_guided_ext.autograd._nodes import Role, classify, operation_of
from captum_guided_ext.autograd._spellings import SpelledRectifier, Spellings, name_of
from captum_guided_ext.autograd._tensors import tensors_in
from captum_guided_ext.errors import users_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from torch import nn
    from torch.autograd.graph import Node

    from captum_guided_ext.autograd._path import Seen

# What rectifies, or may, and has an in-place form: by its name, the function that returns instead.
_OUT_OF_PLACE: dict[str, Any] = {
    "clamp": torch.clamp,
    "clamp_min": torch.clamp_min,
    "clip": torch.clamp,
    "elu": F.elu,
    "hardtanh": F.hardtanh,
    "leaky_relu": F.leaky_relu,
    "relu": torch.relu,
    "rrelu": F.rrelu,
    "threshold": F.threshold,
}
_WITH_INPLACE_FLAG: tuple[Any, ...] = (
    F.relu, F.relu6, F.hardtanh, F.threshold, F.leaky_relu, F.elu, F.rrelu
)  # fmt: skip
_MOVEMENTS = frozenset((
    "cat", "concat", "concatenate", "flatten", "reshape", "reshape_as", "unflatten", "view",
    "view_as",
))  # fmt: skip
_MAXIMA_OF_LISTS = ("foreach_clamp_min", "foreach_maximum")
_ASSIGNING_OPERATORS = frozenset(
    ["__setitem__", *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "and", "or"))]
)
_CALLS_BACK = 2  # (x + |x|) / 2 is the ReLU of what abs took, two calls before


class SecondLook(TorchFunctionMode):
    """Brings rectifiers to light that the graph does not show, while the model runs again.

    * An in-place rectifier on a view is written as ``view.copy_(rectifier(view))``. The copy is the
      same numbers; the rectifier becomes a node of its own instead of hiding in the ``CopySlices``
      of the view's base.
    * A rectifier spelled by arithmetic gets a node between its input and its output.
    * What only happens to have the values of a rectifier is remembered.

    Args:
        data: Tensors the model takes that are no constants, beside the inputs.

    Attributes:
        seen: What was found out about nodes: arithmetic that is no rectifier; rectifiers that could
            not be given a node; calls with a rectifier's values.
    """

    def __init__(self, data: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.seen: Seen = {}
        self._reached: set[Node] = set()
        self._spellings = Spellings(data)
        self._latest: deque[list[Tensor]] = deque(maxlen=_CALLS_BACK)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if name_of(func) in _MAXIMA_OF_LISTS:
            return self._one_by_one(func, *args, **kwargs)
        rectify, others = None, (args[1:], kwargs)
        if func in _WITH_INPLACE_FLAG:
            bound = signature(func).bind(*args, **kwargs)
            if bound.arguments.pop("inplace", False):
                rectify, others = func, (bound.args[1:], bound.kwargs)
        elif _writes(func):
            is_operator = isinstance(func, torch._ops.OpOverload)  # noqa: SLF001
            table = torch.ops.aten.__getattr__ if is_operator else _OUT_OF_PLACE.get
            rectify = table(name_of(func)) if name_of(func) in _OUT_OF_PLACE else None
        if rectify is not None and args and args[0]._is_view():  # noqa: SLF001
            # Of a clone: clamp keeps its input for the backward pass, and this one is written to.
            result = self._watched(rectify, (args[0].clone(), *others[0]), others[1])
            written = args[0].copy_(result)
            self._clear(written, ())
            return written
        return self._watched(func, args, kwargs)

    def _one_by_one(self, func: Any, tensors: Any, others: Any, **kwargs: Any) -> Any:
        """Run a maximum of each of a list of tensors on one after the other."""
        in_place = func.__name__.endswith("_")
        results = []
        for index, tensor in enumerate(tensors):
            other = others[index] if isinstance(others, (list, tuple)) else others
            taken = tensor.clone() if in_place else tensor
            result = self._watched(torch.clamp_min, (taken, other), kwargs)
            results.append(tensor.copy_(result) if in_place else result)
            if in_place:
                self._clear(tensor, ())
        return results

    def _clear(self, result: Tensor, earlier: Collection[Node | None]) -> None:
        """Note that a call's arithmetic is no rectifier, where nothing else is noted of it.

        The nodes that its operands had ``earlier`` are not its own: what wrote to the base of a
        view that it returns may not have been seen.
        """
        node = _node_of(result)
        waiting = [] if node is None or node in earlier else [node]
        while waiting:  # torch's own functions may be made of several
            node = waiting.pop()
            kind = classify(node)
            if kind is not None and kind[0] in (Role.SUSPECT, Role.IN_PLACE):
                self.seen.setdefault(node, None)
            for child, _ in node.next_functions:
                if child is not None and child not in earlier and child not in self._reached:
                    waiting.append(child)
            self._reached.add(node)

    def _watched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function, and give the rectifier that its call completes a node."""
        written = args[0] if _writes(func) and args and isinstance(args[0], Tensor) else None
        before = None if written is None else self._spellings.before_writing(written)
        earlier = {_node_of(one) for one in tensors_in((args, kwargs))}
        returned = func(*args, **kwargs)
        if _is_transformed():
            self._point_at(func, returned)
            return returned
        result = _tensor_in(returned) if written is None else written
        taken = args if before is None else (before, *args[1:])
        marked = None
        if result is not None and (written is None or written.requires_grad):
            marked = self._marked(func, taken, kwargs, result)
        if marked is not None and written is not None:
            written.copy_(marked)
        for one in tensors_in(returned if written is None else written):
            self._clear(one, earlier)
        if marked is None or written is not None:
            return returned
        self._clear(marked, ())
        return marked if returned is result else type(returned)((marked, *returned[1:]))

    def _marked(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor | None:
        """Return ``result`` behind a node of its own, if it is a rectifier's that the graph hides.

        Where the function wrote to its first argument, ``args`` hold that as it was before.
        """
        if _role_of(result) is Role.RECTIFIER:
            self._latest.clear()  # what comes after one is seen to come from it
            return None
        spelling = self._spellings.after(func, args, kwargs, result)
        if spelling is None:
            self._compare(func, args, kwargs, result)
            return None
        self._latest.clear()
        label = f"ReLU by {name_of(func)}"
        if not spelling.holds_for(result):
            self.seen[_node_of(result)] = Role.OPAQUE, f"a {label} ({users_line()})"
            return None
        scale, ceiling = spelling.scale, spelling.ceiling
        if ceiling is not None:
            label += f", ceiling {ceiling:g}"
        marked: Tensor = SpelledRectifier.apply(spelling.taken, result, scale, ceiling, label)
        return marked

    def _point_at(self, func: Any, returned: Any) -> None:
        """Remember a suspect inside of vmap, where no single tensor can be looked at."""
        for result in tensors_in(returned):
            if _role_of(result) is Role.SUSPECT:
                self.seen[_node_of(result)] = (
                    Role.ALIKE,
                    f"{name_of(func)} in vmap ({users_line()})",
                )

    def _compare(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        """Remember a call whose result has the values of a rectifier of something before it."""
        if not result.requires_grad or not _is_real(result):
            return
        operands = [one for one in tensors_in((args, kwargs)) if one is not result]  # as written
        operands = [one for one in operands if _is_real(one)]
        earlier = [one for several in self._latest for one in several]
        self._latest.append([one for one in operands if one.requires_grad])
        taken, before = (
            [one.detach().flatten() for one in several if one.numel() == result.numel()]
            for several in (operands, earlier)
        )
        values = result.detach().flatten()
        # Where the operations tell what it is, they decide.
        if not (taken or before) or self._spellings.knows(result) or name_of(func) in _MOVEMENTS:
            return
        if bool((values < 0).any() or (values > 0).all()):
            return
        if any(torch.equal(values, one.to(values.dtype)) for one in taken):
            return
        if any(_rectifies(one, values) for one in (*taken, *before)):
            self.seen[_node_of(result)] = Role.ALIKE, f"{name_of(func)} ({users_line()})"


def _writes(func: Any) -> bool:
    name = getattr(func, "__name__", "").partition(".")[0]
    if name.endswith("__"):
        return name in _ASSIGNING_OPERATORS
    return name.endswith("_")


def _tensor_in(returned: Any) -> Tensor | None:
    if isinstance(returned, Tensor):
        return returned
    # torch.max and its like return a named tuple of values and indices.
    if isinstance(returned, tuple) and returned and hasattr(returned, "values"):
        return returned[0] if isinstance(returned[0], Tensor) else None
    return None


def _is_real(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.layout is torch.strided and not tensor.is_nested


def _rectifies(taken: Tensor, returned: Tensor) -> bool:
    """Whether all values of ``returned`` are those of a ReLU of ``taken``, up to a factor."""
    top = taken.argmax()
    if not bool((taken < 0).any() and taken[top] > 0 and returned[top] > 0):
        return False
    scale = returned[top] / taken[top]
    return torch.allclose(
        returned, scale * taken.clamp(min=0).to(returned.dtype), rtol=1e-5, atol=0
    )


def _node_of(result: Tensor) -> Node | None:
    """Return the node of a call's result; of a view that was written to, that of its base."""
    while torch._C._functorch.is_functorch_wrapped_tensor(result):  # noqa: SLF001
        result = torch._C._functorch.get_unwrapped(result)  # noqa: SLF001
    base = result._base  # noqa: SLF001
    if base is not None and base.grad_fn is not None and operation_of(base.grad_fn) == "CopySlices":
        return base.grad_fn
    return result.grad_fn


def _role_of(result: Tensor) -> Role | None:
    node = _node_of(result)
    kind = None if node is None else classify(node)
    return None if kind is None else kind[0]


def _is_transformed() -> bool:
    """Whether this runs inside vmap or another transformation of functorch."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001


class Buffers:
    """The buffers of modules as they are now, to be put back before these run a second time.

    Args:
        modules: Those whose buffers are kept.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._kept = [
            (module, name, buffer, None if buffer is None else buffer.clone())
            for module in modules
            for name, buffer in module._buffers.items()  # noqa: SLF001 - None as well
        ]

    def put_back(self) -> None:
        """Undo what was done to them."""
        with torch.no_grad():
            for module, name, buffer, before in self._kept:
                # By value: batch norm writes to its statistics without a new version.
                if buffer is not None and before is not None and not torch.equal(buffer, before):
                    buffer.copy_(before)
                if getattr(module, name, None) is not buffer:
                    setattr(module, name, buffer)
