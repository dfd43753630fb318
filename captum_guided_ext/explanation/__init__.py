"""One prediction explained: its maps, the regions that carry them, and their limits."""

from captum_guided_ext.explanation._explain import DEFAULT_METHODS, explain
from captum_guided_ext.explanation._explanation import Explanation
from captum_guided_ext.explanation._explanations import Explanations
from captum_guided_ext.explanation._photos import Explained, explain_photos
from captum_guided_ext.explanation._shares import RegionShare, region_shares

__all__ = [
    "DEFAULT_METHODS",
    "Explained",
    "Explanation",
    "Explanations",
    "RegionShare",
    "explain",
    "explain_photos",
    "region_shares",
]
