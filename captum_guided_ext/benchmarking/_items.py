"""One image of a data set, as it is scored; what cannot be scored says why."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from captum_guided_ext.benchmarking._identity import digest_of
from captum_guided_ext.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


class WrongSizeError(DataError):
    """An input that is not of the shape of the run's first."""


class Item(NamedTuple):
    """What is scored of an image.

    Attributes:
        x: The input, (...), on the CPU or wherever the data has it.
        label: The class, where it is explained; else None.
        mask: Where the object is, boolean (H, W); None where that is not known.
    """

    x: Tensor
    label: int | None
    mask: Tensor | None

    @property
    def digest(self) -> str:
        """What the image is, in 16 digits."""
        return digest_of(self.x, self.label, self.mask)

    def check_finite(self) -> None:
        """Raise ``DataError`` if the input holds NaN or infinity."""
        if not torch.isfinite(self.x).all():
            raise DataError("its input holds NaN or infinity")


def form_of(x: Tensor) -> str:
    """Return an input's type and shape in words."""
    return f"{str(x.dtype).removeprefix('torch.')} {' x '.join(map(str, x.shape))}"


def item_of(raw: Sequence[Any], form: str | None, *, with_label: bool = False) -> Item:
    """Return what a data set has for an image as an item.

    Args:
        raw: ``(input,)``, ``(input, label)`` or ``(input, label, mask)``.
        form: What :func:`form_of` says of every input of the run; None where nothing is known.
        with_label: Whether the label is explained.

    Raises:
        DataError: if it cannot be scored.
    """
    x = _tensor(raw[0] if raw else None, "input")
    if form is not None and form_of(x) != form:
        kind = DataError if form_of(x).split()[1:] == form.split()[1:] else WrongSizeError
        raise kind(f"its input is {form_of(x)}, and that of the first image {form}")
    label = _label(raw[1] if len(raw) > 1 else None) if with_label else None
    mask = raw[2] if len(raw) > 2 else None  # noqa: PLR2004
    if mask is not None:
        mask = _tensor(mask, "mask").bool()
        if mask.shape != x.shape[-2:]:
            shapes = tuple(mask.shape), tuple(x.shape[-2:])
            raise DataError(f"its mask has shape {shapes[0]}, and its input {shapes[1]}")
    return Item(x, label, mask)


def _tensor(value: Any, what: str) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"its {what} is no tensor, but {type(value).__name__}: {error}") from error


def _label(value: Any) -> int:
    if value is None:
        raise DataError('there is no label: explain the prediction (target="prediction")')
    try:
        label = operator.index(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"its label {value!r} is no integer") from error
    if label < 0:
        raise DataError(f"its label {label} is negative")
    return label
