"""A copy of a model whose weights are drawn anew, layer by layer, and put back."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from captum_guided_ext.autograd import ForwardPass, deep_copy, leaf_uses, memory_of, opened
from captum_guided_ext.errors import ModelError, brief, is_lack_of_memory
from captum_guided_ext.metrics._utils.layers_in_order import (
    Layer,
    Weight,
    frozen_norm,
    identity_of,
    is_number,
    layers_in_order,
    paired_weights,
)
from captum_guided_ext.metrics._utils.reinitialization import (
    Reinitialization,
    normal,
    permuted,
    reset_tensors,
)
from captum_guided_ext.sampling import Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Order: TypeAlias = Literal["cascading", "bottom_up", "independent"]
ORDERS: tuple[Order, ...] = ("cascading", "bottom_up", "independent")
_CPU = torch.device("cpu")


class RandomizedCopy:
    """A deep copy of a model, made once, whose layers can be randomised and put back.

    The model itself is read and never written to, hooked or run. Random numbers depend on the seed,
    the draw and the name of the tensor, and are drawn on the CPU: they are the same in every order
    of the layers and on every device.

    Args:
        model: An ``nn.Module``. What ``torch.compile`` or ``DistributedDataParallel`` wrapped is
            opened.
        reinitialization: How weights are drawn anew.
        seed: Of all randomness.

    Attributes:
        model: The copy.
        memo: What ``copy.deepcopy`` filled: which object of the model became which of the copy.
        layers: The names of the layers, in the order in which they are randomised; known after
            :meth:`find_layers`.

    Raises:
        ModelError: for what has no weights, or cannot be copied.
    """

    def __init__(self, model: Any, reinitialization: Reinitialization, seed: int) -> None:
        self._kind = type(model).__name__
        self._reinitialization = reinitialization
        self._seed = seed
        if not isinstance(model, nn.Module):
            raise ModelError(
                f"the model is a {self._kind}, which has no weights to randomise: give the "
                "nn.Module itself, not a function around it or a method of it"
            )
        inner = opened(model)
        self._kind = type(inner).__name__
        parameters = list(inner.parameters())
        if any(map(is_lazy, parameters)):
            raise ModelError(f"{self._kind} has weights of unknown shape: run it on an input first")
        if not parameters:
            raise ModelError(f"{self._kind} has no parameters, and so nothing to randomise")
        self._memory = {memory_of(one) for one in (*parameters, *inner.buffers())} - {0}
        self.memo: dict[int, Any] = {}
        self.model = self._copied(model)
        self._weights = paired_weights(inner, self.model)
        self._layers: dict[str, Layer] = {}
        self._unseen: list[Weight] = []

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers, in the order in which they are randomised."""
        return tuple(self._layers)

    @contextmanager
    def traceable(self) -> Iterator[None]:
        """Let forward passes in the ``with`` block show which weights they use, frozen ones too."""
        parameters: list[Tensor] = [one for one in self.model.parameters() if is_number(one)]
        for module in self.model.modules():
            parameters += frozen_norm(module).values()
        required = [one.requires_grad for one in parameters]
        for one in parameters:
            one.requires_grad_()
        try:
            yield
        finally:
            for one, before in zip(parameters, required, strict=True):
                one.requires_grad_(before)

    def find_layers(self, output: Tensor, order: Order, *, of_copy: bool = True) -> None:
        """Find out which layers there are, by an output of the copy within :meth:`traceable`.

        A layer is a module that holds parameters of its own which lead to the output. From the
        output down, layers come in the order of their last use in the forward pass, from the input
        up in that of the first; who called whom does not matter. Tied weights belong to the layer
        that comes first. A layer that has nothing left of its own is none, and neither is one that
        this re-initialisation leaves as it is. The parameters of the model itself go by the name of
        its class, and those behind a parametrisation belong to the module that is parametrised.

        Args:
            output: Of the copy; or of the model itself, which shows those of its weights alone that
                require a gradient.
            order: Of the layers.
            of_copy: Whether it is the copy's. Default: True.

        Raises:
            ModelError: if there is none, if the copy runs parts of the model itself, or if it uses
                weights that are not among its parameters.
        """
        uses = leaf_uses(output)
        if not of_copy:
            ours = self.memo
            uses = [u._replace(leaf=ours[id(u.leaf)]) for u in uses if id(u.leaf) in ours]
        if any(memory_of(use.leaf) in self._memory for use in uses):
            raise ModelError(
                f"a copy of {self._kind} uses weights of the original: one of its modules holds a "
                "function that refers to another (a forward that was replaced, say). Make that a "
                "method or a module"
            )
        own = {memory_of(one) for one in self.model.parameters()}
        strange = [one.leaf for one in uses if isinstance(one.leaf, nn.Parameter)]
        strange = [one for one in strange if memory_of(one) not in own]
        if strange:
            raise ModelError(
                f"{self._kind} uses weights that are not among its parameters, the first of shape "
                f"{tuple(strange[0].shape)}, and they would stay as they are: make what holds them "
                "an attribute of a module, or an entry of nn.ModuleList or nn.ParameterList and "
                "not of a list"
            )
        found = layers_in_order(self._weights, uses, self._kind, from_input=order == "bottom_up")
        if not found:
            raise ModelError(
                f"no parameter of {self._kind} leads to its output, as autograd sees it: they are "
                "unused, or detached inside the model"
            )
        seen = {identity_of(w.original) for layer in found.values() for w in layer.weights}
        self._unseen = [
            w
            for w in self._weights
            if identity_of(w.original) not in seen and (w.original != w.original.flatten()[0]).any()
        ]
        self._layers = {n: layer for n, layer in found.items() if self._changes(n, layer)}
        if not self._layers:
            raise ModelError(
                f"the weights of {self._kind} are the same number everywhere, and stay so: choose "
                'reinitialization="reset"'
            )

    def find_layers_by(self, inputs: Tensor, further: object, order: Order) -> None:
        """Find the layers by one forward pass of the copy (see :meth:`find_layers`)."""
        with self.traceable(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # whoever explains the model says them
            output = ForwardPass(self.model, inputs, further).output
            self.find_layers(output, order)
            self.check_unseen(lambda: ForwardPass(self.model, inputs, further).output, output)

    def check_unseen(self, run: Callable[[], Tensor], output: Tensor) -> None:
        """Raise if weights that autograd does not see matter to the output: they would stay.

        Costs nothing where all of them are seen, else two forward passes. A model that gives
        another output each time cannot be asked.

        Args:
            run: Runs the copy once more.
            output: What it gave before.

        Raises:
            ModelError: for weights that are detached, say, or used under ``no_grad``.
        """
        if not self._unseen or not torch.equal(run(), output):
            return
        try:
            for weight in self._unseen:
                generator = self._draws(weight.name).generator(0, 0, _CPU)
                _write(weight.copies, permuted(weight.original.detach().cpu(), generator))
            matters = not torch.equal(run(), output)
        finally:
            for weight in self._unseen:
                _write(weight.copies, weight.original)
        if matters:
            names = ", ".join(weight.name for weight in self._unseen[:3])
            raise ModelError(
                f"the output of {self._kind} depends on weights that autograd does not see "
                f"(detached, or used under no_grad), among {names}: they would stay as they are. "
                "Use them with autograd on, and freeze them by requires_grad_(False)"
            )

    def randomize(self, layer: str, draw: int) -> None:
        """Draw the weights of a layer anew, from those of the model, whatever they are now."""
        for weight, values in self._drawn(layer, self._layers[layer], draw):
            _write(weight.copies, values)

    def restore(self) -> None:
        """Put back the weights of the model."""
        for layer in self._layers.values():
            for weight in layer.weights:
                _write(weight.copies, weight.original)

    def _copied(self, model: nn.Module) -> nn.Module:
        try:
            copied = deep_copy(model, self.memo)
        except Exception as error:
            if is_lack_of_memory(error):
                raise
            raise ModelError(
                f"{self._kind} cannot be copied, and its own weights are not to be changed "
                f"({brief(error)})"
            ) from error
        theirs = (*copied.parameters(), *copied.buffers())
        if copied is opened(model) or any(memory_of(one) in self._memory for one in theirs):
            raise ModelError(
                f"a deep copy of {self._kind} shares memory with it, and its weights are not to be "
                "changed: a __deepcopy__ of one of its parts returns what it was given"
            )
        return copied

    def _changes(self, name: str, layer: Layer) -> bool:
        if self._reinitialization != "reset":
            return any(bool((w.original != w.original.flatten()[0]).any()) for w in layer.weights)
        drawn = self._drawn(name, layer, 0)
        return any(not torch.equal(w.original.detach().cpu(), values) for w, values in drawn)

    def _drawn(self, name: str, layer: Layer, draw: int) -> Iterator[tuple[Weight, Tensor]]:
        """Yield the weights of a layer with their new values, on the CPU."""
        reset: dict[nn.Module, dict[str, Tensor]] = {}
        for weight in layer.weights:
            if self._reinitialization == "reset" and weight.owner not in reset:
                seed = self._draws(name).seed_of(0, draw)
                reset[weight.owner] = reset_tensors(weight.owner, seed, name)
            new = reset.get(weight.owner, {}).get(weight.attribute)
            if new is None:
                values = weight.original.detach().cpu()
                generator = self._draws(weight.name).generator(0, draw, _CPU)
                if self._reinitialization == "normal":
                    is_variance = weight.attribute == "running_var"
                    new = normal(values, generator, is_variance=is_variance)
                else:
                    new = permuted(values, generator)
            yield weight, new

    def _draws(self, name: str) -> Draws:
        return Draws(self._seed, [0], f"weights {name}")


def _write(tensors: list[Tensor], values: Tensor) -> None:
    with torch.inference_mode(False), torch.no_grad():  # noqa: FBT003
        for one in tensors:
            one.copy_(values)
