"""What the package says: errors whose words are matched, and warnings at the caller's own line."""

import re
import warnings

import pytest


def fails(kind, *words):
    """Expect an error whose message has these words, in this order."""
    return pytest.raises(kind, match=".*".join(map(re.escape, words)))


def warned(call, *arguments):
    """Return what ``call`` returned, and the messages it warned with, each at a line of its own."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        result = call(*arguments)
    lines = {(call.__code__.co_filename, line) for *_, line in call.__code__.co_lines()}
    assert {w.category for w in record} <= {UserWarning}
    assert {(w.filename, w.lineno) for w in record} <= lines
    return result, [str(w.message) for w in record]
