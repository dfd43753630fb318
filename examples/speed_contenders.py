"""What ``speed.py`` times: networks, tasks, and who does them; and whether the maps are right.

A contender is a function that takes a :class:`Case` and returns, for each task it offers, a call
without arguments that returns maps by name. What is timed is that call: making the explainer,
setting and removing its hooks, and the passes.
"""

import importlib.metadata
import importlib.util
import inspect
import sys
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import captum.attr
import captum.metrics
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

import captum_guided_ext as cg

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from reference import reference_gradient  # noqa: E402

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
# How often a task goes through a network: those of a map, and what each of a metric's samples adds
METHODS = {name: (name,) for name in SINGLE} | {"six": SINGLE} | dict.fromkeys(
    ("four", "sensitivity", "metrics"), FOUR
)
METRICS = {"sensitivity": ("sensitivity_max",), "metrics": ("infidelity", "sensitivity_max")}
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

    @property
    def chunk(self):
        """The most perturbed inputs at a time, the same for all contenders: ours by default."""
        return SAMPLES * len(self.x)

    @property
    def module(self):
        """Grad-CAM's layer."""
        return self.model.get_submodule(self.layer)


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


def references(case, methods=SINGLE):
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
    return {name: found[name].detach() for name in (*methods, "small_grad_cam")}


def distance(found, wanted):
    """Return how far a map is from the reference, as a share of its norm."""
    found, wanted = found.detach().double().cpu(), wanted.double().cpu()
    if found.shape != wanted.shape:
        return float("inf")
    return float((found - wanted).norm() / wanted.norm().clamp(min=1e-300))


def worst_distance(maps, wanted):
    """Return the largest distance of maps by name; a method that is missing is infinitely far."""
    if maps.pop("is_scaled", False):
        wanted = wanted | {"grad_cam": _as_scaled(wanted)}
    return max(distance(one, wanted[name]) for name, one in maps.items())


def _as_scaled(wanted):
    """Return the reference for Grad-CAMs that were brought to 0 to 1 before and after resizing."""
    cam, size = wanted["small_grad_cam"], wanted["gradient"].shape[-2:]

    def scaled(one):
        low, high = one.amin(dim=(2, 3), keepdim=True), one.amax(dim=(2, 3), keepdim=True)
        return (one - low) / (high - low + 1e-7)

    return scaled(F.interpolate(scaled(cam), size, mode="bilinear", align_corners=False))


def bare(case):
    """Return the yardstick: one gradient by autograd of the same model and batch."""

    def gradient():
        x = case.x.detach().requires_grad_()
        return {"gradient": torch.autograd.grad(case.model(x)[:, case.target].sum(), x)[0]}

    return dict.fromkeys(TASKS, gradient)


def ours(case, **options):
    """Return the tasks as this package does them, one call each."""
    model = case.model
    makers = {
        "deconvolution": lambda: cg.Deconvolution(model).attribute,
        "guided_backprop": lambda: cg.GuidedBackprop(model).attribute,
        "guided_grad_cam": lambda: partial(
            cg.GuidedGradCam(model, case.layer).attribute, interpolate_mode="bilinear"
        ),
    }

    def attribute(task):
        return {task: makers[task]()(case.x, target=case.target)}

    def compare(task):
        found = cg.compare(
            model, case.x, case.target, methods=METHODS[task], layer=case.layer,
            metrics=METRICS.get(task, ()), n_perturb_samples=case.samples,
            max_examples_per_batch=case.chunk, **options,
        )  # fmt: skip
        return dict(found.maps)

    calls = {task: partial(compare, task) for task in TASKS}
    if not options:
        calls |= {task: partial(attribute, task) for task in makers}
    return calls


def ours_fast(case):
    """Return the tasks with ``fast=True``."""
    return ours(case, fast=True)


def captums(case):
    """Return the tasks by Captum: a call for each method, and one for each method and metric."""
    attr, model, x = captum.attr, case.model, case.x
    known = {"target": case.target}

    def upsampled(inputs, **arguments):
        cam = attr.LayerGradCam(model, case.module)
        small = cam.attribute(inputs, relu_attributions=True, **arguments)
        return attr.LayerAttribution.interpolate(small, x.shape[-2:], "bilinear")

    makers = {
        "gradient": lambda: partial(attr.Saliency(model).attribute, abs=False),
        "input_x_gradient": lambda: attr.InputXGradient(model).attribute,
        "deconvolution": lambda: attr.Deconvolution(model).attribute,
        "guided_backprop": lambda: attr.GuidedBackprop(model).attribute,
        "grad_cam": lambda: upsampled,
        "guided_grad_cam": lambda: partial(
            attr.GuidedGradCam(model, case.module).attribute, interpolate_mode="bilinear"
        ),
    }

    def run(task):
        maps, metrics = {}, METRICS.get(task, ())
        for name in METHODS[task]:
            explain = makers[name]()
            maps[name] = explain(x, **known)
            counts = {"n_perturb_samples": case.samples, "max_examples_per_batch": case.chunk}
            if "infidelity" in metrics:
                captum.metrics.infidelity(
                    model, noisy_baseline, x, maps[name], normalize=True, **known, **counts
                )
            if "sensitivity_max" in metrics:
                captum.metrics.sensitivity_max(explain, x, **known, **counts)
        return maps

    return {task: partial(run, task) for task in TASKS}


