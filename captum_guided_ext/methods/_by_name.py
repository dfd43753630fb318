"""What each method is called: by its own name, by its class's or its function's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from captum.attr import Attribution

from captum_guided_ext.attr import METHODS, check_methods
from captum_guided_ext.methods._captum_methods import CAPTUM_METHODS
from captum_guided_ext.methods._floors import FLOORS
from captum_guided_ext.methods._method_specs import MethodSpec

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Method: TypeAlias = str | MethodSpec | Attribution | Callable[..., Any]

ALL_METHODS = (*METHODS, *CAPTUM_METHODS)
"""The methods that ``compare`` and ``benchmark`` know by name."""


def by_name(methods: Iterable[Method] | Mapping[str, Method]) -> dict[str, Method]:
    """Return methods by name.

    Raises:
        TypeError: for what is no method.
        ValueError: for an unknown or a repeated name, or no method at all.
    """
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
