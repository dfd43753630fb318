"""Tests that randomise the model's weights, as ``compare`` and ``benchmark`` take them.

What they compare is each method's map with those of a copy of the model whose weights say nothing
(see :func:`captum_guided_ext.metrics.parameter_randomization`). The floors have scores, too: one
that knows nothing of the network is as sensitive as can be if it is noise, and not at all if it is
the picture's own edges. A good score alone is no proof of anything (Binder et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from captum_guided_ext.errors import CaptumGuidedError
from captum_guided_ext.evaluation._metric import Score, without_zero_maps
from captum_guided_ext.methods import FLOORS
from captum_guided_ext.metrics import (
    Plan,
    at_the_end,
    sample_entropy_rise,
    sample_randomization,
)
from captum_guided_ext.sampling import check_positive_count, mean_standard_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from captum_guided_ext.evaluation._metric import ScoredBatch
    from captum_guided_ext.metrics import EntropyRise, Order, Randomization, Reinitialization

_MEASURES = {
    "randomization_spearman": "spearman",
    "randomization_spearman_abs": "spearman_abs",
    "randomization_ssim": "ssim",
}
_NOTHING = "the map, or every one of a randomised model, is the same everywhere"


@dataclass(frozen=True)
class RandomizationMetric:
    """How alike maps stay as weights are randomised layer by layer, the mean over layers and draws.

    See :func:`captum_guided_ext.metrics.parameter_randomization`. The standard error is that over
    draws; it does not say what other pictures would give.

    Args:
        names: Which scores are wanted, of "randomization_spearman", the rank correlation of signed
            maps, "randomization_spearman_abs", that of their magnitudes, and "randomization_ssim",
            their structural similarity, which needs torchmetrics and pictures. Default: all three.
        order: "cascading", from the output down, "bottom_up" or "independent". Default:
            "cascading".
        reinitialization: "permuted", "normal" or "reset". Default: "permuted".
        every_nth_layer: After how many more layers maps are made each time. Default: 1.
        n_draws: How often. Default: 3.
    """

    names: tuple[str, ...] = tuple(_MEASURES)
    order: Order = "cascading"
    reinitialization: Reinitialization = "permuted"
    every_nth_layer: int = 1
    n_draws: int = 3
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.names or set(self.names) - set(_MEASURES):
            raise CaptumGuidedError(
                f"names must be of {', '.join(_MEASURES)}, and are {self.names}"
            )
        self._plan.check()

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the scores of every method, from the same randomised models.

        Raises:
            ModelError: if the model is no ``nn.Module``, has no weights, or cannot be copied.
        """
        measures = tuple(_MEASURES[name] for name in self.names)
        found = sample_randomization(plan=self._plan, measures=measures, **_asked(batch))
        return {
            name: _scores(batch, found.values[measure], found, found.reasons.get(measure))
            for name, measure in _MEASURES.items()
            if name in self.names
        }

    @property
    def _plan(self) -> Plan:
        return Plan(self.order, self.reinitialization, self.every_nth_layer, self.n_draws)


@dataclass(frozen=True)
class SmoothRandomizationMetric:
    """The same of magnitudes of maps averaged over noisy inputs, by rank correlation.

    See :func:`captum_guided_ext.metrics.smooth_parameter_randomization`, whose defaults are much
    dearer: 50 noisy inputs.

    Args:
        n_noise_samples: Noisy inputs of each example. Default: 10.
        noise_level: The noise's deviation, as a part of the input's range. Default: 0.1.
        order: As in :class:`RandomizationMetric`. Default: "bottom_up".
        reinitialization: As there. Default: "permuted".
        every_nth_layer: As there. Default: 1.
        n_draws: As there. Default: 3.
        name: The score's name. Default: "randomization_smooth".
    """

    n_noise_samples: int = 10
    noise_level: float = 0.1
    order: Order = "bottom_up"
    reinitialization: Reinitialization = "permuted"
    every_nth_layer: int = 1
    n_draws: int = 3
    name: str = "randomization_smooth"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_count("n_noise_samples", self.n_noise_samples)
        self._plan.check()

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the score of every method, from the same models and the same noise.

        Raises:
            ModelError: as :class:`RandomizationMetric`.
        """
        found = sample_randomization(plan=self._plan, measures=("spearman_abs",), **_asked(batch))
        return {self.name: _scores(batch, found.values["spearman_abs"], found)}

    @property
    def _plan(self) -> Plan:
        return Plan(
            self.order,
            self.reinitialization,
            self.every_nth_layer,
            self.n_draws,
            self.n_noise_samples,
            self.noise_level,
        )


@dataclass(frozen=True)
class EntropyMetric:
    """How much the entropy of maps rises when all weights are random.

    See :func:`captum_guided_ext.metrics.efficient_parameter_randomization`.

    Args:
        reinitialization: "permuted", "normal" or "reset". Default: "permuted".
        n_draws: How often all weights are drawn. Default: 3.
        name: The score's name. Default: "randomization_entropy".
    """

    reinitialization: Reinitialization = "permuted"
    n_draws: int = 3
    name: str = "randomization_entropy"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self._plan.check()

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the score of every method, from the same random models.

        Raises:
            ModelError: as :class:`RandomizationMetric`.
        """
        found = sample_entropy_rise(plan=self._plan, **_asked(batch))
        values = {method: one[:, None] for method, one in found.values.items()}
        return {self.name: _scores(batch, values, found)}

    @property
    def _plan(self) -> Plan:
        return at_the_end(self.reinitialization, self.n_draws)


def _asked(batch: ScoredBatch) -> dict[str, Any]:
    """Return what is asked of a batch, whatever is done to the weights."""
    return {
        "methods": batch.exact or batch.methods,  # what is drawn anew are the weights as they are
        "inputs": batch.inputs,
        "target": batch.target,
        "additional_forward_args": batch.additional_forward_args,
        "seed": batch.seed,
        "images": batch.images,
        "max_examples_per_batch": batch.max_examples_per_batch,
        "floors": tuple(name for name in FLOORS if name in batch.maps),
        "show_progress": batch.show_progress,
    }


def _scores(
    batch: ScoredBatch,
    values: Mapping[str, Tensor],
    found: Randomization | EntropyRise,
    why: str | None = None,
) -> dict[str, Score]:
    """Return a score of every method that has a map.

    Args:
        batch: What was scored.
        values: By method, (examples, steps, draws).
        found: What they come from. Its ``reasons`` sum up a batch: a row takes its example's own.
        why: Why no method has a score.
    """
    nothing = torch.full((len(batch.inputs), 1, 1), torch.nan, dtype=torch.float64)
    scores = {}
    for method in batch.maps:
        one, lost = values.get(method, nothing), found.lost.get(method, {})
        unanswered = why or ("" if method in values else found.reasons.get(method))
        scores[method] = Score(
            one.flatten(1).nanmean(dim=1),
            mean_standard_error(one.nanmean(dim=1)),  # NaN of one draw, or where one has no value
            reason=[unanswered or lost.get(row, _NOTHING) for row in range(len(batch.inputs))],
        )
    return without_zero_maps(scores, batch)
