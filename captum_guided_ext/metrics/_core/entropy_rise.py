"""How much more complex maps become when all weights are random (Hedström et al. 2024)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captum_guided_ext.attr import METHODS
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics._core.randomization import check_batch, draw_intervals
from captum_guided_ext.metrics._utils.randomized_maps import Plan, RandomizedMaps
from captum_guided_ext.metrics._utils.similarity import entropy
from captum_guided_ext.sampling import a_seed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from torch import nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods import Method
    from captum_guided_ext.metrics._utils.reinitialization import Reinitialization


@dataclass(frozen=True)
class EntropyRise:
    """How much the entropy of maps rises when all weights are random.

    Attributes:
        values: By method, shape (examples, draws): (entropy after - entropy before) / entropy
            before. NaN where there is none.
        original: The entropy before, by method, shape (examples,), in nats.
        reasons: Why a method has no values or lacks some.
        lost: Why an example lacks maps of random models, by method and example.
    """

    values: Mapping[str, Tensor]
    original: Mapping[str, Tensor]
    reasons: Mapping[str, str]
    lost: Mapping[str, Mapping[int, str]]

    def mean(self) -> dict[str, Tensor]:
        """Return the mean over the draws that have a value, by method, shape (examples,)."""
        return {name: one.nanmean(dim=1) for name, one in self.values.items()}

    def interval(self) -> dict[str, Tensor]:
        """Return 95 % intervals of the mean over draws, by method, shape (examples, 2).

        NaN for a single draw, or where a draw has no value.
        """
        return {name: draw_intervals(one) for name, one in self.values.items()}


def efficient_parameter_randomization(
    model: nn.Module,
    inputs: Tensor,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    target: TargetType = None,
    additional_forward_args: object = None,
    *,
    reinitialization: Reinitialization = "permuted",
    n_draws: int = 3,
    layer: nn.Module | str | None = None,
    interpolate_mode: str = "bilinear",
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> EntropyRise:
    """Return by how much the entropy of maps rises when all weights are random: high is good.

    The efficient form of the randomisation test (eMPRT; Hedström et al. 2024, arXiv:2401.06465),
    which compares no two maps: one that explains what the model has learnt is simpler than one of
    a random model. A map's entropy is that of the histogram of its places' values, 100 bins from
    its smallest to its largest; a place of pictures counts with the sum of its channels. Costs
    ``n_draws + 1`` forward passes for the six named methods. See :func:`parameter_randomization`
    for layers, weights and errors.

    Args:
        model: As in :func:`parameter_randomization`.
        inputs: As there.
        methods: As there. Default: the six names.
        target: As there.
        additional_forward_args: As there.
        reinitialization: As there. Default: "permuted" (the authors': each layer's own reset).
        n_draws: How often all weights are drawn. Default: 3 (the authors': 1).
        layer: As there.
        interpolate_mode: As there.
        max_examples_per_batch: As there.
        generator: As there.
        seed: As there.
        image_indices: As there.
        show_progress: As there.

    Returns:
        The relative rise; NaN, with a reason, for a map whose entropy is 0, as of one that is the
        same everywhere.

    Raises:
        As :func:`parameter_randomization`.

    Example:
        >>> efficient_parameter_randomization(model, images, target=labels, seed=0).mean()
    """
    chosen = a_seed(generator, seed)
    draws = check_batch("efficient_parameter_randomization", inputs, chosen, image_indices)
    return sample_entropy_rise(
        MethodSet(model, methods, layer=layer, interpolate_mode=interpolate_mode),
        inputs,
        target,
        additional_forward_args,
        plan=at_the_end(reinitialization, n_draws),
        seed=draws.seed,
        images=draws.images,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
    )


def at_the_end(reinitialization: Reinitialization, n_draws: int) -> Plan:
    """Return the plan by which maps are made when all layers are random, and not before."""
    return Plan("cascading", reinitialization, every_nth_layer=None, n_draws=n_draws)


def sample_entropy_rise(
    methods: MethodSet,
    inputs: Tensor,
    target: TargetType,
    additional_forward_args: object = None,
    *,
    plan: Plan,
    seed: int,
    images: Sequence[int],
    max_examples_per_batch: int | None,
    floors: Collection[str] = (),
    show_progress: bool = False,
) -> EntropyRise:
    """Do what :func:`efficient_parameter_randomization` does, with methods looked up before.

    Args:
        methods: Of the model.
        inputs: As there.
        target: As there.
        additional_forward_args: As there.
        plan: From :func:`at_the_end`.
        seed: Of all randomness.
        images: The number of each example's image.
        max_examples_per_batch: Most inputs in one forward pass.
        floors: Floors that are to have values, too.
        show_progress: Show a progress bar on standard error.
    """
    maps = RandomizedMaps(
        methods,
        inputs,
        target,
        additional_forward_args,
        plan=plan,
        seed=seed,
        images=images,
        max_examples_per_batch=max_examples_per_batch,
        floors=floors,
        show_progress=show_progress,
    )
    before = {name: entropy(one) for name, one in maps.original.items()}
    nothing = torch.full((len(inputs), plan.n_draws), math.nan, dtype=torch.float64)
    values = {name: nothing.clone() for name in before}
    for step in maps:
        for name, one in step.maps.items():
            old = before[name][step.rows]
            rise = (entropy(one) - old) / old
            values[name][step.rows, step.draw] = rise.where(old > 0, math.nan)
    reasons = maps.reasons | {name: next(iter(why.values())) for name, why in maps.lost.items()}
    for name, old in before.items():
        if (old == 0).any():
            reasons.setdefault(name, "the map is the same everywhere, and has no entropy to rise")
    return EntropyRise(values, before, reasons, maps.lost)
