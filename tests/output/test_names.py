"""What files are called that belong to a picture: any system takes it, and people know it again."""

import pytest

from captum_guided_ext.output import file_stem


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("zebra.jpg", "zebra"),
        ("two words.tar.png", "two-words.tar"),
        ("été 😀.png", "été-😀"),
        ("esc\x1b[31m red\x07.png", "esc-[31m-red"),
        ("new\nline\t.png", "new-line"),
        ("\u202egnp.x.png", "gnp.x"),
        ("caf\udce9.png", "caf"),
        ('a:b|c<d>"e".png', "a-b-c-d-e"),
        (r"a\b.png", "a-b"),
        ("$x_1$.png", "$x_1$"),
        ("..png", "picture"),
        (" .png", "picture"),
        ("", "picture"),
        ("|||.png", "picture"),
        ("con.png", "_con"),
        ("Aux.tar.gz", "_Aux.tar"),
        ("lpt1", "_lpt1"),
        ("console.png", "console"),
        ("COM¹.png", "_COM¹"),
        ("e\u0301te\u0301.png", "été"),
        ("a.-.jpg", "a"),
    ],
)
def test_a_stem(name, stem):
    assert file_stem(name) == stem


@pytest.mark.parametrize("letter", ["a", "é", "😀"])
def test_a_long_name_is_cut_between_characters_and_stays_its_own(letter):
    whole = 251 // len(letter.encode())
    first, second = (f"{letter * whole}{end}.png" for end in ("", "b"))
    assert file_stem(first) != file_stem(second)
    assert file_stem(first).startswith(letter * (120 // len(letter.encode())) + "-")
    assert all(len(file_stem(one).encode()) <= 130 for one in (first, second))


def test_a_name_of_120_bytes_is_not_cut():
    assert file_stem(f"{'a' * 120}.png") == "a" * 120
