"""Pages and fragments of HTML, of parts made by hand."""

import re
from io import BytesIO

import pytest
from matplotlib.figure import Figure
from pages import HOSTILE, Page, check, shown
from PIL import Image

from captum_guided_ext.output._html import (
    Article,
    Drawing,
    Layer,
    Layers,
    Rows,
    Section,
    Share,
    Words,
    html_fragment,
    html_page,
)
from captum_guided_ext.output._tables import Table


def drawn():
    content = BytesIO()
    Image.new("RGB", (40, 20), "red").save(content, "PNG")
    return content.getvalue()


def an_article(name="a name", *, size=(30, 20)):
    """Return an article with every kind of block, with a name wherever one fits."""
    white, black = (Image.new("RGB", size, colour) for colour in ("white", "black"))
    maps = [Layer(f"{name} 1", white, f"alt {name}"), Layer(f"{name} 2", black, name)]
    scale = Layer("", Image.new("RGB", (256, 1)), "from blue to red")
    blocks = [
        Words([f"first {name}", f"- item {name}", "- another", "last"]),
        Rows((name, "share", "n"), [[name, Share(0.25), "7"], ["other", Share(0.0), ""]], name),
        Rows.of_settings({name: {"inner": [1, 2], "none": None}, "empty": {}}),
        Drawing(drawn, name),
        Layers(Layer(name, white, name), maps, 1, scale, (name, name), [name]),
    ]
    return Article(name, [name], [Section(name, blocks, in_short=True)], f"print({name!r})")


def test_a_page_has_all_that_it_is_given():
    page = check(html_page([an_article()]))
    assert page.headings == [1, 2, 2]
    assert page.all("html", lang="en")
    assert ("title", "a name") in page.words
    assert [data for where, data in page.words if where == "li"] == ["item a name", "another"]
    assert [data for where, data in page.words if where == "p"][:3] == [
        "a name", "first a name", "last",
    ]  # fmt: skip
    heads = [data for where, data in page.words if where == "th"]
    assert heads == ["a name", "share", "n", "a name", "other",
                     "setting", "value", "a name: inner", "a name: none", "empty"]  # fmt: skip
    assert "25 %" in page.text
    assert [one["style"] for one in page.all("td", **{"class": "share"})] == [
        "--share: 0.2500", "--share: 0.0000",
    ]  # fmt: skip
    assert len(page.all("td", **{"class": "number"})) == 2  # "7" and the gap below it
    assert "1, 2" in page.text
    assert "print('a name')" in page.text
    assert page.text.count("How to make it again") == 1
    sizes = [picture.size for picture in page.pictures()]
    assert sizes == [(40, 20), (30, 20), (30, 20), (30, 20), (256, 1)]
    assert page.all("img", style="--width: 40")
    # the map that is asked for is chosen; the slider has a label
    assert ["checked" in one for one in page.all("input", type="radio")] == [False, True]
    (slider,) = page.all("input", type="range")
    assert page.all("label", **{"for": slider["id"]})


def test_several_articles_have_a_list_of_contents():
    page = check(html_page([an_article("one"), an_article("two"), an_article("three")]))
    assert page.headings == [1, 2, 3, 3, 2, 3, 3, 2, 3, 3]
    assert ("title", "one and 2 more") in page.words
    places = [one["href"].removeprefix("#") for one in page.all("a")]
    assert places == [one["id"] for one in page.all("article")]
    names = [one["name"] for one in page.all("input", type="radio")]
    assert len(set(names)) == 3  # the methods of each are chosen by themselves


def test_the_command_line_takes_the_place_of_the_programs():
    page = check(html_page([an_article("one"), an_article("two")], made_by="captum-guided explain"))
    assert page.text.count("How to make it again") == 1
    assert ("code", "captum-guided explain") in page.words
    assert "print(" not in page.text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(name):
    plain = check(html_page([an_article(), an_article()], made_by="command"))
    page = check(html_page([an_article(name), an_article(name)], made_by=name))
    assert page.structure == plain.structure
    assert page.text.count(shown(name)) >= 20
    alts = [one["alt"] for one in page.all("img")]
    assert alts.count(shown(name)) == 6
    fragment = Page(html_fragment(name, Figure, [an_article(name)]))
    assert fragment.structure == Page(html_fragment("plain", Figure, [an_article()])).structure


