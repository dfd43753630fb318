"""The page of HTML of an explanation, and of several."""

import ast
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import Conv, seeded
from pages import HOSTILE, Page, check, shown
from picture_files import noise

from captum_guided_ext import Network, explain
from captum_guided_ext.explanation import RegionShare
from captum_guided_ext.explanation._explanation import ScoredClass, _report
from captum_guided_ext.networks import Preprocessing
from captum_guided_ext.output import html_of, percent

PLAIN = "a name"


@pytest.fixture(scope="module")
def network():
    return Network(seeded(Conv), Preprocessing(), ("ant", "bee", "cow", "dog"), name="own",
                   weights="drawn")  # fmt: skip


@pytest.fixture(scope="module")
def explanation(network):
    return explain(network, noise(40, 30), name="noise.png", target="top2", layer="second")


def test_it_says_what_the_report_says(explanation):
    text = " ".join(check(explanation.to_html()).text.split())
    headline, _ = str(explanation).split("\n\n", 1)
    assert headline in text
    for title, lines in _report(explanation):
        rows = title == "regions"  # its first and last line are no rows of a table
        for line in [lines[0], lines[-1]] if rows else () if title == "prediction" else lines:
            assert line.removeprefix("- ") in text
    for one in explanation.predictions:
        assert f"{one.name} {percent(one.probability)}" in text
    for share in explanation.shares[explanation.main]:
        held = f"{share.mark} {share.name} {percent(share.attribution)} {percent(share.area)}"
        assert f"{held} {' '.join(share.words.split())}" in text
    assert torch.__version__ in text
    assert "Grad-CAM at second" in text


def test_the_headings(explanation):
    page = check(explanation.to_html())
    titles = [data for where, data in page.words if where in ("h1", "h2")]
    second = explanation.target
    assert titles[0].startswith(f"noise.png: {second.name} (")
    expected = ["Prediction", "Maps", "Regions", "Picture and network", "Overridden", "Limits",
                "Settings and versions", "How to make it again"]  # fmt: skip
    assert [one for one in titles[1:] if one != "Notes"] == expected
    assumed = check(replace(explanation, assumed=("one thing",)).to_html())
    assert ("h2", "Assumed") in assumed.words
    assert ("li", "one thing") in assumed.words


def test_the_picture_and_each_map_are_inside_and_said_in_words(explanation):
    page = check(explanation.to_html())
    picture, *maps, scale = page.pictures()
    assert np.array_equal(np.asarray(picture), np.asarray(explanation.view))
    assert len(maps) == len(explanation.maps) == 5
    assert all(one.size == (40, 30) for one in maps)
    alts = [one["alt"] for one in page.all("img")]
    assert alts[0] == "The picture noise.png, as the network sees it"
    best = max(explanation.shares["gradient"], key=lambda share: share.attribution)
    assert alts[1].startswith(f"Map of Gradient for {explanation.target.name}: ")
    assert alts[1].endswith(f"of its magnitude lies in {best.name}")
    assert alts[-1] == "from blue over white to red"
    colours = np.asarray(scale.convert("RGB")).astype(int)
    assert colours[0, 0, 2] > colours[0, 0, 0]  # blue where it is negative
    assert colours[0, -1, 0] > colours[0, -1, 2]
    chosen = ["checked" in one for one in page.all("input", type="radio")]
    assert list(explanation.maps)[chosen.index(True)] == explanation.main == "guided_backprop"


def test_regions_that_are_no_grid_are_drawn_on_the_picture(network):
    masks = {"one": np.eye(30, 40) > 0, "two <b>": np.eye(30, 40, 5) > 0}
    page = check(explain(network, noise(40, 30), regions=masks, methods=["gradient"]).to_html())
    *_, drawn = page.pictures()
    assert min(drawn.size) > 200
    last = page.all("img")[-1]
    assert last["alt"] == "The picture with the outlines of its regions: one, two <b>"


def test_a_map_without_anything_says_so(explanation):
    nothing = explanation.maps["gradient"] * 0
    share = replace(explanation.shares["gradient"][0], attribution=0.0)
    one = replace(explanation, maps={"gradient": nothing}, shares={"gradient": [share]})
    page = check(one.to_html())
    assert page.all("img")[1]["alt"].endswith(": zero everywhere")
    assert ("figcaption", "Gradient (zero everywhere)") in page.words
    assert ("span", "Gradient (zero everywhere)") in page.words


