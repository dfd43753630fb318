"""Metrics of attributions, with the names and signatures of ``captum.metrics``."""

from captum_guided_ext.metrics._core.infidelity import (
    infidelity,
    infidelity_perturb_func_decorator,
)
from captum_guided_ext.metrics._core.sensitivity import (
    Sensitivity,
    sensitivity,
    sensitivity_max,
    sensitivity_mean,
)
from captum_guided_ext.metrics.perturbations import (
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    SquareRemoval,
    UniformBall,
)

__all__ = [
    "GaussianNoise",
    "NoisyBaseline",
    "Perturbation",
    "Sensitivity",
    "SquareRemoval",
    "UniformBall",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "sensitivity",
    "sensitivity_max",
    "sensitivity_mean",
]
