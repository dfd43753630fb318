"""Metrics with their settings, as ``compare`` and ``benchmark`` take them.

======================  =====  ==================================================================
name                    best   what it is
======================  =====  ==================================================================
``infidelity``          low    optimally scaled infidelity under a noisy baseline (Yeh et al. 2019)
``infidelity_square``   low    the same under the removal of squares
``sensitivity_max``     low    the largest change under noise in an L-infinity ball (the same)
``sensitivity_mean``    low    the mean change under the same noise
``relevance_mass``      high   the share of the attribution inside the object (Arras et al. 2022)
``pointing_game``       high   whether its largest value is inside the object (Zhang et al. 2018)
======================  =====  ==================================================================
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from captum_guided_ext.errors import nearest
from captum_guided_ext.metrics._core.infidelity import sample_infidelity
from captum_guided_ext.metrics._core.sensitivity import sample_sensitivity
from captum_guided_ext.metrics._utils.perturbed import check_positive_count
from captum_guided_ext.metrics.perturbations import NoisyBaseline, SquareRemoval, UniformBall
from captum_guided_ext.pictures._regions import region_shares, strength
from captum_guided_ext.sampling._draws import Draws

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from captum_guided_ext._captum import TargetType
    from captum_guided_ext.evaluation._methods import MethodSet

__all__ = [
    "METRICS",
    "InfidelityMetric",
    "LocalisationMetric",
    "Metric",
    "Score",
    "ScoredBatch",
    "SensitivityMetric",
    "find_metrics",
]


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


@dataclass(frozen=True)
class InfidelityMetric:
    """Infidelity with its settings (see :func:`captum_guided_ext.metrics.infidelity`).

    A Grad-CAM has one channel and no colours: its map, laid over the input, counts alike for every
    channel. Its infidelity therefore says how well one number per place predicts what the
    perturbation of all channels there does; it is not made for that.

    Args:
        perturbation: How inputs are perturbed. Default: a noisy baseline.
        n_perturb_samples: Perturbations of each example. Default: 10.
        normalize: Scale each attribution optimally before it is scored, as the authors' code does,
            so that methods are not compared by their units. Such a score has an interval by
            resampling instead of a standard error. Default: True.
        name: The score's name. Default: "infidelity".
    """

    perturbation: Callable[..., Any] = field(default_factory=NoisyBaseline)
    n_perturb_samples: int = 10
    normalize: bool = True
    name: str = "infidelity"

    def __post_init__(self) -> None:
        check_positive_count("n_perturb_samples", self.n_perturb_samples)

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    @property
    def higher_is_better(self) -> bool:
        """False."""
        return False

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the infidelity of every method, from the same perturbed inputs."""
        samples = sample_infidelity(
            batch.methods.model,
            self.perturbation,
            (batch.inputs,),
            {method: (one,) for method, one in batch.maps.items()},
            baselines=None,
            additional_forward_args=batch.additional_forward_args,
            target=batch.target,
            n_perturb_samples=self.n_perturb_samples,
            max_examples_per_batch=batch.max_examples_per_batch,
            multiplied=batch.methods.multiplied_by_inputs,
            draws=batch.draws(self.name),
            show_progress=batch.show_progress,
            scores=batch.scores,
        )
        found = {}
        for method, one in samples.items():
            error, interval = None, None
            if self.normalize:
                interval = one.interval(normalize=True)
            else:
                error = one.standard_error()
            found[method] = Score(one.infidelity(normalize=self.normalize), error, interval)
        return {self.name: found}


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

    def __post_init__(self) -> None:
        check_positive_count("n_perturb_samples", self.n_perturb_samples)
        if not self.names or set(self.names) - {"sensitivity_max", "sensitivity_mean"}:
            raise ValueError(
                f"names must be of sensitivity_max and sensitivity_mean, and are {self.names}"
            )

    @property
    def higher_is_better(self) -> bool:
        """False."""
        return False

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the sensitivity of every method, from the same perturbed inputs."""
        found = sample_sensitivity(
            batch.explain,
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
        scores = {
            "sensitivity_max": {m: Score(one.maximum) for m, one in found.items()},
            "sensitivity_mean": {
                m: Score(one.mean, one.standard_error) for m, one in found.items()
            },
        }
        return {name: scores[name] for name in self.names}


@dataclass(frozen=True)
class LocalisationMetric:
    """Whether the attribution lies on the object, where it is known where that is.

    A place counts with the sum of its channels' absolute values. A map that is zero everywhere
    scores 0. Among several places of the largest value, the pointing game's hit is the share of
    them that is inside. It has no margin around the object (the paper's had 15 pixels).

    Args:
        names: Which scores are wanted, of "relevance_mass" (Arras et al. 2022, arXiv:2003.07258)
            and "pointing_game" (Zhang et al. 2018, arXiv:1608.00507). Default: both.
    """

    names: tuple[str, ...] = ("relevance_mass", "pointing_game")

    @property
    def higher_is_better(self) -> bool:
        """True."""
        return True

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return both scores of every method.

        Raises:
            ValueError: if there are no masks, or of another size.
        """
        if batch.masks is None:
            raise ValueError(
                f"{' and '.join(self.names)} need masks of the object, and there are none"
            )
        measures = {"relevance_mass": _relevance_mass, "pointing_game": _pointing_game}
        return {
            name: {
                method: Score(
                    torch.tensor(
                        [
                            measures[name](one, mask)
                            for one, mask in zip(maps, batch.masks, strict=True)
                        ]
                    )
                )
                for method, maps in batch.maps.items()
            }
            for name in self.names
        }


def _relevance_mass(attribution: Tensor, mask: Tensor) -> float:
    (share,) = region_shares(attribution, {"object": mask})
    return share.attribution


def _pointing_game(attribution: Tensor, mask: Tensor) -> float:
    values = strength(attribution)
    if not values.any():
        return 0.0
    return float(mask.cpu().numpy().astype(bool)[values == values.max()].mean())


METRICS = (
    "infidelity",
    "infidelity_square",
    "sensitivity_max",
    "sensitivity_mean",
    "relevance_mass",
    "pointing_game",
)


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
            near = nearest(name, METRICS) or f"; choose from {', '.join(METRICS)}"
            raise ValueError(f"no metric is called {name!r}{near}")
    if "infidelity" in names:
        found.append(InfidelityMetric(NoisyBaseline(), n_perturb_samples))
    if "infidelity_square" in names:
        square = InfidelityMetric(SquareRemoval(), n_perturb_samples, name="infidelity_square")
        found.append(square)
    if changes := tuple(name for name in METRICS[2:4] if name in names):
        found.append(SensitivityMetric(UniformBall(), n_perturb_samples, names=changes))
    if places := tuple(name for name in METRICS[4:] if name in names):
        found.append(LocalisationMetric(places))
    scores = [name for metric in found for name in metric.names]
    if twice := sorted({n for n in scores if names.count(n) > 1 or scores.count(n) > 1}):
        raise ValueError(f"two metrics are called {', '.join(twice)}: give each a name of its own")
    return found


def _checked(metric: Any) -> Metric:
    if not (hasattr(metric, "names") and callable(getattr(metric, "score", None))):
        raise TypeError(
            f"{metric!r} is no metric: give a name ({', '.join(METRICS)}) or an object such as "
            "InfidelityMetric(SquareRemoval())"
        )
    checked: Metric = metric
    return checked
