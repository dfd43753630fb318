"""Metrics with their settings, and several methods under them on one batch."""

from captum_guided_ext.evaluation._compare import compare
from captum_guided_ext.evaluation._compare import compare_methods as compare_methods
from captum_guided_ext.evaluation._comparison import Comparison
from captum_guided_ext.evaluation._metric import Metric, Score, ScoredBatch
from captum_guided_ext.evaluation._metrics import (
    DEFAULT_METRICS,
    METRICS,
    InfidelityMetric,
    LocalisationMetric,
    SensitivityMetric,
)
from captum_guided_ext.evaluation._metrics import find_metrics as find_metrics
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
from captum_guided_ext.evaluation._rows import COLUMNS as COLUMNS
from captum_guided_ext.evaluation._rows import ScoreRow as ScoreRow
from captum_guided_ext.evaluation._sanity_metrics import (
    AgreementMetric,
    ClassSensitivityMetric,
    CompletenessMetric,
    IgnoredShareMetric,
    RecoveryMetric,
)
from captum_guided_ext.methods import CAPTUM_METHODS, MethodSpec

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = [
    "CAPTUM_METHODS",
    "DEFAULT_METRICS",
    "METRICS",
    "AgreementMetric",
    "ClassSensitivityMetric",
    "Comparison",
    "CompletenessMetric",
    "DeletionMetric",
    "EntropyMetric",
    "IgnoredShareMetric",
    "InfidelityMetric",
    "InsertionMetric",
    "LocalisationMetric",
    "MethodSpec",
    "Metric",
    "RandomizationMetric",
    "RecoveryMetric",
    "RoadMetric",
    "Score",
    "ScoredBatch",
    "SensitivityMetric",
    "SmoothRandomizationMetric",
    "compare",
]
