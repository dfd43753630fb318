"""Metrics with their settings, as ``compare`` and ``benchmark`` take them.

==============================  =====  =============================================================
name                            best   what it is
==============================  =====  =============================================================
``infidelity``                  low    optimally scaled infidelity, noisy baseline (Yeh et al. 2019)
``infidelity_square``           low    the same under the removal of squares
``sensitivity_max``             low    the largest change under noise in an L-infinity ball (same)
``sensitivity_mean``            low    the mean change under the same noise
``relevance_mass``              high   the attribution's share inside the object (Arras et al. 2022)
``pointing_game``               high   whether its largest value is inside (Zhang et al. 2018)
``deletion``                    low    the probability as pixels are deleted (Petsiuk et al. 2018)
``insertion``                   high   the probability as they are put into a blurred picture (same)
``road_morf``                   low    the probability, most relevant imputed (Rong et al. 2022)
``road_lerf``                   high   the probability, least relevant imputed (the same)
``class_sensitivity``           low    rank correlation of the maps of two classes (Nie et al. 2018)
``input_recovery``              low    how far the map is the picture itself: |Pearson's r| (same)
``edge_recovery``               low    how far its strength is the picture's edges (Adebayo 2018)
``agreement``                   high   correlation with other methods, no quality (Krishna et al.)
``ignored_share``               low    the share of negative evidence that the method's rule ignores
``completeness_gap``            low    what is missing of the sum that the method promises, a share
``randomization_spearman``      low    rank correlation under random weights (Adebayo et al. 2018)
``randomization_spearman_abs``  low    the same of the magnitudes
``randomization_ssim``          low    structural similarity of the magnitudes (the same)
``randomization_smooth``        low    of maps averaged over noisy inputs (Hedström et al. 2024)
``randomization_entropy``       high   the rise of a map's entropy under random weights (the same)
==============================  =====  =============================================================

A map that is zero everywhere has no score but infidelity's, where it is a prediction: that nothing
changes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from captum_guided_ext.errors import CaptumGuidedError, nearest
from captum_guided_ext.evaluation._metric import (
    Metric,
    Score,
    ScoredBatch,
    without_zero_maps,
)
from captum_guided_ext.evaluation._randomization_metric import (
    EntropyMetric,
    RandomizationMetric,
    SmoothRandomizationMetric,
)
from captum_guided_ext.evaluation._removal_metrics import (
    DeletionMetric,
    InsertionMetric,
    RoadMetric,
)
from captum_guided_ext.evaluation._sanity_metrics import (
    AgreementMetric,
    ClassSensitivityMetric,
    CompletenessMetric,
    IgnoredShareMetric,
    RecoveryMetric,
)
from captum_guided_ext.methods import BEST_CONSTANT
from captum_guided_ext.metrics import (
    NoisyBaseline,
    SquareRemoval,
    UniformBall,
    infidelity_intervals,
    pointing_game,
    relevance_mass,
    sample_infidelity,
    sample_sensitivity,
)
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from torch import Tensor


_NO_OBJECT = "the mask is empty: no object is in the picture"


@dataclass(frozen=True)
class InfidelityMetric:
    """Infidelity with its settings (see :func:`captum_guided_ext.metrics.infidelity`).

    A Grad-CAM has one channel and no colours: its map, laid over the input, counts alike for every
    channel. Its infidelity therefore says how well one number per place predicts what the
    perturbation of all channels there does; it is not made for that.

    Args:
        perturbation: How inputs are perturbed. Default: a noisy baseline.
        n_perturb_samples: Perturbations of each example, two at least where it is scaled.
            Default: 10.
        normalize: Scale each attribution optimally before it is scored, as the authors' code does,
            so that methods are not compared by their units. Such a score has an interval by
            resampling instead of a standard error. Default: True.
        name: The score's name. Default: "infidelity".
    """

    perturbation: Callable[..., Any] = field(default_factory=NoisyBaseline)
    n_perturb_samples: int = 10
    normalize: bool = True
    name: str = "infidelity"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_count("n_perturb_samples", self.n_perturb_samples)
        if self.normalize and self.n_perturb_samples == 1:
            raise CaptumGuidedError(
                f"n_perturb_samples of {self.name} is 1: scaled optimally, any map fits one sample "
                "without error. Give 2 or more (--samples), or normalize=False"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the infidelity of every method, from the same perturbed inputs.

        And under the name ``best_constant`` what remains if every prediction of an image is one
        best constant: the mean of ``(fall - mean fall)^2`` over its samples. A map whose infidelity
        is higher predicts the falls no better than their mean does.
        """
        samples = sample_infidelity(
            batch.model,
            self.perturbation,
            (batch.inputs,),
            {method: (one,) for method, one in batch.maps.items()},
            baselines=None,
            additional_forward_args=batch.additional_forward_args,
            target=batch.target,
            n_perturb_samples=self.n_perturb_samples,
            max_examples_per_batch=batch.max_examples_per_batch,
            multiplied=batch.multiplied_by_inputs,
            draws=batch.draws(self.name),
            show_progress=batch.show_progress,
            scores=batch.scores,
        )
        ends: list[Tensor | None] = [None] * len(samples)
        if self.normalize:
            ends = infidelity_intervals(list(samples.values()), normalize=True)
        found = {
            method: Score(
                one.infidelity(normalize=self.normalize),
                None if self.normalize else one.standard_error(),
                interval,
            )
            for (method, one), interval in zip(samples.items(), ends, strict=True)
        }
        floor = next(iter(samples.values())).best_constant()  # all methods share the falls
        return {self.name: found | {BEST_CONSTANT: Score(floor)}}


