"""Arithmetic that is a rectifier, arithmetic that is none, and clamps that are no activations.

``SPELLED`` are rectifiers, each with the call that it stands for; ``NONE`` are none, though they
look like it; ``HINTED`` are rectifiers that can be told by their values only. ``CLAMPS`` are uses
of a clamp that guards a number or gates its input.
"""

import torch
from topologies import statement
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint


def zeros(x):
    """Return as many zeros."""
    return torch.zeros_like(x)


def assigning(where, value=0.0):
    """Make a rectifier of an assignment by a mask."""

    def rectify(h):
        h[where(h)] = value
        return h

    return rectify


def without_gradients(function):
    """Have a function record no graph."""

    def call(x):
        with torch.no_grad():
            return function(x)

    return call


def multiply_in_place(h):
    h *= h > 0
    return h


def gathered(x):
    """Write what is positive into zeros."""
    out, where = zeros(x), x > 0
    out[where] = x[where]
    return out


def mask_written(x):
    """Write ones into a mask of zeros where the input is positive."""
    mask = zeros(x)
    mask[x > 0] = 1
    return x * mask


OUT_OF_PLACE = {
    "maximum": lambda x: torch.maximum(x, torch.tensor(0.0)),
    "maximum with zeros": lambda x: torch.maximum(zeros(x), x),
    "maximum by keywords": lambda x: torch.maximum(input=x, other=zeros(x)),
    "aten.maximum": lambda x: torch.ops.aten.maximum.default(x, torch.zeros(())),
    "max of two": lambda x: torch.max(x, zeros(x)),
    "fmax": lambda x: torch.fmax(x, torch.tensor(0.0)),
    "max of a stack": lambda x: torch.stack((zeros(x), x), dim=1).max(dim=1).values,
    "amax of a stack": lambda x: torch.stack([x, zeros(x)]).amax(0),
    "where(x > 0, x, 0)": lambda x: torch.where(x > 0, x, 0),
    "where(x >= 0, x, zeros)": lambda x: torch.where(x >= 0, x, zeros(x)),
    "where(x < 0, 0, x)": lambda x: torch.where(x < 0, 0.0, x),
    "x.where(0 < x, 0)": lambda x: x.where(x > 0, torch.tensor(0.0)),
    "aten.where": lambda x: torch.ops.aten.where.self(x > 0, x, torch.zeros(())),
    "x * (x > 0)": lambda x: x * (x > 0),
    "(x > 0) * x": lambda x: (x > 0) * x,
    "x * (x > 0).float()": lambda x: x * (x > 0).float(),
    "x * (x > 0).type_as(x)": lambda x: x * (x > 0).type_as(x),
    "x * (x > 0).to(x)": lambda x: x * (x > 0).to(x.dtype),
    "x * (x.detach() > 0)": lambda x: x * (x.detach() > 0),
    "x * (x.data > 0)": lambda x: x * (x.data > 0).float(),
    "x * mask without gradients": lambda x: x * without_gradients(lambda x: (x > 0).float())(x),
    "x * ~(x <= 0)": lambda x: x * ~(x <= 0),
    "x * (1 - (x < 0))": lambda x: x * (1 - (x < 0).float()),
    "x * where(x > 0, 1, 0)": lambda x: x * torch.where(x > 0, 1.0, 0.0),
    "x * heaviside(x)": lambda x: x * torch.heaviside(x.detach(), torch.tensor(0.0)),
    "x * (sign(x) + 1) / 2": lambda x: x * ((torch.sign(x) + 1) / 2),
    "x * (x > 0).int()": lambda x: x * (x > 0).int(),
    "maximum of a view": lambda x: torch.maximum(x.view(-1), torch.tensor(0.0)).view_as(x),
    "addcmul": lambda x: torch.addcmul(zeros(x), x, (x > 0).float()),
    "lerp": lambda x: torch.lerp(zeros(x), x, (x > 0).float()),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0),
    "index_put": lambda x: x.index_put((x < 0,), torch.tensor(0.0)),
    "(x + |x|) / 2": lambda x: (x + x.abs()) / 2,
    "x / 2 + |x| / 2": lambda x: x / 2 + torch.abs(x) / 2,
    "(x + sqrt(x * x)) / 2": lambda x: (x + (x * x).sqrt()) / 2,
    "(x + (x ** 2) ** 0.5) / 2": lambda x: (x + (x**2) ** 0.5) / 2,
    "x - x.clamp(max=0)": lambda x: x - x.clamp(max=0),
    "x - minimum(x, 0)": lambda x: x - torch.minimum(x, zeros(x)),
    "-(-x).clamp(max=0)": lambda x: -(-x).clamp(max=0),
    "-clamp_max(-x, 0)": lambda x: -torch.clamp_max(-x, 0),
    "clamp(min=tensor(0.))": lambda x: x.clamp(min=torch.tensor(0.0)),
    "clamp_min(tensor(0.))": lambda x: x.clamp_min(torch.tensor(0.0)),
    "_foreach_clamp_min": lambda x: torch._foreach_clamp_min([x], 0)[0],
    "_foreach_maximum": lambda x: torch._foreach_maximum([x], [zeros(x)])[0],
    "where in a checkpoint": lambda x: checkpoint(
        lambda x: torch.where(x > 0, x, 0), x, use_reentrant=False
    ),
    "x * (x > 0) in a checkpoint": lambda x: checkpoint(
        lambda x: x * (x > 0), x, use_reentrant=False
    ),
    "leaky_relu(x, 0)": lambda x: F.leaky_relu(x, 0.0),
    "elu(x, 0)": lambda x: F.elu(x, 0.0),
    "rrelu(x, 0, 0)": lambda x: F.rrelu(x, 0.0, 0.0),
}
WRITTEN_IN_PLACE = {
    "h[h < 0] = 0": assigning(lambda h: h < 0),
    "h[~(h > 0)] = zero": assigning(lambda h: ~(h > 0), torch.tensor(0.0)),
    "h *= h > 0": multiply_in_place,
    "h.mul_(h > 0)": statement(lambda h: h.mul_((h > 0).float())),
    "h.masked_fill_": statement(lambda h: h.masked_fill_(h <= 0, 0)),
    "h.clamp_(min=tensor(0.))": statement(lambda h: h.clamp_(min=torch.tensor(0.0))),
    "_foreach_clamp_min_": statement(lambda h: torch._foreach_clamp_min_([h], 0)),
    "leaky_relu_(h, 0)": statement(lambda h: F.leaky_relu_(h, 0.0)),
    "elu_(h, 0)": statement(lambda h: F.elu_(h, 0.0)),
    "rrelu(h, 0, 0, inplace=True)": statement(lambda h: F.rrelu(h, 0.0, 0.0, inplace=True)),
}
SPELLED = {name: (f, F.relu) for name, f in OUT_OF_PLACE.items()} | {
    name: (f, statement(torch.relu_)) for name, f in WRITTEN_IN_PLACE.items()
} | {
    "minimum(maximum(x, 0), 0.3)": (
        lambda x: torch.minimum(torch.maximum(x, zeros(x)), torch.tensor(0.3)),
        lambda x: torch.minimum(F.relu(x), torch.tensor(0.3)),
    ),
    "where(x > 0, where(x < 0.25, x, 0.25), 0)": (
        lambda x: torch.where(x > 0, torch.where(x < 0.25, x, 0.25), 0),
        lambda x: F.relu(torch.minimum(x, torch.tensor(0.25))),
    ),
    "where(x >= 0.25, 0.25, x * (0 < x < 0.25))": (
        lambda x: torch.where(x >= 0.25, 0.25, x * ((x > 0) & (x < 0.25))),
        lambda x: F.hardtanh(x, 0, 0.25),
    ),
    "view.clamp_(min=tensor(0.))": (
        statement(lambda h: h[:, :2].clamp_(min=torch.tensor(0.0))),
        statement(lambda h: h[:, :2].relu_()),
    ),
    "_foreach_clamp_min_ of a view": (
        statement(lambda h: torch._foreach_clamp_min_([h[:, :2]], 0)),
        statement(lambda h: h[:, :2].relu_()),
    ),
    "x + |x|": (lambda x: x + x.abs(), lambda x: 2 * F.relu(x)),
    "2 * x - 2 * minimum(x, 0)": (
        lambda x: 2 * x - 2 * torch.minimum(x, zeros(x)),
        lambda x: 2 * F.relu(x),
    ),
    "maximum(-x, 0)": (lambda x: torch.maximum(-x, zeros(x)), lambda x: F.relu(-x)),
}  # fmt: skip