def noisy_baseline(inputs, baselines=None):
    """Return I and x - I, as ``cg.metrics.NoisyBaseline`` draws them."""
    del baselines
    perturbed = torch.randn_like(inputs) * 0.2
    return inputs - perturbed, perturbed


def zennits(case):
    """Return what zennit's composites of these names offer."""
    from zennit.attribution import Gradient  # noqa: PLC0415
    from zennit.composites import DeconvNet, GuidedBackprop  # noqa: PLC0415

    def chosen(output):
        return F.one_hot(torch.full((len(output),), case.target), output.shape[1]).to(output)

    def run(task, composite):
        with Gradient(case.model, composite=composite and composite()) as attributor:
            _, found = attributor(case.x, chosen)
        return {task: found}

    composites = {"gradient": None, "deconvolution": DeconvNet, "guided_backprop": GuidedBackprop}
    return {task: partial(run, task, composite) for task, composite in composites.items()}


def grad_cams(case):
    """Return what pytorch-grad-cam offers, on a copy of the model: it replaces its ReLUs for good.

    Its guided backprop takes one picture, so that a batch is a loop. Its Grad-CAM ends in 0 to 1.
    """
    from pytorch_grad_cam import GradCAM, GuidedBackpropReLUModel  # noqa: PLC0415
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget  # noqa: PLC0415

    model = deepcopy(case.model)
    module = model.get_submodule(case.layer)

    def guided():
        explain, maps = GuidedBackpropReLUModel(model), []
        for one in case.x:
            found = explain(one[None].clone(), case.target)
            maps.append(torch.from_numpy(found).permute(2, 0, 1))
        return {"guided_backprop": torch.stack(maps)}

    def cam():
        targets = [ClassifierOutputTarget(case.target)] * len(case.x)
        with GradCAM(model, [module]) as explain:
            found = explain(case.x, targets)
        return {"grad_cam": torch.from_numpy(found)[:, None], "is_scaled": True}

    return {"guided_backprop": guided, "grad_cam": cam}


def quantuses(case):
    """Return the sensitivity of the four by Quantus, of Captum's maps.

    Its infidelity is another quantity: it blackens square after square of one picture, and does not
    scale.
    """
    import quantus  # noqa: PLC0415

    explainers, labels = captums(case), torch.full((len(case.x),), case.target).numpy()

    def score(name):
        def explain(inputs, **given):
            del given
            (found,) = captums(replace(case, x=torch.as_tensor(inputs)))[name]().values()
            return found.detach().numpy()

        (explained,) = explainers[name]().values()
        metric = quantus.MaxSensitivity(
            nr_samples=case.samples, lower_bound=0.02, abs=False, normalise=False,
            disable_warnings=True,
        )  # fmt: skip
        metric(
            model=case.model, x_batch=case.x.numpy(), y_batch=labels, device="cpu",
            a_batch=explained.detach().numpy(), explain_func=explain, channel_first=True,
        )  # fmt: skip
        return explained

    def run():
        return {name: score(name) for name in FOUR}

    return {"sensitivity": run}


@dataclass(frozen=True)
class Contender:
    """Who does a task."""

    title: str
    calls: object  # of a case: what it offers, by task
    package: str = ""  # that must be installed; "" for none
    project: str = ""  # what pip calls it

    @property
    def missing(self):
        """Why it cannot take part, or ""."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.title} is left out: pip install {self.project}"
        if self.calls is ours_fast and "fast" not in inspect.signature(cg.compare).parameters:
            return f"{self.title} is left out: this version's compare has no fast=True"
        return ""

    @property
    def version(self):
        """Of what is installed."""
        return importlib.metadata.version(self.project or "captum-guided-ext")


CONTENDERS = {
    "bare": Contender("bare gradient", bare, "torch", "torch"),
    "ours": Contender("this package", ours),
    "fast": Contender("this package, fast=True", ours_fast),
    "captum": Contender("Captum", captums, "captum", "captum"),
    "zennit": Contender("zennit", zennits, "zennit", "zennit"),
    "grad_cam": Contender("pytorch-grad-cam", grad_cams, "pytorch_grad_cam", "grad-cam"),
    "quantus": Contender("Quantus", quantuses, "quantus", "quantus"),
}


# What others than Captum and this package offer: for the estimate; their functions say it again
OFFERS = {
    "zennit": ("gradient", "deconvolution", "guided_backprop"),
    "grad_cam": ("guided_backprop", "grad_cam"),
    "quantus": ("sensitivity",),
}


def passes(contender, task, samples=SAMPLES):
    """Return about how many forward and backward passes of the batch a task takes."""
    methods, metrics = METHODS[task], METRICS.get(task, ())
    if contender in ("ours", "fast"):
        forward, backward = 1, sum(name in methods for name in RULES) or 1
        of_maps, scored = (forward, backward), 1
    else:
        twice = "guided_grad_cam" in methods and contender != "bare"
        of_maps, scored = (len(methods) + twice,) * 2, len(methods)
    if contender == "bare":
        return 1, 1
    forward, backward = of_maps
    if "sensitivity_max" in metrics:
        forward, backward = forward + samples * of_maps[0], backward + samples * of_maps[1]
    if "infidelity" in metrics:
        forward += samples * scored
    return forward, backward
