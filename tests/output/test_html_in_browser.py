"""Pages of HTML in a real browser: keys, dark and light, a phone, paper, and nothing else."""

import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import small_benchmark as small
from browser import CHROMIUM, NAMES, Browser
from matplotlib.figure import Figure
from pages import HOSTILE
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext.explanation import explain
from captum_guided_ext.networks import load_network
from captum_guided_ext.output import html_of
from captum_guided_ext.output._html import Article, Rows, Section, html_fragment
from captum_guided_ext.pictures import demo_photo

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser is here: {', '.join(NAMES)}")

# Each text with its contrast (WCAG 2.2, 1.4.3): its colour against the ground it stands on.
CONTRASTS = """(() => {
  const read = (colour) => (colour.match(/[\\d.]+/g) || []).map(Number);
  const light = (colour) => {
    const [r, g, b] = read(colour).map((one) => one / 255)
      .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    const colour = getComputedStyle(one).backgroundColor;
    return read(colour)[3] === 0 ? ground(one.parentElement) : colour;
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const one = walker.currentNode.parentElement;
    if (walker.currentNode.data.trim() && one.tagName !== "SCRIPT") {
      const [a, b] = [light(getComputedStyle(one).color), light(ground(one))];
      found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walker.currentNode.data]);
    }
  }
  return found;
})()"""
SHOWN = """[...document.querySelectorAll(".layer")]
  .filter((one) => getComputedStyle(one).visibility === "visible" && one.checkVisibility())
  .map((one) => [one.querySelector("figcaption").textContent,
                 Number(getComputedStyle(one).opacity)])"""
