"""Attribution methods by name, Captum's objects and functions, asked together; maps as floors."""

from typing import TYPE_CHECKING

from captum_guided_ext.methods._by_name import ALL_METHODS
from captum_guided_ext.methods._captum_methods import CAPTUM_METHODS
from captum_guided_ext.methods._fast_methods import FastMethods
from captum_guided_ext.methods._floors import BEST_CONSTANT, FLOORS, edges, floor_maps
from captum_guided_ext.methods._method_set import MethodSet
from captum_guided_ext.methods._method_specs import MethodSpec

if TYPE_CHECKING:
    from captum_guided_ext.methods._by_name import Method as Method
    from captum_guided_ext.methods._method_specs import Baselines as Baselines

__all__ = [
    "ALL_METHODS",
    "BEST_CONSTANT",
    "CAPTUM_METHODS",
    "FLOORS",
    "FastMethods",
    "MethodSet",
    "MethodSpec",
    "edges",
    "floor_maps",
]
