"""Graphs that hide their rectifiers: what is explained is the caller's function, and only that."""

import gc
import threading
import warnings
import weakref

import pytest
import torch
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812

from captum_guided_ext import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    Deconvolution,
    ForwardPass,
    GuidedBackprop,
    NeuronGuidedBackprop,
    OpaqueGraphError,
)
from captum_guided_ext.attr._utils.layers import resolve_layer
from captum_guided_ext.autograd._reruns import forced_eager

needs_stance = pytest.mark.skipif(
    not hasattr(torch.compiler, "set_stance"), reason="this torch has no set_stance"
)


@pytest.fixture
def x():
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def mlp(*extra):
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), *extra, nn.Linear(8, 3)).eval()
    nn.init.constant_(net[0].bias, 1.0)  # most rectifiers are open, and no map is empty
    return net


def test_hooks_on_a_compiled_wrapper_are_part_of_the_function(x):
    plain = mlp()
    compiled = torch.compile(plain, backend="eager")
    compiled.register_forward_hook(lambda _module, _args, output: -output)
    expected = reference_gradient(lambda x: -plain(x), x, "guided", 1)
    assert torch.equal(ForwardPass(compiled, x).output, -plain(x))
    assert torch.equal(GuidedBackprop(compiled).attribute(x, 1), expected)
    nested = nn.Sequential(compiled, nn.Linear(3, 2))
    expected = reference_gradient(lambda x: nested[1](-plain(x)), x, "guided", 1)
    assert torch.equal(GuidedBackprop(nested).attribute(x, 1), expected)


def test_a_compiled_module_may_be_the_layer(x):
    plain = mlp()
    compiled = torch.compile(plain, backend="eager")
    expected = NeuronGuidedBackprop(plain, plain[2]).attribute(x, 1)
    assert torch.equal(NeuronGuidedBackprop(compiled, compiled).attribute(x, 1), expected)
    assert torch.equal(NeuronGuidedBackprop(compiled, plain[2]).attribute(x, 1), expected)


def test_a_scripted_child_may_be_the_layer(x):
    plain = mlp()
    outer = nn.Sequential(torch.jit.script(plain[:2]), plain[2])
    expected = NeuronGuidedBackprop(plain, plain[1]).attribute(x, 3)
    for _ in range(4):
        assert torch.equal(NeuronGuidedBackprop(outer, outer[0]).attribute(x, 3), expected)


@pytest.mark.parametrize("rule", ["guided", "deconvolution"])
def test_scripted_batch_norm_and_dropout_four_calls_in_a_row(x, rule):
    plain = mlp(nn.BatchNorm1d(8), nn.Dropout(0.3), nn.ReLU6())
    plain[2].running_mean.uniform_(-1, 1, generator=torch.Generator().manual_seed(2))
    scripted = torch.jit.script(plain)
    method = GuidedBackprop if rule == "guided" else Deconvolution
    expected = reference_gradient(plain, x, rule, 1)
    for _ in range(4):
        assert torch.equal(method(scripted).attribute(x, 1), expected)


def test_a_scripted_function_in_place_on_a_view_out_of_reach_is_refused(x):
    @torch.jit.script
    def half(h):
        torch.relu_(h[:, 2:])
        return h

    net, head = mlp()[:2], nn.Linear(8, 3)
    for _ in range(3):
        with pytest.raises(OpaqueGraphError):
            GuidedBackprop(lambda x: head(half(1.0 * net(x)))).attribute(x, 1)


