"""What an image was when it was scored, in few digits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from captum_guided_ext.output import bytes_of

if TYPE_CHECKING:
    from torch import Tensor

OF_INPUT = 10  # digits; the others are of label and mask, so that a change says where it is


def digest_of(x: Tensor, label: int | None, mask: Tensor | None) -> str:
    """Return 16 hexadecimal digits of an image's bytes, types and shapes.

    Args:
        x: The input, as the data has it: before it goes to a device.
        label: The class, where it is explained.
        mask: Where the object is, where that is known.
    """
    rest = repr(label) if mask is None else (repr(label), _hash(mask))
    other = hashlib.sha256(repr(rest).encode()).hexdigest()
    return _hash(x)[:OF_INPUT] + other[: 16 - OF_INPUT]


def _hash(values: Tensor) -> str:
    digest = hashlib.sha256(f"{values.dtype} {tuple(values.shape)}".encode())
    digest.update(bytes_of(values))
    return digest.hexdigest()
