"""Deletion, insertion and ROAD with their settings, as ``compare`` and ``benchmark`` take them.

The settings say what stands in for what is removed. All read the softmax probability of the
explained class, and each place's relevance as the sum of its channels' signed attributions (see
:func:`captum_guided_ext.metrics.deletion`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from captum_guided_ext.evaluation._metric import Score, without_zero_maps
from captum_guided_ext.metrics import check_road, deletion, insertion, road
from captum_guided_ext.sampling import check_positive_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from captum_guided_ext.evaluation._metric import ScoredBatch


@dataclass(frozen=True)
class DeletionMetric:
    """Deletion with its settings (see :func:`captum_guided_ext.metrics.deletion`).

    Args:
        baseline: What removed places are replaced by, in the inputs' units. Default: 0, as in the
            code of Petsiuk et al. 2018.
        n_steps: In how many steps. Default: 30.
        name: The score's name. Default: "deletion".
    """

    baseline: float = 0.0
    n_steps: int = 30
    name: str = "deletion"
    higher_is_better: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_positive_count("n_steps", self.n_steps)

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the deletion of every method; none for a map that is zero everywhere."""
        settings = {"baselines": self.baseline, "n_steps": self.n_steps}
        return {self.name: _scores(deletion, batch, **settings)}


@dataclass(frozen=True)
class InsertionMetric:
    """Insertion with its settings (see :func:`captum_guided_ext.metrics.insertion`).

    Args:
        start: What is there before anything is shown: "blurred", the picture blurred by a Gaussian
            of 11 x 11 pixels and standard deviation 5, as in the code of Petsiuk et al. 2018; or a
            number in the inputs' units. Default: "blurred".
        n_steps: In how many steps everything is shown. Default: 30.
        name: The score's name. Default: "insertion".
    """

    start: float | Literal["blurred"] = "blurred"
    n_steps: int = 30
    name: str = "insertion"
    higher_is_better: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_positive_count("n_steps", self.n_steps)
        if isinstance(self.start, str) and self.start != "blurred":
            raise ValueError(f"start must be 'blurred' or a number, and is {self.start!r}")

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (self.name,)

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the insertion of every method; none for a map that is zero everywhere.

        Raises:
            ValueError: for inputs that cannot be blurred.
        """
        baselines = None if self.start == "blurred" else self.start
        return {self.name: _scores(insertion, batch, baselines=baselines, n_steps=self.n_steps)}


@dataclass(frozen=True)
class RoadMetric:
    """ROAD with its settings (see :func:`captum_guided_ext.metrics.road`).

    The mean probability with 10, 20, ... 90 % of the pixels replaced by noisy linear imputation
    (Rong et al. 2022). Its name is ``road_morf`` or ``road_lerf``.

    Args:
        order: "morf", the most relevant pixels are removed first, where low is best; or "lerf", the
            least relevant first, where high is best. Default: "morf".
        noise: Standard deviation of the imputation's noise, in the inputs' units. Default: 0.01.
    """

    order: Literal["morf", "lerf"] = "morf"
    noise: float = 0.01

    def __post_init__(self) -> None:
        check_road(self.order, self.noise)

    @property
    def names(self) -> tuple[str, ...]:
        """The score's name."""
        return (f"road_{self.order}",)

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher score is better."""
        return self.order == "lerf"

    def score(self, batch: ScoredBatch) -> dict[str, dict[str, Score]]:
        """Return the ROAD score of every method; none for a map that is zero everywhere.

        Raises:
            ValueError: for inputs that are no pictures (N, C, H, W).
        """
        return {self.names[0]: _scores(road, batch, order=self.order, noise=self.noise)}


def _scores(measure: Callable[..., Any], batch: ScoredBatch, **settings: Any) -> dict[str, Score]:
    found = measure(
        batch.model,
        batch.inputs,
        batch.maps,
        target=batch.target,
        additional_forward_args=batch.additional_forward_args,
        max_examples_per_batch=batch.max_examples_per_batch,
        seed=batch.seed,
        image_indices=batch.images,
        show_progress=batch.show_progress,
        **settings,
    )
    return without_zero_maps({name: Score(one) for name, one in found.items()}, batch)
