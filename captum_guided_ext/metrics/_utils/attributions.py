"""What attributions must be to be measured on the inputs."""

from __future__ import annotations

from torch import Tensor

from captum_guided_ext.autograd import check_finite

_PICTURES = 4  # dimensions


def check_shapes(name: str, given: tuple[Tensor, ...], xs: tuple[Tensor, ...]) -> None:
    """Raise where an attribution is not of the inputs' shapes, or with one channel, and finite.

    Args:
        name: The attribution's; empty where there is one alone.
        given: A tensor for each input.
        xs: The inputs.

    Raises:
        TypeError: for what is no tensor.
        ValueError: for other shapes, NaN or infinity.
    """
    label = f"attributions[{name!r}]" if name else "attributions"
    if len(given) != len(xs):
        raise ValueError(f"{label} holds {len(given)} tensors, and inputs hold {len(xs)}")
    for one, x in zip(given, xs, strict=True):
        if not isinstance(one, Tensor):
            raise TypeError(f"{label} must be tensors, not {type(one).__name__}")
        one_channel = x.dim() > 1 and one.shape == (len(x), 1, *x.shape[2:])
        if one.shape != x.shape and not one_channel:
            raise ValueError(
                f"{label} has shape {tuple(one.shape)}, and the inputs have {tuple(x.shape)}"
            )
        check_finite(one, label)


def per_place(attribution: Tensor) -> Tensor:
    """Return how much attribution each place holds: magnitudes, summed over channels.

    Args:
        attribution: Shape (N, C, H, W), or with more dimensions of places; of other shapes, each
            number of an example is a place.

    Returns:
        Shape (N, places), in double precision, on the CPU.
    """
    values = attribution.detach().cpu().double().abs()
    if values.dim() >= _PICTURES:
        values = values.sum(dim=1)
    return values.reshape(len(values), -1)