def test_only_the_pages_own_script_may_run_and_nothing_is_loaded():
    page = html_page([an_article()])
    (said,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    policy = dict(one.strip().split(" ", 1) for one in said.split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert policy["script-src"].startswith("'sha256-")
    assert "http://" not in page
    assert "https://" not in page


def test_large_pictures_are_made_smaller_and_small_ones_shown_as_squares():
    large = check(html_page([an_article(size=(1600, 1000))]))
    assert [one.size for one in large.pictures()][1] == (800, 500)
    assert not large.all("div", **{"class": "layers coarse"})
    assert check(html_page([an_article(size=(96, 128))])).all("div", **{"class": "layers coarse"})


def test_columns_of_numbers_stand_to_the_right():
    assert Rows(("a", "b", "c"), [["x", "1", ""], ["y", "0.5", ""]]).numeric == [
        False, True, False,
    ]  # fmt: skip
    assert Rows(("a", "b"), []).numeric == [False, False]


def test_a_table_has_the_cells_of_its_markdown_but_for_the_bars():
    table = Table.of_rows(("a", "b", "c"), [{"a": "x|y", "b": 1 / 3}, {"a": "z"}], ("c",))
    rows = Rows.of(table, "caption")
    assert (rows.columns, rows.rows, rows.caption) == (
        ["a", "b"], [["x|y", "0.3333"], ["z", ""]], "caption",
    )  # fmt: skip
    assert "x\\|y" in table.to_markdown()


def test_a_fragment_changes_nothing_but_itself():
    text = html_fragment("headline", Figure, [an_article()])
    page = Page(text)
    assert page.elements[0] == ("div", {"class": "captum-guided-ext"})
    assert not {"html", "head", "body", "script"} & {name for name, _ in page.elements}
    (style,) = (data for where, data in page.words if where == "style")
    selectors = re.findall(r"(?:^|\})\s*([^{}]+)\{", style)
    assert len(selectors) > 5
    assert all(one.startswith(".captum-guided-ext ") for one in selectors if one.strip())
    assert not page.all("div", tabindex="0")  # a notebook's keys stay its own
    assert "headline" in page.text
    assert len(page.pictures()) == 1


def test_a_fragment_shows_what_it_can():
    def broken():
        raise RuntimeError("no <font> here")

    page = Page(html_fragment("headline", broken, [an_article()]))
    assert not page.all("img")
    assert "no figure: no <font> here" in page.text
    assert "25 %" in page.text


def test_a_fragment_has_the_first_rows_of_long_tables_and_only_what_is_short():
    rows = Rows(("a",), [[f"row {place}"] for place in range(50)])
    sections = [Section("kept", [rows, Words(["words"])], in_short=True), Section("left", [rows])]
    page = Page(html_fragment("headline", Figure, [Article("t", [], sections, "")]))
    assert "row 19" in page.text
    assert "row 20" not in page.text
    assert "and 30 rows more" in page.text
    assert "kept" in page.text
    assert "words" not in page.text
    assert "left" not in page.text


def test_a_fragment_of_several_says_which_table_is_of_which():
    page = Page(html_fragment("headline", Figure, [an_article("one"), an_article("two")]))
    captions = [one["aria-label"] for one in page.all("table")]
    assert captions == ["one: one", "one: one", "two: two", "two: two"]


def test_settings_in_a_list_are_told_one_by_one():
    rows = Rows.of_settings({"runs": [{"seed": 0}, {"seed": 7, "model": {"name": "m"}}]}).rows
    assert rows == [("runs: 1: seed", "0"), ("runs: 2: seed", "7"), ("runs: 2: model: name", "m")]
