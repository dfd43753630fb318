"""One score of one method on one image, as a row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class ScoreRow:
    """One score of one method on one image.

    Attributes:
        image: The image's number.
        method: The method's name.
        metric: The metric's name.
        value: The score; None where there is none.
        standard_error: Its standard error, for means of samples that were drawn; else None.
        interval_low: Lower end of its 95 % interval by resampling its samples, for normalised
            scores; else None.
        interval_high: The upper end.
        reason: Why there is no score; empty where there is one.
    """

    image: int
    method: str
    metric: str
    value: float | None
    standard_error: float | None = None
    interval_low: float | None = None
    interval_high: float | None = None
    reason: str = ""


COLUMNS = tuple(column.name for column in dataclasses.fields(ScoreRow))
"""The names of a row's columns, in order."""