def test_a_page_of_a_large_picture_is_no_large_file(network):
    photo = explain(network, noise(224, 224), name="the worst picture for PNG")
    assert len(photo.to_html()) < 1_500_000


def test_what_makes_it_again_is_python_that_does(network, explanation):
    page = check(explanation.to_html())
    (code,) = (data for where, data in page.words if where == "code")
    calls = [one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call)]
    (call,) = (one for one in calls if ast.unparse(one.func) == "cg.explain")
    said = {one.arg: ast.literal_eval(one.value) for one in call.keywords}
    again = explain(network, noise(40, 30), name="noise.png", **said)
    assert again.to_dict() == explanation.to_dict()
    assert f"# {explanation.preprocessing!r}" in code  # which a name alone may not bring
    assert ("code", "the command") in check(explanation.to_html(made_by="the command")).words


def test_what_makes_it_again_says_that_the_regions_are_ones_own(network):
    masks = {"one": np.eye(30, 40) > 0, "two\n": np.eye(30, 40, 5) > 0}
    own = explain(network, noise(40, 30), regions=masks, methods=["gradient"])
    assert "    regions=...,  # 'one', 'two\\n'\n" in check(own.to_html()).text
    assert "regions=" not in check(explain(network, noise(40, 30)).to_html()).text


def test_several_are_a_section_each(network, explanation):
    several = explain(network, noise(40, 30), target=["top1", "top2"], layer=["first", "second"])
    page = check(several.to_html())
    titles = [data for where, data in page.words if where == "h2"]
    assert len(titles) == 4
    assert sorted(one.rpartition(" at ")[2] for one in titles) == ["first"] * 2 + ["second"] * 2
    assert len(page.all("input", type="range")) == 4
    page = check(html_of([explanation, several, explanation], made_by="command"))
    assert len(page.all("article")) == 6
    assert page.text.count("How to make it again") == 1


def with_names(explanation, name):
    """Return an explanation in which everything is called ``name`` that has a name."""
    scored = ScoredClass(0, name, 0.5)
    maps = {name: explanation.maps["gradient"], "grad_cam": explanation.maps["grad_cam"]}
    first = explanation.shares["gradient"][0]
    share = RegionShare(**vars(first) | {"name": name})
    return replace(
        explanation,
        image=name, network=name, weights=name, preprocessing=name, assumed=(name,),
        predictions=(scored, scored), target=replace(scored, index=1), contrast=scored, layer=name,
        maps=maps, reasons={name: name, "deconvolution": name},
        shares={method: [share] for method in maps},
        masks={name: next(iter(explanation.masks.values()))},
        notes=(name,),
        rectifiers=replace(explanation.rectifiers, overridden={name: 2}, left_alone={name: 1},
                           opaque={name: 1}),
    )  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_only_names(explanation, name):
    plain, hostile = (with_names(explanation, one) for one in (PLAIN, name))
    for made_by in ("", name):
        page = check(hostile.to_html(made_by=made_by))
        assert page.structure == check(plain.to_html(made_by=made_by and PLAIN)).structure
    assert page.text.count(shown(name)) >= 20


def test_a_notebook_shows_figure_and_regions(explanation):
    page = Page(explanation._repr_html_())
    assert len(page.pictures()) == 1
    assert explanation.image in page.text
    for share in explanation.shares[explanation.main]:
        assert f"{share.mark} {share.name}" in page.text.replace("\N{NO-BREAK SPACE}", " ")
    assert len(explanation._repr_html_()) < 1_500_000
    hostile = Page(with_names(explanation, HOSTILE[1])._repr_html_())
    assert hostile.structure == Page(with_names(explanation, PLAIN)._repr_html_()).structure


def test_a_map_that_no_region_holds_is_not_called_zero(network):
    corner = np.zeros((30, 40), bool)
    corner[0, 0] = True
    x = torch.zeros(3, 30, 40)
    x[:, 15, 20] = 1
    found = explain(network, x, regions={"corner": corner}, methods=["input_x_gradient"])
    assert found.maps["input_x_gradient"].any()
    assert found.shares["input_x_gradient"][0].attribution == 0
    assert "zero everywhere" not in found.to_html()
