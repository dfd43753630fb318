"""Networks of one's own: what a function, a class or a module in an importable module gives."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import operator
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from captum_guided_ext.errors import ModelError, brief, nearest
from captum_guided_ext.networks._network import Network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


def find_factory(name: str) -> Callable[[], Network]:
    """Return what makes the network that ``"module:factory"`` stands for.

    Raises:
        ModelError: if there is no such module or nothing in it that is called so.
    """
    module_name, _, attribute = name.partition(":")
    with _current_directory_importable():
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # the user's own module may raise anything
            near = nearest(module_name, [*(p.stem for p in Path.cwd().glob("*.py")), "timm", "hf"])
            raise ModelError(
                f"cannot import {module_name!r} of {name!r} ({brief(error)}){near}"
            ) from error
        try:
            found = operator.attrgetter(attribute)(module)
        except AttributeError as error:
            near = nearest(attribute, _factories(module), otherwise=None)
            raise ModelError(f"module {module_name!r} has no {attribute!r}{near}") from error
    return partial(_made, name, found)


def _factories(module: ModuleType) -> list[str]:
    """Return what in a module of one's own may give a network: none of what it imports."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value)
        and not name.startswith("_")
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]


def _made(name: str, found: Any) -> Network:
    with _current_directory_importable():  # a factory may import what lies beside it
        made = found if isinstance(found, (nn.Module, Network)) else _called(name, found)
    if isinstance(made, Network):
        return made
    if not callable(made):
        raise ModelError(
            f"{name!r} returned a {type(made).__name__}: it must return a torch.nn.Module, a "
            "function, or a captum_guided_ext.Network(model, transform=..., classes=...)"
        )
    return Network(made, name=name, weights=f"as {name} makes it")


def _called(name: str, factory: Any) -> Any:
    if not callable(factory):
        raise ModelError(
            f"{name!r} is a {type(factory).__name__}: name a torch.nn.Module, a Network, or a "
            "function or class that returns one when called without arguments"
        )
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        raise ModelError(
            f"{name!r} cannot be called without arguments ({error}), as a factory is. If it is the "
            "network itself, name a function that returns it; if it makes one, give its "
            "arguments defaults"
        ) from error
    except ValueError:  # it has no signature to look at
        pass
    try:
        return factory()
    except Exception as error:  # so may the user's own factory
        raise ModelError(f"{name!r} failed when called ({brief(error)})") from error


@contextlib.contextmanager
def _current_directory_importable() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's module may have edited the path too
            sys.path.remove(here)
