"""Figures: what a map's pixels are, what stands around them, and that nothing is cut."""

import itertools
import math
import warnings
from io import BytesIO

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import colormaps, rc_context
from matplotlib.text import Text
from PIL import Image

from captum_guided_ext.output import (
    HOW_DRAWN,
    VIEWS,
    Curve,
    CurvePanel,
    Estimate,
    EstimatePanel,
    MapPanel,
    Matrix,
    PicturePanel,
    as_picture,
    draw_checks,
    draw_estimates,
    draw_maps,
    draw_matrices,
    figure_bytes,
    map_picture,
    views_of,
)
from captum_guided_ext.output._lettering import extent, lettering
from captum_guided_ext.pictures import grid_regions

PICTURE = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5
MAP = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0))
LONG = "Guided Grad-CAM at features.denseblock4.denselayer16.relu2.of_a_network_with_long_names"


def colour(name, share):
    """Return what a colour map has for a share, in bytes."""
    return np.rint(np.array(colormaps[name](float(share))[:3]) * 255)


def pixels_of(axes):
    return np.asarray(axes.get_images()[0].get_array())


# --- what a map's pixels are -----------------------------------------------------------------


def test_the_signed_view_sums_channels_and_ends_at_the_98th_percentile():
    # 1 to 101: the 98th percentile is the 99th value, and three pixels are at or beyond it
    values = torch.arange(1.0, 102).reshape(1, 1, 101)
    drawn = map_picture(torch.cat([values, values, -3 * values]), PICTURE, "signed")[0]
    for place in (0, 49, 97):  # minus the values themselves, from 1
        assert abs(drawn[place] - colour("RdBu_r", 0.5 - (place + 1) / 99 / 2)).max() <= 1
    assert (drawn[98:] == colour("RdBu_r", 0.0)).all()
    assert (drawn[97] != drawn[98]).any()


def test_few_values_that_hold_half_of_a_map_are_not_drawn_as_equal():
    # The 98th percentile is 1 of the 100s' 298, which would draw 1 and 100 as equal; of the
    # total, 298, the two largest hold half, and the scale ends at the smaller of them.
    values = torch.ones(1, 1, 100)
    values[..., 0], values[..., 1] = 100, 100
    drawn = map_picture(values, PICTURE)[0]
    assert (drawn[:2] == colour("RdBu_r", 1.0)).all()
    assert abs(drawn[2:] - colour("RdBu_r", 0.505)).max() <= 1
    alone = torch.zeros(1, 30, 30)
    alone[0, 3, 4] = -1e-12
    drawn = map_picture(alone, PICTURE)
    assert (drawn[3, 4] == colour("RdBu_r", 0.0)).all()
    assert (drawn != colour("RdBu_r", 0.5)).any(axis=2).sum() == 1


@pytest.mark.parametrize("view", VIEWS)
def test_a_map_is_drawn_the_same_whatever_its_unit(view):
    expected = map_picture(MAP, PICTURE, view)
    assert expected.shape == (4, 4, 3)
    assert expected.dtype == np.uint8
    for unit in (2.0**-120, 2.0**100):
        assert (map_picture(MAP * unit, PICTURE, view) == expected).all()


def test_an_overlay_hides_the_picture_as_far_as_the_map_is_strong():
    values = torch.tensor([[[0.0, 1, 2, 2]], [[0.0, -1, 2, -2]], [[0.0, 0, 0, 0]]])
    picture = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]]], dtype=np.uint8)
    drawn = map_picture(values, picture, "overlay")[0]
    # strengths 0, 2, 4, 4 end at 4; grey by ITU-R BT.601, from 0.35 on
    grey = 0.35 + 0.65 * np.array([0.299, 0.587, 0.114, 90 / 255])
    for place, strength in enumerate([0, 0.5, 1, 1]):
        over = np.array(colormaps["YlOrRd"](float(strength))[:3])
        by_hand = 255 * ((1 - 0.85 * strength) * grey[place] + 0.85 * strength * over)
        assert abs(drawn[place] - by_hand).max() <= 0.51
    assert (map_picture(-values, picture, "overlay")[0] == drawn).all()


