"""What an attribution costs beside its passes: exact counts, whatever the depth of the network."""

import sys

import pytest
import torch
from counting import counted, stack_of
from methods import both_rules
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import captum_guided_ext as cg
from captum_guided_ext.autograd import _path, _scripts

DEPTHS = pytest.mark.parametrize("rectifiers", [2, 6])


def network_and_inputs(rectifiers):
    model = stack_of(rectifiers)
    with torch.no_grad():  # so that no map is zero anywhere: why it is would be found out
        for one in model.modules():
            if isinstance(one, (nn.Conv2d, nn.Linear)):
                one.weight.abs_()
    return model, model[3 * rectifiers - 1], torch.rand(5, 3, 6, 6)


# Walks of the graph, walks of the modules, and reads: whether the inputs are finite, the sums of
# each map, and a target that is a tensor.
COSTS = {
    "GuidedBackprop": (lambda m, layer, x: cg.GuidedBackprop(m).attribute(x, 1), (1, 1, 2)),
    "Deconvolution": (lambda m, layer, x: cg.Deconvolution(m).attribute(x, [1] * 5), (1, 1, 2)),
    "a tensor as target": (
        lambda m, layer, x: cg.GuidedBackprop(m).attribute(x, torch.ones(5, dtype=torch.int64)),
        (1, 1, 4),
    ),
    "GuidedGradCam": (lambda m, layer, x: cg.GuidedGradCam(m, layer).attribute(x, 1), (1, 1, 3)),
    "a neuron": (
        lambda m, layer, x: cg.NeuronGuidedBackprop(m, layer).attribute(x, (0, 3, 3)),
        (2, 1, 2),
    ),
    # Three gradients and a Grad-CAM; the layer's name is looked up.
    "six methods": (
        lambda m, layer, x: cg.compare(m, x, target=1, metrics=(), layer=layer),
        (1, 2, 5),
    ),
    # One walk more, to see whether TorchScript hides layers.
    "six methods, no layer named": (
        lambda m, layer, x: cg.compare(m, x, target=1, metrics=()),
        (1, 2, 5),
    ),
}


@DEPTHS
@pytest.mark.parametrize(("call", "expected"), COSTS.values(), ids=COSTS)
def test_walks_and_reads_do_not_grow_with_the_rectifiers(call, expected, rectifiers):
    model, layer, x = network_and_inputs(rectifiers)
    call(model, layer, x)
    with counted() as counts:
        call(model, layer, x)
    assert (counts.graph_walks, counts.module_walks, counts.reads) == expected


def test_a_layer_beside_the_path_is_walked_to():
    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.on, self.beside = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            self.beside(x)
            return self.on(x).relu()

    model = Beside()
    with counted() as counts:
        cg.ForwardPass(model, torch.rand(2, 3), layer=model.beside)
    assert counts.graph_walks == 3


@pytest.mark.parametrize(("is_scripted", "times"), [(False, 1), (True, 2)])
def test_scripts_are_looked_for_again_only_where_the_forward_pass_met_one(
    is_scripted, times, monkeypatch
):
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)  # other tests import it
    entered, lowered = [], _scripts.lowered
    monkeypatch.setattr(_scripts, "lowered", lambda: entered.append(1) or lowered())
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    if is_scripted:
        model[1] = torch.jit.script(model[1])
    cg.ForwardPass(model, torch.rand(2, 3)).input_gradients("guided", 1)
    assert len(entered) == times


# --- what a sum of magnitudes tells -----------------------------------------------------------


class Times(nn.Module):
    """A rectifier, and a factor for each example."""

    def __init__(self, factors, *, power=1):
        super().__init__()
        self.factors, self.power = factors, power

    def forward(self, x):
        return (x.relu() ** self.power * self.factors.to(x.dtype)[:, None]).sum(1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_maps_as_large_and_as_small_as_numbers_get_are_neither_infinite_nor_zero(dtype):
    kind = torch.finfo(dtype)
    factors = torch.tensor([kind.max, kind.tiny, -kind.max, kind.smallest_normal], dtype=dtype)
    x = torch.ones(4, 40, dtype=dtype)
    found = cg.ForwardPass(Times(factors), x).input_gradients("gradient", warn_if_zero=True)[0]
    assert torch.equal(found, factors[:, None].expand(4, 40))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_number_in_one_map_is_found(bad):
    factors = torch.tensor([1.0, 1.0, bad])
    with pytest.raises(
        ValueError, match=r"NaN or infinity in 4 of 12 places, first at index \(2, 0\)"
    ):
        cg.ForwardPass(Times(factors), torch.ones(3, 4)).input_gradients("gradient")


def test_of_two_inputs_one_may_have_a_map_that_is_zero():
    forward_pass = cg.ForwardPass(lambda x, y: (x.relu() + 0 * y).sum(1), (torch.ones(2, 3),) * 2)
    of_x, of_y = forward_pass.input_gradients("gradient", warn_if_zero=True)
    assert of_x.all()
    assert not of_y.any()


def test_the_counter_counts():
    x = torch.ones(2)
    with counted() as counts:
        float(x[0]), bool(x.any()), x.tolist(), x.sum().item(), torch.equal(x, x), list(x + 1)
        nn.Sequential(nn.ReLU()).modules().__next__()
        nn.Sequential(nn.ReLU()).named_modules().__next__()
        _path.nodes_between([], [])
    assert (counts.graph_walks, counts.module_walks, counts.reads) == (1, 2, 5)


def test_the_counter_counts_in_hooks_as_well():
    x = torch.ones(2, requires_grad=True)
    y = x.relu()
    y.grad_fn.register_hook(lambda passed, _: bool(passed[0].any()) and None)
    with counted() as counts:
        torch.autograd.grad(y.sum(), x)
    assert counts.reads == 1


# --- clamping in place ------------------------------------------------------------------------


def allocations(rule, hook=None):
    """Return whether a backward pass's clamp made a new tensor, and what the hook kept."""
    kept, made = [], []
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))
    nn.init.uniform_(model[0].weight)
    nn.init.constant_(model[2].weight, -1.0)

    def forward(x):
        hidden = model[0](x).relu()
        if hook is not None:
            hidden.grad_fn.register_hook(lambda passed, _: hook(kept, passed[0]))
        return model[2](hidden)

    class Clamps(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "clamp" in func._schema.name:
                made.append("out" not in (kwargs or {}))
            return func(*args, **(kwargs or {}))

    x = torch.rand(4, 3)
    forward_pass = cg.ForwardPass(forward, x)
    with Clamps():
        forward_pass.input_gradients(rule, 0)
    assert len(made) == 1
    return made[0], kept


@both_rules
def test_a_fresh_gradient_is_clamped_in_place(rule):
    assert allocations(rule) == (False, [])


HOOKS = {
    "keeps it": lambda kept, gradient: kept.append(gradient),
    "keeps a view of it": lambda kept, gradient: kept.append(gradient.view(-1)),
    "keeps its memory": lambda kept, gradient: kept.append(gradient.untyped_storage()),
    "keeps an array of it": lambda kept, gradient: kept.append(gradient.numpy()),
    "keeps it detached": lambda kept, gradient: kept.append(gradient.detach()),
}


@both_rules
@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_not_where_somebody_else_holds_it(rule, hook):
    is_new, kept = allocations(rule, hook)
    assert is_new
    assert len(kept) == 1


@both_rules
def test_what_a_hook_of_the_users_keeps_is_autograds_own(rule):
    _, (kept,) = allocations(rule, HOOKS["keeps it"])
    assert bool((kept < 0).any())
