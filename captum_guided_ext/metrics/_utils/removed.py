"""Inputs of which more and more places are replaced, in the order that attributions give them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from captum_guided_ext import _captum
from captum_guided_ext.autograd import check_finite, check_inputs, output_of, select_target
from captum_guided_ext.errors import warn_user
from captum_guided_ext.metrics._utils.attributions import check_shapes
from captum_guided_ext.sampling import a_seed, find_draws, per_sample, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.sampling import Draws

_PICTURES = 4  # dimensions
_ROUNDING = 2e-2  # of a sum of probabilities, in half precision as well


class Removals:
    """The places of a batch in the order of each attribution, and what the model says of removals.

    A place of pictures (N, C, H, W) is a pixel with all its channels; its relevance is the sum of
    their signed attributions. Of inputs of other shapes, each number of an example is a place.
    Places of equal relevance stand in an order that is drawn for each image, and is the same for
    all its attributions: no corner comes first.

    Args:
        metric: The metric's name, for errors and the progress bar.
        forward_func: As in the metrics that use this, and so are the other arguments.
        inputs: One tensor.
        attributions: One, or several by name.
        additional_forward_args: Of the model.
        target: What was explained.
        generator: Instead of ``seed``.
        seed: Of all randomness; None draws one from torch's global generator.
        image_indices: The number of each example's image.
        largest_first: Whether the most relevant places go first.
    """

    def __init__(
        self,
        metric: str,
        forward_func: Callable[..., Tensor],
        inputs: Tensor,
        attributions: Tensor | Mapping[str, Tensor],
        *,
        additional_forward_args: object,
        target: TargetType,
        generator: torch.Generator | None,
        seed: int | None,
        image_indices: Sequence[int] | None,
        largest_first: bool = True,
    ) -> None:
        if not isinstance(inputs, Tensor):
            raise TypeError(
                f"inputs must be one tensor for {metric}, not {type(inputs).__name__}: pass "
                "further inputs among additional_forward_args"
            )
        check_inputs(inputs)
        self.x = inputs.detach()
        self._metric = metric
        self._is_sure = True  # that the model returns logits
        self._forward_func = forward_func
        self._target = target
        self._arguments = _captum.format_additional_forward_args(additional_forward_args)
        self._is_named = isinstance(attributions, Mapping)
        named = attributions if isinstance(attributions, Mapping) else {"": attributions}
        if not named:
            raise ValueError(f"attributions is empty: {metric} needs one at least")
        maps = {name: _captum.format_tensor_into_tuples(one) for name, one in named.items()}
        for name, one in maps.items():
            check_shapes(name, one, (inputs,))
        self.names = tuple(named)
        draws = find_draws(None, a_seed(generator, seed), image_indices, len(inputs), metric)
        assert draws is not None  # noqa: S101 - for the type checker: there is a seed
        self.draws: Draws = draws
        relevances = [_relevance(one, inputs) for (one,) in maps.values()]
        ties = dataclasses.replace(draws, purpose="places of equal relevance")
        self._ranks = _ranks(relevances, ties, largest_first=largest_first).to(inputs.device)

    @property
    def places(self) -> int:
        """How many places an example has."""
        return self._ranks.shape[-1]

    def score(self, xs: Tensor, count: int = 1) -> Tensor:
        """Return what the model says of what was explained, of ``count`` inputs of each example.

        The softmax probability of the class where the output is (N, classes), more than one; else
        the output itself. Shape (examples * count,).
        """
        by = _captum.ExpansionTypes.repeat_interleave
        arguments = _captum.expand_additional_forward_args(
            self._arguments, count, expansion_type=by
        )
        output = widened(output_of(self._forward_func, (xs,), arguments))
        if output.dim() == 2 and output.shape[1] > 1:  # noqa: PLR2004 - (examples, classes)
            self._doubt(output)
            output = output.softmax(dim=1)
        scores = select_target(
            output, _captum.expand_target(self._target, count, expansion_type=by)
        ).flatten()
        if len(scores) != len(xs):
            raise ValueError(
                f"the model returned {len(scores)} scores for {len(xs)} examples, and "
                f"{self._metric} needs one for each"
            )
        check_finite(scores, "the model's score")
        return scores

    def _doubt(self, output: Tensor) -> None:
        """Warn once if the model has taken the softmax itself, as that of RISE's code has."""
        sums = output.sum(dim=1)
        if self._is_sure and bool((output >= 0).all() and ((sums - 1).abs() < _ROUNDING).all()):
            self._is_sure = False
            warn_user(
                f"the model returns probabilities, it seems (each example's sum is 1), and "
                f"{self._metric} takes their softmax: give the model without its own, or the "
                "logarithm of what it returns"
            )

    def scores(
        self,
        counts: Sequence[int],
        replaced: Callable[[Tensor, Sequence[int]], Tensor],
        *,
        max_examples_per_batch: int | None,
        show_progress: bool,
    ) -> Tensor:
        """Return the scores where some first places of each attribution's order are replaced.

        Args:
            counts: How many places are replaced at each step.
            replaced: Makes the inputs, (examples, samples, ...), from where they are replaced,
                boolean, (examples, samples, 1, H, W) for pictures, and the step of each sample.
            max_examples_per_batch: Most inputs at a time, at least one of each example.
            show_progress: Show a progress bar on standard error.

        Returns:
            Shape (examples, attributions, steps).
        """
        examples, steps = len(self.x), len(counts)
        limits = torch.tensor(counts, device=self.x.device)
        behind = self.x.shape[1:]
        if self.x.dim() == _PICTURES:
            behind = torch.Size((1, *behind[1:]))
        taken = 0

        def measure(count: int) -> Tensor:
            nonlocal taken
            samples = torch.arange(taken, taken + count, device=self.x.device)
            taken += count
            step = samples % steps
            where = self._ranks[:, samples // steps] < limits[step][:, None]
            made = replaced(where.reshape(examples, count, *behind), step.tolist())
            return self.score(made.flatten(0, 1), count).reshape(examples, count)

        found = per_sample(
            (self.x,),
            len(self.names) * steps,
            measure,
            max_examples_per_batch=max_examples_per_batch,
            show_progress=show_progress,
            label=self._metric,
        )
        return found.reshape(examples, len(self.names), steps)

    def by_name(self, values: Tensor) -> Any:
        """Return one number per example and attribution in the form the attributions had."""
        columns = dict(zip(self.names, values.unbind(dim=1), strict=True))
        return columns if self._is_named else columns[""]


def _relevance(attribution: Tensor, x: Tensor) -> Tensor:
    """Return the relevance of each place, (examples, places), exact enough to keep ties."""
    values = attribution.detach().cpu().double()
    values = values.sum(dim=1) if x.dim() == _PICTURES else values.expand_as(x)
    return values.reshape(len(x), -1)


def _ranks(relevances: Sequence[Tensor], ties: Draws, *, largest_first: bool) -> Tensor:
    """Return the place of each place in the order, (examples, attributions, places)."""
    examples, places = relevances[0].shape
    ranks = torch.empty(examples, len(relevances), places, dtype=torch.int32)
    numbers = torch.arange(places, dtype=torch.int32)
    for example in range(examples):
        drawn = torch.randperm(places, generator=ties.generator(example, 0, torch.device("cpu")))
        for which, values in enumerate(relevances):
            order = values[example, drawn].argsort(stable=True, descending=largest_first)
            ranks[example, which, drawn[order]] = numbers
    return ranks