def test_an_overlay_lies_over_a_picture_of_another_size():
    drawn = map_picture(torch.zeros(1, 6, 9), np.full((2, 3), 255, np.uint8), "overlay")
    assert drawn.shape == (6, 9, 3)
    assert (drawn == 255).all()


def test_colours_are_the_channels_around_grey():
    values = torch.tensor([[[1.0, -1, 0, 0]], [[0.0, 0, 0.5, 0]], [[0.0, -1, -1, 0]]])
    drawn = map_picture(values, PICTURE, "colours")[0]
    assert drawn.tolist() == [[255, 128, 128], [0, 128, 0], [128, 191, 0], [128, 128, 128]]


def test_views_that_a_map_has():
    assert views_of(MAP, VIEWS) == VIEWS
    assert views_of(MAP, ["colours", "signed", "colours"]) == ("colours", "signed")
    assert views_of(MAP, "overlay") == ("overlay",)
    for channels in (1, 2, 4):
        other = torch.zeros(channels, 2, 2)
        assert views_of(other, VIEWS) == ("signed", "overlay")
        assert views_of(other, ["colours"]) == ("signed",)


def test_errors_of_views():
    with pytest.raises(ValueError, match="'colors'; the nearest is colours"):
        map_picture(MAP, PICTURE, "colors")
    with pytest.raises(ValueError, match="'x'; choose from signed, overlay, colours"):
        views_of(MAP, ["signed", "x"])
    with pytest.raises(ValueError, match="views is empty: choose from signed, overlay, colours"):
        views_of(MAP, [])
    with pytest.raises(ValueError, match=r"1 channels has no colours.* choose signed or overlay"):
        map_picture(MAP[:1], PICTURE, "colours")


@pytest.mark.parametrize("view", VIEWS)
def test_a_panel_shows_a_maps_pixels_and_the_figure_says_their_scale(view):
    figure = draw_maps([(PicturePanel("p", PICTURE), [MapPanel("m", MAP, view=view)])])
    assert (pixels_of(figure.axes[1]) == map_picture(MAP, PICTURE, view)).all()
    said = [text.get_text().replace("\n", " ") for text in figure.texts]
    assert [HOW_DRAWN[one] in said for one in VIEWS] == [one == view for one in VIEWS]
    for words in ("2 % of its", "hold half of its magnitude", "its own scale"):
        assert words in HOW_DRAWN[view]


def test_a_map_of_nothing_and_one_that_is_not_finite_say_so():
    broken = MAP.clone()
    broken[0, 0, 0], broken[1, 1, 1] = torch.nan, torch.inf
    for view in VIEWS:
        maps = [MapPanel("zero", torch.zeros(3, 4, 4), view=view), MapPanel("b", broken, view=view)]
        figure = draw_maps([(PicturePanel("p", PICTURE), maps)])
        said = [text.get_text() for axes in figure.axes[1:3] for text in axes.texts]
        assert said == ["zero everywhere", "NaN and infinity drawn as 0"]
        assert (
            pixels_of(figure.axes[2]) == map_picture(broken.nan_to_num(0, 0, 0), PICTURE, view)
        ).all()


# --- pictures, and regions on them -----------------------------------------------------------


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("L", (3, 2), 100),
        np.full((2, 3), 100, np.uint8),
        np.full((2, 3, 1), 100 / 255),
        np.full((2, 3, 3), 100, np.uint8),
    ],
    ids=["PIL", "bytes", "floats", "colours"],
)
def test_a_picture_without_colours_is_drawn_in_its_own_grey(picture):
    figure = draw_maps([(PicturePanel("p", picture), [])])
    assert pixels_of(figure.axes[0]).tolist() == [[[100] * 3] * 3] * 2
    assert len(figure.axes) == 1  # no map, no scale
    assert not figure.texts


def test_an_input_of_one_channel_is_drawn_in_grey():
    shown = draw_maps([(PicturePanel("p", as_picture(torch.tensor([[[-1.0, 0, 1]]]))), [])]).axes[0]
    assert pixels_of(shown).tolist() == [[[0] * 3, [128] * 3, [255] * 3]]


