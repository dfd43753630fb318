"""The numbers of the sanity checks, each with the interval that the pictures and draws allow."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from captum_guided_ext.sampling import FEWEST, mean_interval
from captum_guided_ext.sanity._names import OTHER_CLASS, RANDOM_MAP, Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from captum_guided_ext.benchmarking import Scores

    Floats = npt.NDArray[np.float64]

RANKS, SSIM = "randomization_spearman_abs", "randomization_ssim"


@dataclass(frozen=True)
class Number:
    """A mean over pictures and draws.

    From ten pictures on the interval is over pictures like these, for these draws. Of fewer it is
    over draws, for these pictures; what needs no draw is exact for them.

    Attributes:
        mean: The mean.
        low: Lower end of its 95 % interval; None where there is none: of a single draw.
        high: The upper end.
    """

    mean: float
    low: float | None
    high: float | None

    def is_at_least(self, threshold: float) -> bool:
        """Whether its interval lies at or above."""
        return self.low is not None and self.low >= threshold

    def is_below(self, threshold: float) -> bool:
        """Whether its interval lies below."""
        return self.high is not None and self.high < threshold

    def is_far(self, threshold: float) -> bool:
        """Whether its interval lies at or beyond the threshold, or its negative."""
        return self.is_at_least(threshold) or (self.high is not None and self.high <= -threshold)

    def is_near(self, threshold: float) -> bool:
        """Whether its interval lies between the threshold and its negative."""
        return self.is_below(threshold) and self.low is not None and self.low > -threshold

    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold."""
        return vars(self)


def number_of(values: Floats, *, is_drawn: bool) -> Number | None:
    """Return the mean of values, (draws, pictures), with its interval; None where there are none.

    Those that are NaN count for nothing: a network with random weights may have a map that is zero
    everywhere, say.
    """
    given = values[~np.isnan(values).all(axis=1)][:, ~np.isnan(values).all(axis=0)]
    if not given.size:
        return None
    over_draws = np.nanmean(given, axis=0)
    mean = float(over_draws.mean())
    if given.shape[1] >= FEWEST:
        interval = mean_interval(over_draws)
    elif is_drawn:  # pictures that lack different draws are not compared
        interval = None if np.isnan(given).any() else mean_interval(given.mean(axis=1))
    else:
        interval = mean, mean
    low, high = interval or (None, None)
    if low is not None and high is not None and np.nanmax(np.abs(given)) <= 1:  # correlations
        low, high = max(low, -1.0), min(high, 1.0)
    return Number(mean, low, high)


@dataclass(frozen=True)
class Line:
    """The numbers of one method; None for what it has not.

    Attributes:
        method: The method's name.
        ranks: Rank correlation of magnitudes with the map of the network as it was, step by step
            as layer after layer is randomised from the output down.
        ssim: Structural similarity, likewise.
        random_ranks: Rank correlation with a random map: its own values, shuffled.
        random_ssim: Structural similarity with it.
        smooth: As ``ranks``, of maps averaged over noisy inputs, at a few steps.
        entropy: How much the map's entropy rises when all layers are random, relative to before.
        class_sensitivity: Rank correlation with the map for another class.
        input_recovery: Correlation with the picture.
        edge_recovery: Correlation of its magnitudes with the picture's edges.
        agreement: Mean rank correlation with the other methods.
    """

    method: str
    ranks: tuple[Number | None, ...]
    ssim: tuple[Number | None, ...]
    random_ranks: Number | None
    random_ssim: Number | None
    smooth: tuple[Number | None, ...]
    entropy: Number | None
    class_sensitivity: Number | None
    input_recovery: Number | None
    edge_recovery: Number | None
    agreement: Number | None

    @property
    def has_a_map(self) -> bool:
        """Whether there is any number at all."""
        return any(one for one in vars(self).values() if isinstance(one, Number))

    def to_dict(self) -> dict[str, Any]:
        """Return it as data that JSON can hold."""
        return {name: _plain(value) for name, value in vars(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.to_dict() if isinstance(value, Number) else value


@dataclass(frozen=True)
class Numbers:
    """Where the numbers of a run are found.

    Attributes:
        scores: Of all pictures.
        methods: The names of the methods, in order.
        layers: Those that are randomised, in order: the last one first.
        smooth_layers: Those of them after which smoothed maps are compared.
        draws: How many there are.
    """

    scores: Scores
    methods: Sequence[str]
    layers: Sequence[str]
    smooth_layers: Sequence[str]
    draws: int

    def lines(self) -> tuple[Line, ...]:
        """Return the numbers of each method."""
        return tuple(map(self._line, self.methods))

    def agreement(self) -> dict[tuple[str, str], Number]:
        """Return the rank correlation of each two methods that both have a map."""
        found = {
            (one, other): self._number(one, [Name("agreement", other)], is_drawn=False)
            for one, other in combinations(self.methods, 2)
        }
        return {pair: number for pair, number in found.items() if number is not None}

    def over_layers(self, check: str, method: str) -> Floats:
        """Return the mean over the layers, (draws, pictures); NaN where a layer lacks one."""
        steps = [self._values(method, self._names(check, layer=layer)) for layer in self.layers]
        found: Floats = np.mean(steps, axis=0)
        return found

    def other_classes(self) -> set[int]:
        """Return which classes the explained ones were compared with."""
        found = [self._values(method, [Name(OTHER_CLASS)]) for method in self.methods]
        return {int(value) for values in found for value in values.flat if not np.isnan(value)}

    def _line(self, method: str) -> Line:
        def drawn(check: str, **of: str) -> Number | None:
            return self._number(method, self._names(check, **of), is_drawn=True)

        def exact(check: str) -> Number | None:
            return self._number(method, [Name(check)], is_drawn=False)

        return Line(
            method,
            tuple(drawn(RANKS, layer=layer) for layer in self.layers),
            tuple(drawn(SSIM, layer=layer) for layer in self.layers),
            drawn(RANKS, other=RANDOM_MAP),
            drawn(SSIM, other=RANDOM_MAP),
            tuple(
                self._number(method, [Name("randomization_smooth", "", layer, 0)], is_drawn=True)
                for layer in self.smooth_layers
            ),
            drawn("randomization_entropy", layer=self.layers[-1]),
            exact("class_sensitivity"),
            exact("input_recovery"),
            exact("edge_recovery"),
            self._mean_agreement(method),
        )

    def _mean_agreement(self, method: str) -> Number | None:
        """Return that with the other methods that have a map."""
        names = [Name("agreement", one) for one in self.methods if one != method]
        return self._number(method, names, is_drawn=False) if names else None

    def _names(self, check: str, **of: str) -> list[Name]:
        return [Name(check, **of, draw=draw) for draw in range(self.draws)]

    def _number(self, method: str, names: Iterable[Name], *, is_drawn: bool) -> Number | None:
        return number_of(self._values(method, names), is_drawn=is_drawn)

    def _values(self, method: str, names: Iterable[Name]) -> Floats:
        nothing = np.full(len(self.scores.images), np.nan)
        series = [self.scores.series.get((str(name), method)) for name in names]
        return np.array([nothing if one is None else one.values for one in series])
