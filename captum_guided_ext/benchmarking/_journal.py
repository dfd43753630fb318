"""Results on disk as they come, so that a run that was killed goes on where it was.

``run.json`` holds the settings; ``rows-0.jsonl``, ``rows-1.jsonl``, ... one line for each finished
batch, written by one process each. A line that was cut off by a kill is dropped. A damaged one is
set aside, in ``damaged-0.jsonl``, ..., and its batch is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from captum_guided_ext.benchmarking._lines import (
    is_of_0_1_0,
    line_of,
    record_of,
    run_of,
    run_of_line,
    sort_out,
)
from captum_guided_ext.errors import DataError
from captum_guided_ext.output import remove_leftovers, sync_folder, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from captum_guided_ext.benchmarking._records import BatchRecord

_SETTINGS, _ROWS, _DAMAGED = "run.json", "rows-*.jsonl", "damaged-*.jsonl"
_FORMAT = 2
_IMPLIED = ("higher_is_better",)  # by metrics that differ: told last
_TOLD = 6  # of the changes
_LOCKED_BYTE = 2**30  # on Windows, where nobody can read a locked one: behind all lines
_ELSEWHERE = "Choose another folder, or empty this one"


def digest_of_settings(settings: Mapping[str, Any]) -> str:
    """Return what tells a run's settings from others'."""
    text = json.dumps({"format": _FORMAT, "settings": settings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def start_run(folder: Path, settings: Mapping[str, Any]) -> dict[int, BatchRecord]:
    """Make the folder of a run, or go on with the run that is in it.

    A folder without a row, and one whose ``run.json`` is lost or damaged, but whose rows are of
    these settings, gets a new ``run.json``.

    Args:
        folder: Where the results go.
        settings: All that decides what the rows are.

    Returns:
        What was recorded of each finished batch.

    Raises:
        DataError: if the folder holds a run with other settings, or cannot be written to.
    """
    wanted = json.loads(json.dumps(settings))
    file, run = folder / _SETTINGS, run_of(digest_of_settings(wanted))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _read_settings(file)
        runs = {one for line in _lines(folder) if (one := run_of_line(line)) is not None}
        if not runs <= {run}:
            raise _refusal(folder, found, wanted)
        if found != wanted:
            _refuse_if_in_use(folder)
            digest = digest_of_settings(wanted)
            content = {"format": _FORMAT, "digest": digest, "settings": wanted}
            write_whole(file, json.dumps(content, indent=2).encode())
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}") from error
    return {record.batch: record for record in _records(folder, run)}


def read_records(folder: Path) -> tuple[dict[str, Any], Iterator[BatchRecord]]:
    """Return the settings of the run in ``folder`` and its records, which are read as they come.

    Needs no right to write there. Of a damaged line there is no record.

    Raises:
        DataError: if there is no run, or it cannot be read; the records raise it as well.
    """
    file = folder / _SETTINGS
    try:
        settings = _read_settings(file)
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}") from error
    if settings is None:
        if not file.exists():
            raise DataError(f"{folder} holds no run: there is no {file}")
        if _has_settings_of_0_1_0(file):
            raise DataError(
                f"{folder} holds a run of version 0.1.0, which this one does not read: "
                "summary.json and scores.csv in it are whole, or run the benchmark again in "
                "another folder"
            )
        raise DataError(
            f"{file} is damaged: run the same benchmark again, which writes it anew and keeps the "
            "rows"
        )
    return settings, _records(folder, run_of(digest_of_settings(settings)))


def damaged_lines(folder: Path) -> int:
    """Return how many lines of the run in ``folder`` were set aside."""
    return sum(file.read_bytes().count(b"\n") for file in folder.glob(_DAMAGED))


def _read_settings(file: Path) -> dict[str, Any] | None:
    """Return a run's settings; None if there are none, or a bit of them has changed."""
    try:
        found = json.loads(file.read_bytes())
        settings = found["settings"]
        whole = found["format"] == _FORMAT and found["digest"] == digest_of_settings(settings)
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return dict(settings) if whole else None


def _has_settings_of_0_1_0(file: Path) -> bool:
    """Return whether these are settings as 0.1.0 wrote them: bare."""
    try:
        return "seed" in json.loads(file.read_bytes())
    except (ValueError, TypeError):
        return False


def _refusal(folder: Path, found: Any, wanted: Mapping[str, Any]) -> DataError:
    if found is None:
        return DataError(
            f"{folder} holds rows of other settings, and {_SETTINGS}, which said of which, is lost "
            f"or damaged. {_ELSEWHERE}"
        )
    if found == wanted:
        return DataError(f"{folder} holds rows of other settings than {_SETTINGS}. {_ELSEWHERE}")
    changed = in_words(changes(found, wanted))
    return DataError(f"{folder} holds rows of other settings: {changed}. {_ELSEWHERE}")


