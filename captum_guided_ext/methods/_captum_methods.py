"""Captum's methods that may be asked for by name, each with settings that suit most networks.

========================  ========  ==============================================================
name                      baseline  what it is
========================  ========  ==============================================================
``integrated_gradients``  0         the mean gradient on the way from the baseline, times the way
``smooth_grad``           none      the mean gradient under noise
``smooth_grad_square``    none      the mean of its square
``var_grad``              none      its variance
``deep_lift``             0         differences from the baseline, sent back by the rescale rule
``gradient_shap``         0         as integrated gradients, at random places of the way
``occlusion``             0         by how much the score falls without a window
========================  ========  ==============================================================

The baseline is in the inputs' own units: of normalised pictures, 0 is their mean colour.
``MethodSpec(IntegratedGradients(model), baselines=...)`` has another one.
"""

from __future__ import annotations

import functools
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from captum.attr import (
    DeepLift,
    GradientShap,
    IntegratedGradients,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import Tensor, nn

from captum_guided_ext.autograd import ForwardPass, listed, returning_tensors
from captum_guided_ext.errors import ModelError
from captum_guided_ext.methods._left_as_found import left_as_found
from captum_guided_ext.methods._method_specs import MethodSpec
from captum_guided_ext.sampling import of_row

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from captum_guided_ext.autograd import Call
    from captum_guided_ext.methods._method_specs import Baselines

_STEPS = 50  # of integrated gradients, Captum's default
_SAMPLES = 25  # of the methods that draw, all in one forward pass of an example
_NOISE = 0.15  # of each example's range; Smilkov et al. 2017: 10 to 20 %
_WINDOW = 8  # an occlusion's side is this part of the picture's
_AT_ONCE = 32  # examples in a forward pass, or as many as there are
_PICTURE = 4  # dimensions
_HOOKED = (nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Sigmoid, nn.Tanh, nn.Softplus)  # by DeepLift
# Its rule for max pooling is not exact either, as far as biases count: in large noise they do not.
_PROBE = 100.0
_INCOMPLETE = 1e-3  # of the sum of magnitudes


def _integrated_gradients(model: Callable[..., Any], x: Tensor, **arguments: Any) -> Tensor:
    found: Tensor = IntegratedGradients(model).attribute(
        x,
        baselines=0.0,
        n_steps=_STEPS,
        internal_batch_size=max(_AT_ONCE, len(x)),
        **arguments,
    )
    return found


def _in_precision_of(x: Tensor, model: Callable[..., Any]) -> Callable[..., Any]:
    """Return the model for what Captum draws, which is of single precision whatever ``x`` is."""
    return lambda drawn, *further: model(drawn.to(x.dtype), *further)


def _smoothed(kind: str, model: Callable[..., Any], x: Tensor, **arguments: Any) -> Tensor:
    # One example at a time comes, whose range this is.
    found: Tensor = NoiseTunnel(Saliency(_in_precision_of(x, model))).attribute(
        x,
        nt_type=kind,
        nt_samples=_SAMPLES,
        stdevs=_NOISE * float(x.max() - x.min()),
        abs=False,
        **arguments,
    )
    return found


def _gradient_shap(model: Callable[..., Any], x: Tensor, **arguments: Any) -> Tensor:
    found: Tensor = GradientShap(_in_precision_of(x, model)).attribute(
        x, baselines=torch.zeros_like(x[:1]), n_samples=_SAMPLES, stdevs=0.0, **arguments
    )
    return found


def _occlusion(model: Callable[..., Any], x: Tensor, **arguments: Any) -> Tensor:
    sides = x.shape[2:] if x.dim() >= _PICTURE else ()
    window: tuple[int, ...] = tuple(max(1, side // _WINDOW) for side in sides)
    # Of a picture all channels of a place, of (N, T, E) one time step, of (N, F) one feature.
    whole = tuple(x.shape[1:2]) if sides else (1, *x.shape[2:])
    found: Tensor = Occlusion(model).attribute(
        x,
        baselines=0.0,
        sliding_window_shapes=(*whole, *window),
        strides=(*whole, *(max(1, side // 2) for side in window)),
        perturbations_per_eval=max(1, _AT_ONCE // len(x)),
        **arguments,
    )
    return found


class _DeepLift:
    """DeepLift, refused on a network where it misses something.

    Captum's hooks see calls of modules only: a functional ReLU keeps its gradient, and nothing is
    said. So each activation on the graph must be such a call. What is neither, as a product of two
    branches, shows in maps that do not sum to ``f(x) - f(0)``: that is tried on noise and not on
    the pictures, so that it is the same in every batch.
    """

    def __init__(self, model: Callable[..., Any]) -> None:
        self._model = model
        self._refusal: str | None = None

    def __call__(self, x: Tensor, **arguments: Any) -> Tensor:
        if not isinstance(self._model, nn.Module):
            raise ModelError(
                f"DeepLift sets hooks on modules, and the model is a {type(self._model).__name__}: "
                "give an nn.Module"
            )
        if self._refusal is None:
            first = {name: of_row(value, 0, len(x)) for name, value in arguments.items()}
            self._refusal = self._why_wrong(x[:1], first)
        if self._refusal:
            raise ModelError(self._refusal)
        return self._attribute(x, arguments)[0]

    def _why_wrong(self, x: Tensor, arguments: Mapping[str, Any]) -> str:
        if missed := self._missed(x, arguments.get("additional_forward_args")):
            return (
                f"DeepLift's hooks would miss {missed}, and take it as linear: Captum sets them on "
                f"modules of torch.nn, {', '.join(kind.__name__ for kind in _HOOKED)}. Call such a "
                "module instead of a function, or leave deep_lift out"
            )
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x)
        found, delta = self._attribute(_PROBE * noise, arguments)
        tolerance = max(_INCOMPLETE, torch.finfo(x.dtype).eps ** 0.5)
        if delta.abs().sum() > tolerance * found.abs().sum():
            return (
                "DeepLift's maps do not sum to f(x) - f(0) on this network: something on the way "
                "is neither linear nor a module it has a rule for, a product of two branches or "
                "an attention, say"
            )
        return ""

    def _missed(self, x: Tensor, additional_forward_args: object) -> str:
        """Return which activations on the graph are no module that Captum's hooks are set on."""
        seen: Counter[str] = Counter()

        def look(calls: Sequence[tuple[str, Call]], output: Tensor) -> Call:
            del output
            seen.update(type(c.module).__name__ for _, c in calls if type(c.module) in _HOOKED)
            raise ModelError("no layer is wanted")

        forward_pass = ForwardPass(self._model, x, additional_forward_args, choose_layer=look)
        found = forward_pass.rectifiers()
        activations = Counter(found.overridden) + Counter(found.left_alone)
        return listed(activations - seen + Counter(found.opaque))

    def _attribute(self, x: Tensor, arguments: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        # Of a DataParallel, it is the module inside that Captum looks for and hooks.
        parallel = isinstance(self._model, nn.DataParallel)
        model = self._model if parallel else returning_tensors(self._model)
        with warnings.catch_warnings(), left_as_found(model):
            warnings.filterwarnings("ignore", "Setting forward, backward hooks")
            warnings.filterwarnings("ignore", "Input Tensor .* did not already require")
            found: tuple[Tensor, Tensor] = DeepLift(model).attribute(
                x, baselines=0.0, return_convergence_delta=True, **arguments
            )
        return found


class _Named(NamedTuple):
    description: str
    baseline: float | None  # that the map is a product with
    make: Callable[[Callable[..., Any]], Callable[..., Any]]
    is_complete: bool = False  # promises to sum to f(x) - f(baseline)


def _of(function: Callable[..., Any], *first: Any) -> Callable[[Any], Callable[..., Any]]:
    return lambda model: functools.partial(function, *first, returning_tensors(model))


_NOISY = f"{_SAMPLES} samples of noise, its deviation {_NOISE:.0%} of each example's range"
_NAMED = {
    "integrated_gradients": _Named(
        f"captum.attr.IntegratedGradients, baseline 0, {_STEPS} steps (Sundararajan et al. 2017)",
        0.0,
        _of(_integrated_gradients),
        is_complete=True,
    ),
    "smooth_grad": _Named(
        f"the mean gradient under noise: captum.attr.NoiseTunnel, {_NOISY} (Smilkov et al. 2017)",
        None,
        _of(_smoothed, "smoothgrad"),
    ),
    "smooth_grad_square": _Named(
        f"the mean squared gradient under noise: captum.attr.NoiseTunnel, {_NOISY} (Hooker et al. "
        "2019)",
        None,
        _of(_smoothed, "smoothgrad_sq"),
    ),
    "var_grad": _Named(
        f"the gradient's variance under noise: captum.attr.NoiseTunnel, {_NOISY} (Adebayo et al. "
        "2018)",
        None,
        _of(_smoothed, "vargrad"),
    ),
    "deep_lift": _Named(
        "captum.attr.DeepLift, baseline 0, rescale rule (Shrikumar et al. 2017)",
        0.0,
        _DeepLift,
        is_complete=True,
    ),
    "gradient_shap": _Named(
        f"captum.attr.GradientShap, baseline 0, {_SAMPLES} samples, no noise (Lundberg & Lee 2017)",
        0.0,
        _of(_gradient_shap),
        is_complete=True,
    ),
    "occlusion": _Named(
        f"captum.attr.Occlusion, baseline 0, windows of 1/{_WINDOW} of each side of a picture and "
        "strides of half a window; of (N, T, E) a time step, of (N, F) a feature (Zeiler & Fergus "
        "2014)",
        0.0,
        _of(_occlusion),
    ),
}
CAPTUM_METHODS = tuple(_NAMED)
"""Captum's methods that ``compare`` and ``benchmark`` know by name, beside the six of ``attr``."""

DRAWING_METHODS = ("smooth_grad", "smooth_grad_square", "var_grad", "gradient_shap")


def captum_settings(name: str) -> str:
    """Return what the method of :data:`CAPTUM_METHODS` that is called so is, and its settings."""
    return _NAMED[name].description


def captum_method(name: str, model: Callable[..., Any]) -> MethodSpec:
    """Return the method of :data:`CAPTUM_METHODS` that is called so, for this model."""
    named = _NAMED[name]
    return MethodSpec(
        named.make(model), named.baseline, multiplies_by_inputs=named.baseline is not None
    )


def captum_promise(name: str) -> list[Baselines] | None:
    """Return the baselines as :meth:`MethodSpec.promised` does; None where nothing is promised."""
    named = _NAMED[name]
    return [named.baseline] if named.is_complete and named.baseline is not None else None
