"""Perturbed inputs, some samples of each example at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.errors import DataError
from captum_guided_ext.metrics.perturbations import Perturbation
from captum_guided_ext.sampling import joined, of_row, seeded_globally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captum_guided_ext.sampling import Draws


class PerturbedSamples:
    """The perturbed inputs of a batch, taken some samples of each example at a time.

    Args:
        perturb: A :class:`Perturbation`, or a function of Captum's form: it takes the inputs (a
            tensor where there is one, else a tuple) and ``further``.
        inputs: The examples along dimension 0.
        further: What the function takes behind the inputs; for a perturbation, its baselines.
        draws: Where each sample's random numbers come from; None for the global generators.
    """

    def __init__(
        self,
        perturb: Callable[..., Any],
        inputs: tuple[Tensor, ...],
        further: tuple[Any, ...],
        draws: Draws | None,
    ) -> None:
        self._perturb = perturb
        self._inputs = inputs
        self._further = further
        self._draws = draws
        self._taken = 0

    def take(self, count: int) -> Any:
        """Return the next ``count`` samples of each example, those of one example together."""
        samples = range(self._taken, self._taken + count)
        self._taken += count
        examples = len(self._inputs[0])
        if self._draws is None:
            xs = tuple(x.repeat_interleave(count, dim=0) for x in self._inputs)
            further = tuple(self._expanded(one, count) for one in self._further)
            return self._call(xs, further, list(samples) * examples, None)
        return joined(
            [
                self._seeded(example, sample, self._draws)
                for example in range(examples)
                for sample in samples
            ]
        )

    def _seeded(self, example: int, sample: int, draws: Draws) -> Any:
        examples = len(self._inputs[0])
        xs = of_row(self._inputs, example, examples)
        further = of_row(self._further, example, examples)
        device = xs[0].device
        if isinstance(self._perturb, Perturbation):
            return self._call(xs, further, [sample], draws.generator(example, sample, device))
        with seeded_globally(draws.seed_of(example, sample), device):
            return self._call(xs, further, [sample], None)

    def _call(
        self,
        xs: tuple[Tensor, ...],
        further: tuple[Any, ...],
        samples: Sequence[int],
        generator: torch.Generator | None,
    ) -> Any:
        if isinstance(self._perturb, Perturbation):
            baselines = further[0] if further else None
            perturbed = check_made(
                self._perturb, self._perturb.perturbed_batch(xs, baselines, samples, generator)
            )
            return tuple(x - p for x, p in zip(xs, perturbed, strict=True)), perturbed
        single = len(xs) == 1
        unpacked = (one[0] if isinstance(one, tuple) and single else one for one in further)
        return check_made(self._perturb, self._perturb(xs[0] if single else xs, *unpacked))

    def _expanded(self, value: Any, count: int) -> Any:
        """Repeat what has an entry for each example, as Captum repeats baselines."""
        if not isinstance(value, tuple):
            return value
        return tuple(
            one.repeat_interleave(count, dim=0)
            if isinstance(one, Tensor) and one.shape[:1] == x.shape[:1] and len(x) > 1
            else one
            for one, x in zip(value, self._inputs, strict=True)
        )


def check_made(perturb: Callable[..., Any], made: Any) -> Any:
    """Return what a perturbation made: finite tensors, one or in tuples.

    Raises:
        DataError: for anything else; the message names the perturbation and what it returned.
    """
    if isinstance(made, tuple):
        for one in made:
            check_made(perturb, one)
        return made
    if isinstance(made, Tensor):
        finite = torch.isfinite(made)
        if finite.all():
            return made
        found = f"NaN or infinity in {int((~finite).sum())} of {made.numel()} places"
    else:
        found = repr(made) if made is None or isinstance(made, str) else f"a {type(made).__name__}"
    name = getattr(perturb, "__qualname__", repr(perturb))
    raise DataError(
        f"the perturbation {name} returned {found}: it must return tensors of finite numbers"
    )
