"""Deletion and insertion: what the model says as places go or come (Petsiuk et al. 2018)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.metrics._utils.baselines import filled
from captum_guided_ext.metrics._utils.removed import Removals
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from captum_guided_ext._captum import TargetType

_KERNEL, _SIGMA = 11, 5.0  # of the blur, in pixels, as in the code of RISE


def deletion(
    forward_func: Callable[..., Tensor],
    inputs: Tensor,
    attributions: Tensor | Mapping[str, Tensor],
    *,
    baselines: Tensor | float = 0,
    additional_forward_args: object = None,
    target: TargetType = None,
    n_steps: int = 30,
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> Any:
    """Return the area under the probability as the most relevant places are removed: low is good.

    Petsiuk et al. 2018 (RISE), arXiv:1806.07421. Places are replaced by ``baselines``
    step by step, the most relevant ones first, until none is left; the area under the model's
    probability over the share removed is taken by trapezoids, so it lies between 0 and 1. Costs
    ``n_steps - 1`` forward passes for each attribution and two for each example, whatever the
    number of attributions.

    A place of pictures (N, C, H, W) is a pixel with all its channels; its relevance is the sum of
    their attributions, signs kept. Of inputs of other shapes, each number of an example is a place.
    Places of equal relevance are removed in an order that is drawn for each image, the same for all
    attributions, so that no corner is preferred; a map of zeros is thus removed at random.

    Args:
        forward_func: A module or any callable that returns a tensor, or what holds one (see
            :class:`~captum_guided_ext.ForwardPass`). Of an output (N, classes), several, the
            softmax probability of the target is taken: the model is to return logits (of one that
            ends in a softmax, take the logarithm). Other outputs are taken as they are.
        inputs: One tensor, the examples along dimension 0.
        attributions: Of the shape of ``inputs``, or with one channel, as Grad-CAM's; or several, by
            name.
        baselines: What removed places are replaced by: a number in the inputs' units, or a tensor
            that broadcasts to ``inputs``. Default: 0, as in the authors' code.
        additional_forward_args: As in Captum. Default: None.
        target: Which output was explained, as in Captum. Default: None, for a model with one
            output per example.
        n_steps: In how many steps of equal size everything is removed, at most one for each place.
            Default: 30 (the authors': 224 for pictures of 224 x 224 pixels).
        max_examples_per_batch: Most inputs in one forward pass, at least one of each example.
            Default: ten of each example.
        generator: Instead of ``seed``: one is drawn from it.
        seed: Of the order of places of equal relevance. Default: drawn from torch's global
            generator.
        image_indices: The number of each example's image: its order does not depend on the batch.
            Default: its place in the batch.
        show_progress: Show a progress bar on standard error. Default: False.

    Returns:
        The area of each example, shape (examples,), or by name.

    Raises:
        TypeError: for inputs, outputs or numbers of a wrong kind.
        ValueError: for shapes that do not match, a missing or impossible target, NaN or infinity.

    Example:
        >>> maps = {"guided_backprop": GuidedBackprop(model).attribute(images, target=labels)}
        >>> deletion(model, images, maps, target=labels, seed=0)
    """
    removals = Removals(
        "deletion",
        forward_func,
        inputs,
        attributions,
        additional_forward_args=additional_forward_args,
        target=target,
        generator=generator,
        seed=seed,
        image_indices=image_indices,
    )
    replaced_by = filled(baselines, removals.x)
    areas = _areas(
        removals, removals.x, replaced_by, n_steps, max_examples_per_batch, show=show_progress
    )
    return removals.by_name(areas)


def insertion(
    forward_func: Callable[..., Tensor],
    inputs: Tensor,
    attributions: Tensor | Mapping[str, Tensor],
    *,
    baselines: Tensor | float | None = None,
    additional_forward_args: object = None,
    target: TargetType = None,
    n_steps: int = 30,
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> Any:
    """Return the area under the probability as the most relevant places are shown: high is good.

    :func:`deletion` from the other side (Petsiuk et al. 2018, arXiv:1806.07421):
    starts from a blurred picture, or from ``baselines``, and puts the input's places back, the most
    relevant ones first. See there for places, their order, the probability, costs and errors.

    Args:
        forward_func: As in :func:`deletion`.
        inputs: As in :func:`deletion`; pictures (N, C, H, W) of 6 x 6 pixels or more for the blur.
        attributions: As in :func:`deletion`.
        baselines: What the curve starts from: a number or a tensor that broadcasts to ``inputs``.
            Default: None, the picture blurred by a Gaussian of 11 x 11 pixels and standard
            deviation 5, the sizes of the authors' code. The picture is mirrored at its border,
            where theirs is black.
        additional_forward_args: As in :func:`deletion`.
        target: As in :func:`deletion`.
        n_steps: As in :func:`deletion`. Default: 30.
        max_examples_per_batch: As in :func:`deletion`.
        generator: As in :func:`deletion`.
        seed: As in :func:`deletion`.
        image_indices: As in :func:`deletion`.
        show_progress: As in :func:`deletion`.

    Returns:
        The area of each example, shape (examples,), or by name.

    Raises:
        TypeError: as :func:`deletion`.
        ValueError: as :func:`deletion`; without ``baselines``, for what cannot be blurred.

    Example:
        >>> insertion(model, images, maps, target=labels, seed=0)
        >>> insertion(model, rows, maps, target=labels, baselines=rows.mean(0), seed=0)
    """
    removals = Removals(
        "insertion",
        forward_func,
        inputs,
        attributions,
        additional_forward_args=additional_forward_args,
        target=target,
        generator=generator,
        seed=seed,
        image_indices=image_indices,
    )
    start = _blurred(removals.x) if baselines is None else filled(baselines, removals.x)
    areas = _areas(removals, start, removals.x, n_steps, max_examples_per_batch, show=show_progress)
    return removals.by_name(areas)


def _areas(
    removals: Removals,
    start: Tensor,
    end: Tensor,
    n_steps: int,
    max_examples_per_batch: int | None,
    *,
    show: bool,
) -> Tensor:
    """Return the areas under the curves from ``start`` to ``end``, (examples, attributions)."""
    check_positive_count("n_steps", n_steps)
    n_steps = min(n_steps, removals.places)
    counts = [step * removals.places // n_steps for step in range(n_steps + 1)]

    def replaced(where: Tensor, _: Sequence[int]) -> Tensor:
        return torch.where(where, end[:, None], start[:, None])

    # Nothing and everything replaced is the same for all attributions.
    first, last = (removals.score(one)[:, None, None] for one in (start, end))
    between = first[:, :, :0]
    if n_steps > 1:
        between = removals.scores(
            counts[1:-1],
            replaced,
            max_examples_per_batch=max_examples_per_batch,
            show_progress=show,
        )
    ends = (len(first), len(removals.names), 1)
    curve = torch.cat([first.expand(ends), between.expand(*ends[:2], -1), last.expand(ends)], dim=2)
    shares = torch.tensor(counts, device=curve.device).to(curve.dtype) / removals.places
    return torch.trapezoid(curve, shares)


def _blurred(x: Tensor) -> Tensor:
    margin = _KERNEL // 2
    if x.dim() != 4 or min(x.shape[-2:]) <= margin:  # noqa: PLR2004 - (N, C, H, W)
        raise ValueError(
            f"insertion starts from a blurred picture, which needs pictures (N, C, H, W) of "
            f"{margin + 1} x {margin + 1} pixels or more, and the inputs have shape "
            f"{tuple(x.shape)}: say what it starts from, insertion(..., baselines=0) or "
            "InsertionMetric(start=0)"
        )
    from torchvision.transforms.functional import gaussian_blur  # noqa: PLC0415 - heavy

    blurred: Tensor = gaussian_blur(x, [_KERNEL, _KERNEL], [_SIGMA, _SIGMA])
    return blurred
