"""What a method is: how it is called, what its maps are multiplied by and what they add up to."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

import captum.attr as ca
import torch
from captum.attr import Attribution
from torch import Tensor

from captum_guided_ext.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    follows_a_rule,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Baselines: TypeAlias = float | Tensor


@dataclass(frozen=True, eq=False)
class MethodSpec:
    """A method with its baselines, and whether its maps are multiplied by ``x - baselines``.

    Infidelity divides its perturbations by what a map is multiplied by; on a linear model it is
    then 0 for every exact method. Of Captum's classes, and of ``functools.partial`` of their
    ``attribute``, both are read off; of a function of one's own they must be said.

    Args:
        method: A Captum ``Attribution``, its ``attribute``, a ``functools.partial`` of it, or a
            function of its form.
        baselines: The same for every example: a number, or a tensor that fits one of them,
            (1, ...) or broadcastable to that; for methods that take a distribution of baselines
            (``GradientShap``, ``DeepLiftShap``) one row for each. A method of Captum's is called
            with them; of a function they are only declared. Default: what a partial passes, else 0.
        multiplies_by_inputs: Whether the map is multiplied by ``x - baselines``. Default: read off.

    Raises:
        TypeError: for an argument of another kind.
        ValueError: for baselines of a method of Captum's that takes none.

    Example:
        >>> grey = MethodSpec(IntegratedGradients(model), baselines=0.5)
        >>> mine = MethodSpec(my_function, multiplies_by_inputs=False)
        >>> compare(model, images, target=340, methods={"grey": grey, "mine": mine})
    """

    method: Attribution | Callable[..., Any]
    baselines: Baselines | None = None
    multiplies_by_inputs: bool | None = None

    def __post_init__(self) -> None:
        if isinstance(self.method, (str, MethodSpec)) or not (
            isinstance(self.method, Attribution) or callable(self.method)
        ):
            raise TypeError(
                f"MethodSpec of {self.method!r}: it needs a Captum Attribution or a function of "
                "the form of its attribute; a method that is named has its own baseline"
            )
        if isinstance(self.method, type) and issubclass(self.method, Attribution):
            raise TypeError(
                f"{self.method.__name__} is a class: give an object, {self.method.__name__}(model)"
            )
        is_number = isinstance(self.baselines, (int, float)) and not isinstance(
            self.baselines, bool
        )
        if not (self.baselines is None or is_number or isinstance(self.baselines, Tensor)):
            raise TypeError(
                "baselines of a MethodSpec must be a number or a tensor, not "
                f"{type(self.baselines).__name__}"
            )
        if not (self.multiplies_by_inputs is None or isinstance(self.multiplies_by_inputs, bool)):
            raise TypeError(
                "multiplies_by_inputs of a MethodSpec must be True, False or None, not "
                f"{self.multiplies_by_inputs!r}"
            )
        owner = _innermost(_unwrapped(self.method)[0])
        if self.baselines is not None and isinstance(owner, Attribution) and not _takes(owner):
            raise ValueError(f"{type(owner).__name__} takes no baselines: leave them out")

    def __call__(self, inputs: Tensor, **arguments: Any) -> Any:
        """Return what the method returns, called with the baselines if it is Captum's."""
        function = self.method.attribute if isinstance(self.method, Attribution) else self.method
        if self.baselines is not None and isinstance(_unwrapped(self.method)[0], Attribution):
            arguments["baselines"] = self._fitted(inputs)
        return function(inputs, **arguments)

    @property
    def hooked(self) -> Any:
        """The model that a method of Captum's explains, on which it may set hooks; or None."""
        return getattr(_unwrapped(self.method)[0], "forward_func", None)

    def reference(self, inputs: Tensor) -> Baselines | None:
        """Return the baselines that a map of ``inputs`` is multiplied with; None for no product.

        Several rows of a distribution count with their mean, which is what makes the infidelity
        of ``E[(x - b) * gradient]`` 0 on a linear model.

        Raises:
            LookupError: if nobody knows whether it is.
            ValueError: for baselines that do not fit ``inputs``.
        """
        multiplies = self._multiplies_by_inputs()
        if multiplies is None:
            raise LookupError
        if not multiplies:
            return None
        found: Baselines = self._given(inputs)
        if isinstance(found, Tensor) and self._are_rows:
            return found.mean(dim=0, keepdim=True)
        return found

    def promised(self, inputs: Tensor) -> list[Baselines] | None:
        """Return the baselines of which maps promise to sum to ``f(x)`` less their mean ``f(b)``.

        None for a method that promises no such thing (completeness), which only some of Captum's
        classes do.

        Raises:
            LookupError: if they are drawn, nobody knows how.
            ValueError: for baselines that do not fit ``inputs``.
        """
        if not (_completes(_unwrapped(self.method)[0]) and self._multiplies_by_inputs()):
            return None
        found = self._given(inputs)
        is_several = isinstance(found, Tensor) and self._are_rows
        return list(found.split(1)) if is_several else [found]

    def _multiplies_by_inputs(self) -> bool | None:
        said = self.multiplies_by_inputs
        return _multiplies(_unwrapped(self.method)[0]) if said is None else said

    def _given(self, inputs: Tensor) -> Any:
        """Return the baselines: a number, a tensor, or what a partial passes instead of these."""
        found: Any = _unwrapped(self.method)[1].get("baselines")
        if self.baselines is not None:
            found = self._fitted(inputs)
        if isinstance(found, tuple) and len(found) == 1:
            (found,) = found
        if callable(found):
            raise LookupError  # noqa: TRY004 - its kind is fine: it draws them, nobody knows how
        return 0.0 if found is None else found

    @property
    def _are_rows(self) -> bool:
        """Whether baselines are a distribution's, a row for each."""
        return isinstance(_innermost(_unwrapped(self.method)[0]), _OF_DISTRIBUTIONS)

    def _fitted(self, inputs: Tensor) -> Baselines:
        """Return the baselines in the form in which Captum takes them."""
        has_rows, given = self._are_rows, self.baselines
        assert given is not None  # noqa: S101 - for the type checker: whoever calls has looked
        if not isinstance(given, Tensor):
            return torch.full_like(inputs[:1], given) if has_rows else given
        given = given.to(inputs)
        rows = len(given) if has_rows and given.dim() == inputs.dim() else 1
        shape = (rows, *inputs.shape[1:])
        try:
            return given.broadcast_to(shape)
        except RuntimeError:
            raise ValueError(
                f"the method's baselines have shape {tuple(given.shape)}, and {shape} is needed: "
                "they are the same for every example"
            ) from None


