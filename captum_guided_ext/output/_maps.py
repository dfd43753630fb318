"""Raw maps as files, with a file that says what each is."""

from __future__ import annotations

import io
import json
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from captum_guided_ext.output._names import name_part
from captum_guided_ext.output._provenance import versions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor


def map_files(
    stem: str,
    groups: Sequence[tuple[Mapping[str, Tensor], Mapping[str, Any]]],
    axes: Sequence[str],
) -> dict[str, bytes]:
    """Return maps as files of NumPy, and ``STEM-maps.json`` that says what each is.

    Args:
        stem: What the names of the files begin with.
        groups: By method the maps of one explanation or comparison, and what is true of them all.
        axes: What their dimensions are.
    """
    files: dict[str, bytes] = {}
    said: dict[str, Any] = {}
    taken: set[str] = set()
    for number, (maps, about) in enumerate(groups, start=1):
        start = f"{stem}-{number}" if len(groups) > 1 else stem
        for method, one in maps.items():
            # NumPy has no bfloat16, all values of which float32 has
            kept = one.float() if one.dtype == torch.bfloat16 else one
            values = kept.detach().cpu().numpy()
            content = io.BytesIO()
            np.save(content, values, allow_pickle=False)
            part = name_part(method)
            names = chain([f"{start}-{part}.npy"], (f"{start}-{part}-{n}.npy" for n in count(2)))
            name = next(one for one in names if one.casefold() not in taken)
            taken.add(name.casefold())  # on a disk that does not tell cases apart, too
            files[name] = content.getvalue()
            form = {"shape": list(values.shape), "dtype": str(values.dtype), "axes": list(axes)}
            said[name] = {"method": method} | form | dict(about)
    told = {"maps": said, "versions": versions()}
    return files | {f"{stem}-maps.json": json.dumps(told, indent=2).encode()}