@dataclass(frozen=True)
class SensitivityMetric:
    """Sensitivity with its settings (see :func:`captum_guided_ext.metrics.sensitivity`).

    Args:
        perturbation: How inputs are perturbed. Default: uniform in an L-infinity ball of 0.02.
        n_perturb_samples: Perturbations of each example. Default: 10.
        norm_ord: The vector norm. Default: "fro".
        names: Which scores are wanted, of "sensitivity_max" and "sensitivity_mean". Only the mean
            has a standard error. Default: both.
    """

    perturbation: Callable[..., Any] = field(default_factory=UniformBall)
    n_perturb_samples: int = 10
    norm_ord: str | float = "fro"
    names: tuple[str, ...] = ("sensitivity_max", "sensitivity_mean")
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_count("n_perturb_samples", self.n_perturb_samples)
        _check_names(self.names, ("sensitivity_max", "sensitivity_mean"))

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the sensitivity of every method, from the same perturbed inputs.

        None for a map that is zero everywhere.
        """
        failures: dict[str, str] = {}

        def explain(
            xs: Any, arguments: Mapping[str, Any], samples: Sequence[int]
        ) -> dict[str, Tensor]:
            maps, reasons = batch.explain(xs, arguments, samples)
            failures.update(reasons)
            return maps

        found = sample_sensitivity(
            explain,
            batch.inputs,
            self.perturbation,
            perturb_radius=0.02,
            n_perturb_samples=self.n_perturb_samples,
            norm_ord=self.norm_ord,
            max_examples_per_batch=batch.max_examples_per_batch,
            draws=batch.draws("sensitivity"),
            show_progress=batch.show_progress,
            arguments={
                "target": batch.target,
                "additional_forward_args": batch.additional_forward_args,
            },
            original=batch.maps,
        )
        why = {m: failures.get(m, "") for m in found}
        scores = {
            "sensitivity_max": {m: Score(one.maximum, reason=why[m]) for m, one in found.items()},
            "sensitivity_mean": {
                m: Score(one.mean, one.standard_error, reason=why[m]) for m, one in found.items()
            },
        }
        return {name: without_zero_maps(scores[name], batch) for name in self.names}


@dataclass(frozen=True)
class LocalisationMetric:
    """Whether the attribution lies on the object, where there is a mask of it.

    A place counts with the sum of its channels' absolute values. A map that is zero everywhere
    has no score, and neither has an image whose mask is empty. Among several places of the largest
    value, the pointing game's hit is the share of them that is inside. It has no margin around the
    object (the paper's had 15 pixels).

    Args:
        names: Which scores are wanted, of "relevance_mass" (Arras et al. 2022, arXiv:2003.07258)
            and "pointing_game" (Zhang et al. 2018, arXiv:1608.00507). Default: both.
    """

    names: tuple[str, ...] = ("relevance_mass", "pointing_game")
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_names(self.names, ("relevance_mass", "pointing_game"))

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return both scores of every method.

        Raises:
            ValueError: if there are no masks, or of another size.
        """
        if batch.masks is None:
            raise ValueError(
                f"{' and '.join(self.names)}: masks of the object are needed, and there are none"
            )
        measures = {"relevance_mass": relevance_mass, "pointing_game": pointing_game}
        is_nowhere = ~batch.masks.flatten(1).any(dim=1).cpu()  # cut off with the border, maybe
        reasons = [_NO_OBJECT if nowhere else "" for nowhere in is_nowhere.tolist()]
        scores = {
            name: {
                m: Score(
                    measures[name](one, batch.masks).masked_fill(is_nowhere, float("nan")),
                    reason=reasons,
                )
                for m, one in batch.maps.items()
            }
            for name in self.names
        }
        return {name: without_zero_maps(scores[name], batch) for name in self.names}


def _check_names(names: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not names or set(names) - set(known):
        raise ValueError(f"names must be of {' and '.join(known)}, and are {names}")


_NAMED: tuple[Metric, ...] = (
    InfidelityMetric(),
    InfidelityMetric(SquareRemoval(), name="infidelity_square"),
    SensitivityMetric(),
    LocalisationMetric(),
    DeletionMetric(),
    InsertionMetric(),
    RoadMetric("morf"),
    RoadMetric("lerf"),
    ClassSensitivityMetric(),
    RecoveryMetric(),
    AgreementMetric(),
    IgnoredShareMetric(),
    CompletenessMetric(),
    RandomizationMetric(),
    SmoothRandomizationMetric(),
    EntropyMetric(),
)
METRICS = {name: metric for metric in _NAMED for name in metric.names}
"""The metric that gives each score that may be asked for by name."""
DEFAULT_METRICS = ("infidelity", "sensitivity_max")


def find_metrics(metrics: Iterable[str | Metric], *, n_perturb_samples: int = 10) -> list[Metric]:
    """Return the metrics that are meant; scores that come from one pass share a metric.

    Args:
        metrics: Names from :data:`METRICS`, or metrics with settings of their own.
        n_perturb_samples: Perturbations of each example, for those that are named.

    Raises:
        TypeError: for what is no metric.
        ValueError: for an unknown or repeated name.
    """
    asked = [metrics] if isinstance(metrics, str) else list(metrics)
    names = [metric for metric in asked if isinstance(metric, str)]
    found = [_checked(metric) for metric in asked if not isinstance(metric, str)]
    for name in names:
        if name not in METRICS:
            near = nearest(name, METRICS, otherwise=None)
            raise ValueError(f"no metric is called {name!r}{near}")
    found += [
        _with(metric, names=wanted, n_perturb_samples=n_perturb_samples)
        for metric in _NAMED
        if (wanted := tuple(name for name in metric.names if name in names))
    ]
    scores = [name for metric in found for name in metric.names]
    if twice := sorted({n for n in scores if names.count(n) > 1 or scores.count(n) > 1}):
        raise ValueError(f"two metrics are called {', '.join(twice)}: give each a name of its own")
    return found


def _with(metric: Any, **settings: Any) -> Metric:
    """Return ``metric`` with those of the settings that it has."""
    own = {field.name for field in dataclasses.fields(metric)}
    changed: Metric = dataclasses.replace(
        metric, **{name: value for name, value in settings.items() if name in own}
    )
    return changed


def _checked(metric: Any) -> Metric:
    """Return a metric that is not one of ours if it has the form of one."""
    has_form = callable(getattr(metric, "score", None)) and not isinstance(metric, type)
    if not (has_form and hasattr(metric, "names") and hasattr(metric, "higher_is_better")):
        raise TypeError(
            f"{metric!r} is no metric: give a name ({', '.join(METRICS)}) or an object that has "
            "names, higher_is_better and score(batch), such as InfidelityMetric(SquareRemoval())"
        )
    if isinstance(metric.names, str):
        raise TypeError(f"names of {metric!r} must be a tuple of names, not a string")
    checked: Metric = metric
    return checked
