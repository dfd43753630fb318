"""Eight threads on one model: nobody sees what another one does."""

import contextlib
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import captum.attr
import pytest
import torch
from methods import RULES, assert_equal
from networks import Stateful, make, perceptron
from reference import reference_gradient
from torch import nn
from unchanged import CALLS, HOOKS, Stop, make_stateful, nothing_changed

import captum_guided_ext as cg

NAMES = ["GuidedBackprop", "GuidedGradCam", "NeuronGuidedBackprop", "named_maps"]


@pytest.fixture
def impatient():
    """Switch between threads every few steps of the interpreter."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("impatient")
def test_eight_threads_on_one_model():
    model, x = make_stateful()
    expected = {name: CALLS[name](model, x, 1) for name in NAMES}
    plain = model(x)

    def work(index):
        if index % 16 == 0:  # somebody else uses the model as it is
            assert torch.equal(model(x), plain)
        name = NAMES[index % len(NAMES)]
        return name, CALLS[name](model, x, 1)

    with nothing_changed(model, x), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(400)))
    assert len(results) == 400
    for name, got in results:
        assert_equal(got, expected[name])


@pytest.mark.usefixtures("impatient")
def test_three_threads_on_one_forward_pass():
    model, x = make(lambda: perceptron(nn.Linear(8, 8), nn.ReLU()), (4, 6))
    expected = {rule: reference_gradient(model, x, rule, 1) for rule in RULES}
    forward_pass = cg.ForwardPass(model, x)

    def work(rule):
        return rule, [forward_pass.input_gradients(rule, 1)[0] for _ in range(100)]

    with ThreadPoolExecutor(3) as pool:
        for rule, answers in pool.map(work, RULES):
            for got in answers:
                assert_equal(got, expected[rule])


class Meeting(Stateful):
    """All threads are inside the forward pass together, behind the layer."""

    def __init__(self, threads):
        super().__init__()
        self.barrier = threading.Barrier(threads, timeout=30)
        self.before = self.meet

    def meet(self, x):
        self.barrier.wait()
        return x


class MeetingTwice(Meeting):
    """In front of the layer too."""

    def forward(self, x):
        return super().forward(self.meet(x))


class MeetingToRaise(Meeting):
    """Behind the layer, one that was told to raises."""

    def __init__(self, threads):
        super().__init__(threads)
        self.told = threading.local()

    def meet(self, x):
        super().meet(x)
        if getattr(self.told, "to_raise", False):
            raise Stop("on purpose")
        return x


def meeting(kind, threads):
    """Return a network, the same one in which threads meet, and an input."""
    alone, x = make_stateful()
    model = kind(threads).eval()
    model.load_state_dict(alone.state_dict())
    return alone, model, x


def test_eight_threads_in_the_same_layer_at_once():
    alone, model, x = meeting(MeetingTwice, 8)
    names = NAMES[:3]
    xs = [x, x, x.flip(0), x, 2 * x, x, x, -x]
    expected = [{name: CALLS[name](alone, one, 1) for name in names} for one in xs]

    def work(index):
        order = [names[(index + i) % 3] for i in range(3)]
        return {name: CALLS[name](model, xs[index], 1) for name in order}

    with nothing_changed(model, x), ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for got, wanted in zip(results, expected, strict=True):
        for name in names:
            assert_equal(got[name], wanted[name])


@pytest.mark.usefixtures("impatient")
@pytest.mark.filterwarnings("ignore:the model is in training mode")
@pytest.mark.parametrize("training", [True, False])
def test_four_threads_find_the_default_layer_at_once(training):
    _, model, x = meeting(MeetingToRaise, 4)
    model.dropout.p = 0.0  # else the first call, and who can tell which it is, looks twice
    model.train(training)
    flags = [module.training for module in model.modules()]

    def work(index):
        model.told.to_raise = index == 1
        with contextlib.suppress(Stop):
            return cg.compare(model, x, 1, methods=["grad_cam"], metrics=[])

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
    alone, model, x = meeting(MeetingTwice, 2)
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


class Noisy(nn.Module):
    """Adds noise of the global generator, and rectifies by arithmetic and in place on a view."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        h = self.first(x)
        h = torch.where(h > 0, h, 0) - 0.1
        torch.relu_(h[:, 2:])
        return self.last(h + torch.rand(h.shape).detach())


@pytest.mark.usefixtures("dynamo")
def test_a_thousand_calls_on_one_model_and_the_random_numbers_of_others():
    networks = {name: make(build)[0] for name, build in MANY.items()}
    x = make(Noisy, (4, 6))[1]
    compiled = torch.compile(networks["compiled"], backend="aot_eager")
    compiled(x)
    calls = {
        "noisy": lambda: cg.GuidedBackprop(networks["noisy"]).attribute(x, 1),
        "compiled": lambda: cg.GuidedBackprop(lambda x: compiled(1.0 * x)).attribute(x, 1),
        "scripted": lambda: cg.Deconvolution(networks["scripted"]).attribute(x, 1),
        "spelled": lambda: cg.GuidedBackprop(networks["spelled"]).attribute(x, 1),
        "grad_cam": lambda: cg.GuidedGradCam(networks["image"], "second").attribute(image, 1),
    }
    image = make_stateful()[1]
    networks["scripted"] = torch.jit.script(networks["scripted"])
    expected = {name: call() for name, call in calls.items()}
    drawn, done = [], threading.Event()

    def draw():
        while not done.is_set():
            drawn.extend(torch.rand(3, dtype=torch.float64).tolist())

    def work(index):
        name = list(calls)[index % len(calls)]
        return name, calls[name]()

    other = threading.Thread(target=draw)
    other.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(work, range(1000)))
    finally:
        done.set()
        other.join()
    for name, got in results:
        assert_equal(got, expected[name])
    assert len(drawn) > 1000
    assert len(set(drawn)) == len(drawn)  # nothing was drawn twice


def in_place_on_a_view(h):
    torch.relu_(h[:, 2:])
    return h


class Calling(nn.Module):
    """Two linear layers around a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.last(self.function(self.first(x)))


MANY = {
    "noisy": Noisy,
    "compiled": lambda: Calling(in_place_on_a_view),
    "scripted": lambda: perceptron(nn.Linear(8, 8), nn.ReLU()),
    "spelled": lambda: Calling(lambda h: torch.maximum(h, torch.zeros_like(h)) - 0.1),
    "image": lambda: make_stateful()[0],
}
