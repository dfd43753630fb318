"""Captum's private helpers, looked up here and nowhere else.

When Captum moves one of them, this is the one file to change. Until then the package can be
imported, and what needs the helper says that this Captum is too new.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import captum
from captum.log import log_usage

from captum_guided_ext.errors import CaptumVersionError

if TYPE_CHECKING:
    from captum._utils.typing import BaselineType, TargetType
else:
    BaselineType = TargetType = Any

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

_NEWEST = "0.9"  # that these helpers were looked up in


class _Missing:
    """Stands in for a helper; whoever calls it, reads from it or asks for its kind is told."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise CaptumVersionError(
            f"captum {captum.__version__} has no {self._name}, which is needed here: this Captum "
            f'is too new for captum_guided_ext; pip install "captum=={_NEWEST}.*"'
        )

    __call__ = __instancecheck__ = _refuse

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # asked for by copy, inspect and the like
            raise AttributeError(name)
        self._refuse()


def _helper(module: str, name: str) -> Any:
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return _Missing(f"{module}.{name}")


_COMMON = "captum._utils.common"
ExpansionTypes = _helper(_COMMON, "ExpansionTypes")
expand_additional_forward_args = _helper(_COMMON, "_expand_additional_forward_args")
expand_and_update_additional_forward_args = _helper(
    _COMMON, "_expand_and_update_additional_forward_args"
)
expand_and_update_baselines = _helper(_COMMON, "_expand_and_update_baselines")
expand_and_update_target = _helper(_COMMON, "_expand_and_update_target")
expand_target = _helper(_COMMON, "_expand_target")
format_additional_forward_args = _helper(_COMMON, "_format_additional_forward_args")
format_baseline = _helper(_COMMON, "_format_baseline")
format_output = _helper(_COMMON, "_format_output")
format_tensor_into_tuples = _helper(_COMMON, "_format_tensor_into_tuples")
is_tuple = _helper(_COMMON, "_is_tuple")
reduce_list = _helper(_COMMON, "_reduce_list")
run_forward = _helper(_COMMON, "_run_forward")
safe_div = _helper(_COMMON, "safe_div")
select_neuron = _helper(_COMMON, "_verify_select_neuron")
select_targets = _helper(_COMMON, "_select_targets")
sort_key_list = _helper(_COMMON, "_sort_key_list")
progress = _helper("captum._utils.progress", "progress")
InternalAttribution = _helper("captum.attr._utils.attribution", "InternalAttribution")
divide_and_aggregate_metrics = _helper(
    "captum.metrics._utils.batching", "_divide_and_aggregate_metrics"
)
