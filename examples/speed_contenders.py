"""Who does the tasks that ``speed.py`` times.

A contender is a function that takes a case and a task, and returns a call without
arguments that returns maps by name. What is timed is that call: making the explainer, setting and
removing its hooks, and the passes.
"""

import importlib.metadata
import importlib.util
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import captum.attr
import captum.metrics
import torch
from speed_cases import (
    METRICS,
    RIGHT,
    SAMPLES,
    SERVED,
    SINGLE,
    TASKS,
    captured,
    methods_of,
)  # fmt: skip
from torch.nn import functional as F

import captum_guided_ext as cg


def bare(case, task):
    """Return the yardstick: one gradient by autograd of the same model and batch."""
    del task

    def gradient():
        x = case.x.detach().requires_grad_()
        return {"gradient": torch.autograd.grad(case.model(x)[:, case.target].sum(), x)[0]}

    return gradient


def passes_alone(case, task):
    """Return a call that does the forward and backward passes a task needs, and nothing else.

    A forward pass serves all methods, and a backward pass all methods of one rule. Perturbed inputs
    are drawn once, outside of the call.
    """
    methods, metrics = methods_of(task), METRICS.get(task, ())
    backward = sum(any(name in methods for name in served) for served in SERVED)
    count = max(1, case.chunk // len(case.x))
    perturbed = case.x.repeat_interleave(min(count, case.samples), dim=0)
    chunks = [
        perturbed[: len(case.x) * min(count, case.samples - done)]
        for done in range(0, case.samples if metrics else 0, count)
    ]

    def maps(x):
        x = x.detach().requires_grad_()
        with captured(case.model, case.layer) as kept:
            score = case.model(x)[:, case.target].sum()
        wanted = [x, kept[0]] if any(name.endswith("grad_cam") for name in methods) else [x]
        wanted = wanted if backward else wanted[1:]
        for one in range(max(1, backward)):
            keep = one + 1 < backward
            found = torch.autograd.grad(score, wanted if one == 0 else x, retain_graph=keep)
        return found[0]

    def run():
        maps(case.x)
        if "infidelity" in metrics:
            with torch.no_grad():
                for chunk in chunks:
                    case.model(chunk)
        if "sensitivity_max" in metrics:
            for chunk in chunks:
                maps(chunk)
        return {}

    return run


def ours(case, task, **options):
    """Return a task as this package does it, by one call."""
    model = case.model
    makers = {
        "deconvolution": lambda: cg.Deconvolution(model).attribute,
        "guided_backprop": lambda: cg.GuidedBackprop(model).attribute,
        "guided_grad_cam": lambda: partial(
            cg.GuidedGradCam(model, case.layer).attribute, interpolate_mode="bilinear"
        ),
    }

    def attribute():
        return {task: makers[task]()(case.x, target=case.target)}

    def compare():
        found = cg.compare(
            model, case.x, case.target, methods=methods_of(task), layer=case.layer,
            metrics=METRICS.get(task, ()), n_perturb_samples=case.samples,
            max_examples_per_batch=case.chunk, **options,
        )  # fmt: skip
        return dict(found.maps)

    return attribute if task in makers and not options else compare


def ours_fast(case, task):
    """Return a task with ``fast=True``."""
    return ours(case, task, fast=True)


def captums(case, task):
    """Return a task by Captum: a call for each method, and one for each method and metric."""
    attr, model = captum.attr, case.model
    known = {"target": case.target}
    counts = {"n_perturb_samples": case.samples, "max_examples_per_batch": case.chunk}

    def upsampled(inputs, **arguments):
        cam = attr.LayerGradCam(model, case.module)
        small = cam.attribute(inputs, relu_attributions=True, **arguments)
        return attr.LayerAttribution.interpolate(small, case.x.shape[-2:], "bilinear")

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

    def run():
        maps, metrics = {}, METRICS.get(task, ())
        for name in methods_of(task):
            explain = makers[name]()
            maps[name] = explain(case.x, **known)
            if "infidelity" in metrics:
                captum.metrics.infidelity(
                    model, noisy_baseline, case.x, maps[name], normalize=True, **known, **counts
                )
            if "sensitivity_max" in metrics:
                captum.metrics.sensitivity_max(explain, case.x, **known, **counts)
        return maps

    return run


def noisy_baseline(inputs, baselines=None):
    """Return I and x - I, as ``cg.metrics.NoisyBaseline`` draws them."""
    del baselines
    perturbed = torch.randn_like(inputs) * 0.2
    return inputs - perturbed, perturbed


def zennits(case, task):
    """Return a task by zennit's composites of these names."""
    from zennit.attribution import Gradient  # noqa: PLC0415
    from zennit.composites import DeconvNet, GuidedBackprop  # noqa: PLC0415

    composite = {"deconvolution": DeconvNet, "guided_backprop": GuidedBackprop}.get(task)

    def chosen(output):
        return F.one_hot(torch.full((len(output),), case.target), output.shape[1]).to(output)

    def run():
        with Gradient(case.model, composite=composite and composite()) as attributor:
            _, found = attributor(case.x, chosen)
        return {task: found}

    return run


def grad_cams(case, task):
    """Return a task by pytorch-grad-cam, on a copy of the model: it replaces its ReLUs for good.

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

    return {"guided_backprop": guided, "grad_cam": cam}[task]


def quantuses(case, task):
    """Return the sensitivity of the four by Quantus, of Captum's maps.

    Its infidelity is another quantity: it blackens square after square of one picture, and does not
    scale.
    """
    import quantus  # noqa: PLC0415

    labels = torch.full((len(case.x),), case.target).numpy()

    def score(name):
        def explain(inputs, **given):
            del given
            (found,) = captums(replace(case, x=torch.as_tensor(inputs)), (name,))().values()
            return found.detach().numpy()

        (explained,) = captums(case, (name,))().values()
        metric = quantus.MaxSensitivity(
            nr_samples=case.samples, lower_bound=0.02, abs=False, normalise=False,
            disable_warnings=True,
        )  # fmt: skip
        metric(
            model=case.model, x_batch=case.x.numpy(), y_batch=labels, device="cpu",
            a_batch=explained.detach().numpy(), explain_func=explain, channel_first=True,
        )  # fmt: skip
        return explained

    return lambda: {name: score(name) for name in methods_of(task)}


@dataclass(frozen=True)
class Contender:
    """Who does a task."""

    title: str
    call: object  # of a case and a task: what is timed
    package: str = ""  # that must be installed; "" for none
    project: str = ""  # what pip calls it
    offers: tuple[str, ...] = ()  # tasks; all of them if empty

    @property
    def missing(self):
        """Why it cannot take part, or ""."""
        if self.package and importlib.util.find_spec(self.package) is None:
            return f"{self.title} is left out: pip install {self.project}"
        return ""

    @property
    def version(self):
        """Of what is installed."""
        return importlib.metadata.version(self.project or "captum-guided-ext")


CONTENDERS = {
    "bare": Contender("bare gradient", bare, "torch", "torch"),
    "passes": Contender("passes alone", passes_alone, "torch", "torch", TASKS[len(SINGLE) :]),
    "ours": Contender("this package", ours),
    "fast": Contender("the same, fast=True", ours_fast, offers=TASKS[len(SINGLE) :]),
    "captum": Contender("Captum", captums, "captum", "captum"),
    "zennit": Contender(
        "zennit", zennits, "zennit", "zennit", ("gradient", "deconvolution", "guided_backprop")
    ),
    "grad_cam": Contender(
        "pytorch-grad-cam", grad_cams, "pytorch_grad_cam", "grad-cam",
        ("guided_backprop", "grad_cam"),
    ),
    "quantus": Contender("Quantus", quantuses, "quantus", "quantus", ("sensitivity",)),
}  # fmt: skip
# with fast=True a gate may flip, which changes a map: what is farther is called wrong all the same
FAST_MAY = 0.05
# where those take part that are slow: a network, a batch, a size
ONLY = {"quantus": ("resnet18", 1, 64)}


def taking_part(task, cell=None):
    """Return the names of those that offer a task, in a cell if one is given."""
    return [
        name
        for name, one in CONTENDERS.items()
        if not one.missing
        and (not one.offers or task in one.offers)
        and (name not in ONLY or ONLY[name] == cell)
    ]


def passes(contender, task, samples=SAMPLES):
    """Return about how many forward and backward passes of the batch a task takes."""
    methods, metrics = methods_of(task), METRICS.get(task, ())
    if contender == "bare":
        return 1, 1
    shared = contender in ("passes", "ours", "fast")
    if shared:
        down, up, scored = 1, sum(any(m in methods for m in served) for served in SERVED) or 1, 1
    else:
        scored = len(methods)
        down = up = scored + ("guided_grad_cam" in methods)
    # Captum explains the batch again for each sensitivity, and scores it again for each infidelity
    calls = samples if shared else samples + 1
    of_sensitivity = calls * ("sensitivity_max" in metrics)
    of_infidelity = calls * ("infidelity" in metrics)
    return down + of_sensitivity * down + of_infidelity * scored, up + of_sensitivity * up


def is_right(name, one):
    """Return whether a contender's maps are those of the reference."""
    return one["distance"] <= (FAST_MAY if name == "fast" else RIGHT)
