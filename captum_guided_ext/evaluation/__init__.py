"""Methods and metrics, and several of both on one batch."""

from typing import TYPE_CHECKING

from captum_guided_ext.evaluation._captum_methods import CAPTUM_METHODS
from captum_guided_ext.evaluation._compare import compare
from captum_guided_ext.evaluation._compare import compare_methods as compare_methods
from captum_guided_ext.evaluation._comparison import Comparison
from captum_guided_ext.evaluation._floors import BEST_CONSTANT as BEST_CONSTANT
from captum_guided_ext.evaluation._floors import FLOORS as FLOORS
from captum_guided_ext.evaluation._method_specs import MethodSpec
from captum_guided_ext.evaluation._methods import MethodSet as MethodSet
from captum_guided_ext.evaluation._metric import Metric, Score, ScoredBatch
from captum_guided_ext.evaluation._metrics import (
    DEFAULT_METRICS,
    METRICS,
    InfidelityMetric,
    LocalisationMetric,
    SensitivityMetric,
)
from captum_guided_ext.evaluation._metrics import find_metrics as find_metrics
from captum_guided_ext.evaluation._removal_metrics import (
    DeletionMetric,
    InsertionMetric,
    RoadMetric,
)
from captum_guided_ext.evaluation._rows import COLUMNS as COLUMNS
from captum_guided_ext.evaluation._rows import ScoreRow as ScoreRow

if TYPE_CHECKING:
    from captum_guided_ext.evaluation._methods import Method as Method

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = [
    "CAPTUM_METHODS",
    "DEFAULT_METRICS",
    "METRICS",
    "Comparison",
    "DeletionMetric",
    "InfidelityMetric",
    "InsertionMetric",
    "LocalisationMetric",
    "MethodSpec",
    "Metric",
    "RoadMetric",
    "Score",
    "ScoredBatch",
    "SensitivityMetric",
    "compare",
]
