"""Writing files whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from captum_guided_ext.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


def write_whole(path: Path, content: bytes | Iterable[bytes]) -> None:
    """Write a file so that a reader sees all of it or the one that was there before.

    It is on the disk when this returns.

    Args:
        path: The file.
        content: Its bytes; of a large one in pieces.

    Raises:
        OSError: if it cannot be written to, or is no regular file: a pipe, or ``/dev/null``, would
            be gone.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "it is no regular file")
    temporary = path.with_name(f".{path.name}.{platform.node()}-{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk, where the system can say so."""
    with suppress(OSError):  # not every system opens a folder, nor every file system syncs one
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def writable_folder(path: Path) -> Iterator[Path]:
    """Make a folder before any work is done; take a new one away if nothing was written to it.

    Raises:
        DataError: if it cannot be made or written to.
    """
    new = [one for one in (path, *path.parents) if not one.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # of another process that tries at the same time, too
    except OSError as error:
        raise DataError(f"{path} cannot be written to: {error.strerror}") from None
    try:
        yield path
    finally:
        for made in new:  # the innermost first; what holds something, or is gone, stays as it is
            with suppress(OSError):
                made.rmdir()


def write_files(
    folder: Path, files: Mapping[str, bytes | Iterable[bytes] | None]
) -> tuple[Path, ...]:
    """Write files, by name, to a folder that is made if it is not there; each whole or not at all.

    Args:
        folder: The folder.
        files: What is in them; None for one that is there already, as it should be.

    Returns:
        The files.

    Raises:
        DataError: if the folder, or one of them, cannot be written to.
    """
    with writable_folder(folder):
        for name, content in files.items():
            if content is None:
                continue
            try:
                write_whole(folder / name, content)
            except OSError as error:
                raise DataError(
                    f"{folder / name} cannot be written to: {error.strerror}"
                ) from error
    return tuple(folder / name for name in files)


def remove_leftovers(folder: Path) -> None:
    """Remove what a process that was killed while it wrote a file whole has left behind."""
    for leftover in folder.glob(".*.part"):
        leftover.unlink(missing_ok=True)
