"""The caller's tensors, the model and torch's own settings are as before, whatever happened."""

import warnings

import pytest
import torch
from methods import assert_equal
from reference import reference_gradient
from topologies import checkpointed, compiled_and_counted
from torch import nn
from torch.nn import functional as F  # noqa: N812
from unchanged import (
    CALLS,
    HOOKS,
    RaisingBackward,
    Stop,
    changed,
    each_call,
    make_stateful,
    nothing_changed,
    raising,
    state_of,
)

import captum_guided_ext as cg


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


@pytest.mark.parametrize("factor", [None, 1, 1.5], ids=["no gradient", "leaf", "no leaf"])
@each_call
def test_after_success(call, factor):
    model, leaf = make_stateful()
    leaf.requires_grad_(factor is not None)
    x = leaf if factor in (None, 1) else factor * leaf
    if factor is not None:
        x.retain_grad()
        x.grad = torch.full_like(x, 3.0)
    with nothing_changed(model, x, leaf):
        call(model, x, 1)
    if factor is not None:  # its own graph is still there
        (gradient,) = torch.autograd.grad(x.sum(), leaf)
        assert (gradient == factor).all()


@each_call
def test_after_success_with_hooks_of_the_users_own(call):
    model, x = make_stateful()
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
    model, x = make_stateful()
    expected = call(model, x, 1)
    with torch.inference_mode():
        inputs = [x, x.clone()]
    # IntegratedGradients computes with the inputs it is given, and cannot with the second
    for one in inputs[:1] if call is CALLS["with_rule"] else inputs:
        with mode(), nothing_changed(model, one):
            got = call(model, one, 1)
        assert_equal(got, expected)


def test_the_maps_can_be_computed_with():
    model, x = make_stateful()
    with torch.inference_mode():
        got = cg.GuidedBackprop(model).attribute(x, 1)
    weight = torch.ones(1, requires_grad=True)
    (got * weight).sum().backward()
    assert weight.grad is not None


def test_a_backward_pass_of_the_users_own_is_not_disturbed():
    model, x = make_stateful()
    x.requires_grad_()
    score = model(x)[:, 1].sum()
    (expected,) = torch.autograd.grad(score, x, retain_graph=True)
    for call in CALLS.values():
        call(model, x, 1)
    score.backward()
    assert torch.equal(x.grad, expected)


def with_layer_that_raises(name):
    return lambda m: setattr(m.get_submodule(name), "forward", raising(Stop))


SPOILT = {
    **{
        kind.__name__: (kind, lambda m, kind=kind: setattr(m, "before", raising(kind)))
        for kind in (Stop, KeyboardInterrupt, SystemExit)
    },
    **{
        f"layer {name}": (Stop, with_layer_that_raises(name))
        for name in ("first.0", "first.2", "second", "last")
    },
    "hook": (Stop, lambda m: m.second.register_forward_hook(raising(Stop))),
}


