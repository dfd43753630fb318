"""Networks, one for each way in which a rectifier can stand in a network, and what they can be in.

``TOPOLOGIES`` are those whose map a method must get right in every bit, each with an input of its
own. ``WRAPPED`` are networks inside something else (scripted, compiled, checkpointed, ...), whose
map is that of the network itself; ``REFUSED`` hide a rectifier for good, and
``RIGHT_OR_REFUSED`` sometimes.
"""

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from networks import Conv, TwoParts, make
from torch import nn
from torch._C._autograd import SavedTensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint


@dataclasses.dataclass(frozen=True)
class Topology:
    """How to build a network and its input; ``build`` draws from the global generator."""

    build: Callable
    shape: tuple[int, ...] | None = None
    target: Any = 1
    seed: int = 0
    draw: Callable = torch.randn

    def make(self):
        """Build the network, in eval mode, and its input; the same bits every time."""
        return make(self.build, self.shape, seed=self.seed, draw=self.draw)


class Scriptable(nn.Module):
    """Convolutions as TorchScript, which takes no function for an attribute, can compile them."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 5, 3, stride=2)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(45, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.relu(self.conv2(x))
        return self.fc(x.flatten(1))


class ScriptableClamps(Scriptable):
    """The other spellings, in a way TorchScript can compile, behind a condition and in a loop."""

    def __init__(self):
        super().__init__()
        self.relu6 = nn.ReLU6()

    def forward(self, x):
        x = self.conv1(x)
        for _ in range(2):
            if x.dim() == 4:
                x = x.clamp(min=0.0) - 0.05
        x = self.relu6(self.conv2(x)) - 0.05
        return self.fc(F.threshold(x, 0.0, 0.0).clamp_(0.0, 0.5).flatten(1))


class Sliced(nn.Module):
    """An in-place rectifier on a view, in a way TorchScript can compile."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)
        self.head = nn.Linear(6 * 36, 4)

    def forward(self, x):
        y = self.conv(x)
        y[:, :2].relu_()
        return self.head(F.relu(y + 0.25).flatten(1))


class Rectifying(nn.Module):
    """A ReLU and more: from its second call on one opaque node, if TorchScript compiled it."""

    def forward(self, x):
        return torch.relu(x) * 1.5 - 0.1


class Hooked(nn.Module):
    """Reads what a hook on its ReLU has written to it."""

    def __init__(self):
        super().__init__()
        self.first, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()
        self.middle = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), Rectifying())
        self.head = nn.Linear(6, 4)
        self.relu.register_forward_hook(self.save)
        self.features = None

    def save(self, _module, _args, output):
        self.features = output

    def forward(self, x):
        x = self.middle(self.relu(self.first(x)))
        return self.head((x + self.features).mean((2, 3)))


class Saving(nn.Module):
    """Rectifies, and keeps that as an attribute."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.features = None

    def forward(self, x):
        self.features = F.relu(self.conv(x))
        return 1.5 * self.features


class Referring(nn.Module):
    """Reads what its encoder has kept through a reference in a tuple."""

    def __init__(self):
        super().__init__()
        self.encoder = Saving()
        self.reference = (self.encoder,)
        self.middle = nn.Sequential(nn.Conv2d(6, 6, 1), Rectifying())
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        self.encoder(x)
        return self.head(self.middle(self.reference[0].features).mean((2, 3)))


def swish(x):
    """Weigh by the sigmoid: an activation, and no rectifier."""
    return x * torch.sigmoid(x)


def relu_and_more(x):
    """Rectify in a function that TorchScript can compile."""
    return torch.relu(x) * 1.5 - 0.1


class Between(nn.Module):
    """A ReLU, then a function of a feature map with both signs, then a ReLU; it counts its runs."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3, padding=1)
        self.third, self.head = nn.Conv2d(6, 6, 3), nn.Linear(6, 4)
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        x = self.second(F.relu(self.first(x)))
        return self.head(F.relu(self.third(self.function(x))).mean((2, 3)))


