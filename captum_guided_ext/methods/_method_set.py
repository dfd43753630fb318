"""Several attribution methods asked together: the named ones, Captum's, and functions."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.attr import (
    LAYER_METHODS,
    METHODS,
    FoundLayer,
    find_layer,
    named_maps,
    run_at_layer,
)
from captum_guided_ext.autograd import (
    ForwardPass,
    check_finite,
    memory_of,
    memory_used,
    modules_called,
)
from captum_guided_ext.errors import ModelError, brief, warn_user
from captum_guided_ext.methods._by_name import by_name
from captum_guided_ext.methods._captum_methods import (
    CAPTUM_METHODS,
    DRAWING_METHODS,
    captum_method,
    captum_promise,
    captum_settings,
)
from captum_guided_ext.methods._left_as_found import left_as_found
from captum_guided_ext.methods._method_specs import MethodSpec
from captum_guided_ext.output import described
from captum_guided_ext.sampling import Draws, RowByRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods._by_name import Method
    from captum_guided_ext.methods._method_specs import Baselines

_PICTURE = 4  # dimensions


class MethodSet:
    """Attribution methods of one model, by name.

    Those of :data:`captum_guided_ext.attr.METHODS` share a forward pass. The others are asked on
    their own, and do not depend on the batch: one that draws from a global generator is run example
    by example, seeded.

    Args:
        model: A module or any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`).
        methods: Names from :data:`captum_guided_ext.attr.METHODS` or :data:`CAPTUM_METHODS`,
            Captum's ``Attribution`` objects, functions of the form of ``attribute``, or a
            :class:`MethodSpec` of either; or a mapping from names of your choice to these. Others
            are called by their class's or their function's name.
        layer: Grad-CAM's layer, as a module or by its dotted name. Default: the last feature map,
            which is found in the first forward pass.
        interpolate_mode: How a Grad-CAM is laid over the input.

    Raises:
        TypeError: for what is no method.
        ValueError: for an unknown or a repeated name, or a layer the model does not have.
    """

    def __init__(
        self,
        model: Callable[..., Any],
        methods: Iterable[Method] | Mapping[str, Method],
        *,
        layer: nn.Module | str | None = None,
        interpolate_mode: str = "bilinear",
    ) -> None:
        if not callable(model):
            raise TypeError(f"model must be a module or a callable, not {type(model).__name__}")
        self.model = model
        self.interpolate_mode = interpolate_mode
        self._methods = by_name(methods)
        self._specs = {
            name: _spec(method, model)
            for name, method in self._methods.items()
            if method not in METHODS
        }
        self._functions = {
            name: RowByRow(spec, draws=self._methods[name] in DRAWING_METHODS)
            for name, spec in self._specs.items()
        }
        self._asked_layer = layer
        self._layer = None if layer is None else find_layer(model, layer)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all methods, in the order they were given."""
        return tuple(self._methods)

    def multiplied_by_inputs(self, x: Tensor, names: Iterable[str]) -> dict[str, Baselines]:
        """Return the baselines of those whose attribution is multiplied by ``x - baselines``.

        Args:
            x: What is explained.
            names: The methods that are asked for. One of which nobody knows is taken as not
                multiplied, and a warning says so.
        """
        found: dict[str, Baselines] = {}
        for name in names:
            if name not in self._specs:
                if self._methods.get(name) == "input_x_gradient":
                    found[name] = 0.0
                continue
            try:
                reference = self._specs[name].reference(x)
            except LookupError:
                warn_user(
                    f"whether the map of {name!r} is multiplied by the input is not known, and "
                    "infidelity takes it as not multiplied: give "
                    "MethodSpec(method, multiplies_by_inputs=False), or True and its baselines"
                )
                continue
            if reference is not None:
                found[name] = reference
        return found

    def promised(self, x: Tensor, name: str) -> list[Baselines] | None:
        """Return the baselines of which a method promises to explain ``f(x)`` less their mean.

        None for one that does not promise completeness.

        Raises:
            LookupError: if they are drawn, nobody knows how.
        """
        method = self._methods[name]
        if isinstance(method, str):
            return None if method in METHODS else captum_promise(method)
        return self._specs[name].promised(x)

    @property
    def named(self) -> dict[str, str]:
        """Which of :data:`captum_guided_ext.attr.METHODS` a name stands for, where it does."""
        return {
            name: one
            for name, one in self._methods.items()
            if isinstance(one, str) and one in METHODS
        }

    def describe(self) -> dict[str, str]:
        """Return what each name stands for, in words that are the same in every process."""
        return {
            name: captum_settings(method)
            if isinstance(method, str) and method in CAPTUM_METHODS
            else described(method)
            for name, method in self._methods.items()
        }

    def describe_layer(self) -> str | None:
        """Return Grad-CAM's layer as it was asked for; None for the default one."""
        if self._asked_layer is None:
            return None
        return self.layer_name or described(self._asked_layer)

    @property
    def layer_name(self) -> str | None:
        """The dotted name of Grad-CAM's layer, where there is one and it is known."""
        return None if self._layer is None else self._layer.name

    def seeds(
        self, seed: int, images: Sequence[int], samples: Sequence[int]
    ) -> dict[str, list[int]]:
        """Return the seeds of these samples of each image, by method, of those that may draw."""
        return {
            name: Draws(seed, images, f"method {name}").seeds(samples) for name in self._functions
        }

    def forward_pass(self, x: Tensor, additional_forward_args: object = None) -> ForwardPass:
        """Run the model once on ``x``, as the named methods need it."""
        if not self._named(LAYER_METHODS):
            return ForwardPass(self.model, x, additional_forward_args)
        forward_pass, self._layer = run_at_layer(
            self.model, x, additional_forward_args, self._layer
        )
        return forward_pass

    def maps(
        self,
        forward_pass: ForwardPass,
        target: TargetType,
        seeds: Mapping[str, Sequence[int]],
        additional_forward_args: object = None,
        *,
        warn_if_zero: bool = True,
        retain_graph: bool = False,
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the map of each method, and the reason of each that has none.

        Args:
            forward_pass: From :meth:`forward_pass`.
            target: As in Captum; a bad one is an error of no method.
            seeds: Of each example, by method, for those that draw from a global generator.
            additional_forward_args: The model's further arguments, for methods of Captum's form.
            warn_if_zero: As in ``named_maps``. Default: True.
            retain_graph: Keep what further maps of this forward pass need. Default: False.

        Returns:
            Maps of the input's shape (Grad-CAM's with one channel), without a graph, and reasons in
            words. Each method is in one of them.
        """
        (x,) = forward_pass.inputs
        found, errors = named_maps(
            forward_pass,
            target,
            self._named(METHODS),
            interpolate_mode=self.interpolate_mode,
            no_layer="" if self._layer is None else self._layer.reason,
            warn_if_zero=warn_if_zero,
            retain_graph=retain_graph,
            collected=(ValueError,),
        )
        maps = {self._name_of(method): one.detach() for method, one in found.items()}
        reasons = {self._name_of(method): str(error) for method, error in errors.items()}
        arguments: dict[str, Any] = {"target": target}
        if additional_forward_args is not None:
            arguments["additional_forward_args"] = additional_forward_args
        for name in self._functions:
            try:
                maps[name] = self._map_of(name, x, arguments, seeds[name])
            except _OtherModelError as error:
                reasons[name] = str(error)
            except Exception as error:  # noqa: BLE001 - somebody else's method may raise anything
                reasons[name] = brief(error)
        return (
            {name: maps[name] for name in self.names if name in maps},
            {name: reasons[name] for name in self.names if name in reasons},
        )

    def rebound(self, model: nn.Module, memo: dict[int, Any]) -> MethodSet:
        """Return the same methods of a copy of the model.

        A method that goes on running the original, as a function around it does, has no map but
        that reason: its first run shows it, by the modules it calls and the weights it reads.

        Args:
            model: The copy.
            memo: As ``copy.deepcopy(original, memo)`` filled it, and is filled further.
        """
        methods = {
            name: method if isinstance(method, str) else copy.deepcopy(method, memo)
            for name, method in self._methods.items()
        }
        original: Any = self.model
        memory = {memory_of(one) for one in (*original.parameters(), *original.buffers())} - {0}
        return _Rebound(model, methods, self._layer, self.interpolate_mode, memo, memory)

    def on_copy(self, model: nn.Module, memo: Mapping[int, Any]) -> MethodSet:
        """Return the methods of a copy that computes the same function.

        What was given as an object or a function goes on running what it was made with.

        Args:
            model: The copy.
            memo: As ``copy.deepcopy(original, memo)`` filled it.
        """
        found = MethodSet(model, self._methods, interpolate_mode=self.interpolate_mode)
        layer = self._layer
        if layer is not None and layer.module is not None:
            layer = layer._replace(module=memo.get(id(layer.module), layer.module))
        found._layer = layer
        return found

    @property
    def seeks_layer(self) -> bool:
        """Whether Grad-CAM's layer is yet to be found, by a forward pass."""
        return self._layer is None and bool(self._named(LAYER_METHODS))

    @property
    def layer(self) -> nn.Module | None:
        """Grad-CAM's layer, where there is one and it is known."""
        return None if self._layer is None else self._layer.module

    def _map_of(
        self, name: str, x: Tensor, arguments: Mapping[str, Any], seeds: Sequence[int]
    ) -> Tensor:
        with warnings.catch_warnings(), left_as_found(self.model, self._specs[name].hooked):
            # Captum asks for inputs that require a gradient, sets that itself, and says so.
            warnings.filterwarnings("ignore", "Input Tensor .* did not already require")
            found = self._functions[name](x.detach().clone(), arguments, seeds)
        return _checked(found, x)

    def _named(self, among: Iterable[str]) -> list[str]:
        asked = [method for method in self._methods.values() if isinstance(method, str)]
        return [method for method in among if method in asked]

    def _name_of(self, method: str) -> str:
        return next(name for name, one in self._methods.items() if one == method)


class _OtherModelError(ModelError):
    """A method that explains another model than it is asked about."""


class _Rebound(MethodSet):
    """The methods of a copy of a model: one that runs the original has no map."""

    def __init__(
        self,
        model: nn.Module,
        methods: Mapping[str, Method],
        layer: FoundLayer | None,
        interpolate_mode: str,
        memo: dict[int, Any],
        memory: set[int],
    ) -> None:
        super().__init__(model, methods, interpolate_mode=interpolate_mode)
        self._memo, self._memory = memo, memory
        self._unwatched = set(self._functions)
        if layer is not None and layer.module is not None:
            is_part = id(layer.module) in memo
            reason = "" if is_part else "Grad-CAM's layer is no part of the model"
            self._layer = FoundLayer(memo.get(id(layer.module)), layer.name, reason)

    def _map_of(
        self, name: str, x: Tensor, arguments: Mapping[str, Any], seeds: Sequence[int]
    ) -> Tensor:
        if name not in self._unwatched:
            return super()._map_of(name, x, arguments, seeds)
        with modules_called() as called, memory_used() as used:
            found = super()._map_of(name, x, arguments, seeds)
        if used & self._memory or any(id(module) in self._memo for module in called):
            raise _OtherModelError(
                "it runs the network that it was made with, and cannot be asked about a copy of it "
                "with other weights: make it a Captum Attribution of the module itself, not of a "
                "function around it"
            )
        self._unwatched.discard(name)
        return found


def _spec(method: Method, model: Callable[..., Any]) -> MethodSpec:
    if isinstance(method, str):
        return captum_method(method, model)
    return method if isinstance(method, MethodSpec) else MethodSpec(method)


def _checked(attribution: Any, x: Tensor) -> Tensor:
    if isinstance(attribution, tuple) and len(attribution) == 1:
        attribution = attribution[0]
    if not isinstance(attribution, Tensor):
        raise TypeError(f"the method returned a {type(attribution).__name__}, not a tensor")
    shapes = [x.shape]
    if x.dim() >= _PICTURE:
        shapes.append(torch.Size((len(x), 1, *x.shape[2:])))
    if attribution.shape not in shapes:
        raise ValueError(
            f"the method returned shape {tuple(attribution.shape)} for inputs of {tuple(x.shape)}"
        )
    check_finite(attribution, "the attribution")
    return attribution.detach()