class _Product(Enum):
    """Whether the maps of a class are products with ``x - baselines``."""

    ALWAYS = auto()
    NEVER = auto()
    AS_IT_SAYS = auto()  # by its ``multiplies_by_inputs``
    UNKNOWN = auto()


# Looked up along the bases of a class. Checked against Captum's sources, not against what
# ``multiplies_by_inputs`` says there: Lime and KernelShap say False and return the coefficients of
# features that are switched from baseline to input, which is the product.
_PRODUCTS: dict[type, _Product] = {
    ca.InputXGradient: _Product.ALWAYS,
    ca.LRP: _Product.ALWAYS,  # with baseline 0: its relevance of a linear layer is w * x
    ca.FeatureAblation: _Product.ALWAYS,  # f(x) - f(x with the baseline); Occlusion, too
    ca.NeuronFeatureAblation: _Product.ALWAYS,
    ca.ShapleyValueSampling: _Product.ALWAYS,
    ca.Lime: _Product.ALWAYS,
    ca.IntegratedGradients: _Product.AS_IT_SAYS,
    ca.DeepLift: _Product.AS_IT_SAYS,
    ca.GradientShap: _Product.AS_IT_SAYS,
    ca.NeuronIntegratedGradients: _Product.AS_IT_SAYS,
    ca.NeuronDeepLift: _Product.AS_IT_SAYS,
    ca.NeuronDeepLiftShap: _Product.AS_IT_SAYS,
    ca.NeuronGradientShap: _Product.AS_IT_SAYS,
    ca.NeuronConductance: _Product.AS_IT_SAYS,
    ca.Saliency: _Product.NEVER,
    ca.GuidedBackprop: _Product.NEVER,
    ca.Deconvolution: _Product.NEVER,
    ca.GuidedGradCam: _Product.NEVER,
    GuidedBackprop: _Product.NEVER,
    Deconvolution: _Product.NEVER,
    GuidedGradCam: _Product.NEVER,
    ca.NeuronAttribution: _Product.NEVER,  # gradients, but for those above
    ca.LayerLRP: _Product.NEVER,
    ca.LayerAttribution: _Product.NEVER,  # with the layer's activation, maybe, not the input
    ca.FeaturePermutation: _Product.UNKNOWN,  # its baseline is another example
    ca.LimeBase: _Product.UNKNOWN,  # its features are the caller's
}
_OF_DISTRIBUTIONS = (
    ca.GradientShap,
    ca.DeepLiftShap,
    ca.NeuronGradientShap,
    ca.NeuronDeepLiftShap,
)


