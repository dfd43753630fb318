"""Numbers of samples, collected chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from captum_guided_ext import _captum

if TYPE_CHECKING:
    from collections.abc import Callable

_SAMPLES_AT_A_TIME = 10  # of each example, so that up to Captum's default all is as in Captum


def check_positive_count(name: str, value: object) -> None:
    """Raise for anything but a whole number of 1 or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {type(value).__name__}")
    if value < 1:
        raise ValueError(f"{name} must be 1 or more, and is {value}")


def per_sample(
    inputs: tuple[Tensor, ...],
    n_perturb_samples: int,
    measure: Callable[[int], Tensor],
    *,
    max_examples_per_batch: int | None,
    show_progress: bool,
    label: str,
) -> Tensor:
    """Collect one number (or several) of each sample, chunk by chunk.

    Args:
        inputs: The batch.
        n_perturb_samples: Number of samples of each example.
        measure: Takes a count of further samples of each example; returns shape
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
    return widened(products).reshape(len(products), -1).sum(dim=1)


def widened(values: Tensor) -> Tensor:
    """Return half-precision values in single precision, and others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
