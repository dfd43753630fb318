"""Small networks that many tests share; those that stand for a topology are in ``topologies``."""

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812


def seeded(build, seed=0):
    """Build a network in eval mode, the same bits every time, the global generator left alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build().eval()


class Conv(nn.Module):
    """Two convolutions and a linear layer around an activation, counting what it is shown.

    Args:
        act: A function or a module, called behind each convolution.
        channels: Of the pictures.
        classes: Number of scores.
    """

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