def drawn_edges(mask):
    """Return the edges that are drawn of a mask, in pieces as long as a pixel."""
    axes = draw_maps([(PicturePanel("p", np.zeros(mask.shape)), [])]).axes[0]
    figure = draw_maps([(PicturePanel("p", np.zeros(mask.shape), {"it": mask}), [])])
    assert figure.axes[0].get_xlim() == axes.get_xlim()
    assert figure.axes[0].get_ylim() == axes.get_ylim()
    black, white = figure.axes[0].collections
    assert len(black.get_segments()) == len(white.get_segments())
    pieces = []
    for (x0, y0), (x1, y1) in white.get_segments():
        length = round(abs(x1 - x0) + abs(y1 - y0))
        xs, ys = np.linspace(x0, x1, length + 1), np.linspace(y0, y1, length + 1)
        ends = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
        pieces += [tuple(sorted(pair)) for pair in itertools.pairwise(ends)]
    return sorted(pieces)


@pytest.mark.parametrize("seed", range(5))
def test_an_outline_runs_between_pixels_and_ends_at_the_border(seed):
    mask = np.random.default_rng(seed).random((5, 7)) < 0.5
    expected = []
    for y, x in np.ndindex(mask.shape):
        if x < 6 and mask[y, x] != mask[y, x + 1]:
            expected.append(((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)))
        if y < 4 and mask[y, x] != mask[y + 1, x]:
            expected.append(((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)))
    assert drawn_edges(mask) == sorted(expected)


def test_the_line_between_two_halves_goes_from_border_to_border():
    left = np.zeros((2, 4), dtype=bool)
    left[:, :2] = True
    axes = draw_maps([(PicturePanel("p", np.zeros((2, 4)), {"left": left}), [])]).axes[0]
    assert [s.tolist() for s in axes.collections[1].get_segments()] == [[[1.5, -0.5], [1.5, 1.5]]]


def test_regions_have_names_and_a_grid_has_none():
    regions = {"all": np.ones((60, 90), bool), "none": np.zeros((60, 90), bool)}
    regions["a $ region"] = np.zeros((60, 90), bool)
    regions["a $ region"][10:50, 10:80] = True
    axes = draw_maps([(PicturePanel("p", np.zeros((60, 90)), regions), [])]).axes[0]
    (name,) = axes.texts
    assert name.get_text() == "a $ region"
    # the middle of 10 to 80 and 10 to 50, to half a pixel
    assert np.allclose(name.get_position(), (0.5, 0.5), atol=0.6 / 60)
    for grid in (grid_regions(60, 90), grid_regions(60, 90, 2, 1)):
        axes = draw_maps([(PicturePanel("p", np.zeros((60, 90)), grid), [])]).axes[0]
        assert not axes.texts
        assert axes.collections


def test_names_of_small_regions_lie_beside_them_and_not_on_one_another():
    down, across = np.mgrid[:200, :200]
    regions = {
        f"region {x} {y}": (down - y) ** 2 + (across - x) ** 2 < 30
        for x, y in itertools.product((20, 100, 180), (20, 40, 100, 180))
    }
    figure = draw_maps([(PicturePanel("p", np.zeros((200, 200)), regions), [])])
    check_texts(figure)
    assert len(figure.axes[0].texts) == 12
    below = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    assert abs(below["region 20 100"] - 0.5) > 0.04  # not on the five pixels around its middle
    # more than there is room for
    some = {f"number {i}": down * 200 + across == i for i in range(150)}
    crowded = draw_maps([(PicturePanel("p", np.zeros((200, 200)), some), [])])
    check_texts(crowded)
    assert 5 < len(crowded.axes[0].texts) < 150


# --- nothing is cut, nothing overlaps, and there is no gap -----------------------------------


def boxes(figure):
    """Return where each text is drawn, in inches, and where the panels are."""
    figure.draw_without_rendering()
    outside = set(labels_outside(figure))
    texts = [
        text.get_window_extent()
        for text in figure.findobj(Text)
        if text.get_text() and text.get_visible() and text not in outside
    ]
    panels = [axes.get_window_extent() for axes in figure.axes]
    return [[np.array(box.extents) / figure.dpi for box in some] for some in (texts, panels)]


