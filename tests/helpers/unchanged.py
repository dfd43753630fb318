"""What an attribution must leave as it was, and calls to try it on."""

import contextlib

import captum.attr
import pytest
import torch
from networks import Stateful, make
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.attr import named_maps

HOOKS = [name for name in vars(nn.Module()) if name.endswith(("_hooks", "_pre_hooks"))]

# on a network with layers of these names
CALLS = {
    "GuidedBackprop": lambda m, x, t: cg.GuidedBackprop(m).attribute(x, t),
    "Deconvolution": lambda m, x, t: cg.Deconvolution(m).attribute(x, t),
    "GuidedGradCam": lambda m, x, t: cg.GuidedGradCam(m, "second").attribute(x, t),
    "GuidedGradCam at the input": lambda m, x, t: cg.GuidedGradCam(m, "second").attribute(
        x, t, attribute_to_layer_input=True
    ),
    "NeuronGuidedBackprop": lambda m, x, t: cg.NeuronGuidedBackprop(m, "last").attribute(x, t),
    "NeuronDeconvolution": lambda m, x, t: cg.NeuronDeconvolution(m, "last").attribute(x, t),
    "with_rule": lambda m, x, t: cg.with_rule(
        captum.attr.IntegratedGradients(m), cg.GUIDED
    ).attribute(x, target=t, n_steps=3),
    "named_maps": lambda m, x, t: named_maps(cg.ForwardPass(m, x, layer=m.second), t),
    "ignored_share": lambda m, x, t: cg.ForwardPass(m, x).ignored_share(cg.GUIDED, t),
}
each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


def make_stateful():
    """Build the network and its input; with this seed nothing that ``CALLS`` compute is zero."""
    return make(Stateful, seed=1)


class Stop(Exception):  # noqa: N818 - no error: the tests' own signal
    """Raised on purpose."""


def raising(kind):
    """Make a function that raises."""

    def raise_(*_):
        raise kind("on purpose")

    return raise_


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


def bits(tensor):
    """Keep a tensor's values."""
    return None if tensor is None else tensor.detach().clone()


def state_of(model, *inputs):
    """All that an attribution must leave as it was, by name."""
    state = {
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "random numbers": torch.get_rng_state(),
        "function modes": torch._C._len_torch_function_stack(),
    }
    tensors = [(f"inputs[{index}]", x) for index, x in enumerate(inputs)]
    if isinstance(model, nn.Module):
        for name, module in model.named_modules():
            state[f"{name} training"] = module.training
            state[f"{name} attributes"] = sorted(vars(module))
            state[f"{name} class"] = type(module)
            for hooks in HOOKS:
                state[f"{name} {hooks}"] = list(getattr(module, hooks).items())
        tensors += [*model.named_parameters(), *model.named_buffers()]
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
    """Return the names of what is not the same."""

    def same(a, b):
        if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
            return a.dtype == b.dtype and torch.equal(a.nan_to_num(9e9), b.nan_to_num(9e9))
        return type(a) is type(b) and a == b

    assert before.keys() == after.keys()
    return {name for name in before if not same(before[name], after[name])}


@contextlib.contextmanager
def nothing_changed(model, *inputs):
    """Assert that the state is the same behind the block."""
    before = state_of(model, *inputs)
    yield
    assert changed(before, state_of(model, *inputs)) == set()
