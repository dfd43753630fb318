"""Names that any terminal and any file can hold."""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"  # of scripts and of emoji


def printable(name: str) -> str:
    r"""Return a name with what cannot be printed or encoded written out, ``\xe9`` or ``\u202e``.

    That is control characters, and the bytes of a file's name that are not UTF-8. A backslash is
    doubled, so that two names never become one.
    """
    return "".join(_written_out(character) for character in name)


def _written_out(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if (
        character.isprintable()
        or character in _JOINERS
        or unicodedata.category(character) == "Zs"  # a space, of which macOS has one in its names
    ):
        return character
    if "\udc80" <= character <= "\udcff":  # Python's for a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    escaped = character.encode("unicode_escape").decode()
    # A control character and a byte may have one number, and would then have one name.
    return escaped.replace("\\x", "\\u00")
