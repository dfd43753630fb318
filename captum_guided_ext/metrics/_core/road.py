"""ROAD: what the model says as places are imputed (Rong et al. 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from captum_guided_ext.metrics._utils.imputation import linear_imputation
from captum_guided_ext.metrics._utils.removed import Removals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from captum_guided_ext._captum import TargetType

_TENTHS = range(1, 10)  # removed


def road(
    forward_func: Callable[..., Tensor],
    inputs: Tensor,
    attributions: Tensor | Mapping[str, Tensor],
    *,
    order: Literal["morf", "lerf"] = "morf",
    noise: float = 0.01,
    additional_forward_args: object = None,
    target: TargetType = None,
    max_examples_per_batch: int | None = None,
    generator: torch.Generator | None = None,
    seed: int | None = None,
    image_indices: Sequence[int] | None = None,
    show_progress: bool = False,
) -> Any:
    """Return the model's mean probability with 10, 20, ... 90 % of the pixels imputed.

    Remove and debias (Rong et al. 2022, arXiv:2202.00449): removed pixels are replaced by noisy
    linear imputation, so that the shape of the hole says less about the class than a black one
    would. Each is the weighted mean of its eight neighbours (1/6 beside it, 1/12 on a diagonal),
    from one sparse linear system for all of them that is solved directly, and then gets Gaussian
    noise, which is drawn for each image and share and is the same for all attributions.

    Costs nine forward passes and nine solutions for each attribution and example, of up to half a
    second each for pictures of 224 x 224 pixels, on the CPU.

    Args:
        forward_func: As in :func:`deletion`: its probability is taken in the same way.
        inputs: Pictures (N, C, H, W).
        attributions: As in :func:`deletion`, and so are the places' relevance and their order.
        order: "morf", the most relevant pixels removed first, where low is good; or "lerf", the
            least relevant first, where high is good. Default: "morf".
        noise: Standard deviation of the noise, in the inputs' units. Default: 0.01, the authors'.
        additional_forward_args: As in :func:`deletion`.
        target: As in :func:`deletion`.
        max_examples_per_batch: As in :func:`deletion`.
        generator: As in :func:`deletion`.
        seed: As in :func:`deletion`, and of the noise.
        image_indices: As in :func:`deletion`.
        show_progress: As in :func:`deletion`.

    Returns:
        The mean of each example, shape (examples,), or by name.

    Raises:
        TypeError: as :func:`deletion`.
        ValueError: as :func:`deletion`; for inputs that are no pictures, another order, or noise
            below 0.

    Example:
        >>> road(model, images, maps, target=labels, order="lerf", seed=0)
    """
    check_road(order, noise)
    removals = Removals(
        "road",
        forward_func,
        inputs,
        attributions,
        additional_forward_args=additional_forward_args,
        target=target,
        generator=generator,
        seed=seed,
        image_indices=image_indices,
        largest_first=order == "morf",
    )
    x, cpu = removals.x, torch.device("cpu")
    if x.dim() != 4:  # noqa: PLR2004 - (N, C, H, W)
        raise ValueError(
            "road fills pixels in from their neighbours, which needs pictures (N, C, H, W), and "
            f"the inputs have shape {tuple(x.shape)}: deletion and insertion take other inputs"
        )

    def imputed(where: Tensor, steps: Sequence[int]) -> Tensor:
        made = x[:, None].repeat(1, len(steps), 1, 1, 1)
        for example, picture in enumerate(x):
            for sample, step in enumerate(steps):
                removed = where[example, sample, 0]
                source = removals.draws.generator(example, step, cpu)
                drawn = torch.randn(x.shape[1:], generator=source, dtype=torch.float64)
                filled = (linear_imputation(picture, removed) + noise * drawn).to(x)
                made[example, sample] = torch.where(removed, filled, picture)
        return made

    scores = removals.scores(
        [tenths * removals.places // 10 for tenths in _TENTHS],
        imputed,
        max_examples_per_batch=max_examples_per_batch,
        show_progress=show_progress,
    )
    return removals.by_name(scores.mean(dim=2))


def check_road(order: str, noise: float) -> None:
    """Raise ``ValueError`` for another order than "morf" and "lerf", and for noise below 0."""
    if order not in ("morf", "lerf"):
        raise ValueError(
            f"order {order!r} is neither 'morf' (most relevant first) nor 'lerf' (least)"
        )
    if not 0 <= noise < float("inf"):
        raise ValueError(f"noise must be a number of 0 or more, and is {noise}")
