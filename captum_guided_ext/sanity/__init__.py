"""How far maps can be trusted: randomised networks, other classes, the picture itself."""

from captum_guided_ext.sanity._names import CHECKS as CHECKS
from captum_guided_ext.sanity._result import Sanity, SanityRow
from captum_guided_ext.sanity._sanity import sanity

# Names in ``__all__`` are for users; the others, for the rooms above.
__all__ = ["Sanity", "SanityRow", "sanity"]
