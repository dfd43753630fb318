"""What a batch has to say, as a line of JSON and back."""

import dataclasses
import itertools
import json
import random

import pytest

from captum_guided_ext.benchmarking._records import (
    BatchRecord,
    ScoredImage,
    SkippedImage,
)
from captum_guided_ext.evaluation._rows import ScoreRow

EMPTY = {"batch": 0, "images": [[]], "scores": {}, "skipped": [], "notes": [], "layer": None}
DIGEST = "0123456789abcdef"
RECORDS = {
    "nothing": (BatchRecord(0), EMPTY),
    "two images": (
        BatchRecord.of(
            3,
            [ScoreRow(7, "gradient", "infidelity", 0.1 + 0.2, interval_low=1e-9, interval_high=1),
             ScoreRow(8, "gradient", "infidelity", None, reason="flat"),
             ScoreRow(8, "gradient", "mean", 2.0, 0.5), ScoreRow(7, "gradient", "mean", 1.0, 0.25)],
            {7: ScoredImage("a.png", 2, None, DIGEST), 8: ScoredImage("b.png", 0, 0.25, "", "9:1")},
            layer="features.3",
        ),
        EMPTY | {
            "batch": 3, "layer": "features.3",
            "images": [[7, 8], ["a.png", "b.png"], [2, 0], [None, 0.25], [DIGEST, ""], ["", "9:1"]],
            "scores": {
                "infidelity": {
                    "gradient": [[0.30000000000000004, None], None, [1e-9, None], [1, None],
                                 {"1": "flat"}],
                },
                "mean": {"gradient": [[1.0, 2.0], [0.25, 0.5], None, None, {}]},
            },
        },
    ),
    "all skipped": (
        BatchRecord(1, skipped=(SkippedImage(2, "c.png", "cut\noff"), SkippedImage(3, "d", ""))),
        EMPTY | {"batch": 1, "skipped": [[2, "c.png", "cut\noff"], [3, "d", ""]]},
    ),
    "no score, other letters": (
        BatchRecord.of(
            2, [ScoreRow(0, "é", "m", None, reason="无")], {0: ScoredImage("ß", 1, 1.0)},
            notes=("“zero”", "twice"),
        ),
        EMPTY | {
            "batch": 2, "scores": {"m": {"é": [[None], None, None, None, {"0": "无"}]}},
            "images": [[0], ["ß"], [1], [1.0], [""], [""]], "notes": ["“zero”", "twice"],
        },
    ),
}  # fmt: skip


def read(line):
    return BatchRecord.from_dict(json.loads(line))


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_is_a_line_of_json_and_comes_back(case):
    record, written = RECORDS[case]
    line = record.to_json()
    assert "\n" not in line
    assert json.loads(line) == written
    for back in (read(line), read(line.encode())):
        assert list(back.rows()) == list(record.rows())
        assert dataclasses.replace(back, scores={}) == dataclasses.replace(record, scores={})


def test_rows_come_back_whatever_their_order():
    draw = random.Random(4)
    number = lambda: draw.choice([None, draw.random()])  # noqa: E731
    rows = [
        ScoreRow(*key, number(), number(), number(), number(), draw.choice(["", "why"]))
        for key in itertools.product((4, 9, 2), ("mine", "gradient"), ("b", "a"))
    ]
    images = {image: ScoredImage(str(image), 0, None) for image in (4, 9, 2)}
    record = BatchRecord.of(0, draw.sample(rows, len(rows)), images)
    key = lambda row: (row.image, row.method, row.metric)  # noqa: E731
    assert sorted(record.rows(), key=key) == sorted(rows, key=key)
    assert list(read(record.to_json()).rows()) == list(record.rows())


def test_a_number_that_json_does_not_have_is_not_written():
    images = {0: ScoredImage("a", 0, None)}
    record = BatchRecord.of(0, [ScoreRow(0, "n", "m", float("inf"))], images)
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.to_json()


MALFORMED = {
    "nothing": (b"", ValueError),
    "half a line": (b'{"batch": 1, "sc', ValueError),
    "no letters": (b"\xff\xfe\xff", ValueError),
    "a list": (b"[]", TypeError),
    "a number": (b"3", TypeError),
    **{f"no {part}": (json.dumps({k: EMPTY[k] for k in EMPTY if k != part}), KeyError)
       for part in EMPTY},
    "no images but a number": (json.dumps(EMPTY | {"images": 3}), TypeError),
    "columns without numbers": (json.dumps(EMPTY | {"images": [[], ["a"], [1], [2]]}), ValueError),
    "a column too many": (json.dumps(EMPTY | {"images": [[1]] * 7}), TypeError),
    "no scores but a number": (json.dumps(EMPTY | {"scores": 3}), AttributeError),
    "columns too few": (json.dumps(EMPTY | {"scores": {"m": {"n": [[1]]}}}), ValueError),
    "a skipped one too short": (json.dumps(EMPTY | {"skipped": [[1]]}), TypeError),
    "no notes but nothing": (json.dumps(EMPTY | {"notes": None}), TypeError),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_line_is_an_error(case):
    line, kind = MALFORMED[case]
    with pytest.raises(kind):
        read(line)
