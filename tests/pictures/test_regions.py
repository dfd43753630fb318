"""Regions of a picture: by a grid, as the picture is laid, from a label image or a COCO file."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from picture_files import save, write_coco
from PIL import Image
from torch import nn

from captum_guided_ext.errors import DataError
from captum_guided_ext.explanation import region_shares
from captum_guided_ext.networks import Network, Preprocessing
from captum_guided_ext.pictures import grid_regions, lay_regions, load_regions

# Each example overwrites the one before; how long it takes is no matter on a busy machine.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def load_or_complain(file):
    """Whether a file gives masks or an error that names it; any other error comes through."""
    try:
        regions = load_regions(file, (4, 3), file_name="a.jpg")
    except DataError as error:
        return file.name in str(error)
    return all(mask.shape == (3, 4) for mask in regions.values())


# --- grids ---


def test_grid_names_follow_the_picture():
    regions = grid_regions(6, 9)
    assert list(regions) == [
        *("top left", "top", "top right"),
        *("left", "centre", "right"),
        *("bottom left", "bottom", "bottom right"),
    ]
    assert np.argwhere(regions["top right"]).min(axis=0).tolist() == [0, 6]
    assert np.argwhere(regions["top right"]).max(axis=0).tolist() == [1, 8]
    assert np.argwhere(regions["left"]).tolist() == [[y, x] for y in (2, 3) for x in (0, 1, 2)]
    halved = ["top left", "top right", "bottom left", "bottom right"]
    assert list(grid_regions(4, 4, 2, 2)) == halved
    assert list(grid_regions(4, 4, 1, 2)) == ["left", "right"]
    assert list(grid_regions(4, 4, 3, 1)) == ["top", "centre", "bottom"]
    assert list(grid_regions(4, 4, 4, 1))[3] == "row 4, column 1"
    assert list(grid_regions(1, 2)) == ["left", "right"]


@given(st.data(), st.integers(1, 40), st.integers(1, 40))
@UNHURRIED
def test_grid_is_a_partition_of_equal_cells(data, height, width):
    rows, columns = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    regions = grid_regions(height, width, rows, columns)
    assert len(regions) == rows * columns
    assert (sum(mask.astype(int) for mask in regions.values()) == 1).all()
    for mask in regions.values():
        assert mask.any(axis=1).sum() in (height // rows, -(-height // rows))
        assert mask.any(axis=0).sum() in (width // columns, -(-width // columns))


@pytest.mark.parametrize(("rows", "columns"), [(0, 1), (1, -1), (5, 1), (1, 7)])
def test_grid_without_room(rows, columns):
    message = rf"a picture of 6 x 4 pixels .* has no grid of {columns} x {rows} cells"
    with pytest.raises(ValueError, match=message):
        grid_regions(4, 6, rows, columns)


def test_regions_follow_the_crop():
    network = Network(nn.Identity(), Preprocessing(4, 4))
    none = {"none": np.zeros((8, 16), dtype=bool)}
    regions = grid_regions(8, 16, 1, 2) | grid_regions(8, 16, 1, 8) | none
    laid, seen = lay_regions(regions, network)
    # 16 x 8 pixels shrink to 8 x 4, of which columns 2 to 5 are seen.
    assert laid["left"].tolist() == [[True, True, False, False]] * 4
    assert laid["right"].tolist() == [[False, False, True, True]] * 4
    assert laid["row 1, column 3"].tolist() == [[True, False, False, False]] * 4
    assert not laid["row 1, column 1"].any()
    assert region_shares(torch.ones(3, 4, 4), laid)[2].area == 0
    assert all(mask.dtype == bool for mask in laid.values())
    # Of the picture those are columns 4 to 11.
    assert seen["left"] == seen["right"] == 0.5
    cells = [seen[f"row 1, column {column}"] for column in range(1, 9)]
    assert cells == [0, 0, 1, 1, 1, 1, 0, 0]
    assert seen["none"] == 0
    whole, all_seen = lay_regions(
        none | {"all": np.ones((8, 16), dtype=bool)}, Network(nn.Identity())
    )
    assert whole["all"].all()
    assert (whole["all"].shape, all_seen) == ((8, 16), {"none": 0, "all": 1})


# --- label images ---

LABELS = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [5, 5, 5, 1]], dtype=np.uint8)


def label_image(mode):
    image = Image.fromarray(LABELS.astype({"I;16": np.uint16, "I": np.int32}.get(mode, np.uint8)))
    if mode == "P":
        image.putpalette([17, 40, 200] * 256)
    return image


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("I;16", "png"), ("I", "tif")]
)
def test_label_image_without_names(tmp_path, mode, suffix):
    regions = load_regions(save(tmp_path / f"regions.{suffix}", label_image(mode)), (4, 3))
    assert list(regions) == ["region 1", "region 2", "region 5", "background"]
    for name, label in zip(regions, (1, 2, 5, 0), strict=True):
        assert regions[name].dtype == bool
        assert np.array_equal(regions[name], np.equal(LABELS, label))


def test_label_image_with_names(tmp_path):
    file = save(tmp_path / "regions.png", label_image("P"))
    names = {"0": "grass", "1": "zebra", "5": "zebra", "9": "not there"}
    file.with_suffix(".json").write_text(json.dumps(names))
    regions = load_regions(str(file), (4, 3))
    assert list(regions) == ["grass", "zebra", "region 2"]
    assert (regions["zebra"] == ((LABELS == 1) | (LABELS == 5))).all()


def test_black_and_white_image(tmp_path):
    regions = load_regions(save(tmp_path / "mask.png", LABELS == 1), (4, 3))
    assert list(regions) == ["region 1", "background"]
    assert (regions["region 1"] == (LABELS == 1)).all()


@pytest.mark.parametrize("names", ["[1]", "3", '{"zebra": "1"}', '{"1": 2}', '{"1": ""}', "{}"])
def test_label_names_that_are_none(tmp_path, names):
    file = save(tmp_path / "regions.png", label_image("L"))
    file.with_suffix(".json").write_text(names)
    with pytest.raises(DataError, match=r'regions\.json does not name labels: .* \{"1": "zebra"\}'):
        load_regions(file, (4, 3))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colours.png", r"colours\.png is no label image but a PNG of mode RGB"),
        ("blurred.jpg", r"blurred\.jpg is no label image but a JPEG of mode L"),
        ("turned.png", r"for a picture of 3 x 4 pixels .* this one has 4 x 3"),
        ("text.png", r"text\.png cannot be read as a label image"),
        ("missing.png", r"missing\.png cannot be read as a label image .*No such"),
    ],
)
def test_label_images_that_cannot_be_used(tmp_path, name, message):
    save(tmp_path / "colours.png", label_image("L").convert("RGB"))
    save(tmp_path / "blurred.jpg", label_image("L"))
    save(tmp_path / "turned.png", LABELS.T)
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=message):
        load_regions(tmp_path / name, (4, 3))


@given(st.integers(0, 80), st.binary(min_size=1, max_size=3))
@UNHURRIED
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_png_is_a_region_error(tmp_path, position, junk):
    file = save(tmp_path / "damaged.png", label_image("P"))
    content = bytearray(file.read_bytes())
    content[position : position + len(junk)] = junk
    file.write_bytes(content)
    assert load_or_complain(file)


# --- COCO ---


@pytest.fixture
def coco(tmp_path):
    """Write a COCO file and load the regions of its picture of 12 x 10 pixels."""

    def load(*annotations, size=(12, 10), file_name=None, **others):
        file = write_coco(tmp_path, *annotations, **others)
        return load_regions(file, size, file_name=file_name)

    return load


def rectangle(left, top, right, bottom, size=(12, 10)):
    """Pixels from left to right, top to bottom, the last ones not included."""
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_coco_boxes(coco):
    regions = coco(
        {"bbox": [2, 3, 5, 6]},
        {"bbox": [9.6, -4, 100, 5.6], "segmentation": []},  # from pixel 10 on, to pixel 1
        {"bbox": [4, 3, 5, 2], "category_id": 2},
        {"bbox": [0, 0, 1, 1], "category_id": 3},
    )
    assert list(regions) == ["zebra", "elephant", "category 3", "background"]
    assert (regions["zebra"] == (rectangle(2, 3, 7, 9) | rectangle(10, 0, 12, 2))).all()
    assert (regions["elephant"] == rectangle(4, 3, 9, 5)).all()  # they overlap
    covered = regions["zebra"] | regions["elephant"] | regions["category 3"]
    assert (regions["background"] == ~covered).all()


def test_no_background_where_all_is_covered(coco):
    assert list(coco({"bbox": [0, 0, 12, 10]})) == ["zebra"]
    outside = coco({"bbox": [50, 50, 12, 10]})
    assert not outside["zebra"].any()
    assert outside["background"].all()


def test_a_category_called_background_takes_in_the_rest(coco):
    categories = [{"id": 1, "name": "background"}, {"id": 2, "name": "elephant"}]
    boxes = {"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 6, 10], "category_id": 2}
    regions = coco(*boxes, categories=categories)
    assert list(regions) == ["elephant", "background"]
    assert (regions["background"] == (rectangle(6, 0, 12, 10) | rectangle(0, 0, 1, 1))).all()


def test_coco_polygons_by_hand(coco):
    # The triangle's long side runs through (12, 0) and (0, 12): a centre (x + .5, y + .5) is inside
    # where x + y + 1 < 12.
    triangle = {"segmentation": [[0, 0, 12, 0, 0, 12]], "bbox": [0, 0, 12, 12]}
    two_parts = [[1, 1, 3, 1, 3, 4, 1, 4], [8, 5, 8, 9, 11, 9, 11, 5]]
    regions = coco(triangle, {"segmentation": two_parts, "category_id": 2})
    y, x = np.mgrid[:10, :12]
    assert (regions["zebra"] == (x + y < 11)).all()
    assert (regions["elephant"] == (rectangle(1, 1, 3, 4) | rectangle(8, 5, 11, 9))).all()


points = st.tuples(*[st.one_of(st.floats(-5, 40), st.integers(-10, 80).map(lambda n: n / 2))] * 2)


@given(polygon=st.lists(points, min_size=3, max_size=8))
@UNHURRIED
def test_polygons_agree_with_matplotlib_away_from_edges(coco, polygon):
    from matplotlib.path import Path as Outline

    part = {"segmentation": [np.ravel(polygon).tolist()]}
    zebra = coco(part, images=[], size=(32, 30))["zebra"]
    y, x = np.mgrid[:30, :32] + 0.5
    centres = np.stack([x.ravel(), y.ravel()], axis=1)
    outline = np.array(polygon)
    inside = Outline(outline).contains_points(centres)
    near = np.zeros(len(centres), dtype=bool)
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        along = np.clip(((centres - a) @ (b - a)) / max((b - a) @ (b - a), 1e-12), 0, 1)
        near |= np.linalg.norm(centres - a - along[:, None] * (b - a), axis=1) < 1e-6
    assert (zebra.ravel() == inside)[~near].all()


@given(corners=st.lists(points, min_size=3, max_size=3), inner=points)
@UNHURRIED
def test_polygons_that_share_an_edge_share_no_pixel(coco, corners, inner):
    # Even-odd halves of a quadrilateral on the two sides of its diagonal, whatever its shape.
    a, b, c = corners
    parts = [[*a, *b, *c], [*c, *inner, *a], [*a, *b, *c, *inner]]
    each = [{"segmentation": [part], "category_id": i} for i, part in enumerate(parts, 1)]
    regions = coco(*each, images=[], size=(32, 30))
    whole = regions["zebra"] ^ regions["elephant"]
    assert (whole == regions["category 3"]).all()


def test_coco_of_several_images(coco):
    images = [
        {"id": 1, "file_name": "train/a.jpg", "width": 12, "height": 10},
        {"id": 2, "file_name": "val/a.jpg", "width": 12, "height": 10},
        {"id": 3, "file_name": "val/b.jpg"},
    ]
    boxes = [{"image_id": n, "bbox": [n, 0, 1, 1]} for n in (1, 2, 3)]
    for name, column in (("b.jpg", 3), ("photos/b.jpg", 3), ("val/a.jpg", 2)):
        zebra = coco(*boxes, images=images, file_name=name)["zebra"]
        assert np.argwhere(zebra).tolist() == [[0, column]]
    for name, words in (
        ("a.jpg", r"holds 2 images called 'a\.jpg', and one is needed"),
        ("val/c.jpg", r"holds 0 images called 'val/c\.jpg'.*nearest are val/"),
        (None, r"coco\.json holds 3 images: say which, by its file_name"),
    ):
        with pytest.raises(DataError, match=words):
            coco(*boxes, images=images, file_name=name)


BOX = {"bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({}, r"annotation 0 has no polygons or run lengths \(segmentation\), box \(bbox\) or key"),
        ({"bbox": [1, 2, 3]}, r"annotation 0: bbox is \[1, 2, 3\], not 4 numbers"),
        ({"bbox": [1, 2, "3", 4]}, r"bbox is .*, not 4 numbers"),
        ({"bbox": [1, 2, float("nan"), 4]}, r"bbox is .*NaN.*, not 4 numbers"),
        ({"bbox": [1, 2, -3, 4]}, r"annotation 0: bbox has a side below 0"),
        (
            {"segmentation": [[0, 0, 1, 1]]},
            r"segmentation is .*, not x, y of at least three points",
        ),
        ({"segmentation": [[0, 0, 1, 1, 2, 2, 3]]}, r"not x, y of at least three points"),
        ({"segmentation": [0, 0, 1, 1, 2, 2]}, r"segmentation is 0, not x, y"),
        ({"segmentation": 5}, r"coco\.json is not laid out as a COCO file \(TypeError"),
    ],
)
def test_coco_annotations_that_cannot_be_used(coco, annotation, message):
    with pytest.raises(DataError, match=message) as caught:
        coco(annotation)
    assert "\n" not in str(caught.value)


def test_coco_annotations_of_another_image(coco):
    assert list(coco({"image_id": None})) == ["background"]


def test_a_coco_file_of_another_size(coco):
    with pytest.raises(DataError, match=r"for a picture of 12 x 10 pixels .* one has 10 x 12"):
        coco(BOX, size=(10, 12))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'{"annotations": [{"category_id": 1}], "images": [{"id": 1}]}',
            r"not laid out as a COCO file \(KeyError: 'image_id'\)",
        ),
        (b'{"1": "zebra"}', r"is no COCO file: it has no list of annotations .*give t"),
        (b'{"1": ', r"coco\.json cannot be read as JSON"),
        (b"\xff\xfe\x00", r"coco\.json cannot be read as JSON"),
        (None, r"coco\.json cannot be read as JSON \(.*No such file"),
    ],
)
def test_coco_files_that_cannot_be_used(tmp_path, content, message):
    if content is not None:
        (tmp_path / "coco.json").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_regions(tmp_path / "coco.json", (10, 12))


keys = st.sampled_from(
    ["id", "name", "bbox", "segmentation", "image_id", "category_id", "file_name", "width"]
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["a.jpg", ""]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(keys, inner),
    max_leaves=8,
)


@given(annotations=st.lists(anything, max_size=3), images=anything, categories=anything)
@UNHURRIED
def test_any_json_is_regions_or_a_region_error(tmp_path, annotations, images, categories):
    content = {"annotations": annotations, "images": images, "categories": categories}
    (tmp_path / "any.json").write_text(json.dumps(content))
    assert load_or_complain(tmp_path / "any.json")