class Changed(nn.Module):
    """Multiplies with the mask of what the tensor was before it was written to."""

    def forward(self, x):
        h = 1.0 * x
        mask = h > 0
        h += 0.2
        return h * mask


def straight_through(x):
    """Have the values of a ReLU, and the gradient of the identity."""
    return x + (torch.where(x > 0, x, 0) - x).detach()


# what a network does behind a ReLU, and is no rectifier itself
NONE = {
    "leaky by where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "leaky by maximum": lambda x: torch.maximum(x, 0.1 * x),
    "the absolute value": lambda x: x.abs(),
    "another's mask": lambda x: x * (x.flip(1) > 0),
    "the mask of a shifted tensor": lambda x: x * (x > 0.1),
    "the mask of an earlier state": Changed(),
    "a gap around 0": lambda x: torch.where(x.abs() > 0.1, x, 0),
    "minimum with 0": lambda x: torch.minimum(x, zeros(x)),
    "where with another": lambda x: torch.where(x > 0, x.flip(1), 0),
    "a floor above 0": lambda x: torch.maximum(x, torch.tensor(0.1)),
    "the larger of two channels": lambda x: torch.maximum(x, x.flip(1)),
    "a random mask": lambda x: x * (torch.arange(x.numel()).reshape(x.shape) % 3 > 0),
    "a straight-through estimator": straight_through,
    "a scale by channel": lambda x: x * torch.linspace(0, 1, 6).reshape(1, 6, 1, 1).expand_as(x),
    "a spectrum's magnitude": lambda x: torch.fft.fft(x).abs() * (x.detach() > 0.1),
    "softmax by maximum": lambda x: (x - x.amax(1, keepdim=True)).exp(),
}


