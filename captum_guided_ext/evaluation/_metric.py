"""What a metric is: it gives scores of a batch, by name and method."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from captum_guided_ext.methods import floor_maps
from captum_guided_ext.sampling import Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.methods import Baselines, MethodSet


_ZERO_MAP = "the map is zero everywhere"


class Score(NamedTuple):
    """One number per example of a batch, and how exact it is.

    Attributes:
        values: Shape (examples,); NaN where there is no score.
        standard_error: Of that shape; None where it has none.
        interval: A 95 % interval by resampling, shape (examples, 2); None where it has none.
        reason: Why there is no score, where values are NaN: one text, or one for each example.
            Empty where nothing is known.
    """

    values: Tensor
    standard_error: Tensor | None = None
    interval: Tensor | None = None
    reason: str | Sequence[str] = ""

    def reason_of(self, example: int) -> str:
        """Return why an example has no score."""
        return self.reason if isinstance(self.reason, str) else self.reason[example]


@dataclass(frozen=True)
class ScoredBatch:
    """A batch with its maps: all that a metric may need.

    Attributes:
        methods: The methods under comparison.
        inputs: (N, ...).
        target: What was explained, as in Captum.
        additional_forward_args: The model's further arguments.
        scores: The score of each unperturbed example, (N,).
        maps: By method, of the shape of ``inputs`` or with a single channel; the floors' as well.
        seed: Of all randomness.
        images: The number of each example's image.
        masks: Where the object is, (N, H, W); None where that is not known.
        max_examples_per_batch: Most examples in one forward pass.
        show_progress: Show progress bars.
        exact: The methods of the network itself, where ``methods`` are those of a faster copy of
            it, whose weights are others. Default: ``methods``.
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
    exact: MethodSet | None = None

    @property
    def model(self) -> Callable[..., Any]:
        """The model that is explained."""
        return self.methods.model

    @cached_property
    def multiplied_by_inputs(self) -> Mapping[str, Baselines]:
        """The baselines of those methods whose map is multiplied by ``x - baselines``.

        Asked for once in a batch, so that what is not known is said once.
        """
        return self.methods.multiplied_by_inputs(self.inputs, self.maps)

    @cached_property
    def zero_maps(self) -> Mapping[str, list[bool]]:
        """Whether a method's map is zero everywhere, by method and example."""
        by_method = [
            one.reshape(len(one), -1).any(dim=1).to(self.inputs.device)
            for one in self.maps.values()
        ]
        return dict(zip(self.maps, (~torch.stack(by_method)).tolist(), strict=True))

    def draws(self, purpose: str) -> Draws:
        """Return where the random numbers for ``purpose`` come from."""
        return Draws(self.seed, self.images, purpose)

    def explain(
        self, xs: Tensor, arguments: Mapping[str, Any], samples: Sequence[int]
    ) -> tuple[dict[str, Tensor], dict[str, str]]:
        """Explain perturbed inputs by every method that has a map, in one forward pass.

        Args:
            xs: As many perturbed inputs of each example as there are ``samples``, those of one
                example together.
            arguments: ``target`` and ``additional_forward_args`` of each of them.
            samples: The number of each; 0 is the unperturbed one.

        Returns:
            The maps by method, NaN for a method that does not apply to ``xs``, and its reason.
        """
        further = arguments["additional_forward_args"]
        seeds = self.methods.seeds(self.seed, self.images, samples)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said of the unperturbed inputs already
            forward_pass = self.methods.forward_pass(xs, further)
            maps, reasons = self.methods.maps(
                forward_pass, arguments["target"], seeds, further, warn_if_zero=False
            )
        maps |= floor_maps(xs, self.seed, self.images, samples)
        if missing := self.maps.keys() - maps.keys():
            maps |= dict.fromkeys(missing, torch.full_like(xs, torch.nan))
        return (
            {name: maps[name] for name in self.maps},
            {
                name: f"does not apply to a perturbed input: {reasons[name]}"
                for name in self.maps
                if name in reasons
            },
        )


def without_zero_maps(scores: Mapping[str, Score], batch: ScoredBatch) -> dict[str, Score]:
    """Return the scores of methods, but none of an image whose map is zero everywhere.

    Such a map says nothing, and would be the least sensitive of all.
    """
    found = {}
    for method, score in scores.items():
        is_zero = batch.zero_maps[method]
        if any(is_zero):
            reasons = [
                _ZERO_MAP if zero else score.reason_of(example)
                for example, zero in enumerate(is_zero)
            ]
            without = torch.tensor(is_zero, device=score.values.device)
            values = score.values.masked_fill(without, torch.nan)
            score = score._replace(values=values, reason=reasons)  # noqa: PLW2901
        found[method] = score
    return found


class Metric(Protocol):
    """What ``compare`` and ``benchmark`` need of a metric: give them an object of this form.

    Attributes:
        names: The names of its scores in tables.
        higher_is_better: Whether a higher score is better.

    Example:
        >>> @dataclass(frozen=True)
        ... class Sparsity:
        ...     names: tuple[str, ...] = ("sparsity",)
        ...     higher_is_better: bool = True
        ...
        ...     def score(self, batch):
        ...         zeros = {m: (one == 0).flatten(1) for m, one in batch.maps.items()}
        ...         return {"sparsity": {m: Score(z.float().mean(1)) for m, z in zeros.items()}}
        >>> compare(model, images, target=340, metrics=["infidelity", Sparsity()])
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def higher_is_better(self) -> bool: ...

    def score(self, batch: ScoredBatch) -> Mapping[str, Mapping[str, Score]]:
        """Return the scores of a batch by name and method."""
