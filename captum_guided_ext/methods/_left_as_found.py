"""Networks that keep nothing of somebody else's method that failed half-way."""

from __future__ import annotations

from collections.abc import MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

_CAPTUMS = ("input", "output")  # where its DeepLift keeps what a module saw


@contextmanager
def left_as_found(*models: Any) -> Iterator[None]:
    """Take off the hooks that code in the ``with`` block left on modules when it raised.

    A hook of Captum's that stays would override gradients for every later method. What a method
    leaves when it ends well is its own business.

    Args:
        models: What may be hooked; what is no module is passed over.
    """
    modules = {
        module for model in models if isinstance(model, nn.Module) for module in model.modules()
    }
    before = {module: _state(module) for module in modules}
    try:
        yield
    except BaseException:
        for module, (hooks, attributes) in before.items():
            for name, ids in hooks.items():
                found = vars(module)[name]
                for new in [one for one in found if one not in ids]:
                    del found[new]
            for name in _CAPTUMS:
                if name in vars(module) and name not in attributes:
                    delattr(module, name)
            module._is_full_backward_hook = attributes["_is_full_backward_hook"]  # noqa: SLF001
        raise


def _state(module: nn.Module) -> tuple[dict[str, set[Any]], dict[str, Any]]:
    """Return the ids of a module's hooks by kind, and its attributes."""
    hooks = {
        name: set(found)
        for name, found in vars(module).items()
        if "_hooks" in name and isinstance(found, MutableMapping)
    }
    return hooks, dict(vars(module))
