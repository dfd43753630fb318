"""Perturbed inputs, some samples of each example at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext.errors import DataError
from captum_guided_ext.metrics.perturbations import Perturbation
from captum_guided_ext.sampling import joined, of_row, seeded_globally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

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
        """Return the next ``count`` samples of each example, those of one example together.

        Of a perturbation, the perturbed inputs, one tensor for each input; of a function, what it
        returns.
        """
        samples = range(self._taken, self._taken + count)
        self._taken += count
        examples = len(self._inputs[0])
        if self._draws is None:
            xs = tuple(x.repeat_interleave(count, dim=0) for x in self._inputs)
            further = tuple(self._expanded(one, count) for one in self._further)
            made = self._call(xs, further, list(samples) * examples)
            check_made(self._perturb, made)
            if isinstance(self._perturb, Perturbation):
                self._check_shapes(made, examples * count)
            return made
        each = self._seeded(samples, self._draws)
        if isinstance(self._perturb, Perturbation):
            return self._put_together(each, examples * count)
        made = [check_made(self._perturb, one, are_finite=True) for one in each]
        together = joined(made)
        if not _are_finite(together):
            for one in made:
                check_made(self._perturb, one)
        return together

    def _put_together(self, each: Iterable[tuple[Tensor, ...]], count: int) -> tuple[Tensor, ...]:
        """Return the perturbed inputs of ``count`` samples, one read of whose values there is."""
        rooms: list[Tensor] = []
        for place, made in enumerate(each):
            check_made(self._perturb, made, are_finite=True)
            self._check_shapes(made, 1)
            for index, one in enumerate(made):
                if place == 0:
                    rooms.append(_room_like(one, count))
                rooms[index][place : place + 1] = one
        if not _are_finite(tuple(rooms)):
            for place in range(count):
                check_made(self._perturb, tuple(room[place : place + 1] for room in rooms))
        return tuple(rooms)

    def _check_shapes(self, made: tuple[Tensor, ...], count: int) -> None:
        for one, x in zip(made, self._inputs, strict=True):
            if one.shape != (count, *x.shape[1:]):
                raise ValueError(
                    f"the perturbation {_name(self._perturb)} returned shape {tuple(one.shape)} "
                    f"for an input of shape {(count, *x.shape[1:])}"
                )

    def _seeded(self, samples: Sequence[int], draws: Draws) -> Iterator[Any]:
        """Make these samples of each example, one by one, each from its own random numbers."""
        examples, device = len(self._inputs[0]), self._inputs[0].device
        for example in range(examples):
            xs = of_row(self._inputs, example, examples)
            further = of_row(self._further, example, examples)
            for sample in samples:
                if isinstance(self._perturb, Perturbation):
                    generator = draws.generator(example, sample, device)
                    yield self._call(xs, further, [sample], generator)
                else:
                    own = tuple(x.clone() for x in xs)  # a function may write to what it takes
                    with seeded_globally(draws.seed_of(example, sample), device):
                        made = self._call(own, further, [sample])
                    yield made

    def _call(
        self,
        xs: tuple[Tensor, ...],
        further: tuple[Any, ...],
        samples: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> Any:
        if isinstance(self._perturb, Perturbation):
            baselines = further[0] if further else None
            return self._perturb.perturbed_batch(xs, baselines, samples, generator)
        single = len(xs) == 1
        unpacked = (one[0] if isinstance(one, tuple) and single else one for one in further)
        return self._perturb(xs[0] if single else xs, *unpacked)

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


def check_made(perturb: Callable[..., Any], made: Any, *, are_finite: bool = False) -> Any:
    """Return what a perturbation made: finite tensors, one or in tuples.

    Args:
        perturb: The perturbation.
        made: What it returned.
        are_finite: Do not look at the values, which costs one read of a tensor. Default: False.

    Raises:
        DataError: for anything else; the message names the perturbation and what it returned.
    """
    if isinstance(made, tuple):
        for one in made:
            check_made(perturb, one, are_finite=are_finite)
        return made
    if isinstance(made, Tensor):
        if are_finite or _are_finite(made):
            return made
        finite = torch.isfinite(made)
        found = f"NaN or infinity in {int((~finite).sum())} of {made.numel()} places"
    else:
        found = repr(made) if made is None or isinstance(made, str) else f"a {type(made).__name__}"
    raise DataError(
        f"the perturbation {_name(perturb)} returned {found}: it must return tensors of finite "
        "numbers"
    )


def _are_finite(made: Tensor | tuple[Any, ...]) -> bool:
    if isinstance(made, tuple):
        return all(map(_are_finite, made))
    # As no sum with NaN or infinity is; that of large numbers may not be either.
    return bool(made.sum().isfinite()) or bool(made.isfinite().all())


def _name(perturb: Callable[..., Any]) -> str:
    return getattr(perturb, "__qualname__", repr(perturb))


def _room_like(one: Tensor, count: int) -> Tensor:
    """Return room for so many examples, each laid out as this one."""
    strides = torch.empty_like(one).stride()[1:]
    return torch.empty_strided(
        (count, *one.shape[1:]), (one.numel(), *strides), dtype=one.dtype, device=one.device
    )
