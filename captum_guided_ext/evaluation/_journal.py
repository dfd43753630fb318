"""Results on disk as they come, so that a run that was killed goes on where it was.

``run.json`` holds the settings; ``rows-0.jsonl``, ``rows-1.jsonl``, ... one line for each finished
batch, written by one process each. A line that was cut off by a kill is dropped.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation._records import BatchRecord
from captum_guided_ext.output import remove_leftovers, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_SETTINGS = "run.json"


def start_run(folder: Path, settings: Mapping[str, Any]) -> dict[int, BatchRecord]:
    """Make the folder of a run, or go on with the run that is in it.

    Args:
        folder: Where the results go.
        settings: All that decides what the rows are.

    Returns:
        What was recorded of each finished batch.

    Raises:
        DataError: if the folder holds a run with other settings, or cannot be written to.
    """
    wanted = json.loads(json.dumps(settings))
    file = folder / _SETTINGS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            if any(folder.glob("rows-*.jsonl")):
                raise DataError(
                    f"{folder} holds rows without their settings ({_SETTINGS}): empty it"
                )
            write_whole(file, json.dumps(wanted, indent=2).encode())
            return {}
        found = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{folder} cannot be written to: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{file} cannot be read ({error}): empty the folder") from error
    changed = changes(found, wanted)
    if changed:
        raise DataError(
            f"{folder} holds rows of other settings: {'; '.join(changed)}. Choose another folder, "
            "or empty this one"
        )
    return {record.batch: record for record in _records(folder)}


def changes(found: Any, wanted: Any, name: str = "") -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        return [
            change
            for key in sorted({*found, *wanted})
            for change in changes(found.get(key), wanted.get(key), f"{name} {key}".strip())
        ]
    if found == wanted:
        return []
    was, now = ("missing" if value is None else value for value in (found, wanted))
    return [f"{name} was {was}, now it is {now}"]


def read_records(folder: Path) -> tuple[dict[str, Any], Iterator[BatchRecord]]:
    """Return the settings of the run in ``folder`` and its records, which are read as they come.

    Needs no right to write there.

    Raises:
        DataError: if there is no run, or it cannot be read; the records raise it as well.
    """
    file = folder / _SETTINGS
    try:
        settings: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no run: there is no {file}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error})") from error
    return settings, _records(folder)


def _records(folder: Path) -> Iterator[BatchRecord]:
    seen: set[int] = set()
    for file in sorted(folder.glob("rows-*.jsonl")):
        try:
            with file.open("rb") as lines:
                for line in lines:
                    if not line.endswith(b"\n"):
                        break  # cut off
                    record = BatchRecord.from_json(line)
                    if record.batch not in seen:
                        seen.add(record.batch)
                        yield record
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file} cannot be read ({error}): empty the folder") from error


class Journal:
    """Appends what one process finds to the run in ``folder``.

    Args:
        folder: As :func:`start_run` made it.
        part: The process's number.

    Raises:
        DataError: if another process is writing there, or the folder cannot be written to.
    """

    def __init__(self, folder: Path, part: int) -> None:
        self._file = folder / f"rows-{part}.jsonl"
        try:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise DataError(f"{self._file} cannot be written to: {error.strerror}") from error
        try:
            self._lock()
            if part == 0:  # under its lock nobody else is writing the files of the results
                remove_leftovers(folder)
            self._cut_to_whole_lines()
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        try:
            import fcntl  # noqa: PLC0415 - not on every system
        except ImportError:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(f"another process is writing to {self._file}: wait for it") from error

    def _cut_to_whole_lines(self) -> None:
        whole = self._file.read_bytes().rfind(b"\n") + 1
        os.truncate(self._descriptor, whole)

    def append(self, record: BatchRecord) -> None:
        """Write the record of one batch, and wait until it is on the disk.

        Raises:
            DataError: if it cannot be written; what was written before stays.
        """
        line = record.to_json().encode() + b"\n"
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
            os.fsync(self._descriptor)
        except OSError as error:
            raise DataError(
                f"{self._file} cannot be written to ({error.strerror}): the finished rows are "
                "kept; make room and run the same command again to go on"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)
