"""Captum's private helpers, imported here and nowhere else.

When Captum moves one of them, this is the one file to change.
"""

from captum._utils.common import ExpansionTypes, safe_div
from captum._utils.common import (
    _expand_additional_forward_args as expand_additional_forward_args,
)
from captum._utils.common import (
    _expand_and_update_additional_forward_args as expand_and_update_additional_forward_args,
)
from captum._utils.common import _expand_and_update_baselines as expand_and_update_baselines
from captum._utils.common import _expand_and_update_target as expand_and_update_target
from captum._utils.common import _expand_target as expand_target
from captum._utils.common import (
    _format_additional_forward_args as format_additional_forward_args,
)
from captum._utils.common import _format_baseline as format_baseline
from captum._utils.common import _format_output as format_output
from captum._utils.common import _format_tensor_into_tuples as format_tensor_into_tuples
from captum._utils.common import _is_tuple as is_tuple
from captum._utils.common import _reduce_list as reduce_list
from captum._utils.common import _run_forward as run_forward
from captum._utils.common import _select_targets as select_targets
from captum._utils.common import _sort_key_list as sort_key_list
from captum._utils.common import _verify_select_neuron as select_neuron
from captum._utils.progress import progress
from captum._utils.typing import BaselineType, TargetType
from captum.attr._utils.attribution import InternalAttribution
from captum.log import log_usage
from captum.metrics._utils.batching import (
    _divide_and_aggregate_metrics as divide_and_aggregate_metrics,
)

__all__ = [
    "BaselineType",
    "ExpansionTypes",
    "InternalAttribution",
    "TargetType",
    "divide_and_aggregate_metrics",
    "expand_additional_forward_args",
    "expand_and_update_additional_forward_args",
    "expand_and_update_baselines",
    "expand_and_update_target",
    "expand_target",
    "format_additional_forward_args",
    "format_baseline",
    "format_output",
    "format_tensor_into_tuples",
    "is_tuple",
    "log_usage",
    "progress",
    "reduce_list",
    "run_forward",
    "safe_div",
    "select_neuron",
    "select_targets",
    "sort_key_list",
]