# Those whose maps sum to f(x) - f(baselines), and who says so. Lime and occlusion promise no such
# thing, nor does the mean over noise of one that does; LRP conserves f(x) itself, less what its
# biases and its epsilon take.
_COMPLETE = (
    ca.IntegratedGradients,  # completeness: Sundararajan et al. 2017, proposition 1
    ca.DeepLift,  # summation to delta: Shrikumar et al. 2017, equation 1; DeepLiftShap, too
    ca.GradientShap,  # in expectation: expected gradients, Erion et al. 2021, arXiv:1906.10670
    ca.ShapleyValueSampling,  # efficiency: Shapley 1953; of each permutation; ShapleyValues, too
    ca.KernelShap,  # local accuracy: Lundberg & Lee 2017, property 1
)


def _completes(owner: Any) -> bool:
    """Whether a method of Captum's promises completeness with the input's own features."""
    if not isinstance(owner, _COMPLETE) or isinstance(owner, ca.LayerAttribution):
        return False
    return not follows_a_rule(owner)  # whose gradients are none


def _unwrapped(method: Any) -> tuple[Any, dict[str, Any]]:
    """Return whose ``attribute`` a method is, or the function, and the keywords of its partials."""
    keywords: dict[str, Any] = {}
    while isinstance(method, functools.partial):
        keywords = method.keywords | keywords
        method = method.func
    owner = getattr(method, "__self__", None)
    return (owner if isinstance(owner, Attribution) else method), keywords


def _innermost(owner: Any) -> Any:
    """Return the method that ``NoiseTunnel`` and its like run."""
    while isinstance(inner := getattr(owner, "attribution_method", None), Attribution):
        owner = inner
    return owner


def _takes(owner: Attribution) -> bool:
    return "baselines" in inspect.signature(owner.attribute).parameters


def _multiplies(owner: Any) -> bool | None:
    """Return whether a method's maps are products; None where nobody has said so."""
    owner = _innermost(owner)
    if not isinstance(owner, Attribution):
        said = getattr(getattr(owner, "__self__", owner), "multiplies_by_inputs", None)
        return said if isinstance(said, bool) else None
    product = next(
        (found for kind in type(owner).__mro__ if (found := _product(kind))), _Product.UNKNOWN
    )
    if product is _Product.AS_IT_SAYS:
        return bool(owner.multiplies_by_inputs)
    return {_Product.ALWAYS: True, _Product.NEVER: False}.get(product)


def _product(kind: type) -> _Product | None:
    """Return what the table says of a class itself, or that a class of somebody's own says it."""
    is_captums = kind.__module__.split(".")[0] == "captum"
    if not is_captums and "multiplies_by_inputs" in vars(kind):
        return _Product.AS_IT_SAYS
    return _PRODUCTS.get(kind)
