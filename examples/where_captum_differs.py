"""Networks on which Captum's guided backprop and DeconvNet return another method's numbers.

Each row is one network. The last column is an independent reference: the same network with every
rectifier replaced by a function whose backward pass is written from the papers.

Run: python examples/where_captum_differs.py
"""

import warnings

import captum.attr
import torch
import torch.nn.functional as F
from torch import nn

import captum_guided_ext

warnings.filterwarnings("ignore", message="Setting backward hooks|Input Tensor|.*torch.jit")
warnings.filterwarnings("ignore", message="Couldn't appropriately interpolate")


class ReferenceReLU(torch.autograd.Function):
    """A ReLU that sends back what Springenberg et al. 2014 or Zeiler & Fergus 2013 say."""

    rule = "guided"

    @staticmethod
    def forward(ctx, x, ceiling):
        """Return x clamped to [0, ceiling]."""
        ctx.save_for_backward((x > 0) & (x < ceiling))
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx, g):
        """Keep g > 0, and for guided backprop x > 0 too."""
        (gate,) = ctx.saved_tensors
        return g.clamp(min=0) * (gate if ReferenceReLU.rule == "guided" else 1), None


def reference_relu(x, ceiling=float("inf")):
    """Call the reference."""
    return ReferenceReLU.apply(x, ceiling)


class Network(nn.Module):
    """Two convolutions and a classifier; ``act`` says how the rectifiers are written."""

    def __init__(self, act):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)
        self.last = nn.Linear(8, 5)
        self.act = act

    def forward(self, x):
        """Classify."""
        x = self.act(self.second(self.act(self.first(x))))
        return self.last(x.mean(dim=(2, 3)))


class Skip(Network):
    """The rectifier's input also feeds a skip connection, as in pre-activation networks."""

    def forward(self, x):
        """Classify."""
        x = self.first(x)
        x = F.pad(self.second(self.act(x)), (1, 1, 1, 1)) + x
        return self.last(x.mean(dim=(2, 3)))


class Parallel(Network):
    """One ReLU module serves two parallel branches."""

    def forward(self, x):
        """Classify."""
        x = self.first(x)
        left, right = self.second(x), self.second(x.flip(-1))
        x = 2 * self.act(left) - self.act(right)
        return self.last(x.mean(dim=(2, 3)))


def build(kind, act):
    """Make the same random network whatever its rectifiers are."""
    torch.manual_seed(0)
    return kind(act).eval()


def compiled(model):
    """Compile a model and use it, as people do before they explain it."""
    model = torch.compile(model, backend="eager")
    model(images.clone().requires_grad_())
    return model


torch.manual_seed(1)
images = torch.randn(2, 3, 12, 12)
relu6 = {"ceiling": 6.0}
rows = [
    ("nn.ReLU modules, each used once a call", "guided", Network, nn.ReLU(), {}, None),
    ("F.relu called as a function", "guided", Network, F.relu, {}, None),
    ("nn.ReLU6", "guided", Network, nn.ReLU6(), relu6, None),
    ("clamp(min=0)", "deconvolution", Network, lambda x: x.clamp(min=0), {}, None),
    ("input also feeds a skip branch", "guided", Skip, nn.ReLU(), {}, None),
    ("one module in two parallel branches", "deconvolution", Parallel, nn.ReLU(), {}, None),
    ("traced", "guided", Network, nn.ReLU(), {}, lambda m: torch.jit.trace(m, images)),
    ("compiled, and already called once", "guided", Network, nn.ReLU(), {}, compiled),
]

print(f"{'network':<40}{'rule':<11}{'Captum':>10}{'this':>10}{'reference':>11}")
for title, rule, kind, act, options, wrap in rows:
    name = "GuidedBackprop" if rule == "guided" else "Deconvolution"
    network = build(kind, act)
    network = wrap(network) if wrap else network
    theirs = getattr(captum.attr, name)(network).attribute(images, target=2)
    ours = getattr(captum_guided_ext, name)(network).attribute(images, target=2)
    ReferenceReLU.rule = rule
    plain = build(kind, lambda x, options=options: reference_relu(x, **options))
    truth = captum.attr.Saliency(plain).attribute(images, target=2, abs=False)
    numbers = "".join(f"{m.abs().sum():>10.4f}" for m in (theirs, ours))
    verdict = "" if torch.allclose(theirs, truth) else "   <- Captum differs"
    print(f"{title:<40}{rule:<11}{numbers}{truth.abs().sum():>11.4f}{verdict}")
    assert torch.allclose(ours, truth), title

network = build(Network, nn.ReLU())
print("\nGuidedGradCam with interpolate_mode='bilinaer':")
theirs = captum.attr.GuidedGradCam(network, network.second).attribute(
    images, target=2, interpolate_mode="bilinaer"
)
print(f"  Captum returns a tensor of shape {tuple(theirs.shape)}")
try:
    captum_guided_ext.GuidedGradCam(network, network.second).attribute(
        images, target=2, interpolate_mode="bilinaer"
    )
except ValueError as error:
    print(f"  this package raises: {error}")

print("\nGuidedBackprop of a network with GELUs only:")
gelu = build(Network, nn.GELU())
theirs = captum.attr.GuidedBackprop(gelu).attribute(images, target=2)
gradient = captum.attr.Saliency(gelu).attribute(images, target=2, abs=False)
print(f"  Captum returns the plain gradient: {torch.equal(theirs, gradient)}")
try:
    captum_guided_ext.GuidedBackprop(gelu).attribute(images, target=2)
except captum_guided_ext.NoRectifierError as error:
    print(f"  this package raises: {error}")
