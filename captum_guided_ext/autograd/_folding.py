"""Which batch norms of a copy may be folded into the layer in front of them, and how."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_guided_ext.autograd._tensors import tensors_in
from captum_guided_ext.autograd._uses import memory_of
from captum_guided_ext.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

TYPES = (torch.float32, torch.float64)  # a weight of half precision is rounded too coarsely
_AFFINE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_PICTURES = 4  # dimensions


class _Watch(TorchDispatchMode):
    """Counts what operations take, and what layers and batch norms return."""

    def __init__(self, *, at_input: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._at_input = at_input
        self.uses: Counter[int] = Counter()  # by the memory that an operation takes
        self.calls: Counter[nn.Module] = Counter()
        # What a layer returned, kept so that its memory is not used again, and the uses before.
        self.returned: dict[nn.Module, tuple[Tensor, int]] = {}
        self.taken: dict[nn.Module, Any] = {}
        self.nodes: dict[nn.Module, Any] = {}  # later, in-place operations replace them
        self.kept: list[Tensor] = []  # alive, too

    def __torch_dispatch__(self, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.uses.update(map(memory_of, tensors_in((args, kwargs))))
        return func(*args, **kwargs)

    def see(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.calls[module] += 1
        self.nodes[module] = getattr(output, "grad_fn", None)
        if type(module) in _NORMS:
            self.taken[module] = args[0] if args else None
        elif isinstance(output, Tensor):
            self.returned[module] = output, self.uses[memory_of(output)]

    def keep(self, _: nn.Module, args: Any, output: Any) -> None:
        self.kept += tensors_in((args if self._at_input else (), output))

    def pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Return layers with the batch norm that is all that uses them."""
        kept = set(map(memory_of, self.kept))
        by_output = {id(one): layer for layer, (one, _) in self.returned.items()}
        found = []
        for norm, given in self.taken.items():
            layer = by_output.get(id(given))
            if layer is None or self.calls[norm] > 1 or self.calls[layer] > 1:
                continue
            output, before = self.returned[layer]
            memory = memory_of(output)
            is_only_use = self.uses[memory] == before + 1 and self._sends_back(norm, layer, output)
            if is_only_use and memory not in kept and _fit(layer, norm, output):
                found.append((layer, norm))
        return found

    def _sends_back(self, norm: nn.Module, layer: nn.Module, output: Tensor) -> bool:
        """Whether a layer's gradient is what its batch norm sends back, and nobody changes it."""
        above, below = self.nodes[norm], self.nodes[layer]
        if above is None or below is None:
            return above is below  # none of them has a gradient
        return above.next_functions[0][0] is below and not output._backward_hooks  # noqa: SLF001


@contextmanager
def watched(model: nn.Module, kept: Collection[nn.Module], *, at_input: bool) -> Iterator[_Watch]:
    """Watch a run of a copy, by hooks on its modules and by the operations of this thread."""
    watch = _Watch(at_input=at_input)
    seen = [one for one in model.modules() if type(one) in (*_AFFINE, *_NORMS) and _is_plain(one)]
    handles = [one.register_forward_hook(watch.see) for one in seen]
    handles += [nn.Module.register_forward_hook(one, watch.keep) for one in kept]
    try:
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def _is_plain(module: nn.Module) -> bool:
    """Whether a module runs as torch wrote it, and nobody else looks on."""
    return "forward" not in vars(module) and not any(getattr(module, name) for name in _HOOKS)


def _fit(layer: Any, norm: Any, output: Tensor) -> bool:
    weight = layer._parameters.get("weight")  # noqa: SLF001 - not one that is computed on each call
    return (
        weight is not None
        and weight.dtype in TYPES
        and weight.dtype == output.dtype
        # Of a batch, channels second: to a linear layer's (N, L, F) they are another dimension.
        and weight.dim() == output.dim()
        and not norm.training
        and norm.running_mean is not None
        and norm.running_var is not None
        and memory_of(output) != 0
    )


def fold(layer: Any, norm: Any, *, channels_last: bool) -> None:
    """Give a layer of the copy weights that do what its batch norm did, which does nothing then."""

    def wide(one: Tensor) -> Tensor:
        return one.detach().cpu().double()  # rounded once, and not in each step

    weight, scale = layer.weight.detach(), (wide(norm.running_var) + norm.eps).rsqrt()
    shift = -wide(norm.running_mean)
    if layer.bias is not None:
        shift += wide(layer.bias)
    if norm.weight is not None:
        scale *= wide(norm.weight)
    shift *= scale
    if norm.bias is not None:
        shift += wide(norm.bias)
    laid = channels_last and weight.dim() == _PICTURES
    layout = torch.channels_last if laid else torch.preserve_format
    scaled = torch.empty_like(weight, memory_format=layout)
    torch.mul(weight, scale.to(weight).reshape(-1, *[1] * (weight.dim() - 1)), out=scaled)
    requires_grad = layer.weight.requires_grad
    layer.weight = nn.Parameter(scaled, requires_grad=requires_grad)
    layer.bias = nn.Parameter(shift.to(weight), requires_grad=requires_grad)


class Way:
    """Holds, in each run of a copy, that what a folded layer returns goes to its batch norm.

    Where that is decided by the data, it may go elsewhere than when the copy was made.

    Args:
        kind: What the model is called.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._on_the_way: dict[nn.Module, Tensor] = {}

    def lead(self, layer: nn.Module, norm: nn.Module) -> None:
        """Have the batch norm do nothing but take what the layer returns."""
        # It stays the module that it is, with all that others may ask it for.
        vars(norm)["forward"] = partial(self._arrive, layer)
        layer.register_forward_hook(self._leave)

    def _leave(self, layer: nn.Module, _: Any, output: Tensor) -> None:
        self._on_the_way[layer] = output

    def _arrive(self, layer: nn.Module, x: Tensor) -> Tensor:
        if self._on_the_way.pop(layer, None) is not x:
            self._complain()
        return x

    def begin(self, *_: Any) -> None:
        self._on_the_way.clear()  # of a run that failed

    def end(self, *_: Any) -> None:
        if self._on_the_way:
            self._on_the_way.clear()
            self._complain()

    def _complain(self) -> NoReturn:
        raise ModelError(
            f"with fast=True, inputs may not take different ways through {self._kind}: what a "
            "layer returned went to a batch norm in the first batch, and elsewhere now. Leave fast "
            "out"
        )
