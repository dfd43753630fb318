"""Small networks, one for each way in which a rectifier can stand in a network.

A ``Topology`` builds a network and an input for it from its own seed; ``TOPOLOGIES`` are the ones
whose map a method must get right in every bit. The wrapped ones (scripted, compiled, ...) are
built by the tests from ``ConvNet`` and ``Branching``.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Topology:
    """A named network; ``build`` gets no arguments and draws from the global generator."""

    name: str
    build: Callable[[], Callable[..., Tensor]]
    shape: tuple[int, ...] = (2, 3, 8, 8)
    target: Any = 1
    seed: int = 0
    draw: Callable[..., Tensor] = torch.randn

    def make(self) -> tuple[Callable[..., Tensor], Tensor]:
        """Build the network, in eval mode, and its input; the same bits every time."""
        with torch.random.fork_rng():
            torch.manual_seed(self.seed)
            model, x = self.build(), self.draw(self.shape)
        return (model.eval() if isinstance(model, nn.Module) else model), x


class ConvNet(nn.Module):
    """Two convolutions and two linear layers, with the rectifier it is given in between."""

    def __init__(self, rectify=torch.relu):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 5, 3, stride=2)
        self.fc1 = nn.Linear(45, 12)
        self.fc2 = nn.Linear(12, 4)
        self.rectify = rectify

    def forward(self, x):
        x = self.rectify(self.conv1(x))
        x = self.rectify(self.conv2(x))
        x = self.rectify(self.fc1(x.flatten(1)))
        return self.fc2(x)


class Scriptable(nn.Module):
    """``ConvNet`` as TorchScript, which takes no function for an attribute, can compile it."""

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


class ScriptableClamps(nn.Module):
    """The other spellings, in a way TorchScript can compile, behind a condition and in a loop."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 5, 3, stride=2)
        self.relu6 = nn.ReLU6()
        self.fc = nn.Linear(45, 4)

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


class InSequence(nn.Module):
    """Convolution, ``middle`` and a linear head."""

    def __init__(self, middle, head=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.middle = middle
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(6 * 64, 4)) if head is None else head

    def forward(self, x):
        return self.head(self.middle(self.conv(x)))


class Residual(nn.Module):
    """The rectifier's input also feeds a skip branch, that goes around it and a convolution."""

    def __init__(self, rectify=torch.relu):
        super().__init__()
        self.rectify = rectify
        self.conv = nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        return self.conv(self.rectify(x)) + x * 0.5


class Parallel(nn.Module):
    """One and the same ReLU module in two branches and, once more, behind their sum."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()
        self.left = nn.Conv2d(6, 6, 3, padding=1)
        self.right = nn.Conv2d(6, 6, 1)

    def forward(self, x):
        left, right = self.left(x), self.right(x)
        return self.relu(self.relu(left) - self.relu(right))


class Twice(nn.Module):
    """One module used twice in a row; in between only what a DeconvNet clips again."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.relu(x) - 0.1)


class TwoParts(nn.Module):
    """Two rectified stages, each a module, so that a test can wrap one of them."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 5, 3, stride=2), nn.ReLU())
        self.head = nn.Linear(45, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x)).flatten(1))


class Recurrent(nn.Module):
    """An Elman network with rectified states, then a rectified linear layer."""

    def __init__(self, **options):
        super().__init__()
        self.rnn = nn.RNN(5, 7, nonlinearity="relu", batch_first=True, **options)
        self.head = nn.Linear(14 if options.get("bidirectional") else 7, 4)

    def forward(self, x):
        return self.head(self.rnn(x)[0].mean(1))


class Cell(nn.Module):
    """One step of an Elman network, from a state of zeros."""

    def __init__(self):
        super().__init__()
        self.cell = nn.RNNCell(5, 16, nonlinearity="relu")
        self.head = nn.Linear(16, 4)

    def forward(self, x):
        return self.head(self.cell(x))


class Encoder(nn.Module):
    """A transformer encoder layer; without dropout, as eval mode switches it off anyway."""

    def __init__(self, **options):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True, **options)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.layer(x).mean(1))


class EncoderStack(nn.Module):
    """Two transformer encoder layers."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.layers(x).mean(1))


class TwoInputs(nn.Module):
    """Two inputs, and two arguments that are not explained."""

    def __init__(self):
        super().__init__()
        self.image = nn.Conv2d(3, 4, 3)
        self.table = nn.Linear(5, 9)
        self.head = nn.Linear(4 * 36 + 9, 4)

    def forward(self, image, table, scale=1.0, bias=None):
        image = F.relu(self.image(image)).flatten(1)
        table = torch.relu(self.table(table)) * scale
        scores = self.head(torch.cat([image, table], 1))
        return scores if bias is None else scores + torch.relu(bias) * scores


