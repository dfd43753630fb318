"""Counts what an attribution costs beside its passes: walks, and reads of values on the host.

On a GPU the host waits for the device at each read, and it must not wait for every rectifier.
"""

import contextlib
from types import SimpleNamespace

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._python_dispatch import TorchDispatchMode

from captum_guided_ext.attr._utils import layers
from captum_guided_ext.autograd import _forward_pass, _modules, _path, _recording, _scripts

READS = {  # functions that hand a value to the host
    *("__bool__", "__complex__", "__contains__", "__float__", "__index__", "__int__", "__repr__"),
    *("allclose", "argwhere", "cpu", "equal", "is_nonzero", "item", "masked_select", "nonzero"),
    *("numpy", "tolist", "unique"),
}
# What they are to the device; in a hook on the graph, functions are not seen, and these are.
OPERATIONS = {"_local_scalar_dense", "allclose", "equal", "is_nonzero", "masked_select", "nonzero"}
WALKS = (_forward_pass, _path, _recording, _scripts)


class _Reads(TorchFunctionMode):
    def __init__(self, counts):
        super().__init__()
        self.counts = counts
        self.is_seen = False

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name = (resolve_name(func) or getattr(func, "__name__", "")).rpartition(".")[2]
        if name not in READS:
            return func(*args, **(kwargs or {}))
        self.counts.reads += 1
        self.is_seen = True
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.is_seen = False


class _Operations(TorchDispatchMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        is_read = func._schema.name.rpartition("::")[2] in OPERATIONS
        self.reads.counts.reads += is_read and not self.reads.is_seen
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def counted():
    """Count graph walks, walks over a model's modules, and reads, in the block."""
    counts = SimpleNamespace(graph_walks=0, module_walks=0, reads=0)
    named_modules, between, modules_of = (
        nn.Module.named_modules,
        _path.nodes_between,
        _modules.modules_of,
    )

    def walk_by_name(self, memo=None, *args, **options):
        counts.module_walks += memo is None  # else it is inside of one
        return named_modules(self, memo, *args, **options)

    def walk(model):
        counts.module_walks += 1
        return modules_of(model)

    def walk_graph(outputs, inputs):
        counts.graph_walks += 1
        return between(outputs, inputs)

    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(_patches())
        patch(nn.Module, "named_modules", walk_by_name)
        for module in (_forward_pass, layers):
            patch(module, "modules_of", walk)
        for module in WALKS:
            if hasattr(module, "nodes_between"):
                patch(module, "nodes_between", walk_graph)
        reads = stack.enter_context(_Reads(counts))
        stack.enter_context(_Operations(reads))
        yield counts


@contextlib.contextmanager
def _patches():
    import pytest

    with pytest.MonkeyPatch.context() as patches:
        yield patches.setattr


def stack_of(rectifiers):
    """Return a network of so many convolutions, batch norms and rectifiers."""
    torch.manual_seed(0)
    parts = [
        part
        for _ in range(rectifiers)
        for part in (nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    ]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(3 * 6 * 6, 4)).eval()
