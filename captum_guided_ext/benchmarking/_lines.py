"""A record as a line of a file: with a checksum, and the run that it belongs to.

``<crc32 of what follows, 8 hexadecimal digits> {"run": "<8 digits>", "batch": ...}``
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

from captum_guided_ext.benchmarking._records import BatchRecord

if TYPE_CHECKING:
    from collections.abc import Iterable

_HEAD = b'{"run": "'
_DIGITS = 8
_OLD = b'{"batch"'  # how a line of 0.1.0 begins


def run_of(settings_digest: str) -> str:
    """Return how a run's lines name it."""
    return settings_digest[:_DIGITS]


def line_of(record: BatchRecord, run: str) -> bytes:
    """Return the line of a record."""
    content = b'%s%s", %s' % (_HEAD, run.encode(), record.to_json()[1:].encode())
    return b"%08x %s\n" % (zlib.crc32(content), content)


def run_of_line(line: bytes) -> str | None:
    """Return the run of a line; None where a bit of it is not as it was written."""
    content = line[_DIGITS + 1 : -1]
    whole = line[_DIGITS : _DIGITS + 1] == b" " and line[-1:] == b"\n"
    if not whole or b"%08x" % zlib.crc32(content) != line[:_DIGITS]:
        return None
    return content[len(_HEAD) : len(_HEAD) + _DIGITS].decode()


def record_of(line: bytes) -> BatchRecord:
    """Return the record of a whole line."""
    return BatchRecord.from_dict(json.loads(line[_DIGITS + 1 :]))


def is_of_0_1_0(line: bytes) -> bool:
    """Return whether version 0.1.0 has written a line, without a checksum."""
    return line.startswith(_OLD)


def sort_out(lines: Iterable[bytes], run: str) -> tuple[list[bytes], list[bytes]]:
    """Return the whole lines of a run, and what should be set aside.

    A last line without an end is in neither: a kill or a full disk has cut it off.
    """
    kept, damaged = [], []
    for line in lines:
        if run_of_line(line) == run:
            kept.append(line)
        elif line.endswith(b"\n"):
            damaged.append(line)
        elif run_of_line(line[:-1] + b"\n") is not None:  # only its end has changed
            damaged.append(line + b"\n")
    return kept, damaged
