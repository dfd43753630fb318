"""Packages that only some networks need."""

from __future__ import annotations

import importlib
from typing import Any

from captum_guided_ext.errors import ModelError, brief


def needed(package: str, asked: str, extra: str) -> Any:
    """Return ``package``, which the network called ``asked`` comes from.

    Raises:
        ModelError: if it cannot be imported; ``extra`` is what to install.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ModelError(
            f"{asked} comes from the package {package}, which cannot be imported ({brief(error)}): "
            f'pip install "captum-guided-ext[{extra}]"'
        ) from error
