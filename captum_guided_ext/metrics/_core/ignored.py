"""How much negative evidence a rule ignores, by example and by rectifier."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.autograd import ForwardPass, as_rule, check_inputs
from captum_guided_ext.sampling import of_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.autograd import BackwardRule, Flow


@dataclass(frozen=True, eq=False)
class IgnoredShare:
    """The share of the gradient's magnitude that was negative and not sent on.

    Attributes:
        total: Over all rectifiers, (N,), from 0 to 1; 0 where nothing passes.
        by_rectifier: By the rectifier's kind and its number in the order of their calls, "ReLU 1"
            the nearest to the input: (N,); NaN where nothing passes.
    """

    total: Tensor
    by_rectifier: Mapping[str, Tensor]


def ignored_share(
    forward_func: Callable[..., Any],
    inputs: Tensor | tuple[Tensor, ...],
    target: TargetType = None,
    rule: BackwardRule | str = "guided",
    additional_forward_args: object = None,
) -> IgnoredShare:
    """Return how much negative evidence ``rule`` ignored, for each example and each rectifier.

    Of the gradient that the rectifiers' gates let pass while ``rule`` is applied, the share of its
    magnitude that is negative: guided backprop and deconvolution (Springenberg et al. 2014,
    arXiv:1412.6806) set it to 0. Under the rule "gradient" it is what they would ignore.

    Costs a forward and a backward pass for each example, on its own: which of a graph's numbers
    belong to which example of a batch, nobody knows.

    Args:
        forward_func: A module or any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`).
        inputs: A tensor or tuple of tensors, with the examples along dimension 0.
        target: The score to explain, as in Captum. Default: None, for a model with one output per
            example.
        rule: What the rectifiers send back: a rule, or "gradient", "deconvolution" or "guided".
            Default: "guided".
        additional_forward_args: As in Captum; tensors and lists that have an entry for each example
            are taken apart. Default: None.

    Returns:
        The share of each example, over all rectifiers and at each.

    Raises:
        TypeError: for inputs or a rule of a wrong kind.
        NoRectifierError: if ``rule`` overrides nothing on this network.
        OpaqueGraphError: if it may miss a rectifier on this network.
        ValueError: for an unknown rule, a bad target, NaN or infinity.

    Example:
        >>> found = ignored_share(model, images, target=labels)
        >>> {name: float(share.nanmean()) for name, share in found.by_rectifier.items()}
    """
    rule = as_rule(rule)
    passes = each_alone(forward_func, inputs, target, additional_forward_args)
    return shares_of([one.flows(rule, its_target) for one, its_target in passes])


def each_alone(
    model: Callable[..., Any], inputs: Any, target: Any, additional_forward_args: object
) -> Iterator[tuple[ForwardPass, Any]]:
    """Yield a forward pass of each example alone, and its target."""
    rows = len(check_inputs(inputs)[0])
    for row in range(rows):
        x, its_target, further = (
            of_row(one, row, rows) for one in (inputs, target, additional_forward_args)
        )
        yield ForwardPass(model, x, further), its_target


def shares_of(flows: Iterable[Mapping[str, Flow]]) -> IgnoredShare:
    """Return the shares of examples from what passed the rectifiers for each."""
    examples = list(flows)
    names = dict.fromkeys(name for flow in examples for name in flow)  # not always the same ones
    total, by_rectifier = [], {name: [math.nan] * len(examples) for name in names}
    for place, example in enumerate(examples):
        magnitude = sum(flow.magnitude for flow in example.values())
        negative = sum(flow.negative for flow in example.values())
        total.append(negative / magnitude if magnitude else 0.0)
        for name, flow in example.items():
            if flow.magnitude:
                by_rectifier[name][place] = flow.negative / flow.magnitude
    shares = {n: torch.tensor(some, dtype=torch.float64) for n, some in by_rectifier.items()}
    return IgnoredShare(torch.tensor(total, dtype=torch.float64), shares)
