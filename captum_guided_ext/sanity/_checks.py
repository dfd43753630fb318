"""All sanity checks of a batch, as one metric: its scores are what the rows are made of."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from captum_guided_ext.evaluation import Score
from captum_guided_ext.metrics import (
    Plan,
    agreement,
    at_the_end,
    edge_recovery,
    input_recovery,
    sample_class_sensitivity,
    sample_entropy_rise,
    sample_randomization,
)
from captum_guided_ext.sanity._names import MEASURES, OTHER_CLASS, RANDOM_MAP, Name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from captum_guided_ext.evaluation import ScoredBatch
    from captum_guided_ext.metrics import EntropyRise, Randomization

NOISE_SAMPLES = 4  # of the smoothed maps
NOISE_LEVEL = 0.1  # their deviation, as a part of each input's range
SMOOTH_MEASURE = "spearman_abs"
_PICTURES = 4  # dimensions
_NO_PICTURE = "the inputs are no pictures, (N, C, H, W)"
_ONE_CLASS = "the network has one class"
_CONSTANT = "the map, or what it is compared with, is the same everywhere"


@dataclass(frozen=True)
class SanityChecks:
    """The checks with their settings.

    Args:
        methods: The names of the methods.
        other: The class that the explained one is compared with: an index, "top2" or "random"; None
            where there is one class only.
        layers: The layers after which maps are compared, from the output down.
        every_nth_layer: Of all layers, these.
        smooth_layers: The layers after which smoothed maps are compared.
        smooth_every: Of all layers, these.
        measures: How maps are compared, of :data:`MEASURES`.
        draws: How often each layer is randomised.
        show_progress: Show a progress bar for each batch.
    """

    methods: tuple[str, ...]
    other: str | int | None
    layers: tuple[str, ...]
    every_nth_layer: int
    smooth_layers: tuple[str, ...]
    smooth_every: int
    measures: tuple[str, ...]
    draws: int
    show_progress: bool
    higher_is_better: ClassVar[bool] = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all scores, known before the first batch."""
        return tuple(map(str, self._names()))

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return all numbers of each method that has a map."""
        maps = {name: batch.maps[name] for name in self.methods if name in batch.maps}
        found: dict[Name, dict[str, Score]] = {name: {} for name in self._names()}
        found |= self._randomized(batch)
        found |= self._of_classes(batch, maps)
        found |= _recovered(batch.inputs, maps)
        found |= _agreements(maps)
        return {str(name): scores for name, scores in found.items()}

    def _names(self) -> Iterator[Name]:
        for measure in self.measures:
            for draw in range(self.draws):
                yield Name(MEASURES[measure], RANDOM_MAP, draw=draw)
                for layer in self.layers:
                    yield Name(MEASURES[measure], layer=layer, draw=draw)
        for layer in self.smooth_layers:
            yield Name("randomization_smooth", layer=layer, draw=0)
        for draw in range(self.draws):
            yield Name("randomization_entropy", layer=self.layers[-1], draw=draw)
        yield from map(Name, (OTHER_CLASS, "class_sensitivity", "input_recovery", "edge_recovery"))
        if len(self.methods) > 1:
            yield from (Name("agreement", other) for other in self.methods)

    def _randomized(self, batch: ScoredBatch) -> Iterator[Any]:
        """Yield how alike the maps of randomised networks are, smoothed ones too, and entropies."""
        common: dict[str, Any] = {
            "seed": batch.seed,
            "images": batch.images,
            "max_examples_per_batch": batch.max_examples_per_batch,
            "show_progress": self.show_progress,
        }
        asked = batch.methods, batch.inputs, batch.target, batch.additional_forward_args
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said of the maps already
            warnings.filterwarnings("always", "with all weights random", UserWarning)
            plan = Plan(every_nth_layer=self.every_nth_layer, n_draws=self.draws)
            found = sample_randomization(*asked, plan=plan, measures=self.measures, **common)
            smooth_plan = Plan(
                every_nth_layer=self.smooth_every,
                n_draws=1,
                n_noise_samples=NOISE_SAMPLES,
                noise_level=NOISE_LEVEL,
            )
            smooth = sample_randomization(
                *asked, plan=smooth_plan, measures=[SMOOTH_MEASURE], **common
            )
            at_end = at_the_end(plan.reinitialization, self.draws)
            rise = sample_entropy_rise(*asked, plan=at_end, **common)
        for measure, check in MEASURES.items():
            if measure not in self.measures:
                continue
            for draw in range(self.draws):
                random = {m: one[:, draw] for m, one in found.random_map[measure].items()}
                yield Name(check, RANDOM_MAP, draw=draw), _scores(random, found)
                for step, layer in enumerate(found.layers):
                    values = {m: one[:, step, draw] for m, one in found.values[measure].items()}
                    yield Name(check, layer=layer, draw=draw), _scores(values, found)
        for step, layer in enumerate(smooth.layers):
            values = {m: one[:, step, 0] for m, one in smooth.values[SMOOTH_MEASURE].items()}
            name = Name("randomization_smooth", layer=layer, draw=0)
            yield name, _scores(values, smooth)
        for draw in range(self.draws):
            values = {m: one[:, draw] for m, one in rise.values.items()}
            name = Name("randomization_entropy", layer=self.layers[-1], draw=draw)
            yield name, _scores(values, rise)

    def _of_classes(self, batch: ScoredBatch, maps: Mapping[str, Tensor]) -> Iterator[Any]:
        """Yield how alike the maps for both classes are, and which the other one is."""
        nothing = torch.full((len(batch.inputs),), math.nan)
        if self.other is None:
            yield Name("class_sensitivity"), dict.fromkeys(maps, Score(nothing, reason=_ONE_CLASS))
            yield Name(OTHER_CLASS), dict.fromkeys(maps, Score(nothing, reason=_ONE_CLASS))
            return
        found = sample_class_sensitivity(
            batch.methods,
            batch.inputs,
            batch.target,
            self.other,
            batch.additional_forward_args,
            seed=batch.seed,
            images=batch.images,
            original=maps,
        )
        yield (
            Name("class_sensitivity"),
            {name: Score(one, reason=found.reasons[name]) for name, one in found.values.items()},
        )
        yield Name(OTHER_CLASS), dict.fromkeys(maps, Score(found.other.double()))


def _scores(values: Mapping[str, Tensor], found: Randomization | EntropyRise) -> dict[str, Score]:
    """Return the scores of all methods, those that cannot be asked about a copy included."""
    examples = next((len(one) for one in values.values()), 0)
    nothing = torch.full((examples,), math.nan)
    scores = {m: Score(nothing, reason=why) for m, why in found.reasons.items() if examples}
    for m, one in values.items():  # the reasons sum up a batch: an example takes its own
        lost = found.lost.get(m, {})
        scores[m] = Score(one, reason=[lost.get(row, _CONSTANT) for row in range(len(one))])
    return scores


def _recovered(inputs: Tensor, maps: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield how far each map is the picture, and its edges."""
    found = input_recovery(maps, inputs)
    yield Name("input_recovery"), {m: Score(one, reason=_CONSTANT) for m, one in found.items()}
    if inputs.dim() == _PICTURES:
        found = edge_recovery(maps, inputs)
        yield Name("edge_recovery"), {m: Score(one, reason=_CONSTANT) for m, one in found.items()}
    else:
        nothing = torch.full((len(inputs),), math.nan)
        yield Name("edge_recovery"), dict.fromkeys(maps, Score(nothing, reason=_NO_PICTURE))


def _agreements(maps: Mapping[str, Tensor]) -> Iterator[Any]:
    """Yield how far each method agrees with each other one; with itself there is no number."""
    if len(maps) < 2:  # noqa: PLR2004
        return
    found = agreement(maps)
    for place, other in enumerate(found.names):
        of_pairs = {
            method: Score(found.rank_correlation[:, own, place], reason=_CONSTANT)
            for own, method in enumerate(found.names)
            if own != place
        }
        yield Name("agreement", other), of_pairs