def maximum_in_a_script(x):
    """Rectify, in a way that TorchScript can compile."""
    return torch.maximum(x, torch.zeros_like(x)) * 1.0


def beyond_modes(x):
    """Rectify where no mode sees the call."""
    with torch._C.DisableTorchFunction():
        return torch.maximum(x, torch.zeros_like(x))


# a ReLU by its values, and who knows: what the warning names
HINTED = {
    "assignment by indices": (
        assigning(lambda h: torch.where(h < 0)),
        r"setitem \(arithmetic\.py:\d+\)",
    ),
    "x * relu(sign(x))": (
        lambda x: x * torch.relu(torch.sign(x)),
        r"mul \(arithmetic\.py:\d+\)",
    ),
    "amax of a concatenation": (
        lambda x: torch.cat([x[None], zeros(x)[None]]).amax(0),
        r"amax \(arithmetic\.py:\d+\)",
    ),
    "what is positive, gathered": (gathered, r"setitem \(arithmetic\.py:\d+\)"),
    "a mask that is written": (mask_written, r"mul \(arithmetic\.py:\d+\)"),
    "a mask of another library, scaled": (
        lambda x: x * torch.from_numpy(2.0 * (x.detach().numpy() > 0)).float(),
        r"mul \(arithmetic\.py:\d+\)",
    ),
    "a view, by the mask of another": (
        statement(lambda h: h.view(-1).mul_((h.view(-1) > 0).int())),
        r"mul \(arithmetic\.py:\d+\)",
    ),
    "x * clamp(sign(x))": (
        lambda x: x * x.sign().clamp(min=0),
        r"mul \(arithmetic\.py:\d+\)",
    ),
    "the larger of two sorted": (
        lambda x: torch.stack([x, zeros(x)]).sort(0, descending=True).values[0],
        r"select|getitem \(arithmetic\.py:\d+\)",
    ),
    "out of torch's sight": (beyond_modes, r"Maximum \(out of sight\)"),
    "in a script": (torch.jit.script(maximum_in_a_script), r"Maximum in the script 'maximum_in_a"),
    "a mask in vmap": (torch.vmap(lambda x: x * (x > 0)), r"mul in vmap \(arithmetic\.py:\d+\)"),
    "masked_scatter": (
        lambda x: x.masked_scatter(x < 0, zeros(x)),
        r"masked_scatter \(arithmetic\.py:\d+\)",
    ),
    "maximum in vmap": (
        torch.vmap(lambda x: torch.maximum(x, torch.zeros(()))),
        r"maximum in vmap \(arithmetic\.py:\d+\)",
    ),
}