class WithAHook(nn.Module):
    """A layer with a hook that TorchScript compiles into what calls it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)
        self.register_forward_hook(scaled)

    def forward(self, x):
        return torch.relu(self.conv(x))


def scaled(_module, _args: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    return 0.2 + 1.5 * output


class InSequence(nn.Module):
    """Convolution, ``middle`` and a linear head."""

    def __init__(self, middle):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = middle
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4))

    def forward(self, x):
        return self.head(self.middle(self.conv(x)))


class OnInput(InSequence):
    """The rectifier is the first thing the input meets."""

    def __init__(self, rectify):
        super().__init__(F.relu)
        self.rectify = rectify

    def forward(self, x):
        return super().forward(self.rectify(x))


class Residual(nn.Module):
    """The rectifier's input also feeds a skip branch, that goes around it and a convolution."""

    def __init__(self, rectify=torch.relu):
        super().__init__()
        self.rectify = rectify
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return self.conv(self.rectify(x)) + x * 0.5


class Parallel(nn.Module):
    """A ReLU in each of two branches and, once more, behind their sum: one module or three."""

    def __init__(self, modules=1):
        super().__init__()
        relus = [nn.ReLU() for _ in range(modules)]
        self.relus = nn.ModuleList(relus * (3 // modules))
        self.left = nn.Conv2d(6, 6, 3, padding=1)
        self.right = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        of_left, of_right, of_both = self.relus
        left, right = self.left(x), self.right(x)
        return of_both(of_left(left) - of_right(right))


class Twice(nn.Module):
    """One module used twice in a row; in between only what a DeconvNet clips again."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x) - 0.1)


class Recurrent(nn.Module):
    """An Elman network with rectified states, then a rectified linear layer."""

    shape = (3, 6, 5)

    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.RNN(5, 7, nonlinearity="relu", batch_first=True, **options)
        self.head = nn.Linear(14 if options.get("bidirectional") else 7, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


class Encoder(nn.Module):
    """A transformer encoder layer, or two."""

    shape = (2, 5, 8)

    def __init__(self, layers=1, **options):
        super().__init__()
        options = {"dropout": 0.0, "batch_first": True} | options
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, **options)
        if layers > 1:
            self.layer = nn.TransformerEncoder(self.layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


class WholeNumbers(nn.Module):
    """Small integer weights and negative biases: many exact zeros and sixes meet the rectifiers."""

    def __init__(self, *rectifiers):
        super().__init__()
        self.first = nn.Linear(6, 40)
        self.second = nn.Linear(40, 30)
        self.head = nn.Linear(30, 4)
        self.rectifiers = rectifiers
        with torch.no_grad():
            for layer in (self.first, self.second, self.head):
                layer.weight.copy_(torch.randint(-1, 2, layer.weight.shape))
                layer.bias.copy_(torch.randint(-2, 1, layer.bias.shape))

    def forward(self, x):
        for layer in (self.first, self.second):
            x = layer(x)
            for rectify in self.rectifiers:
                x = rectify(x)
        return self.head(x)


def plain_callable():
    """Build a function of tensors that no module owns."""
    w1, w2 = torch.randn(12, 10), torch.randn(4, 12)
    return lambda x: F.relu(x @ w1.T) @ w2.T


def whole_numbers(shape):
    """Draw an input of -1, 0 and 1."""
    return torch.randint(-1, 2, shape).float()


def weighted_rectifier(x):
    """Weigh and add the rectified inputs: the smallest network there is."""
    weights = torch.tensor([1.0, -2.0, 3.0, -1.0, 1.0])
    return F.relu(F.relu(x) @ torch.stack([weights, 2 + weights], 1))


def slice_assignment(y):
    """Write a plain copy into a slice: a view, but no rectifier on it."""
    z = y.clone()
    z[:, :3] = 2 * y[:, 3:]
    return F.relu(z)


def slice_of_rectified(y):
    """Write the result of a rectifier into a slice, and rectify the whole once more."""
    z = y - 0.1
    z[:, 2:4] = F.relu(y[:, :2]) - 0.2
    return F.relu(z)


def statement(rectify):
    """Make a rectifier of an in-place call whose return value the network does not use."""

    def call(x):
        rectify(x)
        return x

    return call


def on_a_view(rectify):
    """Rectify some of a tensor in place, and all of it afterwards."""
    return lambda x: F.relu(statement(rectify)(x) + 0.25)


def on_a_slice(rectify):
    """Rectify the first two channels in place, in a view, and all of them afterwards."""
    return on_a_view(lambda x: rectify(x[:, :2]))


RELUS = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace=True)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu(inplace=True)": lambda x: F.relu(x, inplace=True),
    "F.relu(input=)": lambda x: F.relu(input=x),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": statement(lambda x: x.relu_()),
    "aten.relu": torch.ops.aten.relu.default,
    "F.threshold(0, 0)": lambda x: F.threshold(x, 0, 0),
    "F.threshold(inplace=True)": statement(lambda x: F.threshold(x, 0, 0, inplace=True)),
    "F.threshold_(0, 0)": statement(lambda x: F.threshold_(x, 0, 0)),
    "nn.Threshold(0, 0)": nn.Threshold(0.0, 0.0),
    "torch.threshold(0, 0)": lambda x: torch.threshold(x, 0, 0),
    "torch.threshold_(0, 0)": statement(lambda x: torch.threshold_(x, 0, 0)),
    "Tensor.clamp(0)": lambda x: x.clamp(0),
    "Tensor.clamp(min=0)": lambda x: x.clamp(min=0),
    "Tensor.clamp_(min=0)": statement(lambda x: x.clamp_(min=0)),
    "Tensor.clamp_(min=0.0)": statement(lambda x: x.clamp_(min=0.0)),
    "Tensor.clamp_min(0)": lambda x: x.clamp_min(0),
    "Tensor.clamp_min_(0)": statement(lambda x: x.clamp_min_(0)),
    "Tensor.clip(0)": lambda x: x.clip(0),
    "Tensor.clip(min=0)": lambda x: x.clip(min=0),
    "Tensor.clip_(min=0)": statement(lambda x: x.clip_(min=0)),
    "torch.clamp(min=0)": lambda x: torch.clamp(x, min=0),
    "torch.clamp(min=0.0)": lambda x: torch.clamp(x, min=0.0),
    "torch.clamp(input=)": lambda x: torch.clamp(input=x, min=0),
    "torch.clamp_(min=0)": statement(lambda x: torch.clamp_(x, min=0)),
    "torch.clamp_min(0)": lambda x: torch.clamp_min(x, 0),
    "torch.clip(0)": lambda x: torch.clip(x, 0),
    "Tensor.clamp(0, inf)": lambda x: x.clamp(0, math.inf),
}
RELU6S = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6(inplace=True)": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "nn.Hardtanh(0, 6)": nn.Hardtanh(0, 6),
    "F.hardtanh(0, 6)": lambda x: F.hardtanh(x, 0, 6),
    "F.hardtanh_(0, 6)": lambda x: F.hardtanh_(x, 0, 6),
    "Tensor.clamp(0, 6)": lambda x: x.clamp(0, 6),
    "Tensor.clamp_(0, 6)": lambda x: x.clamp_(0, 6),
    "torch.clamp(max=6, min=0)": lambda x: torch.clamp(x, max=6, min=0),
    "torch.clip(0, 6)": lambda x: torch.clip(x, 0, 6),
}
CEILINGS_THAT_ARE_MET = {
    "nn.Hardtanh(0, 0.5)": nn.Hardtanh(0, 0.5),
    "Tensor.clamp_(0, 0.5)": statement(lambda x: x.clamp_(0, 0.5)),
    "torch.clip(max=0.5, min=0)": lambda x: torch.clip(x, max=0.5, min=0),
}
SPELLINGS = RELUS | RELU6S | CEILINGS_THAT_ARE_MET
ON_A_SLICE = [
    "Tensor.relu_", "F.relu(inplace=True)", "nn.ReLU(inplace=True)", "nn.ReLU6(inplace=True)",
    "Tensor.clamp_(min=0)", "Tensor.clamp_(0, 0.5)", "F.threshold_(0, 0)",
]  # fmt: skip
ON_A_VIEW = {
    "flat view": lambda x: x.view(-1).relu_(),
    "transposed view": lambda x: x.transpose(1, 2)[:, 1:3].relu_(),
    "view of a view": lambda x: x[:, 1:][:, :, 2:].relu_(),
    "strided view": lambda x: x[:, ::2].relu_(),
    "one example": lambda x: x[0].relu_(),
    "diagonal": lambda x: x.diagonal(dim1=2, dim2=3).relu_(),
    "overlapping views": lambda x: (x[:, :2].relu_(), x[:, 1:4].relu_()),
    "masked fill": lambda x: x.masked_fill_(x < -0.3, 0.0),
    "indexed writing": lambda x: x.index_put_((torch.tensor([1]),), F.relu(x[[1]]) - 0.1),
}
ON_ZEROS = [
    ["F.relu"], ["F.relu6"], ["F.hardtanh(0, 6)"], ["F.threshold(0, 0)"], ["Tensor.clamp(min=0)"],
    ["Tensor.clamp_min(0)"], ["Tensor.clamp(0, 6)"], ["Tensor.clamp_(0, 6)"],
    ["F.relu", "Tensor.clamp(min=0)"], ["Tensor.clamp(min=0)", "F.relu"],
    ["F.relu", "F.threshold(0, 0)"], ["F.relu6", "Tensor.clamp(0, 6)"],
    ["Tensor.clamp(0, 6)", "F.relu6"], ["Tensor.clamp_(0, 6)", "F.relu"],
]  # fmt: skip


def on_zeros(*rectifiers):
    """Have exact zeros and sixes meet the rectifiers."""
    return Topology(lambda: WholeNumbers(*rectifiers), (8, 6), seed=1, draw=whole_numbers)


def in_sequence(*middle):
    """Put modules between a convolution and a linear layer."""
    return InSequence(nn.Sequential(*middle))


TOPOLOGIES = {
    **{name: Topology(lambda f=f: Conv(f)) for name, f in SPELLINGS.items()},
    **{
        f"{name} on a slice": Topology(lambda f=SPELLINGS[name]: InSequence(on_a_slice(f)))
        for name in ON_A_SLICE
    },
    **{
        f"in place, {name}": Topology(lambda f=f: InSequence(on_a_view(f)))
        for name, f in ON_A_VIEW.items()
    },
    **{
        f"{', '.join(names)} on exact zeros": on_zeros(*(SPELLINGS[name] for name in names))
        for names in ON_ZEROS
    },
    "one module twice in a row": Topology(lambda: InSequence(Twice())),
    "one module in parallel branches": Topology(lambda: InSequence(Parallel())),
    "three modules in parallel branches": Topology(lambda: InSequence(Parallel(3))),
    "skip branch": Topology(lambda: in_sequence(Residual(), nn.ReLU())),
    "skip branches around modules": Topology(
        lambda: in_sequence(Residual(nn.ReLU()), Residual(nn.ReLU()), nn.ReLU())
    ),
    "two modules on one tensor and a skip branch": Topology(
        lambda: InSequence(lambda x: -nn.ReLU()(x) * 0.5 + nn.ReLU()(x).flip(1) + x)
    ),
    "in one branch of where": Topology(
        lambda: InSequence(lambda x: torch.where(x.detach() > -0.3, F.relu(x), 0.5 * x))
    ),
    "relu of a ceiling": Topology(lambda: InSequence(lambda x: F.relu(x.clamp_max(0.5)))),
    "the rectifier last": Topology(lambda: nn.Sequential(Conv(), nn.ReLU()), target=0),
    "the rectifier first and last": Topology(lambda: weighted_rectifier, (3, 5), target=0, seed=7),
    "relu on the input": Topology(lambda: OnInput(torch.relu)),
    "relu6 on the input": Topology(lambda: OnInput(nn.Hardtanh(0, 0.5))),
    "in place on the input": Topology(lambda: OnInput(nn.ReLU(inplace=True))),
    "statement in place on the input": Topology(lambda: OnInput(statement(torch.relu_))),
    "in place on a slice of the input": Topology(lambda: OnInput(on_a_slice(torch.relu_))),
    "slice assignment": Topology(lambda: InSequence(slice_assignment)),
    "slice assignment of a rectified value": Topology(lambda: InSequence(slice_of_rectified)),
    "plain callable": Topology(plain_callable, (3, 10)),
    "rnn": Topology(Recurrent),
    "rnn in two layers": Topology(lambda: Recurrent(num_layers=2)),
    "rnn both ways": Topology(lambda: Recurrent(bidirectional=True)),
    "rnn cell": Topology(
        lambda: nn.Sequential(nn.RNNCell(5, 16, nonlinearity="relu"), nn.Linear(16, 4)), (3, 5)
    ),
    "transformer encoder": Topology(Encoder),
    "transformer encoder, norm first": Topology(lambda: Encoder(norm_first=True)),
    "transformer encoder of two layers": Topology(lambda: Encoder(2)),
}


# --- networks inside something else -----------------------------------------------------------


def script(model, _):
    return torch.jit.script(model)


def trace(model, x):
    with warnings.catch_warnings():
        # a network may look at its shapes while it is traced, and the check would compare with
        # a transformer's fast path, which has no rectifier of its own
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        return torch.jit.trace(model, x, check_trace=not isinstance(model, Encoder))


def export(model, x):
    return torch.export.export(model, (x,)).module()


def decompose(model, x):
    # F.threshold becomes a where like any other
    return torch.export.export(model, (x,)).run_decompositions().module()


def compiled(model, _):
    return torch.compile(model, backend="aot_eager")


def compiled_and_counted(function):
    """Compile a function; return it and the list that each compiled graph is appended to."""
    graphs = []

    def backend(graph, _inputs):
        graphs.append(graph)
        return graph.forward

    return torch.compile(function, backend=backend), graphs


def compiled_by_eager(model, _):
    return torch.compile(model, backend="eager")


def compiled_in_place(model, _):
    model.compile(backend="aot_eager")
    return model


def has_run(wrap):
    """Wrap in the same way, and run it: plainly, forwards and backwards, and in no_grad."""

    def wrapped(model, x):
        wrapped = wrap(model, x)
        for _ in range(2):
            wrapped(x)
            wrapped(x.clone().requires_grad_()).sum().backward()
        model.zero_grad()
        with torch.no_grad():
            wrapped(x)
        return wrapped

    return wrapped


def part(name, wrap):
    """Wrap one layer of the network only."""

    def wrapped(model, x):
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, wrap(model.get_submodule(name), x))
        return model

    return wrapped


def checkpointed(function, *, use_reentrant=False):
    """Recompute a function in the backward pass."""
    return lambda x: checkpoint(function, x, use_reentrant=use_reentrant)


class Checkpointed(nn.Module):
    """``TwoParts`` that recomputes its stages in the backward pass, or the whole."""

    def __init__(self, parts, *, whole=False):
        super().__init__()
        self.parts, self.whole = parts, whole

    def forward(self, x):
        if self.whole:
            return checkpointed(self.parts)(x)
        x = checkpointed(self.parts.second)(checkpointed(self.parts.first)(x))
        return self.parts.head(x.flatten(1))


def half_in_place(h):
    torch.relu_(h[:, 2:])
    return h


def in_stages(wrap_first=None, wrap_second=None):
    """Call the stages of ``TwoParts`` through functions that a plain callable holds."""

    def wrapped(model, x):
        first = wrap_first(model.first, x) if wrap_first else model.first
        second = wrap_second(model.second, x) if wrap_second else model.second
        return lambda x: model.head(second(first(x)).flatten(1))

    return wrapped


def half_scripted(layer, _):
    half = torch.jit.script(half_in_place)
    return lambda x: half(1.0 * layer(x))


def compiled_function(layer, _):
    return torch.compile(lambda x: F.relu(layer(x)), backend="aot_eager")


def scripted_function(model, _):
    """Script the function that a network calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.function = torch.jit.script(model.function)
    return model


def traced_function(model, _):
    model.function = torch.jit.trace(model.function, torch.randn(2, 6, 6, 6))
    return model


def called_by(call):
    """Script the second stage of ``TwoParts``, and have it called in another way."""
    return has_run(in_stages(wrap_second=lambda module, x: call(script(module, x))))


def two_rectifying_parts():
    return TwoParts(second_act=Rectifying())


def in_a_lambda(function):
    return lambda x: 1.0 * function(x)


BLOCKS = {  # that torch.jit.script takes, in front of a ReLU that it does not see
    "linear": lambda: nn.Conv2d(6, 6, 3, padding=1),
    "relu": lambda: nn.Sequential(nn.ReLU(), nn.Conv2d(6, 6, 3, padding=1)),
    "relu6": lambda: nn.Sequential(nn.BatchNorm2d(6), nn.ReLU6(inplace=True)),
    "skip": lambda: Residual(nn.ReLU()),
}
WAYS = {
    "traced": (trace, [Scriptable, TwoParts, Conv, Encoder]),
    "scripted": (script, [Scriptable, ScriptableClamps, TwoParts]),
    "scripted and frozen": (lambda m, x: torch.jit.freeze(script(m, x)), [Scriptable]),
    "traced and frozen": (lambda m, x: torch.jit.freeze(trace(m, x)), [Scriptable]),
    "scripted in a closure": (in_stages(wrap_second=script), [TwoParts]),
    "fx-traced": (lambda m, _: torch.fx.symbolic_trace(m), [Scriptable, TwoParts, Sliced]),
    "exported": (export, [Scriptable, ScriptableClamps, TwoParts]),
    "exported and decomposed": (decompose, [Scriptable, ScriptableClamps, Sliced, TwoParts]),
    "checkpointed": (lambda m, _: Checkpointed(m), [TwoParts]),
    "checkpointed as a whole": (lambda m, _: Checkpointed(m, whole=True), [TwoParts]),
    "checkpointed in a closure": (lambda m, _: checkpointed(m), [Sliced]),
    "checkpoint in a checkpoint": (lambda m, _: checkpointed(Checkpointed(m)), [TwoParts]),
    "data parallel": (lambda m, _: nn.DataParallel(m), [Scriptable]),
    "mapped": (lambda m, _: torch.vmap(lambda example: m(example[None])[0]), [TwoParts]),
    "compiled by eager": (compiled_by_eager, [Scriptable]),
    "compiled by eager, has run": (has_run(compiled_by_eager), [Scriptable]),
    "compiled": (compiled, [Scriptable]),
    "compiled, has run": (
        has_run(compiled),
        [Scriptable, ScriptableClamps, Sliced, TwoParts, Hooked, Referring],
    ),
    "a part compiled": (has_run(part("middle", compiled)), [Hooked, Referring]),
    "a part scripted": (has_run(part("middle", script)), [Hooked, Referring]),
    "scripted, in a lambda": (called_by(in_a_lambda), [two_rectifying_parts]),
    "scripted, its forward": (called_by(lambda scripted: scripted.forward), [two_rectifying_parts]),
    "scripted, in a partial": (called_by(functools.partial), [two_rectifying_parts]),
    "scripted with a hook": (
        has_run(part("middle", script)),
        [lambda: in_sequence(WithAHook(), nn.ReLU())],
    ),
    "a part scripted with a hook": (
        has_run(part("middle.0", script)),
        [lambda: in_sequence(WithAHook(), nn.ReLU())],
    ),
    "a scripted function": (
        has_run(scripted_function),
        [lambda: Between(relu_and_more)],
    ),
    "a traced function": (has_run(traced_function), [lambda: Between(relu_and_more)]),
    "compiled in a closure": (in_stages(compiled_function), [TwoParts]),
    "compiled in place": (compiled_in_place, [Scriptable]),
    "compiled in place, has run": (has_run(compiled_in_place), [Scriptable]),
    "first part compiled": (has_run(part("first", compiled)), [TwoParts]),
    "second part compiled": (has_run(part("second", compiled)), [TwoParts]),
    "first part compiled in place": (has_run(part("first", compiled_in_place)), [TwoParts]),
    "second part compiled in place": (has_run(part("second", compiled_in_place)), [TwoParts]),
    "compiled in front of a ReLU": (part("first.0", compiled), [TwoParts]),
}
WRAPPED = {
    f"{way}, {build.__name__}" if isinstance(build, type) else f"{way}, {index}": (build, wrap)
    for way, (wrap, builds) in WAYS.items()
    for index, build in enumerate(builds)
} | {
    f"{name} scripted in front of a ReLU": (
        lambda build=build: in_sequence(build(), nn.ReLU()),
        part("middle.0", script),
    )
    for name, build in BLOCKS.items()
}
# a torch that does not say what a product has kept cannot tell their constants from masks
MAY_HAVE_MASKS = set() if hasattr(SavedTensor, "unpack_hook") else {"a traced function, 0"}
# TorchScript compiles more than its graph shows again: the first call may succeed
RIGHT_OR_REFUSED = {
    "scripted, Recurrent": (Recurrent, script),
    "scripted, Encoder": (Encoder, script),
    "traced, Sliced": (Sliced, trace),
    "exported, Sliced": (Sliced, export),
}
# no graph that these leave behind shows the rectifier
REFUSED = {
    "scripted on a view": (Sliced, script, "in-place (ReLU|operation) on a view"),
    "scripted on a view in a closure": (
        TwoParts,
        in_stages(wrap_second=half_scripted),
        "in-place (ReLU|operation) on a view",
    ),
    "reentrant checkpoint": (
        TwoParts,
        in_stages(lambda m, _: checkpointed(m, use_reentrant=True)),
        "checkpoint",
    ),
}