def labels_outside(figure):
    """Yield the labels of values that an axis does not reach, which are not drawn."""
    for axes in figure.axes:
        for axis, shown in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if not min(shown) <= tick.get_loc() <= max(shown):
                    yield tick.label1


def check_texts(figure):
    """Check that each text lies in the figure, and none over another; return what ``boxes`` has."""
    width, height = figure.get_size_inches()
    texts, panels = boxes(figure)
    for left, bottom, right, top in texts:
        assert left >= 0
        assert bottom >= 0
        assert right <= width
        assert top <= height
    for one, other in itertools.combinations(texts, 2):
        apart = min(one[2], other[2]) <= max(one[0], other[0]) + 0.005
        assert apart or min(one[3], other[3]) <= max(one[1], other[1]) + 0.02
    return texts, panels


def largest_gap(figure, texts, panels):
    """Return how high the highest empty stripe across the figure is, in inches."""
    _, height = figure.get_size_inches()
    at, most = 0.0, 0.0
    for bottom, top in sorted((box[1], box[3]) for box in texts + panels):
        most, at = max(most, bottom - at), max(at, top)
    return max(most, height - at)


SHAPES = {"portrait": (90, 60), "square": (60, 60), "landscape": (60, 90), "panorama": (20, 120),
          "strip": (3, 90), "tower": (90, 6), "pixel": (1, 1)}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("count", "wrap"), [(0, False), (1, True), (4, False), (11, True)])
def test_no_text_is_cut_or_overlaps_and_no_stripe_is_empty(count, shape, wrap):
    values = torch.ones(3, *shape)
    maps = [
        MapPanel(
            LONG if i % 2 else "Gradient", values, ["infidelity 0.1234 " * i, "more"], VIEWS[i % 3]
        )
        for i in range(count)
    ]
    picture = PicturePanel("a-name-without-a-space_" * 5 + ".png", np.zeros(shape), {})
    figure = draw_maps([(picture, maps)], title="prediction: a long name, " * 6, wrap=wrap)
    assert largest_gap(figure, *check_texts(figure)) < 0.3
    figure.set_dpi(150)  # as in files
    _, panels = check_texts(figure)
    for left, bottom, right, top in panels[: 1 + count]:
        assert right - left <= 2.9 + 1e-6
        assert top - bottom <= 1.5 * 2.9 + 1e-6
        assert (right - left) / (top - bottom) == pytest.approx(shape[1] / shape[0])


def test_rows_of_different_lengths_have_titles_of_their_own():
    first = PicturePanel("a", np.zeros((40, 60)))
    rows = [(first, [MapPanel("one", torch.ones(1, 40, 60))] * count) for count in (1, 3, 0)]
    names = ["zebra (41 %)", LONG * 3, "third"]
    figure = draw_maps(rows, title="picture.jpg", row_titles=names, wrap=True)
    assert largest_gap(figure, *check_texts(figure)) < 0.3
    said = [text.get_text().replace("\n", "").replace(" ", "") for text in figure.texts]
    assert [name.replace(" ", "") for name in names] == said[1:4]
    titles = [axes.get_title() for axes in figure.axes[:-1]]
    assert titles == ["a", "one", "a", "one", "one", "one", "a"]
    with pytest.raises(ValueError, match="row_titles has 1 titles for 3 rows"):
        draw_maps(rows, row_titles=["one"])


def test_the_views_of_a_map_stand_beside_one_another_each_in_its_column():
    cam = torch.ones(1, 4, 4)
    maps = [MapPanel("guided", MAP, view=view) for view in VIEWS]
    maps += [MapPanel("cam", cam, view=view) for view in VIEWS[:2]]
    figure = draw_maps([(PicturePanel("p", PICTURE), maps)], wrap=True)
    _, panels = boxes(figure)
    lefts = [round(float(box[0]), 3) for box in panels[:6]]
    assert lefts == sorted(set(lefts[:4])) + lefts[1:3]
    bottoms = [round(float(box[1]), 3) for box in panels[:6]]
    assert len(set(bottoms[:4])) == len(set(bottoms[4:])) == 1
    check_texts(figure)