# --- clamps that are no activations -------------------------------------------------------------


def clamped(x, low=0, high=None):
    """Clamp without a call of clamp; the gradient is the same but at the bounds."""
    x = torch.maximum(x, torch.tensor(float(low)))
    return x if high is None else torch.minimum(x, torch.tensor(float(high)))


def relu6(x):
    """As ``clamped``."""
    return clamped(x, 0, 6)


def variance(h):
    """Return the variance of each map, as a difference that rounding may make negative."""
    return h.pow(2).mean((2, 3), keepdim=True) - h.mean((2, 3), keepdim=True) ** 2


# name -> (what is done to a feature map by means of clamp and relu6, what rectifiers() calls it,
# where it stands)
CLAMPS = {
    "a root": (
        lambda h, clamp, _: h / (clamp(variance(h), 0) + 0.01).sqrt(),
        "clamp(min=0)",
        "in front of a root",
    ),
    "rsqrt": (
        lambda h, clamp, _: h * torch.rsqrt(clamp(variance(h), 0) + 0.01),
        "clamp(min=0)",
        "in front of a root",
    ),
    "a power": (
        lambda h, clamp, _: (clamp(h, 0) + 0.01) ** 0.25,
        "clamp(min=0)",
        "in front of a root",
    ),
    "a logarithm": (
        lambda h, clamp, _: torch.log(1 + clamp(h, 0)),
        "clamp(min=0)",
        "in front of a logarithm",
    ),
    "a division": (
        lambda h, clamp, _: h / (clamp(h.sum(1, keepdim=True), 0) + 1),
        "clamp(min=0)",
        "in front of a division",
    ),
    "hard-swish": (lambda h, _, relu6: h * relu6(h + 3) / 6, "ReLU6", "as a gate"),
    "hard-swish, scaled first": (lambda h, _, relu6: h * (relu6(h + 3) / 6), "ReLU6", "as a gate"),
    "hard-swish by clamp": (
        lambda h, clamp, _: (clamp(h + 3, 0, 6) / 6) * h,
        "clamp(0, 6)",
        "as a gate",
    ),
    "hard-swish by two clamps": (
        lambda h, clamp, _: h * torch.clamp(clamp(h + 3, 0), max=6) / 6,
        "clamp(min=0)",
        "as a gate",
    ),
    "hard-swish by arithmetic": (
        lambda h, _, __: h * clamped(h + 3, 0, 6) / 6,
        "ReLU by maximum",
        "as a gate",
    ),
    "hard-sigmoid, the ceiling first": (
        lambda h, clamp, _: h * clamp((h.mean(1, keepdim=True) / 6 + 0.5).clamp(max=1), 0),
        "clamp(min=0)",
        "as a gate",
    ),
    "a root, guarded by arithmetic": (
        lambda h, _, __: h / (torch.maximum(variance(h), zeros(variance(h))) + 0.01).sqrt(),
        "ReLU by maximum",
        "in front of a root",
    ),
    "hard-sigmoid of a pooled map": (
        lambda h, _, relu6: h * (relu6(h.mean((2, 3), keepdim=True) + 3) / 6),
        "ReLU6",
        "as a gate",
    ),
}
