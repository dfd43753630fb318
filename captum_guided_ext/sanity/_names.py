"""What each number of the sanity checks is called, in the journal and in the rows."""

from __future__ import annotations

import json
from typing import NamedTuple

CHECKS = (
    "randomization_spearman",
    "randomization_spearman_abs",
    "randomization_ssim",
    "randomization_smooth",
    "randomization_entropy",
    "class_sensitivity",
    "input_recovery",
    "edge_recovery",
    "agreement",
)
"""The checks, in the order of the rows."""
MEASURES = {
    "spearman": "randomization_spearman",
    "spearman_abs": "randomization_spearman_abs",
    "ssim": "randomization_ssim",
}
"""The check that each measure of similarity is."""
RANDOM_MAP = "random_map"
OTHER_CLASS = "other_class"
"""No check: which class a picture's class was compared with."""


class Name(NamedTuple):
    """Which number of a picture and a method it is.

    Attributes:
        check: Of :data:`CHECKS`.
        other: What the method's map was compared with, where it is not its own: another method, or
            ``"random_map"``. (Another class is one for each picture, :data:`OTHER_CLASS`.)
        layer: The last layer that was randomised.
        draw: The number of the draw, from 0; None where nothing is drawn.
    """

    check: str
    other: str = ""
    layer: str = ""
    draw: int | None = None

    def __str__(self) -> str:
        """Return it as the name of a score, which :meth:`of` reads."""
        return json.dumps(list(self))

    @classmethod
    def of(cls, text: str) -> Name:
        """Return the name that a score has."""
        return cls(*json.loads(text))
