"""What metrics and evaluation draw on: random numbers by purpose, chunks, intervals."""

from captum_guided_ext.sampling._chunks import (
    check_positive_count,
    per_sample,
    summed,
    widened,
)
from captum_guided_ext.sampling._draws import Draws, a_seed, find_draws, seeded_globally
from captum_guided_ext.sampling._intervals import (
    mean_interval,
    mean_standard_error,
    resampled_interval,
)
from captum_guided_ext.sampling._pairs import FEWEST, Differences, all_pairs
from captum_guided_ext.sampling._rows import RowByRow, joined, of_row, of_rows

__all__ = [
    "FEWEST",
    "Differences",
    "Draws",
    "RowByRow",
    "a_seed",
    "all_pairs",
    "check_positive_count",
    "find_draws",
    "joined",
    "mean_interval",
    "mean_standard_error",
    "of_row",
    "of_rows",
    "per_sample",
    "resampled_interval",
    "seeded_globally",
    "summed",
    "widened",
]
