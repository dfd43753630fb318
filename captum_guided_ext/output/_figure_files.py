"""Figures as files, the same bytes of the same figure."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What of a file would differ from one time to the next.
_METADATA: dict[str, dict[str, Any]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}

FORMATS = tuple(_METADATA)


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file, the same bytes each time; text in SVG and PDF stays text.

    Args:
        figure: The figure.
        kind: ``"png"``, of 150 dots an inch, ``"svg"`` or ``"pdf"``.

    Raises:
        ValueError: for another kind.
    """
    from matplotlib import rc_context  # noqa: PLC0415

    if kind not in _METADATA:
        near = nearest(kind, _METADATA, otherwise=None)
        raise ValueError(f"a figure cannot be written as {kind!r}{near}")
    content = BytesIO()
    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "captum_guided_ext",
        "pdf.fonttype": 42,
    }
    with rc_context(settings):
        figure.savefig(content, format=kind, dpi=150, metadata=_METADATA[kind])
    return content.getvalue()
