"""The caller's tensors, the model and torch's own settings are as before, whatever happened.

Also: eight threads on one model, and memory over a hundred calls.
"""

import contextlib
import functools
import gc
import json
import subprocess
import sys
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import captum.attr
import pytest
import torch
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

import captum_guided_ext
from captum_guided_ext import (
    GRADIENT,
    GUIDED,
    Deconvolution,
    ForwardPass,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    with_rule,
)
from captum_guided_ext.attr import named_maps


class Net(nn.Module):
    """Convolutions with a buffer, an in-place and a functional rectifier, and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(5, 6, 3)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(6, 4)
        self.last.weight.requires_grad_(requires_grad=False)
        self.before = lambda x: x  # where a test makes it fail

    def forward(self, x):
        x = self.second(self.first(x))
        x = self.before(F.relu(x))
        return self.last(self.dropout(x).mean((2, 3)))


def make():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model, x = Net().eval(), torch.randn(2, 2, 8, 8)
    model.first[0].weight.grad = torch.full_like(model.first[0].weight, 0.25)
    return model, x


HOOKS = [name for name in vars(nn.Module()) if name.endswith(("_hooks", "_pre_hooks"))]


def test_every_kind_of_module_hook_is_looked_at():
    model = nn.Linear(2, 2)
    handles = [
        model.register_forward_hook(lambda *_: None),
        model.register_forward_pre_hook(lambda *_: None),
        model.register_full_backward_hook(lambda *_: None),
        model.register_full_backward_pre_hook(lambda *_: None),
        model.register_state_dict_pre_hook(lambda *_: None),
    ]
    assert sum(len(getattr(model, name)) for name in HOOKS) == len(handles)


def bits(tensor):
    return None if tensor is None else tensor.detach().clone()


def state_of(model, *inputs):
    """All that an attribution must leave as it was, by name."""
    state = {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "random numbers": torch.get_rng_state(),
        "function modes": torch._C._len_torch_function_stack(),
    }
    for name, module in model.named_modules():
        state[f"{name} training"] = module.training
        state[f"{name} attributes"] = sorted(vars(module))
        state[f"{name} class"] = type(module)
        for hooks in HOOKS:
            state[f"{name} {hooks}"] = list(getattr(module, hooks).items())
    tensors = [*model.named_parameters(), *model.named_buffers()]
    tensors += [(f"inputs[{index}]", x) for index, x in enumerate(inputs)]
    for name, tensor in tensors:
        # an input that is no leaf has a .grad only if it was asked to keep it
        kept = tensor.is_leaf or tensor.retains_grad
        state |= {
            f"{name} itself": id(tensor),
            f"{name} values": bits(tensor),
            f"{name} grad": bits(tensor.grad) if kept else None,
            f"{name} requires_grad": tensor.requires_grad,
            f"{name} grad_fn": tensor.grad_fn,
            f"{name} is_leaf": tensor.is_leaf,
            f"{name} version": None if tensor.is_inference() else tensor._version,
            f"{name} hooks": list((tensor._backward_hooks or {}).items()),
        }
    return state


def changed(before, after):
    def same(a, b):
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a.nan_to_num(9e9), b.nan_to_num(9e9))
        return type(a) is type(b) and a == b

    assert before.keys() == after.keys()
    return {name for name in before if not same(before[name], after[name])}


@contextlib.contextmanager
def nothing_changed(model, *inputs):
    before = state_of(model, *inputs)
    yield
    assert changed(before, state_of(model, *inputs)) == set()


CALLS = {
    "GuidedBackprop": lambda m, x, t: GuidedBackprop(m).attribute(x, t),
    "Deconvolution": lambda m, x, t: Deconvolution(m).attribute(x, t),
    "GuidedGradCam": lambda m, x, t: GuidedGradCam(m, "second").attribute(x, t),
    "GuidedGradCam at the input": lambda m, x, t: GuidedGradCam(m, "second").attribute(
        x, t, attribute_to_layer_input=True
    ),
    "NeuronGuidedBackprop": lambda m, x, t: NeuronGuidedBackprop(m, "last").attribute(x, t),
    "NeuronDeconvolution": lambda m, x, t: NeuronDeconvolution(m, "last").attribute(x, t),
    "with_rule": lambda m, x, t: with_rule(captum.attr.IntegratedGradients(m), GUIDED).attribute(
        x, target=t, n_steps=3
    ),
    "named_maps": lambda m, x, t: named_maps(ForwardPass(m, x, layer=m.second), t),
    "ignored_share": lambda m, x, t: ForwardPass(m, x).ignored_share(GUIDED, t),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


# --- after success ----------------------------------------------------------------------------


@each_call
def test_after_success(call):
    model, x = make()
    with nothing_changed(model, x):
        call(model, x, 1)


@each_call
def test_after_success_with_an_input_that_requires_a_gradient(call):
    model, x = make()
    x.requires_grad_()
    x.grad = torch.full_like(x, 3.0)
    with nothing_changed(model, x):
        call(model, x, 1)


@each_call
def test_after_success_with_an_input_that_is_no_leaf(call):
    model, leaf = make()
    x = 1.5 * leaf.requires_grad_()
    x.retain_grad()
    with nothing_changed(model, x, leaf):
        call(model, x, 1)
    # its own graph is still there
    (gradient,) = torch.autograd.grad(x.sum(), leaf)
    assert (gradient == 1.5).all()


@each_call
def test_after_success_with_hooks_of_the_users_own(call):
    model, x = make()
    seen = []
    for module in model.modules():
        module.register_forward_hook(lambda *_: seen.append("forward"))
        module.register_forward_pre_hook(lambda *_: seen.append("pre"))
    x.requires_grad_().register_hook(lambda _: seen.append("gradient of the input"))
    with nothing_changed(model, x):
        call(model, x, 1)
    assert {"forward", "pre"} <= set(seen)
    assert "gradient of the input" not in seen


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode, torch.enable_grad])
@each_call
def test_in_another_grad_mode(call, mode):
    model, x = make()
    expected = call(model, x, 1)
    with mode(), nothing_changed(model, x):
        got = call(model, x, 1)
    assert_equal(got, expected)


# IntegratedGradients computes with the inputs it is given, and cannot with these
@pytest.mark.parametrize("name", [name for name in CALLS if name != "with_rule"])
def test_with_an_input_made_in_inference_mode(name):
    model, x = make()
    expected = CALLS[name](model, x, 1)
    with torch.inference_mode():
        x = x.clone()
    with nothing_changed(model, x):
        assert_equal(CALLS[name](model, x, 1), expected)


def assert_equal(got, expected):
    assert type(got) is type(expected)
    if isinstance(got, tuple):  # named_maps: the maps and the errors
        assert got[0].keys() == expected[0].keys()
        assert all(torch.equal(got[0][name], expected[0][name]) for name in got[0])
    elif isinstance(got, torch.Tensor):
        assert torch.equal(got, expected)
        assert not got.requires_grad
    else:
        assert got == expected


def test_the_maps_can_be_computed_with():
    model, x = make()
    with torch.inference_mode():
        got = GuidedBackprop(model).attribute(x, 1)
    weight = torch.ones(1, requires_grad=True)
    (got * weight).sum().backward()
    assert weight.grad is not None


def test_a_backward_pass_of_the_users_own_is_not_disturbed():
    model, x = make()
    x.requires_grad_()
    score = model(x)[:, 1].sum()
    (expected,) = torch.autograd.grad(score, x, retain_graph=True)
    for call in CALLS.values():
        call(model, x, 1)
    score.backward()
    assert torch.equal(x.grad, expected)


# --- after an exception -----------------------------------------------------------------------


class Stop(Exception):  # noqa: N818 - no error: the test's own signal
    """Raised on purpose."""


def raising(kind):
    def raise_(*_):
        raise kind("on purpose")

    return raise_


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("calls_before", [0, 1])
@each_call
def test_after_the_model_raised(call, calls_before, kind):
    model, x = make()
    for _ in range(calls_before):
        call(model, x, 1)
    model.before = raising(kind)
    with nothing_changed(model, x), pytest.raises(kind, match="on purpose"):
        call(model, x, 1)


@pytest.mark.parametrize("place", ["first.0", "first.2", "second", "last"])
@each_call
def test_after_a_layer_raised(call, place):
    model, x = make()
    model.get_submodule(place).forward = raising(Stop)
    with nothing_changed(model, x), pytest.raises(Stop):
        call(model, x, 1)


@each_call
def test_after_a_hook_of_the_users_own_raised(call):
    model, x = make()
    model.second.register_forward_hook(raising(Stop))
    with nothing_changed(model, x), pytest.raises(Stop):
        call(model, x, 1)


@pytest.mark.parametrize("target", [None, 99, [0, 9], 1.5, torch.tensor([0.0, 1.0])], ids=str)
@each_call
def test_after_a_bad_target(call, target):
    model, x = make()
    with nothing_changed(model, x), pytest.raises((ValueError, TypeError, AssertionError)):
        call(model, x, target)


@pytest.mark.parametrize(
    "bad",
    [
        lambda m, x: GuidedGradCam(m, "spare").attribute(x, 1),
        lambda m, x: GuidedGradCam(m, "last").attribute(x, 0),
        lambda m, x: GuidedGradCam(m, "second").attribute(x, 1, interpolate_mode="linear"),
        lambda m, _: GuidedGradCam(m, "nonsense"),
        lambda m, x: NeuronGuidedBackprop(m, "spare").attribute(x, 1),
        lambda m, x: NeuronGuidedBackprop(m, "second").attribute(x, (9, 9, 9)),
        lambda m, x: NeuronGuidedBackprop(m, "second").attribute(x, raising(ValueError)),
        lambda m, x: GuidedBackprop(m).attribute(x * torch.nan, 1),
        lambda m, x: GuidedBackprop(m).attribute(x.int(), 1),
        lambda m, x: GuidedBackprop(m).attribute(x[:, :1], 1),
        lambda m, x: GuidedBackprop(lambda x: m(x.detach())).attribute(x, 1),
        lambda m, x: GuidedBackprop(lambda x: (m(x),)).attribute(x, 1),
        lambda m, _: GuidedBackprop(m.second).attribute(torch.ones(2, 5, 6, 6), (0, 0, 0)),
        lambda m, x: GuidedBackprop(
            lambda x: checkpoint(m, x, use_reentrant=True)
        ).attribute(x, 1),
        lambda m, _: with_rule(GuidedBackprop(m), GUIDED),
    ],
    ids=[
        "layer not called", "layer that cannot be laid", "mode", "no such layer",
        "neuron's layer not called", "no such neuron", "selector that raises", "nan", "integers",
        "channels", "detached", "tuple", "no rectifier", "opaque", "with_rule",
    ],
)  # fmt: skip
def test_after_an_error_of_ours(bad):
    model, x = make()
    model.spare = nn.Conv2d(2, 2, 1)
    nn.init.constant_(model.last.bias, 9.0)
    with nothing_changed(model, x), pytest.raises((ValueError, TypeError, RuntimeError)):
        bad(model, x)


class RaisingBackward:
    """Lets the score through; the n-th backward pass that comes by raises."""

    def __init__(self, n, kind):
        self.left, self.kind = n, kind

    def __call__(self, x):
        x = x * 1
        x.register_hook(self.passing)
        return x

    def passing(self, _):
        self.left -= 1
        if self.left == 0:
            raise self.kind("on purpose")


BACKWARDS = {"GuidedGradCam": 2, "GuidedGradCam at the input": 2, "named_maps": 4}


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("name", CALLS)
def test_after_every_backward_pass_that_can_raise(name, kind):
    model, x = make()
    for n in range(1, 1 + BACKWARDS.get(name, 1)):
        model.before = RaisingBackward(n, kind)
        with nothing_changed(model, x), pytest.raises(kind, match="on purpose"):
            CALLS[name](model, x, 1)
    model.before = RaisingBackward(n + 1, kind)
    CALLS[name](model, x, 1)  # there are no more backward passes than that


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
def test_a_forward_pass_answers_after_a_backward_pass_that_raised(kind):
    model, x = make()
    model.before = RaisingBackward(1, kind)
    forward_pass = ForwardPass(model, x, layer=model.second)
    for ask in (
        lambda: forward_pass.input_gradients(GUIDED, 1),
        lambda: forward_pass.ignored_share(GUIDED, 1),
    ):
        model.before.left = 1
        with pytest.raises(kind):
            ask()
        # had a hook been left on the graph, this would be no plain gradient
        (got,) = forward_pass.input_gradients(GRADIENT, 1)
        assert torch.equal(got, reference_gradient(model, x, "gradient", 1))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "ignored_share"])
def test_after_a_map_with_nan(name):
    model, x = make()
    with torch.no_grad():
        model.second.weight.mul_(1e30)
        model.last.weight.mul_(1e30)
    with nothing_changed(model, x), pytest.raises(ValueError, match="holds NaN or infinity"):
        CALLS[name](model, x, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: GuidedBackprop(m).attribute(x, 1),
        lambda m, x: GuidedGradCam(m, "second").attribute(x, 1),
        lambda m, x: NeuronGuidedBackprop(m, "last").attribute(x, 1),
    ],
    ids=["GuidedBackprop", "GuidedGradCam", "NeuronGuidedBackprop"],
)
def test_after_a_warning_that_is_an_error(call):
    model, x = make()
    model.before = F.gelu
    with nothing_changed(model, x), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="rectifiers only"):
            call(model, x)


@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch has no stances")
@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
def test_after_a_model_raised_that_was_forced_to_run_eagerly(kind):
    from torch._dynamo import eval_frame

    torch._dynamo.reset()
    model, x = make()
    forwards = []

    @functools.partial(torch.compile, backend="aot_eager")
    def compiled(x):
        return F.relu(x * 2)

    def count(x):
        forwards.append(1)
        if len(forwards) == 2:
            assert eval_frame._stance.stance == "force_eager"
            raise kind("on purpose")
        return compiled(x)

    compiled(torch.ones(2, requires_grad=True))
    model.before = count
    with nothing_changed(model, x), pytest.raises((kind, ValueError)):
        GuidedBackprop(model).attribute(x, 1)
    assert len(forwards) == 2
    assert eval_frame._stance.stance == "default"
    torch._dynamo.reset()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda m, x: x.requires_grad_(),
        lambda m, x: x.add_(1),
        lambda m, x: m.train(),
        lambda m, x: m.second.register_forward_hook(lambda *_: None),
        lambda m, x: m.first[0].weight.grad.add_(1),
        lambda m, x: m(x).sum().backward(),
        lambda m, x: m.last.weight.requires_grad_(),
        lambda m, x: m.first[1].running_mean.add_(1),
        lambda m, x: torch.rand(1),
        lambda m, x: setattr(m, "second", nn.Conv2d(5, 6, 3)),
        lambda m, x: x.requires_grad_().register_hook(lambda _: None),
    ],
    ids=[
        "requires_grad", "input", "training", "hook", "grad", "backward", "parameter", "buffer",
        "random numbers", "module", "hook of the input",
    ],
)  # fmt: skip
def test_these_tests_can_fail(spoil):
    model, x = make()
    before = state_of(model, x)
    spoil(model, x)
    assert changed(before, state_of(model, x))


# --- threads ----------------------------------------------------------------------------------

THREADED = ["GuidedBackprop", "GuidedGradCam", "NeuronGuidedBackprop", "named_maps"]


@pytest.fixture
def impatient():
    """Switch between threads every few steps of the interpreter."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("impatient")
