"""Several attribution methods asked together: the named ones, Captum's, and functions."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from captum.attr import Attribution
from torch import Tensor

from captum_guided_ext.attr import (
    LAYER_METHODS,
    METHODS,
    check_methods,
    find_layer,
    named_maps,
    run_at_layer,
)
from captum_guided_ext.autograd import ForwardPass, check_finite
from captum_guided_ext.errors import brief, warn_user
from captum_guided_ext.evaluation._captum_methods import (
    CAPTUM_METHODS,
    DRAWING_METHODS,
    captum_method,
    captum_settings,
)
from captum_guided_ext.evaluation._floors import FLOORS
from captum_guided_ext.evaluation._left_as_found import left_as_found
from captum_guided_ext.evaluation._method_specs import MethodSpec
from captum_guided_ext.output import described
from captum_guided_ext.sampling import Draws, RowByRow

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.evaluation._method_specs import Baselines

    Method: TypeAlias = str | MethodSpec | Attribution | Callable[..., Any]

ALL_METHODS = (*METHODS, *CAPTUM_METHODS)
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
        self._methods = _by_name(methods)
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
        """Return each method's own seeds for these samples of each image, by method."""
        return {name: Draws(seed, images, f"method {name}").seeds(samples) for name in self.names}

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
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Return the map of each method, and the reason of each that has none.

        Args:
            forward_pass: From :meth:`forward_pass`.
            target: As in Captum; a bad one is an error of no method.
            seeds: Of each example, by method, for those that draw from a global generator.
            additional_forward_args: The model's further arguments, for methods of Captum's form.

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
            collected=(ValueError,),
        )
        maps = {self._name_of(method): one.detach() for method, one in found.items()}
        reasons = {self._name_of(method): str(error) for method, error in errors.items()}
        arguments: dict[str, Any] = {"target": target}
        if additional_forward_args is not None:
            arguments["additional_forward_args"] = additional_forward_args
        for name, function in self._functions.items():
            try:
                with (
                    warnings.catch_warnings(),
                    left_as_found(self.model, self._specs[name].hooked),
                ):
                    # Captum asks for inputs that require a gradient, sets that itself, and says so.
                    warnings.filterwarnings("ignore", "Input Tensor .* did not already require")
                    found_map = function(x.detach().clone(), arguments, seeds[name])
                maps[name] = _checked(found_map, x)
            except Exception as error:  # noqa: BLE001 - somebody else's method may raise anything
                reasons[name] = brief(error)
        return (
            {name: maps[name] for name in self.names if name in maps},
            {name: reasons[name] for name in self.names if name in reasons},
        )

    def _named(self, among: Iterable[str]) -> list[str]:
        asked = [method for method in self._methods.values() if isinstance(method, str)]
        return [method for method in among if method in asked]

    def _name_of(self, method: str) -> str:
        return next(name for name, one in self._methods.items() if one == method)


def _by_name(methods: Iterable[Method] | Mapping[str, Method]) -> dict[str, Method]:
    if isinstance(methods, (str, MethodSpec, Attribution)):
        methods = [methods]
    pairs = (
        list(methods.items())
        if isinstance(methods, Mapping)
        else [(_default_name(method), method) for method in methods]
    )
    named: dict[str, Method] = {}
    for name, method in pairs:
        if not isinstance(name, str):
            raise TypeError(f"{name!r} is no name of a method: call it by a text")
        if isinstance(method, str):
            check_methods([method], ALL_METHODS)
        elif not callable(method) and not isinstance(method, Attribution):
            raise TypeError(
                f"{method!r} is no attribution method: give a name, a Captum Attribution or a "
                "function of the form of its attribute"
            )
        if name in FLOORS:
            raise ValueError(
                f"{name!r} is the name of a floor, which every table has: call the method otherwise"
            )
        if name in named or (isinstance(method, str) and method in named.values()):
            raise ValueError(
                f"two methods are called {name!r}: give a mapping from names of your own to methods"
            )
        named[name] = method
    if not named:
        check_methods([], ALL_METHODS)
    return named


def _spec(method: Method, model: Callable[..., Any]) -> MethodSpec:
    if isinstance(method, str):
        return captum_method(method, model)
    return method if isinstance(method, MethodSpec) else MethodSpec(method)


def _default_name(method: Any) -> str:
    if isinstance(method, str):
        return method
    if isinstance(method, MethodSpec):
        return _default_name(method.method)
    if isinstance(method, functools.partial):
        return _default_name(method.func)
    owner = getattr(method, "__self__", None)
    if isinstance(owner, Attribution):
        return _default_name(owner)
    if isinstance(method, Attribution):
        words = _snake_case(type(method).__name__)
        inner = getattr(method, "attribution_method", None)
        return words if inner is None else f"{words}_{_default_name(inner)}"
    return str(getattr(method, "__name__", type(method).__name__))


def _snake_case(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


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
