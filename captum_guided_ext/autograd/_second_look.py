"""A second look at a model, where the graph of its first run shows what may hide a rectifier."""

from __future__ import annotations

from collections import Counter, deque
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_guided_ext.autograd._nodes import Role, classify
from captum_guided_ext.autograd._spellings import SpelledRectifier, Spellings, name_of
from captum_guided_ext.errors import users_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.autograd.graph import Node

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
    F.leaky_relu_: F.leaky_relu,
    F.elu_: F.elu,
    F.rrelu_: F.rrelu,
}
_WITH_INPLACE_FLAG: tuple[Any, ...] = (
    F.relu, F.relu6, F.hardtanh, F.threshold, F.leaky_relu, F.elu, F.rrelu
)  # fmt: skip
_MAXIMA_OF_LISTS = ("foreach_clamp_min", "foreach_maximum")
# What the graph of a pass through vmap shows, and no look at the call can tell more about.
_SUSPECTS = frozenset((
    "abs", "addcmul", "amax", "fmax", "fmin", "index_fill", "index_put", "lerp", "masked_fill",
    "masked_scatter", "max", "maximum", "minimum", "setitem", "sgn", "sign", "sqrt", "where",
))  # fmt: skip
_RECTIFYING_NOTHING: tuple[Any, ...] = (
    Tensor.__setitem__,
    Tensor.copy_,
    Tensor.fill_,
    Tensor.zero_,
    *(getattr(Tensor, f"__i{name}__") for name in ("add", "sub", "mul", "truediv")),
    *(getattr(Tensor, f"{name}_") for name in ("add", "sub", "mul", "div")),
)
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
        seen: What was found out about nodes, see :class:`RulePath`: ``CopySlices`` that hide no
            rectifier; rectifiers that could not be given a node; calls with a rectifier's values.
            What this mode does not see (a custom function) is not among them.
        out_of_reach: Operations that may spell a rectifier inside of vmap, by line.
        found: Whether anything came to light.
    """

    def __init__(self, data: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.seen: dict[Node | None, tuple[Role, str] | None] = {}
        self.out_of_reach: Counter[str] = Counter()
        self.found = False
        self._spellings = Spellings(data)
        self._latest: deque[list[Tensor]] = deque(maxlen=_CALLS_BACK)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        if name_of(func) in _MAXIMA_OF_LISTS:
            return self._one_by_one(func, *args, **kwargs)
        rectify = _OUT_OF_PLACE.get(func)
        others = args[1:], kwargs
        if func in _WITH_INPLACE_FLAG:
            bound = signature(func).bind(*args, **kwargs)
            if bound.arguments.pop("inplace", False):
                rectify, others = func, (bound.args[1:], bound.kwargs)
        if rectify is not None and args and args[0]._is_view():  # noqa: SLF001
            # Of a clone: clamp keeps its input for the backward pass, and this one is written to.
            result = args[0].copy_(rectify(args[0].clone(), *others[0], **others[1]))
            self.found = True
            self._is_harmless(result)
            return result
        return self._watched(func, args, kwargs)

    def _one_by_one(self, func: Any, tensors: Any, others: Any, **kwargs: Any) -> Any:
        """Run a maximum of each of a list of tensors on one after the other."""
        in_place = func.__name__.endswith("_")
        self.found = True
        results = []
        for index, tensor in enumerate(tensors):
            other = others[index] if isinstance(others, (list, tuple)) else others
            taken = tensor.clone() if in_place else tensor
            result = self._watched(torch.clamp_min, (taken, other), kwargs)
            results.append(tensor.copy_(result) if in_place else result)
            if in_place:
                self._is_harmless(tensor)
        return results

    def _is_harmless(self, written: Tensor) -> None:
        base = written if written._base is None else written._base  # noqa: SLF001
        if (kind := _kind(base)) is not None and kind[0] is Role.IN_PLACE:
            self.seen[base.grad_fn] = None
            self.found = True

    def _watched(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function, and give the rectifier that its call completes a node."""
        written = args[0] if _writes(func) and args and isinstance(args[0], Tensor) else None
        before = None if written is None else self._spellings.before_writing(written)
        returned = func(*args, **kwargs)
        if _is_transformed():
            if name_of(func) in _SUSPECTS:
                self.out_of_reach[f"{name_of(func)} in vmap ({users_line()})"] += 1
                self.found = True
            return returned
        result = _tensor_in(returned) if written is None else written
        if result is not None and (written is None or written.requires_grad):
            taken = args if before is None else (before, *args[1:])
            marked = self._marked(func, taken, kwargs, result)
            if marked is not None and written is None:
                return marked if returned is result else type(returned)((marked, *returned[1:]))
            if marked is not None and written is not None:
                written.copy_(marked)
        if written is not None and func in _RECTIFYING_NOTHING:
            self._is_harmless(written)
        return returned

    def _marked(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> Tensor | None:
        """Return ``result`` behind a node of its own, if it is a rectifier's that the graph hides.

        Where the function wrote to its first argument, ``args`` hold that as it was before.
        """
        if (kind := _kind(result)) is not None and kind[0] is Role.RECTIFIER:
            self._latest.clear()  # what comes after one is seen to come from it
            return None
        spelling = self._spellings.after(func, args, kwargs, result)
        if spelling is None:
            self._compare(func, args, kwargs, result)
            return None
        self.found = True
        self._latest.clear()
        label = f"ReLU by {name_of(func)}"
        if not spelling.holds_for(result):
            self.seen[result.grad_fn] = Role.OPAQUE, f"a {label} ({users_line()})"
            return None
        scale, ceiling = spelling.scale, spelling.ceiling
        if ceiling is not None:
            label += f", ceiling {ceiling:g}"
        marked: Tensor = SpelledRectifier.apply(spelling.taken, result, scale, ceiling, label)
        return marked

    def _compare(self, func: Any, args: Any, kwargs: Any, result: Tensor) -> None:
        """Remember a call whose result has the values of a rectifier of something before it."""
        if not result.requires_grad or not result.is_floating_point():
            return
        operands = [one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)]
        operands = [one for one in operands if one is not result]  # it was written to
        earlier = [one for several in self._latest for one in several]
        self._latest.append([one for one in operands if one.requires_grad])
        with torch.no_grad():
            if bool((result < 0).any() or (result > 0).all()) or self._spellings.is_flat(result):
                return
            if any(torch.equal(result, one) for one in operands):
                return
            for one in (*operands, *earlier):
                if one.numel() != result.numel() or not bool((one < 0).any() and (one > 0).any()):
                    continue
                if torch.equal(result, one.clamp(min=0).to(result.dtype).reshape(result.shape)):
                    self.seen[result.grad_fn] = Role.ALIKE, f"{name_of(func)} ({users_line()})"
                    self.found = True
                    return


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


def _kind(result: Tensor) -> tuple[Role, str] | None:
    return None if result.grad_fn is None else classify(result.grad_fn)


def _is_transformed() -> bool:
    """Whether this runs inside vmap or another transformation of functorch."""
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001


class Buffers:
    """The buffers of a model as they are now, to be put back before it runs a second time."""

    def __init__(self, model: Any) -> None:
        modules = model.modules() if isinstance(model, nn.Module) else ()
        self._kept = [
            (module, name, buffer, buffer.clone())
            for module in modules
            for name, buffer in module.named_buffers(recurse=False)
        ]

    def put_back(self) -> None:
        """Undo what was done to them."""
        with torch.no_grad():
            for module, name, buffer, before in self._kept:
                # By value: batch norm writes to its statistics without a new version.
                if not torch.equal(buffer, before):
                    buffer.copy_(before)
                if getattr(module, name, None) is not buffer:
                    setattr(module, name, buffer)
