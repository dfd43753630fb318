"""Raw maps as files, with a file that says what each is."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np

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
    for number, (maps, about) in enumerate(groups, start=1):
        start = f"{stem}-{number}" if len(groups) > 1 else stem
        for method, one in maps.items():
            values = one.detach().cpu().numpy()
            content = io.BytesIO()
            np.save(content, values, allow_pickle=False)
            name = f"{start}-{method}.npy"
            files[name] = content.getvalue()
            form = {"shape": list(values.shape), "dtype": str(values.dtype), "axes": list(axes)}
            said[name] = {"method": method} | form | dict(about)
    told = {"maps": said, "versions": versions()}
    return files | {f"{stem}-maps.json": json.dumps(told, indent=2).encode()}