def test_eight_threads_on_one_model():
    model, x = make()
    expected = {name: CALLS[name](model, x, 1) for name in THREADED}
    plain = model(x)

    def work(index):
        if index % 16 == 0:  # somebody else uses the model as it is
            assert torch.equal(model(x), plain)
        name = THREADED[index % len(THREADED)]
        return name, CALLS[name](model, x, 1)

    with nothing_changed(model, x), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(400)))
    assert len(results) == 400
    for name, got in results:
        assert_equal(got, expected[name])


class Meeting(Net):
    """All threads are inside the forward pass together, before and behind the layer."""

    def __init__(self, threads):
        super().__init__()
        self.barrier = threading.Barrier(threads, timeout=30)
        self.before = self.meet

    def meet(self, x):
        self.barrier.wait()
        return x

    def forward(self, x):
        return super().forward(self.meet(x))


def test_eight_threads_in_the_same_layer_at_once():
    alone, x = make()
    model = Meeting(8).eval()
    model.load_state_dict(alone.state_dict())
    names = THREADED[:3]
    xs = [x, x, x.flip(0), x, 2 * x, x, x, -x]
    expected = [[CALLS[name](alone, one, 1) for name in names] for one in xs]

    def work(index):
        order = [names[(index + i) % 3] for i in range(3)]
        return {name: CALLS[name](model, xs[index], 1) for name in order}

    with nothing_changed(model, x), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for got, wanted in zip(results, expected, strict=True):
        for name, one in zip(names, wanted, strict=True):
            assert_equal(got[name], one)


