"""What an image was when it was scored, in few digits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

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


def _hash(values: Any) -> str:
    values = values.detach().cpu().contiguous()
    shape_and_type = f"{values.dtype} {tuple(values.shape)}"
    digest = hashlib.sha256(shape_and_type.encode())
    try:
        digest.update(values.numpy().data)  # no copy
    except (TypeError, ValueError):  # a type that numpy does not have, or nothing in it
        import torch  # noqa: PLC0415

        digest.update(values.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