class OnInput(nn.Module):
    """The rectifier is the first thing the input meets."""

    def __init__(self, rectify):
        super().__init__()
        self.rectify = rectify
        self.conv = nn.Conv2d(3, 5, 3)
        self.head = nn.Linear(5 * 36, 4)

    def forward(self, x):
        return self.head(F.relu(self.conv(self.rectify(x))).flatten(1))


class SliceAssignment(nn.Module):
    """Writes a plain copy into a slice: a view, but no rectifier on it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.head = nn.Linear(6 * 64, 4)

    def forward(self, x):
        y = self.conv(x)
        z = y.clone()
        z[:, :3] = 2 * y[:, 3:]
        return self.head(F.relu(z).flatten(1))


class SliceOfRectified(SliceAssignment):
    """Writes the result of a rectifier into a slice, and rectifies the whole once more."""

    def forward(self, x):
        y = self.conv(x)
        z = y - 0.1
        z[:, 2:4] = F.relu(y[:, :2]) - 0.2
        return self.head(F.relu(z).flatten(1))


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

    def forward(x):
        return F.relu(x @ w1.T) @ w2.T

    return forward


def whole_numbers(shape: tuple[int, ...]) -> Tensor:
    """Draw an input of -1, 0 and 1."""
    return torch.randint(-1, 2, shape).float()


def half_rectified(x: Tensor) -> Tensor:
    """Rectify where a condition holds, scale elsewhere."""
    return torch.where(x.detach() > -0.3, F.relu(x), 0.5 * x)


def weighted_rectifier(x: Tensor) -> Tensor:
    """Weigh and add the rectified inputs: the smallest network there is."""
    weights = torch.tensor([1.0, -2.0, 3.0, -1.0, 1.0])
    return F.relu(F.relu(x) @ torch.stack([weights, 2 + weights], 1))


def statement(rectify: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Make a rectifier of an in-place call whose return value the network does not use."""

    def call(x):
        rectify(x)
        return x

    return call


def on_a_view(rectify: Callable[[Tensor], Any]) -> Callable[[Tensor], Tensor]:
    """Rectify some of a tensor in place, and all of it afterwards."""

    def call(x):
        rectify(x)
        return F.relu(x + 0.25)

    return call


