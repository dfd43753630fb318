"""The layers of a model that hold weights, in the order in which a forward pass used them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn

from captum_guided_ext.metrics._utils.reinitialization import STATISTICS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from captum_guided_ext.autograd import Use


@dataclass
class Weight:
    """A tensor that is drawn anew.

    Attributes:
        name: Its dotted name, which its random numbers depend on.
        original: That of the user's model, which is read only.
        tensor: That of the copy.
        copies: All that are to be written: several, where the user's modules share its memory.
        owner: The module of the copy that holds it.
        attribute: Under which name.
        first: When it was first used in the forward pass; a variance that is a buffer, never.
        last: When it was last used.
    """

    name: str
    original: Tensor
    tensor: Tensor
    copies: list[Tensor]
    owner: nn.Module
    attribute: str
    first: int | None = None
    last: int | None = None


@dataclass
class Layer:
    """Modules that hold weights, under one name, and when those were used."""

    place: int  # among the modules of the model
    weights: list[Weight] = field(default_factory=list)

    @property
    def is_used(self) -> bool:
        return any(weight.first is not None for weight in self.weights)

    def first(self) -> tuple[int, int]:
        return min(w.first for w in self.weights if w.first is not None), self.place

    def last(self) -> tuple[int, int]:
        return max(w.last for w in self.weights if w.last is not None), self.place


def paired_weights(original: nn.Module, copied: nn.Module) -> list[Weight]:
    """Return the tensors of a model that may be drawn anew, each with those of its copy."""
    by_memory: dict[object, list[Tensor]] = {}
    weights: list[Weight] = []
    pairs = zip(original.named_modules(), copied.modules(), strict=True)
    for (module_name, theirs), ours in pairs:
        ours_own = _own(ours)
        for attribute, tensor in _own(theirs).items():
            mine = ours_own[attribute]
            copies = by_memory.setdefault(identity_of(tensor), [])
            if not any(mine is one for one in copies):
                copies.append(mine)
            name = _plain(f"{module_name}.{attribute}".lstrip("."), original)
            weights.append(Weight(name, tensor, mine, copies, ours, attribute))
    return weights


def layers_in_order(
    weights: Iterable[Weight], uses: Iterable[Use], root: str, *, from_input: bool
) -> dict[str, Layer]:
    """Return the layers that were used, by name, in the order in which they are to be randomised.

    Args:
        weights: Of the model.
        uses: What a forward pass of the copy used.
        root: The name of the layer that the model's own weights are.
        from_input: Begin with the layer that was used first, and not with that used last.
    """
    used = {use.leaf.data_ptr(): use for use in uses}
    left: dict[str, Layer] = {}
    for place, weight in enumerate(weights):
        use = used.get(weight.tensor.data_ptr())
        if use is not None:
            weight.first, weight.last = use.first, use.last
        if use is not None or weight.attribute in STATISTICS:
            name = _layer_name(weight.name) or root
            left.setdefault(name, Layer(place)).weights.append(weight)
    found: dict[str, Layer] = {}
    while left := {name: layer for name, layer in left.items() if layer.is_used}:
        if from_input:
            name = min(left, key=lambda one: left[one].first())
        else:
            name = max(left, key=lambda one: left[one].last())
        found[name] = left.pop(name)
        taken = {identity_of(weight.original) for weight in found[name].weights}
        for other in left.values():  # of what is tied, each keeps what is left of its own
            other.weights = [w for w in other.weights if identity_of(w.original) not in taken]
    return found


def is_number(tensor: Tensor) -> bool:
    """Whether a tensor holds numbers that may be drawn, and not indices or codes."""
    return tensor.is_floating_point() or tensor.is_complex()


def frozen_norm(module: nn.Module) -> dict[str, Tensor]:
    """Return the buffers of a batch norm that holds its weight among them; of others, nothing."""
    buffers = dict(module.named_buffers(recurse=False))
    names = ("weight", "bias", *STATISTICS)
    return {n: buffers[n] for n in names if n in buffers} if set(names) <= set(buffers) else {}


def _own(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's own parameters and learnt statistics by name."""
    found: dict[str, Tensor] = dict(module.named_parameters(recurse=False))
    found |= {n: b for n, b in module.named_buffers(recurse=False) if n in STATISTICS}
    found |= frozen_norm(module)
    return {name: one for name, one in found.items() if is_number(one) and one.numel()}


def identity_of(tensor: Tensor) -> object:
    """Return what two tensors that are the same numbers in memory have in common."""
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride()


def _plain(name: str, model: nn.Module) -> str:
    """Return a dotted name without the names of wrappers."""
    if isinstance(model, nn.DataParallel):
        name = name.removeprefix("module.")
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _layer_name(name: str) -> str:
    """Return the layer that a tensor belongs to, by its dotted name; empty for the model itself."""
    owner, _, parametrized = name.partition("parametrizations.")
    return owner.rstrip(".") if parametrized else name.rpartition(".")[0]
