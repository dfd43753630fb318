"""What draws random numbers in the tests, what metrics make of it, and what must not move."""

import random

import numpy as np
import torch

from captum_guided_ext.metrics import (
    Perturbation,
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity,
)


def as_tuple(value):
    return value if isinstance(value, tuple) else (value,)


def torch_noise(inputs, radius=0.2):
    return inputs + radius * torch.randn_like(inputs)


def numpy_noise(inputs):
    return inputs + torch.from_numpy(np.random.normal(0, 0.1, inputs.shape)).float()  # noqa: NPY002


def python_noise(inputs):
    return inputs + torch.tensor([random.random() for _ in inputs.flatten()]).view_as(inputs)


def draw_everywhere(inputs):
    return python_noise(numpy_noise(torch_noise(inputs)))


def from_seed(function, *arguments, **options):
    """Return what a function makes of global generators that are always at the same place."""
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    return function(*arguments, **options)


def for_infidelity(perturb):
    """Return what infidelity takes; a function of perturbed inputs alone is told the difference."""
    if isinstance(perturb, Perturbation):
        return perturb
    return infidelity_perturb_func_decorator(multiply_by_inputs=False)(perturb)


def seen_by_the_model(perturb, x, samples, **options):
    """Return the perturbed inputs that infidelity scores, (examples, samples, ...)."""
    chunks = []

    def model(xs):
        chunks.append(xs.clone().reshape(len(x), -1, *x.shape[1:]))
        return xs.flatten(1).sum(1)

    infidelity(model, for_infidelity(perturb), x, x, n_perturb_samples=samples, **options)
    return torch.cat(chunks[1:], dim=1)


def seen_by_the_method(perturb, x, samples, **options):
    """Return the perturbed inputs that sensitivity explains, (examples, samples, ...)."""
    chunks = []

    def explain(xs):
        chunks.append(xs.clone().reshape(len(x), -1, *x.shape[1:]))
        return xs

    sensitivity(explain, x, perturb, n_perturb_samples=samples, **options)
    return torch.cat(chunks[1:], dim=1)


def global_state():
    legacy = np.random.get_state()  # noqa: NPY002 - what Captum draws from
    return torch.get_rng_state().tolist(), random.getstate(), legacy[1].tolist(), legacy[2:]


def state_of(network):
    """Return what a call might leave on a network: hooks, gradients, flags and its mode."""
    modules = list(network.modules())
    hooks = [
        (name, len(hooks))
        for module in modules
        for name, hooks in vars(module).items()
        if name.endswith("hooks")
    ]
    assert len(hooks) >= 6 * len(modules)
    parameters = [(p.requires_grad, p.grad) for p in network.parameters()]
    return hooks, parameters, [module.training for module in modules]