class MeetingToRaise(Net):
    """All threads meet inside the forward pass; then one that was told to raises."""

    def __init__(self, threads):
        super().__init__()
        self.barrier = threading.Barrier(threads, timeout=30)
        self.told = threading.local()
        self.before = self.meet

    def meet(self, x):
        self.barrier.wait()
        if getattr(self.told, "to_raise", False):
            raise Stop("on purpose")
        return x


@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("training", [True, False])
def test_four_threads_find_the_default_layer_at_once(training):
    alone, x = make()
    model = MeetingToRaise(4).train(training)
    model.load_state_dict(alone.state_dict())
    flags = [module.training for module in model.modules()]

    def work(index):
        model.told.to_raise = index == 1
        with contextlib.suppress(Stop):
            return captum_guided_ext.compare(model, x, 1, methods=["grad_cam"], metrics=[])

    for _ in range(4):
        with contextlib.ExitStack() as stack:
            if not training:  # else the forward passes themselves update batch norm
                stack.enter_context(nothing_changed(model, x))
            found = list(stack.enter_context(ThreadPoolExecutor(4)).map(work, range(4)))
        assert [module.training for module in model.modules()] == flags
        assert not any(getattr(module, name) for module in model.modules() for name in HOOKS)
        assert [one and one.layer for one in found] == ["second", None, "second", "second"]
        if not training:
            assert torch.equal(found[0].maps["grad_cam"], found[2].maps["grad_cam"])


