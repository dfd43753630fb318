import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from captum_guided_ext.errors import DataError
from captum_guided_ext.explanation import RegionShare, region_shares
from captum_guided_ext.networks import Network
from captum_guided_ext.pictures import (
    grid_regions,
    lay_regions,
    load_regions,
)

# Each example overwrites the one before; how long it takes is no matter on a busy machine.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_import_does_not_pull_in_torchvision():
    code = "import sys, captum_guided_ext.pictures; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def load_or_complain(file):
    """Whether a file gives masks or an error that names it; any other error comes through."""
    try:
        regions = load_regions(file, (4, 3), file_name="a.jpg")
    except DataError as error:
        return file.name in str(error)
    return all(mask.shape == (3, 4) for mask in regions.values())


# --- shares ---


def test_shares_by_hand():
    attribution = torch.tensor([[[1.0, -2.0], [0.0, 0.0]], [[0.0, 1.0], [-4.0, 0.0]]])
    regions = {
        "top": np.array([[True, True], [False, False]]),
        "left": torch.tensor([[True, False], [True, False]]),
        "nothing": np.zeros((2, 2), dtype=bool),
    }
    # Absolute values summed over channels: 1 and 3 above, 4 and 0 below; 8 in all.
    assert region_shares(attribution, regions) == [
        RegionShare("top", 0.5, 0.5),
        RegionShare("left", 0.625, 0.5),
        RegionShare("nothing", 0.0, 0.0),
    ]
    assert [share.mark for share in region_shares(attribution, regions)] == ["✖", "✔", "✖"]
    flat = torch.tensor([[1.0, 3.0], [4.0, 0.0]], requires_grad=True)
    assert region_shares(flat, regions) == region_shares(attribution, regions)


def test_a_map_of_zeros_is_in_no_region():
    shares = region_shares(torch.zeros(3, 6, 6), grid_regions(6, 6))
    assert [share.attribution for share in shares] == [0.0] * 9
    assert not any(share.holds_more for share in shares)


@given(value=st.floats(1e-30, 1e30), height=st.integers(3, 30), width=st.integers(3, 30))
@UNHURRIED
def test_an_even_map_favours_no_region(value, height, width):
    attribution = torch.full((3, height, width), value, dtype=torch.float64)
    shares = region_shares(attribution, grid_regions(height, width))
    assert not any(share.holds_more for share in shares)


maps = st.tuples(st.integers(3, 20), st.integers(3, 20), st.integers(0, 99)).map(
    lambda size: torch.randn(3, *size[:2], generator=torch.Generator().manual_seed(size[2]))
)


@given(maps, st.integers(1, 3), st.integers(1, 3))
@UNHURRIED
def test_shares_of_a_partition_sum_to_one(attribution, rows, columns):
    shares = region_shares(attribution, grid_regions(*attribution.shape[1:], rows, columns))
    assert sum(share.attribution for share in shares) == pytest.approx(1)
    assert sum(share.area for share in shares) == pytest.approx(1)
    assert all(0 <= share.attribution <= 1 for share in shares)


@given(maps, st.integers(-30, 30), st.booleans())
@UNHURRIED
def test_scaling_the_map_changes_nothing(attribution, power, negative):
    # By powers of two, which float arithmetic scales without rounding.
    scaled = attribution * (-1 if negative else 1) * 2.0**power
    regions = grid_regions(*attribution.shape[1:])
    assert region_shares(scaled, regions) == region_shares(attribution, regions)


