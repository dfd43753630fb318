"""Writing files whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_leftovers", "write_whole"]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees all of it or the one that was there before."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left behind."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