@pytest.mark.parametrize("count", [0, 1, 3, 12])
def test_estimates_of_long_names_are_not_cut(count):
    estimates = [
        Estimate((LONG if i == 1 else "Gradient $x$ 日"), 0.26 + i * 1e-3, 0.1, 0.5)
        for i in range(count)
    ]
    panels = [
        EstimatePanel(
            "a metric of a long name, " * panel + "$",
            "mean over 12 images\nlow is better",
            estimates,
        )
        for panel in range(1, 5)
    ]
    for shown in (panels[:1], panels):
        figure = draw_estimates(shown, caption="Bars: the interval of the difference. " * 9)
        figure_bytes(figure, "png")  # warns where there is no room
        check_texts(figure)


# --- any text --------------------------------------------------------------------------------

ODD = {
    "$x^2$ and \\$ and $": "$x^2$ and \\$ and $",
    r"\frac{a}{b} $\nothing$": r"\frac{a}{b} $\nothing$",
    "tab\tand  two spaces": "tab and two spaces",
    "a\x1b[31mred\x00": "a�[31mred�",
    "not UTF-8: \udce9": "not UTF-8: �",
    "\u202egnp.exe": "gnp.exe",  # would be written from right to left
    "soft\u00adhyphen": "softhyphen",
    "é ü ✔ ×": "é ü ✔ ×",
    "<script>&amp;": "<script>&amp;",
    "private \ue123": "private �",
    "no font has \U000e0fff this": "no font has � this",
}


@pytest.mark.parametrize("text", ODD, ids=ascii)
def test_any_name_is_drawn_as_it_is_written(text):
    mask = np.zeros((60, 60), bool)
    mask[:50] = True
    picture = PicturePanel(text, np.zeros((60, 60)), {text: mask})
    maps = [MapPanel(text, torch.ones(3, 60, 60), [text])]
    figure = draw_maps([(picture, maps)], title=text, row_titles=[text])
    axes = figure.axes[0]
    shown = [figure.get_suptitle(), figure.texts[1], axes.texts[0], axes.get_title(),
             figure.axes[1].get_title(), figure.axes[1].get_xlabel()]  # fmt: skip
    expected = ODD[text]
    assert [getattr(one, "get_text", lambda one=one: one)() for one in shown] == [expected] * 6
    for kind in ("png", "svg", "pdf"):
        figure_bytes(figure, kind)  # a letter without a glyph warns
    with rc_context({"text.usetex": True}):  # the user's own setting, for figures of their own
        figure_bytes(draw_maps([(PicturePanel(text, PICTURE), [])]), "png")


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=200), st.floats(0.05, 4), st.booleans())
def test_text_of_any_width_keeps_its_letters_and_its_room(text, room, bold):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lines = lettering(text, room, 9, bold=bold).split("\n")
    whole = lettering(text, 1e9, 9, bold=bold)
    assert "".join("".join(lines).split()) == "".join(whole.split())
    for line in lines:
        assert len(line) <= 1 or extent(line, 9, bold=bold)[0] <= room


def test_long_words_are_cut_behind_a_dot_if_they_have_one():
    width, _ = extent("features.denseblock4.", 11)
    assert lettering("features.denseblock4.denselayer16", width * 1.1, 11) == (
        "features.denseblock4.\ndenselayer16"
    )
    assert lettering("at features.denseblock4.relu", width * 1.1, 11) == (
        "at\nfeatures.denseblock4.\nrelu"
    )
    assert "".join(lettering("x" * 99, width, 11).split("\n")) == "x" * 99


# --- files -----------------------------------------------------------------------------------


def drawing():
    mask = np.zeros((4, 4), bool)
    mask[1:3, 1:4] = True
    row = PicturePanel("a <picture>", PICTURE, {"name": mask}), [MapPanel("a $ map", MAP)]
    return draw_maps([row], title="title & more")


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(kind, monkeypatch):
    first = figure_bytes(drawing(), kind)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert figure_bytes(drawing(), kind) == first
    assert b"CreationDate" not in first
    assert b"<dc:date>" not in first


