"""Whether an attribution lies on the object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from captum_guided_ext.autograd import check_finite

if TYPE_CHECKING:
    from collections.abc import Callable

AttributionsT = TypeVar("AttributionsT", Tensor, Mapping[str, Tensor])


def relevance_mass(attributions: AttributionsT, masks: Tensor) -> AttributionsT:
    """Return the share of each attribution that lies on the object, 0 to 1.

    Relevance mass accuracy (Arras et al. 2022, arXiv:2003.07258). A place counts with the sum of
    its channels' absolute values, so that negative attribution is attribution too.

    Args:
        attributions: Of shape (N, C, H, W) or (N, H, W), any number of channels; or several, by
            name.
        masks: Where the object is, (N, H, W); anything but 0 counts as true.

    Returns:
        Shape (N,), or by name. A map that is zero everywhere has 0.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other shapes, NaN or infinity.

    Example:
        >>> relevance_mass(GuidedBackprop(model).attribute(images, target=labels), masks)
    """
    return _measured(attributions, masks, _mass_inside)


def pointing_game(attributions: AttributionsT, masks: Tensor) -> AttributionsT:
    """Return whether each attribution's largest value lies on the object: 1 for a hit, 0 for none.

    Zhang et al. 2018, arXiv:1608.00507, without the paper's margin of 15 pixels. Among several
    places of the largest value, the hit is the share of them that is on the object.

    Args:
        attributions: As in :func:`relevance_mass`.
        masks: As in :func:`relevance_mass`.

    Returns:
        As :func:`relevance_mass`.

    Raises:
        TypeError: as :func:`relevance_mass`.
        ValueError: as :func:`relevance_mass`.

    Example:
        >>> pointing_game({"gradient": gradient, "guided_backprop": guided}, masks)
    """
    return _measured(attributions, masks, _peak_inside)


def strength(attributions: Tensor) -> Tensor:
    """Return how much attribution each place holds: the sum of its channels' absolute values.

    Args:
        attributions: Shape (N, C, H, W) or (N, H, W).

    Returns:
        Shape (N, H, W), in double precision, on the CPU.

    Raises:
        ValueError: for another number of dimensions, NaN or infinity.
    """
    if attributions.dim() not in (3, 4):
        raise ValueError(
            f"attributions have shape {tuple(attributions.shape)}, and must be maps of pictures, "
            "(N, C, H, W) or (N, H, W)"
        )
    check_finite(attributions, "the attribution")
    values = attributions.detach().cpu().double().abs()
    return values.sum(dim=1) if values.dim() == 4 else values  # noqa: PLR2004


def _measured(
    attributions: AttributionsT, masks: Tensor, measure: Callable[[Tensor, Tensor], Tensor]
) -> AttributionsT:
    if isinstance(attributions, Mapping):
        return {name: _measured(one, masks, measure) for name, one in attributions.items()}
    for name, given in (("attributions", attributions), ("masks", masks)):
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(given).__name__}")
    values = strength(attributions)
    if masks.shape != values.shape:
        raise ValueError(
            f"masks have shape {tuple(masks.shape)}, and the attributions need "
            f"{tuple(values.shape)}: one mask for each example, of the maps' height and width"
        )
    return measure(values.flatten(1), masks.cpu().bool().flatten(1)).float()


def _mass_inside(values: Tensor, inside: Tensor) -> Tensor:
    total = values.sum(dim=1)
    held = torch.where(inside, values, 0).sum(dim=1) / torch.where(total > 0, total, 1)
    return held.clamp(max=1)  # rounding may carry the sum of a part past that of the whole


def _peak_inside(values: Tensor, inside: Tensor) -> Tensor:
    peaks = (values == values.amax(dim=1, keepdim=True)) & (values > 0)
    return (peaks & inside).sum(dim=1) / peaks.sum(dim=1).clamp(min=1)
