"""Captum's private helpers, imported here and nowhere else.

When Captum moves one of them, this is the one file to change.
"""

from captum._utils.common import (
    _format_additional_forward_args as format_additional_forward_args,
)
from captum._utils.common import _format_output as format_output
from captum._utils.common import _format_tensor_into_tuples as format_tensor_into_tuples
from captum._utils.common import _is_tuple as is_tuple
from captum._utils.common import _reduce_list as reduce_list
from captum._utils.common import _run_forward as run_forward
from captum._utils.common import _select_targets as select_targets
from captum._utils.common import _sort_key_list as sort_key_list
from captum._utils.common import _verify_select_neuron as select_neuron
from captum._utils.typing import TargetType
from captum.attr._utils.attribution import InternalAttribution
from captum.log import log_usage

__all__ = [
    "InternalAttribution",
    "TargetType",
    "format_additional_forward_args",
    "format_output",
    "format_tensor_into_tuples",
    "is_tuple",
    "log_usage",
    "reduce_list",
    "run_forward",
    "select_neuron",
    "select_targets",
    "sort_key_list",
]
