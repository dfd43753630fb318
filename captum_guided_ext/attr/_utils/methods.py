"""The named attribution methods, all answered by one forward pass.

======================  ===============================================
name                    needs, on top of the forward pass
======================  ===============================================
``gradient``            one backward pass, rule gradient
``input_x_gradient``    the same one
``deconvolution``       one backward pass, rule deconvolution
``guided_backprop``     one backward pass, rule guided
``grad_cam``            a backward pass down to the layer only; behind
                        ``gradient`` nothing more
``guided_grad_cam``     Grad-CAM's and guided backprop's, nothing more
======================  ===============================================
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING

from captum_guided_ext.attr._utils.cam import grad_cam, lay_over
from captum_guided_ext.autograd import DECONVNET, GRADIENT, GUIDED
from captum_guided_ext.errors import ModelError, NoRectifierError, OpaqueGraphError, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from torch import Tensor

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd import ForwardPass

METHODS = (
    "gradient",
    "input_x_gradient",
    "deconvolution",
    "guided_backprop",
    "grad_cam",
    "guided_grad_cam",
)
LAYER_METHODS = ("grad_cam", "guided_grad_cam")
# What backward passes give, in the order in which they run: right behind the plain gradient at the
# input, that at the layer is known.
_PARTS = (GRADIENT.name, "cam", DECONVNET.name, GUIDED.name)
_NEEDS = {
    "gradient": (GRADIENT.name,),
    "input_x_gradient": (GRADIENT.name,),
    "deconvolution": (DECONVNET.name,),
    "guided_backprop": (GUIDED.name,),
    "grad_cam": ("cam",),
    "guided_grad_cam": (GUIDED.name, "cam"),
}
_TITLES = {
    "gradient": "Gradient",
    "input_x_gradient": "Input × gradient",
    "deconvolution": "Deconvolution",
    "guided_backprop": "Guided backprop",
    "grad_cam": "Grad-CAM",
    "guided_grad_cam": "Guided Grad-CAM",
    "integrated_gradients": "Integrated gradients",
    "smooth_grad": "SmoothGrad",
    "smooth_grad_square": "SmoothGrad²",
    "var_grad": "VarGrad",
    "deep_lift": "DeepLift",
    "gradient_shap": "GradientSHAP",
    "occlusion": "Occlusion",
}


def method_title(method: str, layer: str | None = None) -> str:
    """Return what a method is called above a map; one of the caller's own by its words.

    Args:
        method: Its name.
        layer: Grad-CAM's layer, which is added to the methods that look at it. Default: none.
    """
    title = _TITLES.get(method, method.replace("_", " "))
    return f"{title} at {layer}" if layer and method in LAYER_METHODS else title


def check_methods(methods: Iterable[str], known: Collection[str] = METHODS) -> None:
    """Raise ``ValueError`` for no method at all, or for a name that is none of the ``known``."""
    asked = list(methods)
    if not asked:
        raise ValueError(f"methods is empty: choose from {', '.join(known)}")
    for method in asked:
        if method not in known:
            near = nearest(method, known, otherwise=None)
            raise ValueError(f"no method is called {method!r}{near}")


def named_maps(
    forward_pass: ForwardPass,
    target: TargetType,
    methods: Sequence[str] = METHODS,
    *,
    interpolate_mode: str = "bilinear",
    no_layer: str = "",
    warn_if_zero: bool = True,
    retain_graph: bool = True,
    collected: tuple[type[ValueError], ...] = (NoRectifierError, OpaqueGraphError),
) -> tuple[dict[str, Tensor], dict[str, ValueError]]:
    """Return the maps of several methods, each backward pass run once.

    Args:
        forward_pass: A forward pass with a single input; for :data:`LAYER_METHODS` with a layer.
        target: The score to explain, as in Captum.
        methods: Names from :data:`METHODS`, each once. Default: all of them.
        interpolate_mode: How a Grad-CAM is laid over the input. Default: "bilinear".
        no_layer: Why the forward pass has no layer, for :data:`LAYER_METHODS`. Default: it has one.
        warn_if_zero: Warn of a map under a rule that is zero everywhere; why it is takes further
            backward passes. Default: True.
        retain_graph: Keep what further answers need, as in :meth:`ForwardPass.input_gradients`.
            Default: True.
        collected: Errors that are returned with the method they belong to; others are raised.
            Default: those of a method that does not apply to this network.

    Returns:
        The maps by method, of the input's shape (Grad-CAM with a single channel), and the error
        of each method that has none.

    Raises:
        ValueError: for a bad ``target``, which no method could explain; for a layer that does not
            fit, NaN or infinity, unless ``collected``.
    """
    forward_pass.scores(target)  # a bad target is no method's error
    (x,) = forward_pass.inputs
    asked = [method for method in methods if not (no_layer and method in LAYER_METHODS)]
    needed = {part for method in asked for part in _NEEDS[method]}
    parts = [part for part in _PARTS if part in needed]
    found: dict[str, Tensor] = {}
    failed: dict[str, ValueError] = {}
    for part in parts:
        try:
            if part == "cam":
                cam = grad_cam(*forward_pass.layer_gradients(target))
                found[part] = lay_over(cam, x, interpolate_mode)
            else:
                (found[part],) = forward_pass.input_gradients(
                    part,
                    target,
                    warn_if_zero=warn_if_zero and part != GRADIENT.name,
                    retain_graph=retain_graph or part != parts[-1],
                )
        except collected as error:
            failed[part] = error
    maps: dict[str, Tensor] = {}
    errors: dict[str, ValueError] = {}
    for method in methods:
        if method not in asked:
            errors[method] = ModelError(no_layer)
        elif missing := [part for part in _NEEDS[method] if part in failed]:
            errors[method] = failed[missing[0]]
        else:
            factors = [found[part] for part in _NEEDS[method]]
            factors += [x] if method == "input_x_gradient" else []
            maps[method] = functools.reduce(operator.mul, factors)
    return maps, errors