def on_a_slice(rectify: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Rectify the first two channels in place, in a view, and all of them afterwards."""
    return on_a_view(lambda x: rectify(x[:, :2]))


RELUS: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU": nn.ReLU(),
    "nn.ReLU(inplace=True)": nn.ReLU(inplace=True),
    "F.relu": F.relu,
    "F.relu(inplace=True)": lambda x: F.relu(x, inplace=True),
    "F.relu_": F.relu_,
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": statement(lambda x: x.relu_()),
    "F.threshold(0, 0)": lambda x: F.threshold(x, 0, 0),
    "F.threshold_(0, 0)": statement(lambda x: F.threshold_(x, 0, 0)),
    "nn.Threshold(0, 0)": nn.Threshold(0.0, 0.0),
    "Tensor.clamp(min=0)": lambda x: x.clamp(min=0),
    "Tensor.clamp_(min=0)": statement(lambda x: x.clamp_(min=0)),
    "Tensor.clamp_min(0)": lambda x: x.clamp_min(0),
    "Tensor.clamp_min_(0)": statement(lambda x: x.clamp_min_(0)),
    "Tensor.clip(min=0)": lambda x: x.clip(min=0),
    "torch.clamp(min=0.0)": lambda x: torch.clamp(x, min=0.0),
    "torch.clamp_min(0)": lambda x: torch.clamp_min(x, 0),
    "Tensor.clamp(0, inf)": lambda x: x.clamp(0, math.inf),
    "aten.relu": torch.ops.aten.relu.default,
}
RELU6S: dict[str, Callable[[Tensor], Tensor]] = {
    "nn.ReLU6": nn.ReLU6(),
    "nn.ReLU6(inplace=True)": nn.ReLU6(inplace=True),
    "F.relu6": F.relu6,
    "F.hardtanh(0, 6)": lambda x: F.hardtanh(x, 0, 6),
    "nn.Hardtanh(0, 0.5)": nn.Hardtanh(0, 0.5),
    "Tensor.clamp(0, 6)": lambda x: x.clamp(0, 6),
    "Tensor.clamp_(0, 0.5)": statement(lambda x: x.clamp_(0, 0.5)),
    "torch.clip(max=0.5, min=0)": lambda x: torch.clip(x, max=0.5, min=0),
}
ON_A_SLICE: dict[str, Callable[[Tensor], Tensor]] = {
    "Tensor.relu_": lambda x: x.relu_(),
    "F.relu(inplace=True)": lambda x: F.relu(x, inplace=True),
    "nn.ReLU(inplace=True)": nn.ReLU(inplace=True),
    "nn.ReLU6(inplace=True)": nn.ReLU6(inplace=True),
    "Tensor.clamp_(min=0)": lambda x: x.clamp_(min=0),
    "Tensor.clamp_(0, 0.5)": lambda x: x.clamp_(0, 0.5),
    "F.threshold_(0, 0)": lambda x: F.threshold_(x, 0, 0),
}
ON_A_VIEW: dict[str, Callable[[Tensor], Any]] = {
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
ZEROS: dict[str, tuple[Callable[[Tensor], Tensor], ...]] = {
    "relu": (F.relu,),
    "relu6": (F.relu6,),
    "hardtanh(0, 6)": (lambda x: F.hardtanh(x, 0, 6),),
    "threshold(0, 0)": (lambda x: F.threshold(x, 0, 0),),
    "clamp(min=0)": (lambda x: x.clamp(min=0),),
    "clamp_min(0)": (lambda x: x.clamp_min(0),),
    "clamp(0, 6)": (lambda x: x.clamp(0, 6),),
    "clamp_(0, 6)": (statement(lambda x: x.clamp_(0, 6)),),
    "relu, clamp(min=0)": (F.relu, lambda x: x.clamp(min=0)),
    "clamp(min=0), relu": (lambda x: x.clamp(min=0), F.relu),
    "relu, threshold(0, 0)": (F.relu, lambda x: F.threshold(x, 0, 0)),
    "relu6, clamp(0, 6)": (F.relu6, lambda x: x.clamp(0, 6)),
    "clamp(0, 6), relu6": (lambda x: x.clamp(0, 6), F.relu6),
    "clamp_(0, 6), relu": (statement(lambda x: x.clamp_(0, 6)), F.relu),
}

TOPOLOGIES = [
    *(Topology(name, lambda f=f: ConvNet(f)) for name, f in (RELUS | RELU6S).items()),
    *(
        Topology(f"{name} on a slice", lambda f=f: InSequence(on_a_slice(f)))
        for name, f in ON_A_SLICE.items()
    ),
    *(
        Topology(f"in place, {name}", lambda f=f: InSequence(on_a_view(f)))
        for name, f in ON_A_VIEW.items()
    ),
    *(
        Topology(
            f"{name} on exact zeros",
            lambda f=f: WholeNumbers(*f),
            shape=(8, 6),
            seed=1,
            draw=whole_numbers,
        )
        for name, f in ZEROS.items()
    ),
    Topology("one module twice in a row", lambda: InSequence(Twice())),
    Topology("one module in parallel branches", lambda: InSequence(Parallel())),
    Topology("skip branch", lambda: InSequence(nn.Sequential(Residual(), nn.ReLU()))),
    Topology(
        "skip branches around modules",
        lambda: InSequence(nn.Sequential(Residual(nn.ReLU()), Residual(nn.ReLU()), nn.ReLU())),
    ),
    Topology(
        "two modules on one tensor and a skip branch",
        lambda: InSequence(lambda x: -nn.ReLU()(x) * 0.5 + nn.ReLU()(x).flip(1) + x),
    ),
    Topology("in one branch of where", lambda: InSequence(half_rectified)),
    Topology("relu of a ceiling", lambda: InSequence(lambda x: F.relu(x.clamp_max(0.5)))),
    Topology("the rectifier last", lambda: nn.Sequential(ConvNet(), nn.ReLU())),
    Topology("the rectifier first and last", lambda: weighted_rectifier, (3, 5), target=0, seed=7),
    Topology("relu on the input", lambda: OnInput(torch.relu)),
    Topology("relu6 on the input", lambda: OnInput(nn.Hardtanh(0, 0.5))),
    Topology("in place on the input", lambda: OnInput(nn.ReLU(inplace=True))),
    Topology("statement in place on the input", lambda: OnInput(statement(torch.relu_))),
    Topology("in place on a slice of the input", lambda: OnInput(on_a_slice(torch.relu_))),
    Topology("slice assignment", SliceAssignment),
    Topology("slice assignment of a rectified value", SliceOfRectified),
    Topology("plain callable", plain_callable, shape=(3, 10)),
    Topology("rnn", Recurrent, shape=(3, 6, 5)),
    Topology("rnn in two layers", lambda: Recurrent(num_layers=2), shape=(3, 6, 5)),
    Topology("rnn both ways", lambda: Recurrent(bidirectional=True), shape=(3, 6, 5)),
    Topology("rnn cell", Cell, shape=(3, 5)),
    Topology("transformer encoder", Encoder, shape=(2, 5, 8)),
    Topology("transformer encoder, norm first", lambda: Encoder(norm_first=True), shape=(2, 5, 8)),
    Topology("transformer encoder of two layers", EncoderStack, shape=(2, 5, 8)),
]
