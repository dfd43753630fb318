"""Removed pixels filled in from their neighbours (Rong et al. 2022, arXiv:2202.00449)."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from torch import Tensor

_BESIDE, _DIAGONAL = 1 / 6, 1 / 12


def linear_imputation(picture: Tensor, removed: Tensor) -> Tensor:
    """Return a picture whose removed pixels are the weighted mean of their eight neighbours.

    Each neighbour beside a pixel weighs 1/6, each diagonal one 1/12; at the border, those that are
    there share the weight. The removed pixels together make a sparse linear system, which is
    solved directly, for all channels at once (Rong et al. 2022). There is no noise yet.

    Args:
        picture: (C, H, W).
        removed: Which pixels are, boolean (H, W): not all of them.

    Returns:
        (C, H, W), in double precision, on the CPU.
    """
    from scipy import sparse  # noqa: PLC0415 - heavy
    from scipy.sparse.linalg import splu  # noqa: PLC0415

    filled: Any = picture.detach().cpu().double().numpy().copy()
    is_removed: Any = removed.cpu().numpy()
    rows, columns = np.nonzero(is_removed)
    unknowns = len(rows)
    if not unknowns:
        return torch.from_numpy(filled)
    number = np.zeros(is_removed.shape, dtype=np.int64)
    number[rows, columns] = np.arange(unknowns)
    height, width = is_removed.shape
    diagonal = np.zeros(unknowns)
    known = np.zeros((unknowns, len(filled)))
    entries = []
    for down, across in product((-1, 0, 1), repeat=2):
        if down == across == 0:
            continue
        weight = _DIAGONAL if down and across else _BESIDE
        row, column = rows + down, columns + across
        inside = np.flatnonzero((row >= 0) & (row < height) & (column >= 0) & (column < width))
        diagonal[inside] += weight
        row, column = row[inside], column[inside]
        unknown = is_removed[row, column]
        given = inside[~unknown]
        known[given] += weight * filled[:, row[~unknown], column[~unknown]].T
        others = number[row[unknown], column[unknown]]
        entries.append((np.full(len(others), -weight), inside[unknown], others))
    entries.append((diagonal, np.arange(unknowns), np.arange(unknowns)))
    values, equations, variables = map(np.concatenate, zip(*entries, strict=True))
    system = sparse.csc_matrix((values, (equations, variables)), shape=(unknowns, unknowns))
    filled[:, rows, columns] = splu(system).solve(known).T
    return torch.from_numpy(filled)
