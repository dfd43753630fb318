"""Batches of a data set, and which of their images could not be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class _Unreadable(NamedTuple):
    reason: str


class LoadedBatch(NamedTuple):
    """The images of a batch that could be read, and those that could not.

    Attributes:
        images: The numbers of the images that could.
        items: What the data set has for each of them, as tuples.
        skipped: The numbers of the others, with the reasons.
    """

    images: list[int]
    items: list[tuple[Any, ...]]
    skipped: list[tuple[int, str]]


class _Readable(Dataset[Any]):
    """A data set whose items come with their number; those that cannot be read say why."""

    def __init__(self, data: Dataset[Any]) -> None:
        self._data = data

    def __getitem__(self, index: int) -> tuple[int, Any]:
        try:
            item = self._data[index]
        except OSError as error:
            return index, _Unreadable(str(error) or type(error).__name__)
        return index, item if isinstance(item, (tuple, list)) else (item,)


def _collate(items: Sequence[tuple[int, Any]]) -> LoadedBatch:
    read = [(index, tuple(item)) for index, item in items if not isinstance(item, _Unreadable)]
    return LoadedBatch(
        [index for index, _ in read],
        [item for _, item in read],
        [(index, item.reason) for index, item in items if isinstance(item, _Unreadable)],
    )


def load_batches(
    data: Dataset[Any], indices: Sequence[Sequence[int]], *, workers: int
) -> Iterator[LoadedBatch]:
    """Read batches in order; by this process, or by this number of ``workers``."""
    loader = DataLoader(
        _Readable(data),
        batch_sampler=[list(batch) for batch in indices],
        collate_fn=_collate,
        num_workers=workers,
        generator=torch.Generator(),  # else the loader draws from the global one
    )
    return iter(loader)


def masks_of(items: Sequence[tuple[Any, ...]]) -> Tensor | None:
    """Return the masks of items, (N, H, W); None unless all of them have one."""
    masks = [item[2] if len(item) > 2 else None for item in items]  # noqa: PLR2004
    if any(mask is None for mask in masks):
        return None
    return torch.stack([torch.as_tensor(mask).bool() for mask in masks])
