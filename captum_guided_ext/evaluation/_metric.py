"""What a metric is: scores of a batch, by name and method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from captum_guided_ext.sampling import Draws

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.evaluation._methods import MethodSet

__all__ = ["Metric", "Score", "ScoredBatch"]


class Score(NamedTuple):
    """One number per example of a batch, and how exact it is.

    Attributes:
        values: Shape (examples,).
        standard_error: Of that shape; None where it has none.
        interval: A 95 % interval by resampling, shape (examples, 2); None where it has none.
    """

    values: Tensor
    standard_error: Tensor | None = None
    interval: Tensor | None = None


@dataclass
class ScoredBatch:
    """A batch with its maps: all that a metric may need.

    Attributes:
        methods: The methods under comparison.
        inputs: (N, ...).
        target: What was explained, as in Captum.
        additional_forward_args: The model's further arguments.
        scores: The score of each unperturbed example, (N,).
        maps: By method, of the shape of ``inputs`` or with a single channel.
        seed: Of all randomness.
        images: The number of each example's image.
        masks: Where the object is, (N, H, W); None where that is not known.
        max_examples_per_batch: Most examples in one forward pass.
        show_progress: Show progress bars.
        failures: Why a method that applies to the inputs does not apply to perturbed ones.
    """

    methods: MethodSet
    inputs: Tensor
    target: TargetType
    additional_forward_args: object
    scores: Tensor
    maps: Mapping[str, Tensor]
    seed: int
    images: Sequence[int]
    masks: Tensor | None
    max_examples_per_batch: int | None
    show_progress: bool
    failures: dict[str, str] = field(default_factory=dict)

    def draws(self, purpose: str) -> Draws:
        """Return where the random numbers for ``purpose`` come from."""
        return Draws(self.seed, self.images, purpose)

    def explain(
        self, xs: Any, arguments: Mapping[str, Any], samples: Sequence[int]
    ) -> dict[str, Tensor]:
        """Explain perturbed inputs by every method that has a map, in one forward pass."""
        further = arguments["additional_forward_args"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said of the unperturbed inputs already
            forward_pass = self.methods.forward_pass(xs, further)
            maps, reasons = self.methods.maps(
                forward_pass, arguments["target"], self.seeds(samples), further
            )
        for name in self.maps:
            if name in reasons:
                self.failures[name] = f"does not apply to a perturbed input: {reasons[name]}"
        nothing = torch.full_like(xs, torch.nan)
        return {name: maps.get(name, nothing) for name in self.maps}

    def seeds(self, samples: Sequence[int]) -> dict[str, list[int]]:
        """Return each method's own seeds for these samples of each example."""
        return {name: self.draws(f"method {name}").seeds(samples) for name in self.methods.names}


class Metric(Protocol):
    """What ``compare`` and ``benchmark`` need of a metric.

    Attributes:
        names: The names of its scores in tables.
        higher_is_better: Whether a higher score is better.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def higher_is_better(self) -> bool: ...

    def score(self, batch: ScoredBatch) -> Mapping[str, Mapping[str, Score]]:
        """Return the scores of a batch by name and method."""
