"""Perturbations of inputs, as named objects.

Each returns the perturbation ``I`` and the perturbed input ``x - I``, as Captum's ``infidelity``
asks of its ``perturb_func``, and can be given to that as well as to this package's metrics.
``NoisyBaseline`` and ``SquareRemoval`` are those of Yeh et al. 2019, arXiv:1901.09392, section 3.2.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captum_guided_ext import _captum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from captum_guided_ext._captum import BaselineType

__all__ = ["GaussianNoise", "NoisyBaseline", "Perturbation", "SquareRemoval", "UniformBall"]


class Perturbation(ABC):
    """A way to perturb inputs. Subclasses say it in :meth:`perturbed`."""

    @property
    def is_sampled(self) -> bool:
        """Whether chance decides: False where sample ``k`` is the same whoever asks."""
        return True

    @abstractmethod
    def perturbed(
        self,
        x: Tensor,
        baseline: Tensor | float | None,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return ``x`` perturbed: a new tensor of its shape, type and device.

        Args:
            x: Examples along dimension 0.
            baseline: What the caller's ``baselines`` say; None where they say nothing.
            samples: The number of each perturbation of its image, from 0.
            generator: Source of all randomness, on the device of ``x``; None for the global one.
        """

    def check(self, inputs: Sequence[Tensor]) -> None:  # noqa: B027 - most fit any input
        """Raise ``ValueError`` where this perturbation cannot be made of ``inputs``."""

    def check_count(self, inputs: Sequence[Tensor], samples: int) -> None:  # noqa: B027
        """Raise ``ValueError`` where this number of samples of each example makes no score."""

    def __call__(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: BaselineType = None,
        *,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor | tuple[Tensor, ...], Tensor | tuple[Tensor, ...]]:
        """Perturb each example of ``inputs`` once: Captum's form.

        Args:
            inputs: A tensor or a tuple of them, the examples along dimension 0.
            baselines: As in Captum: numbers or tensors; read by those that remove something.
            generator: Source of all randomness. Default: torch's global generator.

        Returns:
            The perturbation ``I`` and the perturbed input ``x - I``, each of the form of
            ``inputs``.

        Raises:
            ValueError: if the perturbations are counted off instead of drawn
                (``exhaustive=True``): alone, it is not known which one is meant.
        """
        if not self.is_sampled:
            raise ValueError(
                f"{self} counts its perturbations off, and a call of its own does not say which "
                "one is meant: give it to captum_guided_ext.metrics.infidelity"
            )
        xs = _captum.format_tensor_into_tuples(inputs)
        perturbations, perturbed = self.of_batch(xs, baselines, [0] * len(xs[0]), generator)
        as_given = _captum.is_tuple(inputs)
        return (
            _captum.format_output(as_given, perturbations),
            _captum.format_output(as_given, perturbed),
        )

    def of_batch(
        self,
        xs: tuple[Tensor, ...],
        baselines: BaselineType,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return perturbations and perturbed inputs of a batch; as :meth:`perturbed` takes them."""
        perturbed = self.perturbed_batch(xs, baselines, samples, generator)
        return tuple(x - p for x, p in zip(xs, perturbed, strict=True)), perturbed

    def perturbed_batch(
        self,
        xs: tuple[Tensor, ...],
        baselines: BaselineType,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> tuple[Tensor, ...]:
        """Return the perturbed inputs of a batch; as :meth:`perturbed` takes them."""
        given = [None] * len(xs) if baselines is None else _captum.format_baseline(baselines, xs)
        self.check(xs)
        return tuple(
            self.perturbed(x, baseline, samples, generator)
            for x, baseline in zip(xs, given, strict=True)
        )


@dataclass(frozen=True)
class UniformBall(Perturbation):
    """Noise that is uniform in the L-infinity ball: each value moves by at most ``radius``.

    What Captum's ``sensitivity_max`` draws by default.

    Args:
        radius: In the input's units. Default: 0.02, as in Captum.
    """

    radius: float = 0.02

    def __post_init__(self) -> None:
        _require_positive("radius", self.radius)

    def perturbed(
        self,
        x: Tensor,
        baseline: Tensor | float | None,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return ``x + u`` with ``u`` uniform in ``[-radius, radius]``."""
        del baseline, samples
        return x + _noise_like(x).uniform_(-self.radius, self.radius, generator=generator)


@dataclass(frozen=True)
class GaussianNoise(Perturbation):
    """Gaussian noise around the input.

    Args:
        std: Standard deviation, in the input's units. Default: 0.2.
    """

    std: float = 0.2

    def __post_init__(self) -> None:
        _require_positive("std", self.std)

    def perturbed(
        self,
        x: Tensor,
        baseline: Tensor | float | None,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return ``x - e`` with ``e`` from ``N(0, std^2)``."""
        del baseline, samples
        return x - _noise_like(x).normal_(0, self.std, generator=generator)


@dataclass(frozen=True)
class NoisyBaseline(Perturbation):
    """The whole input replaced by a noisy baseline (Yeh et al. 2019).

    ``I = x - (x0 + e)`` with Gaussian ``e``. The authors' code keeps the perturbed picture between
    0 and 1: that is ``bounds=(0, 1)``.

    Args:
        std: Standard deviation of the noise, in the input's units. Default: 0.2, the authors'.
        bounds: Lowest and highest value of a perturbed input. Default: None, no bounds.
        baseline: ``x0``, where the call names no ``baselines``. Default: 0.
    """

    std: float = 0.2
    bounds: tuple[float, float] | None = None
    baseline: float = 0.0

    def __post_init__(self) -> None:
        _require_positive("std", self.std)
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds must be (lowest, highest), and are {self.bounds}")

    def perturbed(
        self,
        x: Tensor,
        baseline: Tensor | float | None,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return ``x0 + e``, within the bounds."""
        del samples
        noise = _noise_like(x).normal_(0, self.std, generator=generator)
        replaced = noise + (self.baseline if baseline is None else baseline)
        return replaced if self.bounds is None else replaced.clamp(*self.bounds)


@dataclass(frozen=True)
class SquareRemoval(Perturbation):
    """A square of the picture, in all its channels, set to the baseline (Yeh et al. 2019).

    Every square of every size that fits is as likely as any other.

    Args:
        sizes: Sides in pixels. Default: 1 to 10, the authors'.
        shares: Instead of ``sizes``, the sides as shares of the picture's shorter side, over 0 and
            up to 1: each is rounded to the nearest pixel, halves up, and is 1 pixel at least.
            ``(0.1, 0.25)`` is 22 and 56 pixels of a picture of 224, and 3 and 7 of one of 28.
            Shares that come to the same side count once. Default: None.
        stride: Distance between neighbouring squares in pixels, across and down. Default: 1.
        baseline: What is put there, where the call names no ``baselines``. Default: 0.
        exhaustive: Take the squares one by one, in the order of :meth:`square`, instead of
            drawing them, and start again after the last: as many samples as :meth:`count` visit
            each square once, as the authors do. Such a score has no sampling error. Default: False.
    """

    sizes: tuple[int, ...] | None = None
    stride: int = 1
    baseline: float = 0.0
    exhaustive: bool = False
    _: KW_ONLY
    shares: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.shares is not None:
            object.__setattr__(self, "shares", tuple(self.shares))
            if self.sizes is not None:
                raise ValueError(
                    f"sizes {self.sizes} (pixels) and shares {self.shares} (of the picture's "
                    "shorter side) are two ways to say how large squares are: give one of them"
                )
            if not self.shares or not all(0 < share <= 1 for share in self.shares):
                raise ValueError(f"shares must be over 0 and up to 1, and are {self.shares}")
        else:
            sizes = range(1, 11) if self.sizes is None else self.sizes
            object.__setattr__(self, "sizes", tuple(sizes))
        if self.stride < 1 or (self.sizes is not None and min(self.sizes, default=0) < 1):
            raise ValueError(
                f"sizes and stride must be 1 pixel or more, and are {self.sizes} and {self.stride}"
            )

    @property
    def is_sampled(self) -> bool:
        """Whether the squares are drawn."""
        return not self.exhaustive

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Raise ``ValueError`` for what is no picture, or too small for every size."""
        for x in inputs:
            if x.dim() < 3:  # noqa: PLR2004 - (N, H, W) at least
                raise ValueError(
                    "SquareRemoval needs pictures (N, C, H, W), and the input has shape "
                    f"{tuple(x.shape)}"
                )
            if self.count(x.shape) == 0:
                raise ValueError(
                    f"no square of {self.sizes} pixels fits a picture of {tuple(x.shape[-2:])}"
                )

    def check_count(self, inputs: Sequence[Tensor], samples: int) -> None:
        """Raise ``ValueError`` for an exhaustive score that would not visit each square alike."""
        for x in inputs:
            count = self.count(x.shape)
            if self.exhaustive and samples % count:
                raise ValueError(
                    f"{count} squares fit the picture, and {samples} samples visit some of them "
                    f"more often than others: give n_perturb_samples={count}, or exhaustive=False"
                )

    def places(self, shape: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return of each size that fits: the side, and how many squares fit down and across."""
        height, width = shape[-2:]
        return [
            (side, (height - side) // self.stride + 1, (width - side) // self.stride + 1)
            for side in self._sides(min(height, width))
            if side <= min(height, width)
        ]

    def _sides(self, shorter: int) -> Iterable[int]:
        """Return the sides in pixels of squares on a picture whose shorter side is ``shorter``."""
        if self.shares is None:
            return self.sizes or ()
        return dict.fromkeys(max(1, math.floor(share * shorter + 0.5)) for share in self.shares)

    def count(self, shape: Sequence[int]) -> int:
        """Return how many squares fit a picture whose last two dimensions are height and width."""
        return sum(down * across for _, down, across in self.places(shape))

    def square(self, number: int, shape: Sequence[int]) -> tuple[int, int, int]:
        """Return the ``number``-th square: its side, and its first row and column, in pixels."""
        for side, down, across in self.places(shape):
            if number < down * across:
                row, column = divmod(number, across)
                return side, row * self.stride, column * self.stride
            number -= down * across
        raise IndexError(f"there is no square {number} more than fit {tuple(shape)}")

    def perturbed(
        self,
        x: Tensor,
        baseline: Tensor | float | None,
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Tensor:
        """Return a copy of ``x`` with one square of each example removed."""
        count = self.count(x.shape)
        if self.exhaustive:
            numbers = [sample % count for sample in samples]
        else:
            drawn = torch.randint(count, (len(x),), generator=generator, device=x.device)
            numbers = drawn.tolist()
        put: Tensor | float = self.baseline if baseline is None else baseline
        whole = put.to(x.dtype).expand_as(x) if isinstance(put, Tensor) else None
        made = x.clone()
        for example, number in enumerate(numbers):
            side, row, column = self.square(number, x.shape)
            where = (example, ..., slice(row, row + side), slice(column, column + side))
            made[where] = put if whole is None else whole[where]
        return made


def _noise_like(x: Tensor) -> Tensor:
    """Return room for noise in the type and on the device of ``x``, laid out row by row."""
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def _require_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} must be a positive number, and is {value}")
