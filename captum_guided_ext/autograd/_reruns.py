"""A second run of a model, where the graph of the first one hides a rectifier."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's own abbreviation
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch.autograd.graph import Node


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