def test_what_shares_cannot_be_taken_of():
    with pytest.raises(ValueError, match=r"region 'dog' has shape \(4, 5\), .* have \(5, 4\)"):
        region_shares(torch.ones(3, 5, 4), {"dog": np.ones((4, 5), dtype=bool)})
    with pytest.raises(ValueError, match=r"attribution has shape \(1, 3, 5, 4\); one example's"):
        region_shares(torch.ones(1, 3, 5, 4), {})
    with pytest.raises(ValueError, match="attribution holds NaN or infinity in 1 of 4"):
        region_shares(torch.tensor([[1.0, float("nan")], [0.0, 0.0]]), {})


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
    assert list(grid_regions(4, 4, 2, 2)) == [
        "top left",
        "top right",
        "bottom left",
        "bottom right",
    ]
    assert list(grid_regions(4, 4, 1, 2)) == ["left", "right"]
    assert list(grid_regions(4, 4, 3, 1)) == ["top", "centre", "bottom"]
    assert list(grid_regions(4, 4, 4, 1))[3] == "row 4, column 1"


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
    network = Network("own", nn.Identity(), resize_size=4, crop_size=4)
    laid = lay_regions(grid_regions(8, 16, 1, 2) | grid_regions(8, 16, 1, 8), network.lay_mask)
    # 16 x 8 pixels shrink to 8 x 4, of which columns 2 to 5 are seen.
    assert laid["left"].tolist() == [[True, True, False, False]] * 4
    assert laid["right"].tolist() == [[False, False, True, True]] * 4
    assert laid["row 1, column 3"].tolist() == [[True, False, False, False]] * 4
    assert not laid["row 1, column 1"].any()
    assert region_shares(torch.ones(3, 4, 4), laid)[2].area == 0
    assert all(mask.dtype == bool for mask in laid.values())


# --- label images ---

LABELS = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [5, 5, 5, 1]], dtype=np.uint8)


def label_image(mode):
    if mode == "P":
        image = Image.fromarray(LABELS)
        image.putpalette([17, 40, 200] * 256)
        return image
    return Image.fromarray(LABELS.astype({"L": np.uint8, "I;16": np.uint16, "I": np.int32}[mode]))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("I;16", "png"), ("I", "tif")]
)
def test_label_image_without_names(tmp_path, mode, suffix):
    file = tmp_path / f"regions.{suffix}"
    label_image(mode).save(file)
    regions = load_regions(file, (4, 3))
    assert list(regions) == ["region 1", "region 2", "region 5", "background"]
    for name, label in zip(regions, (1, 2, 5, 0), strict=True):
        assert regions[name].dtype == bool
        assert np.array_equal(regions[name], np.equal(LABELS, label))


def test_label_image_with_names(tmp_path):
    label_image("P").save(tmp_path / "regions.png")
    names = {"0": "grass", "1": "zebra", "5": "zebra", "9": "not there"}
    (tmp_path / "regions.json").write_text(json.dumps(names))
    regions = load_regions(str(tmp_path / "regions.png"), (4, 3))
    assert list(regions) == ["grass", "zebra", "region 2"]
    assert (regions["zebra"] == ((LABELS == 1) | (LABELS == 5))).all()


def test_black_and_white_image(tmp_path):
    Image.fromarray(LABELS == 1).save(tmp_path / "mask.png")
    regions = load_regions(tmp_path / "mask.png", (4, 3))
    assert list(regions) == ["region 1", "background"]
    assert (regions["region 1"] == (LABELS == 1)).all()


@pytest.mark.parametrize("names", ["[1]", "3", '{"zebra": "1"}', '{"1": 2}', '{"1": ""}', "{}"])
def test_label_names_that_are_none(tmp_path, names):
    label_image("L").save(tmp_path / "regions.png")
    (tmp_path / "regions.json").write_text(names)
    with pytest.raises(DataError, match=r'regions\.json does not name labels: .* \{"1": "zebra"\}'):
        load_regions(tmp_path / "regions.png", (4, 3))


def test_label_images_that_cannot_be_used(tmp_path):
    label_image("L").convert("RGB").save(tmp_path / "colours.png")
    with pytest.raises(DataError, match=r"colours\.png is no label image but a PNG of mode RGB"):
        load_regions(tmp_path / "colours.png", (4, 3))
    label_image("L").save(tmp_path / "blurred.jpg")
    with pytest.raises(DataError, match=r"blurred\.jpg is no label image but a JPEG of mode L"):
        load_regions(tmp_path / "blurred.jpg", (4, 3))
    label_image("L").save(tmp_path / "turned.png")
    with pytest.raises(DataError, match=r"for a picture of 4 x 3 pixels .* this one has 3 x 4"):
        load_regions(tmp_path / "turned.png", (3, 4))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png cannot be read as a label image"):
        load_regions(tmp_path / "text.png", (4, 3))
    with pytest.raises(DataError, match=r"missing\.png cannot be read as a label image .*No such"):
        load_regions(tmp_path / "missing.png", (4, 3))


