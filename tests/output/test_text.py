"""Words for a terminal: shares, sections and lines that are too long."""

import pytest

from captum_guided_ext.output import Table, percent, sections, wrapped


@pytest.mark.parametrize(
    ("share", "words"),
    [(0, "0 %"), (0.0049, "<1 %"), (0.006, "1 %"), (0.504, "50 %"), (0.996, "100 %"), (1, "100 %")],
)
def test_a_share_is_whole_per_cent_and_a_small_one_is_not_nothing(share, words):
    assert percent(share) == words


def test_sections_stand_beside_their_titles():
    lines = ["- " + "word " * 17, "   7 %  indented", "plain"]
    assert sections([("first", lines), ("second", ["alone"])]).splitlines() == [
        "first         - " + "word " * 15 + "word",
        "                word",
        "                 7 %  indented",
        "              plain",
        "second        alone",
    ]


def test_a_line_that_is_too_long_goes_on_below():
    ends_there = "x" * 95 + " y"
    assert wrapped(["x" * 94 + " y", ends_there, "z"]).splitlines() == [
        "x" * 94 + " y",
        "x" * 95,
        "  y",
        "z",
    ]


def test_a_name_that_is_no_unicode_is_written_out():
    table = Table.of_rows(("name",), [{"name": "a\ud83dz.png"}])
    assert table.to_csv() == "name\na\\ud83dz.png\n"
