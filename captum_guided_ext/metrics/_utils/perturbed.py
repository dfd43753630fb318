"""Perturbed inputs, chunk by chunk: what infidelity and sensitivity have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.metrics.perturbations import Perturbation
from captum_guided_ext.sampling._draws import joined, of_row, seeded_globally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captum_guided_ext.sampling._draws import Draws

__all__ = ["PerturbedSamples", "check_positive_count", "per_sample", "summed", "widened"]

_SAMPLES_AT_A_TIME = 10  # of each example, so that up to Captum's default all is as in Captum


def check_positive_count(name: str, value: object) -> None:
    """Raise for anything but a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, and is {value}")


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
            return self._perturb.of_batch(xs, further[0] if further else None, samples, generator)
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


def per_sample(
    inputs: tuple[Tensor, ...],
    n_perturb_samples: int,
    measure: Callable[[int], Tensor],
    *,
    max_examples_per_batch: int | None,
    show_progress: bool,
    label: str,
) -> Tensor:
    """Collect one number (or several) of each sample, at most so many examples at a time.

    Args:
        inputs: The batch.
        n_perturb_samples: Number of samples of each example.
        measure: Takes the next so many samples of each example; returns shape
            (..., examples, samples).
        max_examples_per_batch: As in Captum. Default, by None: ten of each example.
        show_progress: Show a progress bar on standard error.
        label: Its title.

    Returns:
        Shape (..., examples, n_perturb_samples).
    """
    check_positive_count("n_perturb_samples", n_perturb_samples)
    examples = len(inputs[0])
    at_a_time = _SAMPLES_AT_A_TIME * examples
    if max_examples_per_batch is not None:
        check_positive_count("max_examples_per_batch", max_examples_per_batch)
        at_a_time = max_examples_per_batch
    bar = _captum.progress(desc=label, total=n_perturb_samples, disable=not show_progress)

    def measured(count: int) -> Tensor:
        numbers = measure(count)
        bar.update(count)
        return numbers

    with bar, torch.no_grad():
        collected: Tensor = _captum.divide_and_aggregate_metrics(
            inputs,
            n_perturb_samples,
            measured,
            agg_func=lambda before, more: torch.cat([before, more], dim=-1),
            max_examples_per_batch=min(at_a_time, n_perturb_samples * examples),
        )
    return collected


def summed(products: Tensor) -> Tensor:
    """Return the sum of each example, ``(N, ...)`` to ``(N,)``, in single precision at least."""
    return widened(products).flatten(1).sum(dim=1)


def widened(values: Tensor) -> Tensor:
    """Return half-precision values in single precision, and others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