@given(st.integers(0, 80), st.binary(min_size=1, max_size=3))
@UNHURRIED
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_png_is_a_region_error(tmp_path, position, junk):
    file = tmp_path / "damaged.png"
    label_image("P").save(file)
    content = bytearray(file.read_bytes())
    content[position : position + len(junk)] = junk
    file.write_bytes(content)
    assert load_or_complain(file)


# --- COCO ---


def write_coco(folder, *annotations, **others):
    content = {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 12, "height": 10}],
        "annotations": [{"image_id": 7, "category_id": 1} | each for each in annotations],
        "categories": [{"id": 1, "name": "zebra"}, {"id": 2, "name": "elephant"}],
    } | others
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def rectangle(left, top, right, bottom, size=(12, 10)):
    """Pixels from left to right, top to bottom, the last ones not included."""
    mask = np.zeros(size[::-1], dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def test_coco_boxes(tmp_path):
    file = write_coco(
        tmp_path,
        {"bbox": [2, 3, 5, 6]},
        {"bbox": [9.6, -4, 100, 5.6], "segmentation": []},  # from pixel 10 on, to pixel 1
        {"bbox": [4, 3, 5, 2], "category_id": 2},
        {"bbox": [0, 0, 1, 1], "category_id": 3},
    )
    regions = load_regions(file, (12, 10))
    assert list(regions) == ["zebra", "elephant", "category 3", "background"]
    assert (regions["zebra"] == (rectangle(2, 3, 7, 9) | rectangle(10, 0, 12, 2))).all()
    assert (regions["elephant"] == rectangle(4, 3, 9, 5)).all()  # they overlap
    covered = regions["zebra"] | regions["elephant"] | regions["category 3"]
    assert (regions["background"] == ~covered).all()


def test_no_background_where_all_is_covered(tmp_path):
    regions = load_regions(write_coco(tmp_path, {"bbox": [0, 0, 12, 10]}), (12, 10))
    assert list(regions) == ["zebra"]
    outside = load_regions(write_coco(tmp_path, {"bbox": [50, 50, 12, 10]}), (12, 10))
    assert not outside["zebra"].any()
    assert outside["background"].all()


def test_a_category_called_background_takes_in_the_rest(tmp_path):
    categories = [{"id": 1, "name": "background"}, {"id": 2, "name": "elephant"}]
    boxes = {"bbox": [0, 0, 1, 1]}, {"bbox": [0, 0, 6, 10], "category_id": 2}
    regions = load_regions(write_coco(tmp_path, *boxes, categories=categories), (12, 10))
    assert list(regions) == ["elephant", "background"]
    assert (regions["background"] == (rectangle(6, 0, 12, 10) | rectangle(0, 0, 1, 1))).all()


def test_coco_polygons_by_hand(tmp_path):
    # The triangle's long side runs through (12, 0) and (0, 12): a centre (x + .5, y + .5) is inside
    # where x + y + 1 < 12.
    triangle = {"segmentation": [[0, 0, 12, 0, 0, 12]], "bbox": [0, 0, 12, 12]}
    two_parts = {
        "segmentation": [[1, 1, 3, 1, 3, 4, 1, 4], [8, 5, 8, 9, 11, 9, 11, 5]],
        "category_id": 2,
    }
    regions = load_regions(write_coco(tmp_path, triangle, two_parts), (12, 10))
    y, x = np.mgrid[:10, :12]
    assert (regions["zebra"] == (x + y < 11)).all()
    assert (regions["elephant"] == (rectangle(1, 1, 3, 4) | rectangle(8, 5, 11, 9))).all()


points = st.tuples(*[st.one_of(st.floats(-5, 40), st.integers(-10, 80).map(lambda n: n / 2))] * 2)


@given(polygon=st.lists(points, min_size=3, max_size=8))
@UNHURRIED
def test_polygons_agree_with_matplotlib_away_from_edges(tmp_path, polygon):
    from matplotlib.path import Path as Outline

    file = write_coco(tmp_path, {"segmentation": [np.ravel(polygon).tolist()]}, images=[])
    zebra = load_regions(file, (32, 30))["zebra"]
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
def test_polygons_that_share_an_edge_share_no_pixel(tmp_path, corners, inner):
    # Even-odd halves of a quadrilateral on the two sides of its diagonal, whatever its shape.
    a, b, c = corners
    parts = [
        {"segmentation": [[*a, *b, *c]], "category_id": 1},
        {"segmentation": [[*c, *inner, *a]], "category_id": 2},
        {"segmentation": [[*a, *b, *c, *inner]], "category_id": 3},
    ]
    regions = load_regions(write_coco(tmp_path, *parts, images=[]), (32, 30))
    whole = regions["zebra"] ^ regions["elephant"]
    assert (whole == regions["category 3"]).all()


def test_coco_of_several_images(tmp_path):
    images = [
        {"id": 1, "file_name": "train/a.jpg", "width": 12, "height": 10},
        {"id": 2, "file_name": "val/a.jpg", "width": 12, "height": 10},
        {"id": 3, "file_name": "val/b.jpg"},
    ]
    boxes = [{"image_id": n, "bbox": [n, 0, 1, 1]} for n in (1, 2, 3)]
    file = write_coco(tmp_path, *boxes, images=images)

    def column(name):
        zebra = load_regions(file, (12, 10), file_name=name)["zebra"]
        return np.argwhere(zebra).tolist()

    assert column("b.jpg") == [[0, 3]]
    assert column("photos/b.jpg") == [[0, 3]]
    assert column("val/a.jpg") == [[0, 2]]
    with pytest.raises(DataError, match=r"holds 2 images called 'a\.jpg', and one is needed"):
        column("a.jpg")
    with pytest.raises(DataError, match=r"holds 0 images called 'val/c\.jpg'.*nearest are val/"):
        column("val/c.jpg")
    with pytest.raises(DataError, match=r"coco\.json holds 3 images: say which, by its file_name"):
        load_regions(file, (12, 10))


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"segmentation": {"counts": [1], "size": [1, 1]}}, r"annotation 0 is run-length encoded"),
        (
            {"bbox": [0, 0, 1, 1], "iscrowd": 1},
            r"RLE.*turn it into polygons, or give a label image",
        ),
        ({}, r"annotation 0 has neither polygons \(segmentation\) nor a box"),
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
        ({"image_id": None}, None),
    ],
)
def test_coco_annotations(tmp_path, annotation, message):
    file = write_coco(tmp_path, annotation)
    if message is None:  # belongs to another image
        assert list(load_regions(file, (12, 10))) == ["background"]
        return
    with pytest.raises(DataError, match=message) as caught:
        load_regions(file, (12, 10))
    assert "\n" not in str(caught.value)


