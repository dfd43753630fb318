"""Nothing is left alive behind a call, over a hundred of them, without the garbage collector."""

import contextlib
import gc
import json
import weakref
from pathlib import Path

import pytest
import torch
from programs import python
from topologies import half_in_place
from unchanged import CALLS, RaisingBackward, Stop, each_call, make_stateful

import captum_guided_ext as cg


class Token:
    """A hook that does nothing: it lives exactly as long as the node that holds it."""

    def __call__(self, *_):
        return None


def token_on(output):
    """Return a reference to what lives as long as the node of an output."""
    token = Token()
    output.grad_fn.register_hook(token)
    return weakref.ref(token)


def count_tensors():
    # type() and not isinstance(), which asks objects that warn of being asked
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def left_behind(call, *, calls, leak=None):
    """Count what calls leave alive, with Python's garbage collector off.

    Returns the autograd nodes of four modules, their outputs, and any tensors.
    """
    model, x = make_stateful()
    nodes, outputs = [], []

    def watch(_, __, output):
        nodes.append(token_on(output))
        outputs.append(weakref.ref(output))
        if leak is not None:
            leak.append(output)

    for module in (model.first[0], model.second, model.last, model):
        module.register_forward_hook(watch)
    call(model, x, 1)  # whatever is made once and for all
    if leak is not None:
        leak.clear()
    nodes.clear()
    outputs.clear()
    gc.collect()
    gc.disable()
    gc.freeze()  # what was there before is not looked at
    try:
        for _ in range(calls):
            call(model, x, 1)
        alive = [sum(ref() is not None for ref in refs) for refs in (nodes, outputs)]
        tensors = count_tensors()
    finally:
        gc.unfreeze()
        gc.enable()
    assert len(nodes) == len(outputs) >= 4 * calls
    return *alive, tensors


@each_call
def test_nothing_is_left_behind_and_no_cycle_either(call):
    assert left_behind(call, calls=5) == (0, 0, 0)


def test_nothing_is_left_behind_by_a_hundred_calls():
    assert left_behind(CALLS["GuidedGradCam"], calls=100) == (0, 0, 0)


@each_call
def test_nothing_is_left_behind_by_calls_that_raise(call):
    def raises(model, x, target):
        model.before = RaisingBackward(1, Stop)
        with contextlib.suppress(Stop):
            call(model, x, target)
        model.before = None

    assert left_behind(raises, calls=5) == (0, 0, 0)


def test_nothing_is_left_behind_where_opening_the_graph_failed():
    half = torch.jit.script(half_in_place)

    def refused(model, x, target):
        model.before = lambda x: half(1.0 * x)
        with pytest.raises(cg.OpaqueGraphError):
            cg.GuidedBackprop(model).attribute(x, target)

    assert left_behind(refused, calls=3) == (0, 0, 0)


def test_a_single_kept_output_is_noticed():
    leak = []
    nodes, outputs, tensors = left_behind(CALLS["GuidedBackprop"], calls=1, leak=leak)
    assert len(leak) == nodes == outputs == 4
    assert tensors >= 4


def test_a_cycle_is_noticed():
    def cyclic(model, x, target):
        forward_pass = cg.ForwardPass(model, x)
        forward_pass.itself = forward_pass

    assert left_behind(cyclic, calls=2)[0] == 8


def test_a_forward_pass_holds_its_graph_and_lets_it_go():
    model, x = make_stateful()
    tokens = []
    model.second.register_forward_hook(lambda _, __, output: tokens.append(token_on(output)))
    forward_pass = cg.ForwardPass(model, x, layer=model.second)
    forward_pass.input_gradients(cg.GUIDED, 1)
    assert tokens[0]() is not None
    gc.disable()
    try:
        del forward_pass
        assert tokens[0]() is None
    finally:
        gc.enable()


PEAK = """
import json, re, torch
from pathlib import Path
from torch import nn
from captum_guided_ext import ForwardPass, GuidedBackprop, GuidedGradCam, NeuronGuidedBackprop

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(inplace=True), nn.Flatten(2)
)
x = torch.rand(1, 3, 192, 192)

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024

def growth(calls, keep=None):
    def run():
        for i in range(calls):
            GuidedBackprop(net).attribute(x, 3)
            GuidedGradCam(net, model[2]).attribute(x, 3)
            NeuronGuidedBackprop(net, model[2]).attribute(x, (3, 5, 5))
            # The classes let the graph go; this one keeps it.
            ForwardPass(net, x, layer=model[2]).input_gradients("guided", 3)
    def net(x):
        y = model(x).mean(2)
        if keep is not None:
            keep.append(y)
        return y
    before = peak()
    run()
    return peak() - before

growth(3)
print(json.dumps([growth(34), growth(20, keep=[])]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_peak_of_memory_does_not_grow():
    # in MB; a graph holds 3 or more
    in_136_calls, kept_by_20 = json.loads(python("-c", PEAK).stdout)
    assert in_136_calls < 10
    assert kept_by_20 > 60  # so that a leak would be seen
