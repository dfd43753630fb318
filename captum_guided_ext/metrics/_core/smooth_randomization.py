"""Randomisation of weights with maps averaged over noisy inputs (Hedström et al. 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from captum_guided_ext.attr import METHODS
from captum_guided_ext.methods import MethodSet
from captum_guided_ext.metrics._core.randomization import (
    Randomization,
    check_batch,
    sample_randomization,
)
from captum_guided_ext.metrics._utils.randomized_maps import Plan
from captum_guided_ext.sampling import a_seed, check_positive_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from torch import Tensor, nn

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods import Method
    from captum_guided_ext.metrics._utils.randomized_copy import Order
    from captum_guided_ext.metrics._utils.reinitialization import Reinitialization


def smooth_parameter_randomization(
    model: nn.Module,
    inputs: Tensor,
    methods: Iterable[Method] | Mapping[str, Method] = METHODS,
    target: TargetType = None,
    additional_forward_args: object = None,
    *,
    n_noise_samples: int = 50,
    noise_level: float = 0.1,
    order: Order = "bottom_up",
    reinitialization: Reinitialization = "permuted",
    every_nth_layer: int = 1,
    n_draws: int = 3,
    layer: nn.Module | str | None = None,
    interpolate_mode: str = "bilinear",
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> Randomization:
    """Return how alike maps that are averaged over noisy inputs stay under random weights.

    The smooth form of the randomisation test (sMPRT; Hedström et al. 2024, arXiv:2401.06465): a
    gradient's map is noise for a good part, which lets it change as if it were sensitive. See
    :func:`parameter_randomization` for layers, weights, values and errors. Each step costs
    ``n_noise_samples`` forward and backward passes of each example.

    An input's noise is normal, and its deviation is that part of the range from the input's
    smallest to its largest number. It is the same before and after, at all steps, and for all
    methods; signed maps are averaged.

    Args:
        model: As in :func:`parameter_randomization`.
        inputs: As there.
        methods: As there. Default: the six names.
        target: As there.
        additional_forward_args: As there.
        n_noise_samples: Over how many noisy inputs a map is averaged. Default: 50, as in the
            authors' code.
        noise_level: The noise's deviation, as a part of the input's range. Default: 0.1, as there.
        order: As in :func:`parameter_randomization`. Default: "bottom_up", which the authors
            recommend.
        reinitialization: As there. Default: "permuted" (the authors': each layer's own reset).
        every_nth_layer: As there. Default: 1.
        n_draws: As there. Default: 3 (the authors': 1).
        layer: As there.
        interpolate_mode: As there.
        max_examples_per_batch: Most noisy inputs in one forward pass, one at least. Default: ten of
            each example.
        generator: As there.
        seed: As there.
        image_indices: As there; noise is drawn by it.
        show_progress: As there.

    Returns:
        As :func:`parameter_randomization`. What it calls the original map is the averaged one.

    Raises:
        As :func:`parameter_randomization`.

    Differs from the authors' code (Quantus) on purpose:
        All samples are noisy (there, the last is the input itself). The noise before and after is
        the same. Correlations are of the sum of a place's channels.

    Example:
        >>> result = smooth_parameter_randomization(model, images, target=labels, seed=0)
        >>> result.mean("spearman_abs")
    """
    check_positive_count("n_noise_samples", n_noise_samples)
    chosen = a_seed(generator, seed)
    draws = check_batch("smooth_parameter_randomization", inputs, chosen, image_indices)
    return sample_randomization(
        MethodSet(model, methods, layer=layer, interpolate_mode=interpolate_mode),
        inputs,
        target,
        additional_forward_args,
        plan=Plan(order, reinitialization, every_nth_layer, n_draws, n_noise_samples, noise_level),
        seed=draws.seed,
        images=draws.images,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
    )