def test_coco_files_that_cannot_be_used(tmp_path):
    file = write_coco(tmp_path, {"bbox": [0, 0, 1, 1]})
    with pytest.raises(DataError, match=r"for a picture of 12 x 10 pixels .* one has 10 x 12"):
        load_regions(file, (10, 12))
    file.write_text('{"annotations": [{"category_id": 1}], "images": [{"id": 1}]}')
    with pytest.raises(DataError, match=r"not laid out as a COCO file \(KeyError: 'image_id'\)"):
        load_regions(file, (10, 12))
    file.write_text('{"1": "zebra"}')
    with pytest.raises(DataError, match=r"is no COCO file: it has no list of annotations .*give t"):
        load_regions(file, (10, 12))
    file.write_text('{"1": ')
    with pytest.raises(DataError, match=r"coco\.json cannot be read as JSON"):
        load_regions(file, (10, 12))
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"coco\.json cannot be read as JSON"):
        load_regions(file, (10, 12))
    with pytest.raises(DataError, match=r"none\.json cannot be read as JSON \(.*No such file"):
        load_regions(tmp_path / "none.json", (10, 12))


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(["a.jpg", ""]),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(
            st.sampled_from(
                [
                    "id",
                    "name",
                    "bbox",
                    "segmentation",
                    "image_id",
                    "category_id",
                    "file_name",
                    "width",
                ]
            ),
            inner,
        )
    ),
    max_leaves=8,
)


@given(annotations=st.lists(anything, max_size=3), images=anything, categories=anything)
@UNHURRIED
def test_any_json_is_regions_or_a_region_error(tmp_path, annotations, images, categories):
    content = {"annotations": annotations, "images": images, "categories": categories}
    (tmp_path / "any.json").write_text(json.dumps(content))
    assert load_or_complain(tmp_path / "any.json")