def test_a_figure_is_written_as_what_is_asked_for():
    figure = drawing()
    with Image.open(BytesIO(figure_bytes(figure, "png"))) as image:
        assert image.format == "PNG"
        # matplotlib cuts the rest of a pixel off, before 3.11 the last one of 942.0 with it
        assert np.allclose(image.size, figure.get_size_inches() * 150, atol=1)
    assert figure_bytes(figure, "pdf").startswith(b"%PDF")
    drawn = figure_bytes(figure, "svg").decode()
    for text in ("a &lt;picture&gt;", "a $ map", "title &amp; more", "name"):
        assert f">{text}</text>" in drawn  # text is text, to be searched for
    with pytest.raises(ValueError, match="as 'jpg'; "):
        figure_bytes(figure, "jpg")


# --- matrices -----------------------------------------------------------------------------------


def test_a_matrix_is_drawn_with_its_numbers_colours_and_names():
    values = torch.tensor([[1.0, -0.004, float("nan")], [-0.75, 0.5, 0.0], [0.126, -1, 1]])
    figure = draw_matrices([Matrix("Title", ["one", "two", "th$ree$"], values, "below")])
    (axes,) = figure.axes
    expected = ["1.00", "0.00", "–", "−0.75", "0.50", "0.00", "0.13", "−1.00", "1.00"]
    assert [text.get_text() for text in axes.texts] == expected
    assert [text.get_position() for text in axes.texts] == [
        (c, r) for r in range(3) for c in range(3)
    ]
    assert axes.texts[3].get_color() == "white"  # on dark blue
    assert axes.texts[4].get_color() == axes.texts[2].get_color() == "black"
    image = axes.get_images()[0]
    assert image.get_clim() == (-1, 1)
    shown = np.ma.getmaskarray(image.get_array())
    assert shown.tolist() == values.isnan().tolist()  # what is grey
    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["one", "two", "th$ree$"]
    assert axes.get_xlabel() == "below"
    check_texts(figure)


@pytest.mark.parametrize(
    ("count", "name", "columns"),
    [
        (1, "a", 2),
        (4, "Guided backprop", 2),
        (13, "Guided Grad-CAM", 1),
        (3, LONG, 2),
        (8, LONG, 1),
    ],
)
def test_of_a_matrix_no_name_is_cut(count, name, columns):
    values = torch.full((count, count), -0.99)
    matrices = [Matrix("Rank correlation", [name] * count, values, "a caption") for _ in range(2)]
    figure = draw_matrices(matrices, caption="mean over 3 examples")
    assert largest_gap(figure, *check_texts(figure)) < 0.3
    assert figure.get_size_inches()[0] <= 14
    written = [label.get_text().replace("\n", "").replace(" ", "")
               for axes in figure.axes for label in axes.get_yticklabels()]  # fmt: skip
    assert written == [name.replace(" ", "")] * (2 * count)
    lefts = {round(axes.get_position().x0, 3) for axes in figure.axes}
    assert len(lefts) == columns


def test_a_value_between_nothing_is_drawn_as_a_point():
    nan = math.nan
    curve = Curve("a", [0.9, nan, 0.1, 0.2, nan, 0.4], [nan] * 6, [nan] * 6)
    figure = draw_checks(
        [CurvePanel("none", []), CurvePanel("one", [curve])], ("first", "last"), [], None,
        title="checks", caption="of nothing",
    )  # fmt: skip
    empty, axes = figure.axes[:2]
    points = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert points == [[[1, 0.9], [6, 0.4]]]
    assert empty.get_legend() is None
    assert axes.get_legend() is not None


def test_correlations_are_drawn_on_a_linear_axis_however_small():
    panels = [
        EstimatePanel("picture", "", [Estimate("a", 0.33), Estimate("b", 0.001)], (-0.5, 0.5)),
        EstimatePanel("edges", "", [Estimate("a", -0.1), Estimate("b", 0.4)]),
    ]
    figure = draw_checks([], ("", ""), panels, None, title="checks", caption="of two methods")
    drawn = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_xscale() for axes in drawn] == ["linear", "linear"]
    assert drawn[0].get_xlim() == drawn[1].get_xlim()
    assert drawn[0].get_xlim()[0] < -1 < 1 < drawn[0].get_xlim()[1]
