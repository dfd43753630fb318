"""Small networks that many tests share; those that stand for a topology are in ``topologies``."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def seeded(build, seed=0):
    """Build a network in eval mode, the same bits every time, the global generator left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


def make(build, shape=None, *, seed=0, draw=torch.randn):
    """Build a network, in eval mode, and draw an input for it; the same bits every time.

    The input's shape is the one that the class of the network names, or that of two pictures.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = build()
        x = draw(shape or getattr(model, "shape", (2, 3, 8, 8)))
    return (model.eval() if isinstance(model, nn.Module) else model), x


class Conv(nn.Module):
    """Two convolutions and a linear layer around an activation, counting what it is shown."""

    def __init__(self, act=F.relu, *, channels=3, classes=4):
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 6, 3), nn.Conv2d(6, 6, 3)
        self.last = nn.Linear(6, classes)
        self.act = act
        self.calls = self.examples = 0

    def forward(self, x):
        self.calls += 1
        self.examples += len(x)
        x = self.act(self.second(self.act(self.first(x))))
        return self.last(x.mean((2, 3)))


class Dense(nn.Module):
    """Three linear layers around an activation; a second input and a factor count where given."""

    def __init__(self, act=F.relu, *, features=5, classes=3):
        super().__init__()
        self.first, self.second = nn.Linear(features, 16), nn.Linear(16, 12)
        self.last = nn.Linear(12, classes)
        self.act = act

    def forward(self, x, other=None, factor=1.0):
        scores = self.last(self.act(self.second(self.act(self.first(x) * factor))))
        return scores if other is None else scores + other.pow(2).sum(1, keepdim=True)


class TwoParts(nn.Module):
    """Two stages, each a module whose layers have names, and a linear head."""

    def __init__(self, act=None, second_act=None):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), act or nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 5, 3, stride=2), second_act or nn.ReLU())
        self.head = nn.Linear(45, 4)

    def forward(self, x):
        return self.head(self.second(self.first(x)).flatten(1))


class Stateful(nn.Module):
    """Convolutions with a buffer, an in-place and a functional rectifier, and a frozen layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(5, 6, 3)
        self.dropout = nn.Dropout(0.3)
        self.last = nn.Linear(6, 4)
        self.last.weight.requires_grad_(requires_grad=False)
        self.first[0].weight.grad = torch.full_like(self.first[0].weight, 0.25)
        self.before = lambda x: x  # where a test makes it fail

    def forward(self, x):
        x = self.second(self.first(x))
        x = self.before(F.relu(x))
        return self.last(self.dropout(x).mean((2, 3)))


def perceptron(*between, features=6, hidden=8, classes=3):
    """Two linear layers; a ReLU, most often open so that no map is empty, and more in between."""
    first = nn.Linear(features, hidden)
    nn.init.constant_(first.bias, 1.0)
    return nn.Sequential(first, nn.ReLU(), *between, nn.Linear(hidden, classes))


def mixed():
    """One rectifier, and three activations that are none, of two kinds."""
    between = [nn.GELU(), nn.Linear(9, 9), nn.Hardswish(), nn.Linear(9, 9), nn.GELU()]
    return perceptron(nn.Linear(9, 9), *between, features=4, hidden=9, classes=5)
