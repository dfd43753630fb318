"""Metrics of attributions, with the names and signatures of ``captum.metrics``."""

from captum_guided_ext.metrics._core.infidelity import (
    infidelity,
    infidelity_perturb_func_decorator,
)
from captum_guided_ext.metrics._core.infidelity import sample_infidelity as sample_infidelity
from captum_guided_ext.metrics._core.localisation import pointing_game, relevance_mass
from captum_guided_ext.metrics._core.localisation import strength as strength
from captum_guided_ext.metrics._core.removal import deletion, insertion
from captum_guided_ext.metrics._core.road import check_road as check_road
from captum_guided_ext.metrics._core.road import road
from captum_guided_ext.metrics._core.sensitivity import (
    Sensitivity,
    sensitivity,
    sensitivity_max,
    sensitivity_mean,
)
from captum_guided_ext.metrics._core.sensitivity import sample_sensitivity as sample_sensitivity
from captum_guided_ext.metrics.perturbations import (
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    SquareRemoval,
    UniformBall,
)

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = [
    "GaussianNoise",
    "NoisyBaseline",
    "Perturbation",
    "Sensitivity",
    "SquareRemoval",
    "UniformBall",
    "deletion",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "insertion",
    "pointing_game",
    "relevance_mass",
    "road",
    "sensitivity",
    "sensitivity_max",
    "sensitivity_mean",
]
