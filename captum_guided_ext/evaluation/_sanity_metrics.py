"""Checks of what maps depend on, with their settings, as ``compare`` and ``benchmark`` take them.

None needs to know where the object is. They say what a map does not show rather than what it does.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from captum_guided_ext.evaluation._metric import Score, without_zero_maps
from captum_guided_ext.methods import FLOORS
from captum_guided_ext.metrics import (
    agreement,
    each_alone,
    edge_recovery,
    gap_of,
    input_recovery,
    rank_correlation,
    sample_class_sensitivity,
    scores_at,
    shares_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from captum_guided_ext.autograd import Flow
    from captum_guided_ext.evaluation._metric import ScoredBatch
    from captum_guided_ext.methods import Baselines

_CONSTANT = "the map is the same everywhere"
_RECOVERY = ("input_recovery", "edge_recovery")
_RULES = {
    "deconvolution": "deconvolution",
    "guided_backprop": "guided",
    "guided_grad_cam": "guided",  # of its guided part
    "gradient": "gradient",
    "input_x_gradient": "gradient",
}


@dataclass(frozen=True)
class ClassSensitivityMetric:
    """How alike the maps of two classes are (:func:`captum_guided_ext.metrics.class_sensitivity`).

    Floors depend on no class: 1. Costs a forward pass and what the maps of another class cost.

    Args:
        other: What the target is compared with: "top2", "random", or a class index, the same for
            every example. Default: "top2".
        name: The score's name. Default: "class_sensitivity".
    """

    other: str | int = "top2"
    name: str = "class_sensitivity"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        is_index = isinstance(self.other, int) and not isinstance(self.other, bool)
        if not is_index and self.other not in ("top2", "random"):
            raise ValueError(f"other must be 'top2', 'random' or a class index, not {self.other!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the rank correlation of every method's maps of target and other class.

        Raises:
            ModelError: for an output that is not (N, classes), or an impossible other class.
        """
        found = sample_class_sensitivity(
            batch.methods,
            batch.inputs,
            batch.target,
            self.other,
            batch.additional_forward_args,
            seed=batch.seed,
            images=batch.images,
            original={name: batch.maps[name] for name in _methods(batch)},
        )
        scores = {
            name: Score(one, reason=found.reasons[name]) for name, one in found.values.items()
        }
        for name in _floors(batch):
            scores[name] = Score(rank_correlation(batch.maps[name], batch.maps[name]))
            scores[name] = scores[name]._replace(reason=_CONSTANT)
        return {self.name: without_zero_maps(scores, batch)}


@dataclass(frozen=True)
class RecoveryMetric:
    """How far a map is the picture itself, and how far its strength lies on the picture's edges.

    The magnitude of Pearson's correlation, 0 to 1 (the sign: see
    :func:`captum_guided_ext.metrics.input_recovery` and ``edge_recovery``): a map that is the
    picture's negative shows the picture as well.

    Args:
        names: Which scores are wanted, of "input_recovery" and, for pictures, "edge_recovery".
            Default: both.
    """

    names: tuple[str, ...] = _RECOVERY
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not self.names or set(self.names) - set(_RECOVERY):
            raise ValueError(f"names must be of {' and '.join(_RECOVERY)}, and are {self.names}")

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return both scores of every method.

        Raises:
            ValueError: for edges of inputs that are no pictures (N, C, H, W).
        """
        measures = {"input_recovery": input_recovery, "edge_recovery": edge_recovery}
        found = {name: measures[name](dict(batch.maps), batch.inputs) for name in self.names}
        why = "the map, or what it is compared with, is the same everywhere"
        return {
            name: without_zero_maps(
                {m: Score(one.abs(), reason=why) for m, one in by_method.items()}, batch
            )
            for name, by_method in found.items()
        }


@dataclass(frozen=True)
class AgreementMetric:
    """A method's mean rank correlation with the other methods of the batch.

    See :func:`captum_guided_ext.metrics.agreement`; floors are compared with the methods, and do
    not count among the others. No quality, though tables call the highest the best: methods can
    agree because they are wrong together, and it depends on which of them are asked.

    Args:
        name: The score's name. Default: "agreement".
    """

    name: str = "agreement"
    higher_is_better: ClassVar[bool] = True

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the mean correlation of every method and floor with the (other) methods."""
        methods, names = _methods(batch), list(batch.maps)
        correlation = agreement(batch.maps).rank_correlation
        scores = {}
        for place, name in enumerate(names):
            others = [names.index(method) for method in methods if method != name]
            values = correlation[:, place, others].nanmean(dim=1)
            why = "no other method has a map that differs from place to place"
            is_constant = correlation[:, place, place].isnan().tolist()
            reasons = [_CONSTANT if constant else why for constant in is_constant]
            scores[name] = Score(values, reason=reasons)
        return {self.name: without_zero_maps(scores, batch)}


