"""What a batch has to say, as a line of JSON and back."""

import json

import pytest

from captum_guided_ext.evaluation._records import BatchRecord, ScoredImage, SkippedImage
from captum_guided_ext.evaluation._rows import ScoreRow

EMPTY = {"batch": 0, "rows": [], "images": {}, "skipped": [], "notes": []}
RECORDS = {
    "nothing": (BatchRecord(0), EMPTY),
    "nothing skipped": (
        BatchRecord(
            3,
            (ScoreRow(7, "gradient", "infidelity", 0.1 + 0.2, interval_low=1e-9, interval_high=1),),
            {7: ScoredImage("a.png", 2, None), 8: ScoredImage("b.png", 0, 0.25)},
        ),
        EMPTY | {
            "batch": 3,
            "rows": [[7, "gradient", "infidelity", 0.30000000000000004, None, 1e-9, 1, ""]],
            "images": {"7": ["a.png", 2, None], "8": ["b.png", 0, 0.25]},
        },
    ),
    "all skipped": (
        BatchRecord(1, skipped=(SkippedImage(2, "c.png", "cut\noff"), SkippedImage(3, "d", ""))),
        EMPTY | {"batch": 1, "skipped": [[2, "c.png", "cut\noff"], [3, "d", ""]]},
    ),
    "no score, other letters": (
        BatchRecord(
            2, (ScoreRow(0, "é", "m", None, reason="无"),), {0: ScoredImage("ß", 1, 1.0)},
            notes=("“zero”", "twice"),
        ),
        EMPTY | {
            "batch": 2, "rows": [[0, "é", "m", None, None, None, None, "无"]],
            "images": {"0": ["ß", 1, 1.0]}, "notes": ["“zero”", "twice"],
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_is_a_line_of_json_and_comes_back(case):
    record, written = RECORDS[case]
    line = record.to_json()
    assert "\n" not in line
    assert json.loads(line) == written
    assert BatchRecord.from_json(line) == BatchRecord.from_json(line.encode()) == record


def test_a_number_that_json_does_not_have_is_not_written():
    with pytest.raises(ValueError, match="not JSON compliant"):
        BatchRecord(0, (ScoreRow(0, "m", "n", float("nan")),)).to_json()


MALFORMED = {
    "nothing": (b"", ValueError),
    "half a line": (b'{"batch": 1, "ro', ValueError),
    "no letters": (b"\xff\xfe\xff", ValueError),
    "a list": (b"[]", TypeError),
    "a number": (b"3", TypeError),
    "no number of an image": (json.dumps(EMPTY | {"images": {"x": ["a", 1, None]}}), ValueError),
    **{f"no {part}": (json.dumps({k: EMPTY[k] for k in EMPTY if k != part}), KeyError)
       for part in EMPTY},
    "no rows but a number": (json.dumps(EMPTY | {"rows": 3}), TypeError),
    "a row too short": (json.dumps(EMPTY | {"rows": [[1, "gradient"]]}), TypeError),
    "an image too long": (json.dumps(EMPTY | {"images": {"1": ["a", 1, None, 2]}}), TypeError),
    "a skipped one too short": (json.dumps(EMPTY | {"skipped": [[1]]}), TypeError),
    "no notes but nothing": (json.dumps(EMPTY | {"notes": None}), TypeError),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_line_is_an_error(case):
    line, kind = MALFORMED[case]
    with pytest.raises(kind):
        BatchRecord.from_json(line)
