"""Counts the bytes of tensors that are alive at a time: exactly, and the same on every machine.

What an operation needs while it runs, such as a convolution's own room, is not seen.
"""

import contextlib
from types import SimpleNamespace

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Live(TorchDispatchMode):
    def __init__(self, peak):
        super().__init__()
        self.peak = peak
        self.alive = {}  # by the storage's number
        self.outside = []  # references, so that no later storage has such a number

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for storage in _storages((args, kwargs)):
            key = storage._cdata
            if key not in self.alive:
                self.outside.append(StorageWeakRef(storage))
                self.alive[key] = self.outside[-1], 0
        made = func(*args, **(kwargs or {}))
        for storage in _storages(made):
            if storage._cdata not in self.alive:
                self.alive[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self.alive = {k: one for k, one in self.alive.items() if not one[0].expired()}
        now = sum(size for _, size in self.alive.values())
        self.peak.bytes = max(self.peak.bytes, now)
        return made


def _storages(values):
    return [
        one.untyped_storage()
        for one in tree_leaves(values)
        if isinstance(one, torch.Tensor) and one.layout is torch.strided
    ]


@contextlib.contextmanager
def peak_bytes():
    """Note the most bytes of tensors made in the block that were alive at once, as ``bytes``."""
    peak = SimpleNamespace(bytes=0)
    with _Live(peak):
        yield peak