@dataclass(frozen=True)
class IgnoredShareMetric:
    """The share of negative evidence that a method's rule ignores.

    See :func:`captum_guided_ext.metrics.ignored_share`. Of ``deconvolution``, ``guided_backprop``
    and ``guided_grad_cam`` (its guided part); ``gradient`` and ``input_x_gradient`` ignore nothing:
    0. Others have no score. Costs a forward pass, and a backward pass for each of the two rules, of
    each example alone.

    Args:
        name: The score's name. Default: "ignored_share".
    """

    name: str = "ignored_share"
    higher_is_better: ClassVar[bool] = False

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the share of every method that sends gradients back through rectifiers."""
        examples = len(batch.inputs)
        stands_for = batch.methods.named
        rules = {n: _RULES[stands_for[n]] for n in _methods(batch) if stands_for.get(n) in _RULES}
        shares = {"gradient": torch.zeros(examples)}
        wanted = set(rules.values()) - {"gradient"}
        if wanted:
            shares |= _shares(batch, sorted(wanted))
        why = "no named method that sends back gradients under a rule"
        scores = {}
        for name in _methods(batch):
            none = torch.full((examples,), math.nan)
            scores[name] = Score(shares[rules[name]] if name in rules else none, reason=why)
        return {self.name: scores}


@dataclass(frozen=True)
class CompletenessMetric:
    """By how much a map misses the sum that its method promises, as a share of it.

    See :func:`captum_guided_ext.metrics.completeness_gap`. Only of methods that promise it:
    ``integrated_gradients``, ``deep_lift``, ``gradient_shap``, Captum's classes of these names,
    ``DeepLiftShap``, ``KernelShap``, ``ShapleyValues`` and ``ShapleyValueSampling``; each with its
    own baselines. Costs a forward pass for each different baseline.

    Args:
        name: The score's name. Default: "completeness_gap".
    """

    name: str = "completeness_gap"
    higher_is_better: ClassVar[bool] = False

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the gap of every method that promises completeness."""
        none = torch.full((len(batch.inputs),), math.nan)
        known: dict[float, Tensor] = {}  # scores at baselines that are numbers
        scores = {}
        for name in _methods(batch):
            try:
                baselines = batch.methods.promised(batch.inputs, name)
            except LookupError:
                scores[name] = Score(none, reason="a function draws its baselines")
                continue
            if baselines is None:
                scores[name] = Score(none, reason="the method promises no completeness")
                continue
            at = torch.stack([_at(batch, one, known) for one in baselines]).mean(dim=0)
            why = "the score is that of the baseline, up to rounding: nothing is promised"
            scores[name] = Score(gap_of(batch.maps[name], batch.scores, at), reason=why)
        return {self.name: scores}


def _at(batch: ScoredBatch, baseline: Baselines, known: dict[float, Tensor]) -> Tensor:
    """Return the model's score of each example's target at a baseline."""
    if isinstance(baseline, torch.Tensor) or baseline not in known:
        found = scores_at(
            baseline, batch.inputs, batch.model, batch.target, batch.additional_forward_args
        )
        if isinstance(baseline, torch.Tensor):
            return found
        known[baseline] = found
    return known[baseline]


def _shares(batch: ScoredBatch, rules: list[str]) -> dict[str, Tensor]:
    """Return the share of each example that each rule ignores, from one forward pass of each."""
    flows: dict[str, list[Mapping[str, Flow]]] = {rule: [] for rule in rules}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # said of the maps already
        passes = each_alone(batch.model, batch.inputs, batch.target, batch.additional_forward_args)
        for forward_pass, target in passes:
            for rule in rules:
                flows[rule].append(forward_pass.flows(rule, target))
    return {rule: shares_of(some).total for rule, some in flows.items()}


def _methods(batch: ScoredBatch) -> list[str]:
    return [name for name in batch.maps if name not in FLOORS]


def _floors(batch: ScoredBatch) -> list[str]:
    return [name for name in batch.maps if name in FLOORS]