def test_captum_does_not_pass_that_test():
    """Captum's Grad-CAM keeps what the last thread to come by computed."""
    alone, x = make()
    model = Meeting(2).eval()
    model.load_state_dict(alone.state_dict())
    xs = [x, 2 * x.flip(0)]

    def cam(model, x):
        return captum.attr.LayerGradCam(model, model.second).attribute(x, 1)

    expected = [cam(alone, one) for one in xs]
    wrong = 0
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(cam, model, x) for x in xs]
        for future, wanted in zip(futures, expected, strict=True):
            try:
                wrong += not torch.equal(future.result(), wanted)
            except RuntimeError:  # tensors of the other's graph
                wrong += 1
    assert wrong


# --- memory -----------------------------------------------------------------------------------


class Token:
    """A hook that does nothing: it lives exactly as long as the node that holds it."""

    def __call__(self, *_):
        return None


def count_tensors():
    # type() and not isinstance(), which asks objects that warn of being asked
    return sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())


def left_behind(call, *, calls, leak=None):
    """Count what calls leave alive, with Python's garbage collector off.

    Returns the autograd nodes of four modules, their outputs, and any tensors.
    """
    model, x = make()
    nodes, outputs = [], []

    def watch(_, __, output):
        token = Token()
        output.grad_fn.register_hook(token)
        nodes.append(weakref.ref(token))
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
    try:
        before = count_tensors()
        for _ in range(calls):
            call(model, x, 1)
        alive = [sum(ref() is not None for ref in refs) for refs in (nodes, outputs)]
        tensors = count_tensors() - before
    finally:
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


