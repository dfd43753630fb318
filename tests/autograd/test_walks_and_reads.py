"""What an attribution costs beside its passes: exact counts, whatever the depth of the network."""

import pytest
import torch
from counting import counted, stack_of
from methods import both_rules
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import captum_guided_ext as cg
from captum_guided_ext.autograd import _path

DEPTHS = pytest.mark.parametrize("rectifiers", [2, 6])


def network_and_inputs(rectifiers):
    model = stack_of(rectifiers)
    with torch.no_grad():  # so that no map is zero anywhere: why it is would be found out
        for one in model.modules():
            if isinstance(one, (nn.Conv2d, nn.Linear)):
                one.weight.abs_()
    return model, model[3 * rectifiers - 1], torch.rand(5, 3, 6, 6)


# Walks of the graph, walks of the modules, and reads: whether the inputs are finite, the ends of
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
