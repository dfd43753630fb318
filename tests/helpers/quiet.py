"""Warnings that belong to others; all others are errors (see ``filterwarnings`` in pyproject)."""

import contextlib
import warnings


@contextlib.contextmanager
def captum():
    """Let Captum say what it says in every call that sets hooks or ``requires_grad``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d did not already", UserWarning)
        yield
