"""What ``speed.py`` times: networks, batches and tasks; and which maps are right."""

import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from reference import reference_gradient

# Grad-CAM's layer of each network, the same for all contenders
LAYERS = {
    "resnet18": "layer4", "resnet50": "layer4", "vgg16": "features", "densenet121": "features",
    "mobilenet_v2": "features",
}  # fmt: skip
LARGE = {"resnet50", "vgg16", "densenet121"}  # at 224 pixels, metrics at batch 1

SINGLE = (
    "gradient", "input_x_gradient", "deconvolution", "guided_backprop", "grad_cam",
    "guided_grad_cam",
)  # fmt: skip
FOUR = ("gradient", "deconvolution", "guided_backprop", "guided_grad_cam")
# The methods that one backward pass serves
SERVED = (
    ("gradient", "input_x_gradient"), ("deconvolution",), ("guided_backprop", "guided_grad_cam")
)  # fmt: skip
METHODS = (
    {name: (name,) for name in SINGLE}
    | {"six": SINGLE}
    | dict.fromkeys(("four", "sensitivity", "metrics"), FOUR)
)
METHODS["six_scored"] = SINGLE  # what benchmark does by default
_BOTH = ("infidelity", "sensitivity_max")
METRICS = {"sensitivity": ("sensitivity_max",), "metrics": _BOTH, "six_scored": _BOTH}
TASKS = (*SINGLE, "four", "six", "sensitivity", "metrics")
TITLES = {
    "four": "four methods", "six": "six methods", "sensitivity": "sensitivity of the four",
    "metrics": "infidelity and sensitivity of the four",
}  # fmt: skip
SAMPLES = 10  # the default of both Captum and this package
RULES = {"gradient": "gradient", "deconvolution": "deconvolution", "guided_backprop": "guided"}
RIGHT = 1e-3  # most distance from the reference, as a share of its norm, that is called right
BACKWARD = 1.5  # what a backward pass costs, in forward passes: for the estimate alone


@dataclass(frozen=True)
class Case:
    """A network and a batch, with the class to explain."""

    model: nn.Module
    layer: str
    x: torch.Tensor
    target: int
    samples: int = SAMPLES
    most: int = 0  # perturbed inputs at a time; 0: ten of each example, our default

    @property
    def chunk(self):
        """The most perturbed inputs at a time, the same for all contenders."""
        return self.most or SAMPLES * len(self.x)

    @property
    def module(self):
        """Grad-CAM's layer."""
        return self.model.get_submodule(self.layer)


def methods_of(task):
    """Return the methods of a task, or of what is a tuple of methods itself."""
    return task if isinstance(task, tuple) else METHODS[task]


def network(name, device="cpu"):
    """Return a network with random weights, and statistics of batch norm that are those of noise.

    With those that a new network has, signals die out or explode on the way.
    """
    torch.manual_seed(0)
    model = models.get_model(name, weights=None)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of what was seen
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(8, 3, 64, 64))
    for norm in norms:
        norm.momentum = 0.1
    return model.eval().to(device)


def noise(batch, size, device="cpu"):
    """Return a batch of random pictures, as they are after normalisation."""
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1)).to(device)


def case(model, layer, x, samples=SAMPLES):
    """Return the case of the class whose Grad-CAM is empty in the fewest examples."""
    with captured(model, layer) as kept:
        output = model(x)
    filled = []
    for target in range(min(20, output.shape[1])):
        cam = _grad_cam(output[:, target].sum(), kept[0], retain_graph=True)
        filled.append(int(cam.flatten(1).any(dim=1).sum()))
    return Case(model, layer, x, filled.index(max(filled)), samples)


class captured:  # noqa: N801 - a context manager
    """Keep what a layer returns, as it was before anything in place."""

    def __init__(self, model, layer):
        self.module, self.kept = model.get_submodule(layer), []

    def __enter__(self):
        def keep(module, given, output):
            del module, given
            self.kept.append(output)
            return output.clone()

        self.handle = self.module.register_forward_hook(keep)
        return self.kept

    def __exit__(self, *error):
        self.handle.remove()


def _grad_cam(score, activations, **options):
    """Return relu(sum of channels, each weighted by the mean of its gradient), (N, 1, h, w)."""
    (gradient,) = torch.autograd.grad(score, activations, **options)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return (weights * activations.detach()).sum(dim=1, keepdim=True).relu()


def references(case):
    """Return the maps by the reference of the tests, and Grad-CAM by plain autograd."""
    x, found = case.x, {}
    for name, rule in RULES.items():
        found[name] = reference_gradient(case.model, x, rule, target=case.target)
    with captured(case.model, case.layer) as kept:
        score = case.model(x)[:, case.target].sum()
    cam = _grad_cam(score, kept[0])
    # not for a task: what pytorch-grad-cam's are computed from
    found["small_grad_cam"] = cam
    cam = F.interpolate(cam, x.shape[-2:], mode="bilinear", align_corners=False)
    found |= {
        "input_x_gradient": x * found["gradient"],
        "grad_cam": cam,
        "guided_grad_cam": cam * found["guided_backprop"],
    }
    return {name: one.detach() for name, one in found.items()}


def distance(found, wanted):
    """Return how far a map is from the reference, as a share of its norm."""
    found, wanted = found.detach().double().cpu(), wanted.double().cpu()
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-300))


def worst_distance(maps, wanted):
    """Return the largest distance of maps by name, 0 of none."""
    if "is_scaled" in maps:
        maps = {"grad_cam": maps["grad_cam"]}
        wanted = wanted | {"grad_cam": _as_scaled(wanted)}
    return max((distance(one, wanted[name]) for name, one in maps.items()), default=0.0)


def _as_scaled(wanted):
    """Return the reference for Grad-CAMs that were brought to 0 to 1 before and after resizing."""
    cam, size = wanted["small_grad_cam"], wanted["gradient"].shape[-2:]

    def scaled(one):
        low, high = one.amin(dim=(2, 3), keepdim=True), one.amax(dim=(2, 3), keepdim=True)
        return (one - low) / (high - low + 1e-7)

    return scaled(F.interpolate(scaled(cam), size, mode="bilinear", align_corners=False))
