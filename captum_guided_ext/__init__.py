"""Guided backprop, deconvolution and Guided Grad-CAM, right on every network or it says so.

What is here, in ``attr``, ``metrics`` and ``demo`` is for users, and stays. Every other folder says
in its ``__init__`` what the folders above it take; ``examples/api.md`` lists the public names.
"""

from captum_guided_ext import _program  # noqa: F401 - first of all
from captum_guided_ext.attr import (
    Deconvolution,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    with_rule,
)
from captum_guided_ext.autograd import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    BackwardRule,
    ForwardPass,
    GuidedReLU,
    RectifierReport,
    rectifiers,
)
from captum_guided_ext.benchmarking import Benchmark, benchmark, summarize
from captum_guided_ext.errors import (
    CaptumGuidedError,
    CaptumVersionError,
    DataError,
    ModelError,
    NoRectifierError,
    OpaqueGraphError,
    OtherProcessError,
    TargetError,
)
from captum_guided_ext.evaluation import (
    AgreementMetric,
    ClassSensitivityMetric,
    Comparison,
    CompletenessMetric,
    DeletionMetric,
    EntropyMetric,
    IgnoredShareMetric,
    InfidelityMetric,
    InsertionMetric,
    LocalisationMetric,
    MethodSpec,
    Metric,
    RandomizationMetric,
    RecoveryMetric,
    RoadMetric,
    Score,
    ScoredBatch,
    SensitivityMetric,
    SmoothRandomizationMetric,
    compare,
)
from captum_guided_ext.explanation import Explanation, Explanations, explain
from captum_guided_ext.metrics import (
    infidelity,
    infidelity_perturb_func_decorator,
    sensitivity_max,
)
from captum_guided_ext.networks import Network, load_network
from captum_guided_ext.output import package_version
from captum_guided_ext.pictures import PictureDataset
from captum_guided_ext.sanity import Sanity, sanity

__version__ = package_version()

__all__ = [
    "DECONVNET",
    "GRADIENT",
    "GUIDED",
    "AgreementMetric",
    "BackwardRule",
    "Benchmark",
    "CaptumGuidedError",
    "CaptumVersionError",
    "ClassSensitivityMetric",
    "Comparison",
    "CompletenessMetric",
    "DataError",
    "Deconvolution",
    "DeletionMetric",
    "EntropyMetric",
    "Explanation",
    "Explanations",
    "ForwardPass",
    "GuidedBackprop",
    "GuidedGradCam",
    "GuidedReLU",
    "IgnoredShareMetric",
    "InfidelityMetric",
    "InsertionMetric",
    "LocalisationMetric",
    "MethodSpec",
    "Metric",
    "ModelError",
    "Network",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "NoRectifierError",
    "OpaqueGraphError",
    "OtherProcessError",
    "PictureDataset",
    "RandomizationMetric",
    "RecoveryMetric",
    "RectifierReport",
    "RoadMetric",
    "Sanity",
    "Score",
    "ScoredBatch",
    "SensitivityMetric",
    "SmoothRandomizationMetric",
    "TargetError",
    "benchmark",
    "compare",
    "explain",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "load_network",
    "rectifiers",
    "sanity",
    "sensitivity_max",
    "summarize",
    "with_rule",
]