class OnAView(nn.Module):
    """Has an in-place ReLU on a view, so that it is run twice."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)
        self.norm = nn.BatchNorm1d(8)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = self.dropout(self.norm(self.first(x)))
        x[:, 2:].relu_()
        return self.last(x)


def test_the_second_run_sees_the_same_noise_and_buffers(x):
    once, explained = OnAView().train(), OnAView().train()
    torch.manual_seed(3)
    output = once(x)
    after_one_call = torch.get_rng_state()
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="training mode with BatchNorm1d, Dropout"):
        forward_pass = ForwardPass(explained, x)
    assert torch.equal(forward_pass.output, output)
    assert torch.equal(torch.get_rng_state(), after_one_call)
    for buffer, expected in zip(explained.buffers(), once.buffers(), strict=True):
        assert torch.equal(buffer, expected)
    assert forward_pass.rectifiers().overridden == {"ReLU": 1}


def test_a_failed_opening_keeps_no_graph_alive(x):
    @torch.jit.script
    def half(h):
        torch.relu_(h[:, 2:])
        return h

    kept = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp()

        def forward(self, x):
            hidden = self.net[0](x)
            kept.append(weakref.ref(hidden))
            return self.net[2](half(hidden))

    gc.disable()
    try:
        for _ in range(3):
            with pytest.raises(OpaqueGraphError):
                GuidedBackprop(Net()).attribute(x, 1)
        assert len(kept) >= 3
        assert not any(reference() is not None for reference in kept)
    finally:
        gc.enable()


def test_one_forward_pass_answers_two_threads(x):
    forward_pass = ForwardPass(mlp(nn.Linear(8, 8), nn.ReLU()), x)
    rules = (GRADIENT, GUIDED, DECONVNET)
    expected = {rule: forward_pass.input_gradients(rule, 1)[0] for rule in rules}
    wrong = []

    def ask(rule):
        answers = [forward_pass.input_gradients(rule, 1)[0] for _ in range(100)]
        wrong.extend(rule.name for a in answers if not torch.equal(a, expected[rule]))

    threads = [threading.Thread(target=ask, args=(rule,)) for rule in rules]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@needs_stance
def test_forcing_eager_mode_ends_with_the_last_that_needs_it():
    calls = []

    def count(graph, _inputs):
        calls.append(graph)
        return graph.forward

    double = torch.compile(lambda x: x * 2, backend=count)
    first, second = forced_eager(), forced_eager()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    double(torch.ones(2))
    assert calls == []
    second.__exit__(None, None, None)
    double(torch.ones(2))
    assert len(calls) == 1


def test_names_are_looked_up_exactly_first():
    model = nn.Module()
    model.conv = nn.Linear(1, 1)
    model.module = nn.Module()
    model.module.conv = nn.Linear(1, 1)
    assert resolve_layer(model, "conv") is model.conv
    assert resolve_layer(model, "module.conv") is model.module.conv
    wrapped = nn.DataParallel(mlp())
    assert resolve_layer(wrapped, "2") is resolve_layer(wrapped, "module.2") is wrapped.module[2]


def test_inputs_of_a_tensor_subclass(x):
    class Tagged(torch.Tensor):
        pass

    model = mlp()
    expected = GuidedBackprop(model).attribute(x, 1)
    tagged = GuidedBackprop(model).attribute(x.as_subclass(Tagged), 1)
    assert torch.equal(tagged.as_subclass(torch.Tensor), expected)


def test_inputs_without_an_example_dimension_in_common(x):
    model = mlp()
    bias = torch.full((1, 6), 0.1)
    attributions = GuidedBackprop(lambda x, bias: model(x + bias)).attribute((x, bias), 1)
    expected = reference_gradient(lambda x, bias: model(x + bias), (x, bias), "guided", 1)
    assert all(map(torch.equal, attributions, expected))
    flat = torch.tensor([1.0, 2.0, 3.0])
    assert GuidedBackprop(F.relu).attribute(flat).tolist() == [1, 1, 1]


def test_a_layer_that_is_no_registered_submodule(x):
    model = mlp()

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.held = [model]

        def forward(self, x):
            return self.held[0](x)

    expected = NeuronGuidedBackprop(model, model[1]).attribute(x, 2)
    assert torch.equal(NeuronGuidedBackprop(Hidden(), model[1]).attribute(x, 2), expected)


def test_each_empty_example_has_its_own_reason():
    x = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        GuidedBackprop(lambda x: -F.relu(x).sum(1)).attribute(x)
    flat, negative = (str(warning.message) for warning in caught)
    assert "in example 0: the plain gradient is zero too" in flat
    assert "in example 1: a gradient reached 1 of 1 rectifiers, and 1 of those" in negative
    assert "nothing but negative values" in negative


def test_glu_keeps_its_gradient(x):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 8), nn.GLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    expected = reference_gradient(model, x, "deconvolution", 1)
    with pytest.warns(UserWarning, match="left alone, with their own gradient: 1 GLU"):
        found = Deconvolution(model, extend_to_activations=True).attribute(x, 1)
    assert torch.equal(found, expected)
