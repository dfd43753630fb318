"""Methods compared on a batch, and benchmarked on a data set."""

from captum_guided_ext.evaluation._benchmark import benchmark
from captum_guided_ext.evaluation._benchmark_result import Benchmark
from captum_guided_ext.evaluation._captum_methods import CAPTUM_METHODS
from captum_guided_ext.evaluation._compare import compare
from captum_guided_ext.evaluation._comparison import Comparison
from captum_guided_ext.evaluation._method_specs import MethodSpec
from captum_guided_ext.evaluation._metric import Metric, Score, ScoredBatch
from captum_guided_ext.evaluation._metrics import (
    DEFAULT_METRICS,
    METRICS,
    InfidelityMetric,
    LocalisationMetric,
    SensitivityMetric,
)
from captum_guided_ext.evaluation._processes import local_rank
from captum_guided_ext.evaluation._removal_metrics import (
    DeletionMetric,
    InsertionMetric,
    RoadMetric,
)
from captum_guided_ext.evaluation._summarize import summarize

__all__ = [
    "CAPTUM_METHODS",
    "DEFAULT_METRICS",
    "METRICS",
    "Benchmark",
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
    "benchmark",
    "compare",
    "local_rank",
    "summarize",
]