def in_words(changed: Sequence[str]) -> str:
    """Return some of the changes in one line, and how many more there are."""
    more = [f"and {len(changed) - _TOLD} more"] if len(changed) > _TOLD else []
    return "; ".join([*changed[:_TOLD], *more])


def changes(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Return what differs between two runs' settings, each in words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            change
            for key in sorted({*found, *wanted}, key=lambda key: (key in _IMPLIED, key))
            for change in changes(found.get(key), wanted.get(key), f"{name} {key}".strip())
        ]
    if found == wanted:
        return []
    was, now = ("missing" if value is None else value for value in (found, wanted))
    return [f"{name} was {was}, now it is {now}"]


def _lines(folder: Path) -> Iterator[bytes]:
    for file in sorted(folder.glob(_ROWS)):
        with file.open("rb") as lines:
            for line in lines:
                if is_of_0_1_0(line):
                    raise DataError(
                        f"{folder} holds rows that version 0.1.0 wrote, without checksums. "
                        f"{_ELSEWHERE}"
                    )
                yield line


def _records(folder: Path, run: str) -> Iterator[BatchRecord]:
    seen: set[int] = set()
    try:
        for line in _lines(folder):
            if run_of_line(line) == run:
                record = record_of(line)
                if record.batch not in seen:
                    seen.add(record.batch)
                    yield record
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the rows in {folder} cannot be read ({error}): empty it") from error


def _refuse_if_in_use(folder: Path) -> None:
    for file in folder.glob(_ROWS):
        with file.open("rb") as opened:
            if not _lock(opened.fileno()):
                raise _in_use(file)


class Journal:
    """Appends what one process finds to the run in ``folder``.

    Args:
        folder: Where the results go; made if it is not there.
        part: The process's number.
        settings: The run's.

    Raises:
        DataError: if another process is writing there, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, part: int, settings: Mapping[str, Any]) -> None:
        self._file = folder / f"rows-{part}.jsonl"
        self._run = run_of(digest_of_settings(settings))
        self._descriptor = -1
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = _open(self._file)
            self._lock()
            if part == 0:  # under its lock nobody else is writing the files of the results
                remove_leftovers(folder)
            self._keep_whole_lines(folder / f"damaged-{part}.jsonl")
            sync_folder(folder)
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                reason = error.strerror
                raise DataError(f"{self._file} cannot be written to: {reason}") from error
            raise

    def _lock(self) -> None:
        free = _lock(self._descriptor)
        # Whoever sets lines aside puts another file in the place of this one.
        if not free or os.fstat(self._descriptor).st_ino != self._file.stat().st_ino:
            raise _in_use(self._file)

    def _keep_whole_lines(self, aside: Path) -> None:
        temporary = self._file.with_name(f".{self._file.name}.mended")
        temporary.unlink(missing_ok=True)
        with self._file.open("rb") as lines:
            kept, damaged = sort_out(lines, self._run)
        if not damaged:
            os.truncate(self._descriptor, sum(map(len, kept)))
            return
        with aside.open("ab") as file:
            _write(file.fileno(), b"".join(damaged))
        if sys.platform == "win32":  # nothing takes the place of a file that is open
            os.truncate(self._descriptor, 0)
            _write(self._descriptor, b"".join(kept))
            return
        other = _open(temporary)
        try:
            _lock(other)
            _write(other, b"".join(kept))
            temporary.replace(self._file)
        except BaseException:
            os.close(other)
            temporary.unlink(missing_ok=True)
            raise
        self.close()
        self._descriptor = other

    def append(self, record: BatchRecord) -> None:
        """Write the record of one batch, and wait until it is on the disk.

        Raises:
            DataError: if it cannot be written; what was written before stays.
        """
        try:
            _write(self._descriptor, line_of(record, self._run))
        except OSError as error:
            raise DataError(
                f"{self._file} cannot be written to ({error.strerror}): the finished rows are "
                "kept; make room and run the same command again to go on"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def mend_parts(folder: Path, settings: Mapping[str, Any], *, after: int) -> None:
    """Set damaged lines aside in parts that no process of this run writes: from ``after`` on."""
    for file in folder.glob(_ROWS):
        number = file.stem.removeprefix("rows-")
        if number.isdecimal() and int(number) >= after:
            Journal(folder, int(number), settings).close()


def _open(file: Path) -> int:
    as_written = getattr(os, "O_BINARY", 0)  # Windows would write another end of line
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | as_written, 0o644)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)


def _lock(descriptor: int) -> bool:
    """Lock a file that is open; return whether nobody else holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _in_use(file: Path) -> DataError:
    return DataError(f"another process is writing to {file}: wait for it")