FOCUS = """(() => {
  const [one, style] = [document.activeElement, getComputedStyle(document.activeElement)];
  return {type: one.type || one.tagName, outline: parseFloat(style.outlineWidth),
          drawn: style.outlineStyle};
})()"""
BOX = """(() => {
  document.querySelector(".picture").scrollIntoView();
  const box = document.querySelector(".picture img").getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as one:
        yield one


@pytest.fixture(scope="module")
def explanation():
    return explain(load_network("demo"), demo_photo())


@pytest.fixture(scope="module")
def pages(explanation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    cg.benchmark(
        small.cnn(), small.dataset(4), output=folder, methods=["gradient", "guided_backprop"],
        n_perturb_samples=2, show_progress=False,
    )  # fmt: skip
    found = {"one": explanation.to_html(), "two": html_of([explanation] * 2, "the command")}
    for name, text in found.items():
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    return {name: folder / f"{name}.html" for name in (*found, "summary")}


EACH = pytest.mark.parametrize("name", ["one", "two", "summary"])


def clean(browser):
    """Nothing was asked for but the page, and nothing was said of errors."""
    return browser.requests() == [] and browser.complaints() == []


def seen(browser):
    """Return the pixels of the picture on the screen."""
    box = browser.ask(BOX)
    shot = Image.open(BytesIO(browser.screenshot(whole=False))).convert("RGB")
    return np.asarray(shot.crop([round(one) for one in box]).resize((96, 96))).astype(float)


def distance(one, other):
    return np.abs(one - np.asarray(other.convert("RGB").resize((96, 96))).astype(float)).mean()


def test_keys_move_the_slider_from_picture_to_map(browser, pages, explanation):
    browser.open(pages["one"])
    title = "Guided backprop"
    assert browser.ask(SHOWN) == [["Picture", 1], [title, 0.8]]
    tabbed = []
    while "range" not in tabbed:
        browser.press("Tab")
        focus = browser.ask(FOCUS)
        tabbed.append(focus["type"])
        assert focus["outline"] >= 2, tabbed  # the focus is seen
        assert focus["drawn"] in ("solid", "auto")
        assert len(tabbed) < 9
    assert tabbed[-2:] == ["radio", "range"]
    browser.press("ArrowRight")
    assert browser.ask(SHOWN) == [["Picture", 1], [title, 0.85]]
    said = 'document.activeElement.getAttribute("aria-valuetext")'
    assert browser.ask(said) == "85 % map"
    browser.press("Home")
    assert browser.ask(SHOWN) == [["Picture", 1], [title, 0]]
    assert distance(seen(browser), explanation.view) < 3
    browser.press("End")
    assert browser.ask(SHOWN) == [["Picture", 1], [title, 1]]
    assert distance(seen(browser), explanation.view) > 30
    assert clean(browser)


def test_keys_choose_the_method(browser, pages):
    browser.open(pages["two"])
    browser.ask('document.querySelector("#part-2 [type=radio]:checked").focus()')
    browser.press("ArrowDown")
    assert browser.ask(SHOWN) == [
        ["Picture", 1], ["Guided backprop", 0.8], ["Picture", 1], ["Grad-CAM at features", 0.8],
    ]  # fmt: skip
    before = seen(browser)
    browser.ask('document.querySelector("#part-1 [type=radio]").click()')
    assert browser.ask(SHOWN)[1] == ["Gradient", 0.8]
    assert np.abs(seen(browser) - before).mean() > 3


@EACH
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_is_legible(browser, pages, name, dark):
    browser.open(pages[name], dark=dark)
    found = browser.ask(CONTRASTS)
    assert len(found) > 50
    assert min(found)[0] >= 4.5, min(found)  # AA
    pixels = np.asarray(Image.open(BytesIO(browser.screenshot(whole=False))).convert("L"))
    assert (np.median(pixels) < 60) == dark
    assert clean(browser)


@EACH
def test_a_phone_scrolls_down_only(browser, pages, name):
    browser.open(pages[name], width=320, height=600)
    wide, boxes = browser.ask(
        "[document.documentElement.scrollWidth, [...document.querySelectorAll('.scroll')]"
        ".map((one) => [one.getBoundingClientRect().right, getComputedStyle(one).overflowX])]"
    )
    assert wide == 320
    assert boxes
    assert all(right <= 320 and overflow == "auto" for right, overflow in boxes)


def is_flat(browser):
    """Whether picture and maps stand beside one another, all of them seen, without the slider."""
    shown, tops, controls = browser.ask(
        f"[{SHOWN}, [...document.querySelectorAll('.layer')].map((one) => one.offsetTop), "
        "document.querySelector('.controls').checkVisibility()]"
    )
    assert [opacity for _, opacity in shown] == [1] * 6
    return tops[0] == tops[1] and not controls


def test_without_its_script_all_is_seen(browser, pages):
    browser.open(pages["one"], script=False)
    assert is_flat(browser)
    browser.open(pages["one"])
    with pytest.raises(AssertionError):
        is_flat(browser)


def test_on_paper_picture_and_maps_stand_side_by_side(browser, pages):
    browser.open(pages["one"], width=700, dark=True)
    browser.look(dark=True, media="print")
    assert is_flat(browser)
    assert min(browser.ask(CONTRASTS))[0] >= 4.5
    assert browser.ask("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@EACH
def test_no_table_is_cut_on_paper(browser, pages, name):
    browser.open(pages[name], width=700)
    browser.look(media="print")
    assert browser.ask("document.documentElement.scrollWidth - innerWidth") <= 0
    browser.look()
    paper = browser.pdf()
    assert paper.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper)) <= 8


def test_nothing_moves(browser, pages):
    browser.open(pages["one"])
    moving = browser.ask(
        "[...document.querySelectorAll('*')].map((one) => getComputedStyle(one)).filter((one) => "
        "one.animationName !== 'none' || parseFloat(one.transitionDuration) > 0).length"
    )
    assert moving == 0


def test_names_that_look_like_programs_run_nothing(browser, explanation, tmp_path):
    shapes = []
    for name in (["a name"] * len(HOSTILE), HOSTILE):
        one = explanation
        some = [
            replace(
                one, image=bad, network=bad, weights=bad, layer=bad, notes=(bad,), assumed=(bad,),
                target=replace(one.target, name=bad), reasons={bad: bad},
                maps={bad: next(iter(one.maps.values()))},
                shares={bad: next(iter(one.shares.values()))},
            )
            for bad in name
        ]  # fmt: skip
        page = tmp_path / "page.html"
        page.write_text(html_of(some, made_by="\n".join(name)), encoding="utf-8", errors="replace")
        browser.open(page, width=320)
        shapes.append(browser.ask("[...document.querySelectorAll('*')].map((one) => one.tagName)"))
        assert browser.ask("window.harmed") is None
        assert browser.ask("document.documentElement.scrollWidth") == 320
        assert clean(browser)
    assert shapes[0] == shapes[1]


def test_the_cells_of_a_fragment_keep_apart_where_a_page_has_no_style(browser, tmp_path):
    numbers = "-1.234e-06 to 5.678e-07"
    rows = Rows(("method", "of all pairs", "rank"), [["gradient", numbers, "1 to 2"]])
    article = Article("title", [], [Section("title", [rows], in_short=True)], "")
    fragment = html_fragment("headline", Figure, [article])
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><div style='width: 12em'>{fragment}</div>")
    browser.open(tmp_path / "page.html")
    heights, gaps = browser.ask("""[
      [...document.querySelectorAll(".number")].map((one) => one.getClientRects()[0].height),
      [...document.querySelectorAll("th, td")].map((one) =>
        parseFloat(getComputedStyle(one).paddingRight)),
    ]""")
    assert len(set(heights)) == 1
    assert min(gaps) > 5
