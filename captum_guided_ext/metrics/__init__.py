"""Metrics of attributions, with the names and signatures of ``captum.metrics``."""

from captum_guided_ext.metrics._core.agreement import Agreement, agreement
from captum_guided_ext.metrics._core.class_sensitivity import ClassSensitivity, class_sensitivity
from captum_guided_ext.metrics._core.class_sensitivity import (
    sample_class_sensitivity as sample_class_sensitivity,
)
from captum_guided_ext.metrics._core.completeness import completeness_gap
from captum_guided_ext.metrics._core.completeness import gap_of as gap_of
from captum_guided_ext.metrics._core.completeness import scores_at as scores_at
from captum_guided_ext.metrics._core.entropy_rise import (
    EntropyRise,
    efficient_parameter_randomization,
)
from captum_guided_ext.metrics._core.entropy_rise import at_the_end as at_the_end
from captum_guided_ext.metrics._core.entropy_rise import sample_entropy_rise as sample_entropy_rise
from captum_guided_ext.metrics._core.ignored import IgnoredShare, ignored_share
from captum_guided_ext.metrics._core.ignored import each_alone as each_alone
from captum_guided_ext.metrics._core.ignored import shares_of as shares_of
from captum_guided_ext.metrics._core.infidelity import (
    infidelity,
    infidelity_perturb_func_decorator,
)
from captum_guided_ext.metrics._core.infidelity import infidelity_intervals as infidelity_intervals
from captum_guided_ext.metrics._core.infidelity import sample_infidelity as sample_infidelity
from captum_guided_ext.metrics._core.localisation import pointing_game, relevance_mass
from captum_guided_ext.metrics._core.localisation import strength as strength
from captum_guided_ext.metrics._core.randomization import (
    Randomization,
    parameter_randomization,
)
from captum_guided_ext.metrics._core.randomization import randomized_layers as randomized_layers
from captum_guided_ext.metrics._core.randomization import (
    sample_randomization as sample_randomization,
)
from captum_guided_ext.metrics._core.recovery import edge_recovery, input_recovery
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
from captum_guided_ext.metrics._core.smooth_randomization import smooth_parameter_randomization
from captum_guided_ext.metrics._utils.randomized_copy import Order as Order
from captum_guided_ext.metrics._utils.randomized_copy import RandomizedCopy as RandomizedCopy
from captum_guided_ext.metrics._utils.randomized_maps import Plan as Plan
from captum_guided_ext.metrics._utils.reinitialization import Reinitialization as Reinitialization
from captum_guided_ext.metrics._utils.similarity import rank_correlation as rank_correlation
from captum_guided_ext.metrics._utils.similarity import why_no_ssim as why_no_ssim
from captum_guided_ext.metrics.perturbations import (
    GaussianNoise,
    NoisyBaseline,
    Perturbation,
    SquareRemoval,
    UniformBall,
)

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = [
    "Agreement",
    "ClassSensitivity",
    "EntropyRise",
    "GaussianNoise",
    "IgnoredShare",
    "NoisyBaseline",
    "Perturbation",
    "Randomization",
    "Sensitivity",
    "SquareRemoval",
    "UniformBall",
    "agreement",
    "class_sensitivity",
    "completeness_gap",
    "deletion",
    "edge_recovery",
    "efficient_parameter_randomization",
    "ignored_share",
    "infidelity",
    "infidelity_perturb_func_decorator",
    "input_recovery",
    "insertion",
    "parameter_randomization",
    "pointing_game",
    "relevance_mass",
    "road",
    "sensitivity",
    "sensitivity_max",
    "sensitivity_mean",
    "smooth_parameter_randomization",
]