def test_a_single_kept_output_is_noticed():
    leak = []
    nodes, outputs, tensors = left_behind(CALLS["GuidedBackprop"], calls=1, leak=leak)
    assert len(leak) == nodes == outputs == 4
    assert tensors >= 4


def test_a_cycle_is_noticed():
    def cyclic(model, x, target):
        forward_pass = ForwardPass(model, x)
        forward_pass.itself = forward_pass

    assert left_behind(cyclic, calls=2)[0] == 8


def test_a_forward_pass_holds_its_graph_and_lets_it_go():
    model, x = make()
    tokens = []

    def watch(_, __, output):
        token = Token()
        output.grad_fn.register_hook(token)
        tokens.append(weakref.ref(token))

    model.second.register_forward_hook(watch)
    forward_pass = ForwardPass(model, x, layer=model.second)
    forward_pass.input_gradients(GUIDED, 1)
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
from captum_guided_ext import GuidedBackprop, GuidedGradCam, NeuronGuidedBackprop

torch.set_num_threads(1)
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
    def net(x):
        y = model(x).mean(2)
        if keep is not None:
            keep.append(y)
        return y
    before = peak()
    run()
    return peak() - before

growth(3)
print(json.dumps([growth(34), growth(10, keep=[])]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_the_peak_of_memory_does_not_grow():
    done = subprocess.run(
        [sys.executable, "-c", PEAK], capture_output=True, text=True, check=True, timeout=120
    )
    in_102_calls, kept_by_30 = json.loads(done.stdout)  # in MB; a graph holds 3 or more
    assert in_102_calls < 10
    assert kept_by_30 > 60  # so that a leak would be seen
