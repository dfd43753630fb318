"""Whether attributions add up to what they promise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.autograd import check_finite, check_inputs, output_of, select_target
from captum_guided_ext.errors import ModelError
from captum_guided_ext.metrics._utils.attributions import check_shapes
from captum_guided_ext.metrics._utils.baselines import filled

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from captum_guided_ext._captum import TargetType

    Baselines: TypeAlias = Tensor | float | Sequence[Tensor | float]

_ROUNDING = 100  # of the scores' own precision


def completeness_gap(
    forward_func: Callable[..., Any],
    inputs: Tensor,
    attributions: Tensor | Mapping[str, Tensor],
    target: TargetType = None,
    baselines: Baselines = 0,
    additional_forward_args: object = None,
) -> Any:
    """Return by how much attributions miss what completeness promises: ``f(x) - f(baselines)``.

    The gap ``|sum of the attribution - (f(x) - f(b))|`` as a share of ``|f(x) - f(b)|`` (the axiom
    of Sundararajan et al. 2017, arXiv:1703.01365): 0 where everything is accounted for, 1 where the
    attribution adds up to nothing. Ask it of methods that promise it only; of others, such as the
    gradient, it says nothing. Costs a forward pass for the inputs and one for each baseline.

    Args:
        forward_func: A module or any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`).
        inputs: One tensor, the examples along dimension 0.
        attributions: Of the shape of ``inputs``, or with one channel; or several, by name.
        target: The score that was explained, as in Captum. Default: None, for a model with one
            output per example.
        baselines: Those of the attributions: a number, or a tensor that broadcasts to ``inputs``;
            a list of these for a distribution of baselines, whose scores count with their mean.
            Default: 0.
        additional_forward_args: As in Captum. Default: None.

    Returns:
        Shape (N,), 0 or more, or by name. NaN where ``f(x)`` and ``f(b)`` are the same up to
        rounding, a hundred times the precision of the larger one: nothing was promised.

    Raises:
        TypeError: for inputs or attributions of a wrong kind.
        ValueError: for shapes that do not match, no baseline, a bad target, NaN or infinity.

    Example:
        >>> attribution = IntegratedGradients(model).attribute(images, target=labels)
        >>> completeness_gap(model, images, attribution, target=labels)
    """
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"inputs must be one tensor, not {type(inputs).__name__}: pass further inputs among "
            "additional_forward_args"
        )
    check_inputs(inputs)
    named = attributions if isinstance(attributions, Mapping) else {"": attributions}
    for name, one in named.items():
        check_shapes(name, (one,), (inputs,))
    several = list(baselines) if isinstance(baselines, Sequence) else [baselines]
    if not several:
        raise ValueError("baselines is empty: give one at least")
    at_x, *at_baselines = (
        scores_at(one, inputs, forward_func, target, additional_forward_args)
        for one in [inputs, *several]
    )
    found = {
        n: gap_of(one, at_x, torch.stack(at_baselines).mean(dim=0)) for n, one in named.items()
    }
    return found if isinstance(attributions, Mapping) else found[""]


def gap_of(attribution: Tensor, at_x: Tensor, at_baseline: Tensor) -> Tensor:
    """Return how much of ``at_x - at_baseline`` an attribution's sum misses, (N,), as a share."""
    eps = torch.finfo(at_x.dtype).eps
    after, before = at_x.cpu().double(), at_baseline.cpu().double()
    promised = after - before
    sums = attribution.detach().cpu().double().reshape(len(attribution), -1).sum(dim=1)
    is_rounding = promised.abs() <= _ROUNDING * eps * torch.maximum(after.abs(), before.abs())
    return ((sums - promised) / promised).abs().masked_fill(is_rounding, torch.nan)


def scores_at(
    baseline: Tensor | float,
    inputs: Tensor,
    model: Callable[..., Any],
    target: TargetType,
    additional_forward_args: object,
) -> Tensor:
    """Return the score of each example's target with a baseline in the place of ``inputs``, (N,).

    Raises:
        ValueError: for a baseline that does not fit, a bad target, NaN or infinity.
    """
    x = filled(baseline, inputs.detach())
    output = output_of(model, (x,), additional_forward_args)
    scores = select_target(output, target).flatten()
    if len(scores) != len(x):
        raise ModelError(
            f"the model returned {len(scores)} scores for {len(x)} examples, and completeness "
            "needs one for each"
        )
    check_finite(scores, "the model's score")
    return scores