@pytest.mark.parametrize(("kind", "spoil"), SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("calls_before", [0, 1])
@each_call
def test_after_the_model_raised(call, calls_before, kind, spoil):
    model, x = make_stateful()
    for _ in range(calls_before):
        call(model, x, 1)
    spoil(model)
    with nothing_changed(model, x), pytest.raises(kind, match="on purpose"):
        call(model, x, 1)


@pytest.mark.parametrize("target", [None, 99, [0, 9], 1.5, torch.tensor([0.0, 1.0])], ids=str)
@each_call
def test_after_a_bad_target(call, target):
    model, x = make_stateful()
    with nothing_changed(model, x), pytest.raises((ValueError, TypeError, AssertionError)):
        call(model, x, target)


OF_OURS = {
    "layer not called": lambda m, x: cg.GuidedGradCam(m, "spare").attribute(x, 1),
    "layer that cannot be laid": lambda m, x: cg.GuidedGradCam(m, "last").attribute(x, 0),
    "mode": lambda m, x: cg.GuidedGradCam(m, "second").attribute(x, 1, interpolate_mode="linear"),
    "no such layer": lambda m, _: cg.GuidedGradCam(m, "nonsense"),
    "neuron's layer": lambda m, x: cg.NeuronGuidedBackprop(m, "spare").attribute(x, 1),
    "no such neuron": lambda m, x: cg.NeuronGuidedBackprop(m, "second").attribute(x, (9, 9, 9)),
    "selector that raises": lambda m, x: cg.NeuronGuidedBackprop(m, "second").attribute(
        x, raising(ValueError)
    ),
    "nan": lambda m, x: cg.GuidedBackprop(m).attribute(x * torch.nan, 1),
    "integers": lambda m, x: cg.GuidedBackprop(m).attribute(x.int(), 1),
    "channels": lambda m, x: cg.GuidedBackprop(m).attribute(x[:, :1], 1),
    "detached": lambda m, x: cg.GuidedBackprop(lambda x: m(x.detach())).attribute(x, 1),
    "no tensor": lambda m, x: cg.GuidedBackprop(lambda _: "scores").attribute(x, 1),
    "no rectifier": lambda m, x: cg.GuidedBackprop(m.first[0]).attribute(x, (0, 0, 0)),
    "opaque": lambda m, x: cg.GuidedBackprop(checkpointed(m, use_reentrant=True)).attribute(x, 1),
    "with_rule": lambda m, _: cg.with_rule(cg.GuidedBackprop(m), cg.GUIDED),
}


@pytest.mark.parametrize("bad", OF_OURS.values(), ids=OF_OURS)
def test_after_an_error_of_ours(bad):
    model, x = make_stateful()
    model.spare = nn.Conv2d(2, 2, 1)
    nn.init.constant_(model.last.bias, 9.0)
    with nothing_changed(model, x), pytest.raises((ValueError, TypeError, RuntimeError)):
        bad(model, x)


BACKWARDS = {"GuidedGradCam": 2, "GuidedGradCam at the input": 2, "named_maps": 3}


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
@pytest.mark.parametrize("name", CALLS)
def test_after_every_backward_pass_that_can_raise(name, kind):
    model, x = make_stateful()
    for n in range(1, 1 + BACKWARDS.get(name, 1)):
        model.before = RaisingBackward(n, kind)
        with nothing_changed(model, x), pytest.raises(kind, match="on purpose"):
            CALLS[name](model, x, 1)
    model.before = RaisingBackward(n + 1, kind)
    CALLS[name](model, x, 1)  # there are no more backward passes than that


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
def test_a_forward_pass_answers_after_a_backward_pass_that_raised(kind):
    model, x = make_stateful()
    model.before = RaisingBackward(1, kind)
    forward_pass = cg.ForwardPass(model, x, layer=model.second)
    for ask in (forward_pass.input_gradients, forward_pass.ignored_share):
        model.before.left = 1
        with pytest.raises(kind):
            ask(cg.GUIDED, 1)
        # had a hook been left on the graph, this would be no plain gradient
        (got,) = forward_pass.input_gradients(cg.GRADIENT, 1)
        assert torch.equal(got, reference_gradient(model, x, "gradient", 1))


@pytest.mark.parametrize("name", [name for name in CALLS if name != "ignored_share"])
def test_after_a_map_with_nan(name):
    model, x = make_stateful()
    with torch.no_grad():
        model.second.weight.mul_(1e30)
        model.last.weight.mul_(1e30)
    with nothing_changed(model, x), pytest.raises(ValueError, match="holds NaN or infinity"):
        CALLS[name](model, x, 1)


@pytest.mark.parametrize("name", ["GuidedBackprop", "GuidedGradCam", "NeuronGuidedBackprop"])
def test_after_a_warning_that_is_an_error(name):
    model, x = make_stateful()
    model.before = F.gelu
    with nothing_changed(model, x), warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="rectifiers only"):
            CALLS[name](model, x, 1)


@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
@pytest.mark.usefixtures("dynamo")
def test_after_a_model_raised_that_was_run_as_written(kind):
    model, x = make_stateful()
    compiled, graphs = compiled_and_counted(lambda x: F.relu(x * 2))

    def fail(x):
        compiled(x)
        raise kind("on purpose")

    model.before = fail
    with nothing_changed(model, x), pytest.raises(kind):
        cg.GuidedBackprop(model).attribute(x, 1)
    assert graphs == []
    compiled(torch.ones(2))
    assert len(graphs) == 1


SPOILING = {
    "requires_grad": lambda m, x: x.requires_grad_(),
    "input": lambda m, x: x.add_(1),
    "training": lambda m, x: m.train(),
    "hook": lambda m, x: m.second.register_forward_hook(lambda *_: None),
    "grad": lambda m, x: m.first[0].weight.grad.add_(1),
    "backward": lambda m, x: m(x).sum().backward(),
    "parameter": lambda m, x: m.last.weight.requires_grad_(),
    "buffer": lambda m, x: m.first[1].running_mean.add_(1),
    "random numbers": lambda m, x: torch.rand(1),
    "module": lambda m, x: setattr(m, "second", nn.Conv2d(5, 6, 3)),
    "hook of the input": lambda m, x: x.requires_grad_().register_hook(lambda _: None),
}


@pytest.mark.parametrize("spoil", SPOILING.values(), ids=SPOILING)
def test_these_tests_can_fail(spoil):
    model, x = make_stateful()
    before = state_of(model, x)
    spoil(model, x)
    assert changed(before, state_of(model, x))
