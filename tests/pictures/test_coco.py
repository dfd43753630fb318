"""Keypoints, run lengths and the picture's name in a COCO file; its outlines: test_regions.py."""

import numpy as np
import pytest
from picture_files import write_coco

from captum_guided_ext.errors import DataError
from captum_guided_ext.pictures import load_regions

SIZE = (120, 100)
Y, X = np.mgrid[:100, :120]
DOG = [{"id": 1, "name": "dog", "keypoints": ["left_eye", "nose"]}, {"id": 2, "name": "cat"}]
EYE, HIDDEN, NOSE = [30, 20, 2], [0, 0, 0], [40, 60, 1]


@pytest.fixture
def coco(tmp_path):
    """Write a COCO file and load the regions of its picture."""

    def load(*annotations, size=SIZE, file_name=None, **others):
        image = {"id": 7, "width": size[0], "height": size[1]}
        others = {"images": [image], "categories": DOG} | others
        return load_regions(write_coco(tmp_path, *annotations, **others), size, file_name=file_name)

    return load


def disc(x, y, radius):
    return (X - x) ** 2 + (Y - y) ** 2 <= radius**2


def box(left, top, width, height):
    return np.logical_and((X - left) // width == 0, (Y - top) // height == 0)


# --- keypoints ---


def test_a_box_and_its_keypoints_are_all_regions(coco):
    regions = coco({"bbox": [10, 10, 60, 80], "keypoints": [*EYE, *NOSE]})
    assert list(regions) == ["dog", "dog left_eye", "dog nose", "background"]
    assert np.array_equal(regions["dog"], box(10, 10, 60, 80))
    assert np.array_equal(regions["dog left_eye"], disc(30, 20, 4))  # 5 % of 80
    assert np.array_equal(regions["dog nose"], disc(40, 60, 4))
    assert np.array_equal(regions["background"], ~box(10, 10, 60, 80))


def test_keypoints_that_are_not_labelled_are_none(coco):
    assert list(coco({"bbox": [10, 10, 60, 80], "keypoints": [*HIDDEN, *NOSE]})) == [
        *("dog", "dog nose", "background")
    ]
    assert list(coco({"bbox": [10, 10, 60, 80], "keypoints": [*HIDDEN, *HIDDEN]})) == [
        *("dog", "background")
    ]


def test_a_small_boxs_keypoints_have_two_pixels(coco):
    small = coco({"bbox": [10, 10, 30, 20], "keypoints": [*EYE, *NOSE]})
    assert np.array_equal(small["dog left_eye"], disc(30, 20, 2))
    assert small["dog left_eye"].sum() == 13  # by counting squares


def test_keypoints_beside_a_polygon_and_alone(coco):
    polygon = [0, 0, 100, 0, 100, 50, 0, 50]
    regions = coco({"segmentation": [polygon], "keypoints": EYE})
    assert np.array_equal(regions["dog"], box(0, 0, 100, 50))
    assert np.array_equal(regions["dog left_eye"], disc(30, 20, 5))
    with_box = {"segmentation": [polygon], "bbox": [0, 0, 60, 20], "keypoints": EYE}
    assert np.array_equal(coco(with_box)["dog left_eye"], disc(30, 20, 3))
    alone = coco({"keypoints": [*EYE, *NOSE]})  # which span 10 x 40 pixels
    assert list(alone) == ["dog left_eye", "dog nose", "background"]
    assert np.array_equal(alone["dog nose"], disc(40, 60, 2))
    far = coco({"keypoints": [*EYE, 30, 98, 2]})
    assert np.array_equal(far["dog left_eye"], disc(30, 20, 0.05 * 78))


def test_keypoints_of_several_dogs_are_one_and_without_names_are_numbered(coco):
    first, second = {"keypoints": EYE}, {"keypoints": [90, 70, 2]}
    assert np.array_equal(coco(first, second)["dog left_eye"], disc(30, 20, 2) | disc(90, 70, 2))
    nameless = coco({"category_id": 2, "keypoints": [*EYE, *HIDDEN, *NOSE]})
    assert list(nameless) == ["cat keypoint 1", "cat keypoint 3", "background"]
    assert "category 9 keypoint 1" in coco({"category_id": 9, "keypoints": EYE})
    more = coco({"keypoints": [*HIDDEN, *HIDDEN, *NOSE]})
    assert list(more) == ["dog keypoint 3", "background"]


@pytest.mark.parametrize("wrong", [[1, 2], [1, 2, 2, 3], [1, "2", 2], [1, float("nan"), 2], 5])
def test_keypoints_that_are_none_are_named(coco, wrong):
    with pytest.raises(DataError, match=r"annotation 0: keypoints is .*, not x, y and visibility"):
        coco({"bbox": [10, 10, 60, 80], "keypoints": wrong})


# --- run lengths ---

y, x = np.mgrid[:10, :12]
RUNS = {  # as pycocotools 2.0.11 encodes them
    "f0542O00000001Nm0": (x - 5) ** 2 + (y - 4) ** 2 < 14,
    "0120O00010O010O0000010O00000000010O10O0010O00010O000000010O0011O"
    "O00010O010O0000010O00000000010O10O0010O0": (x * x + 3 * y) % 7 < 3,
    "0h3": np.ones((10, 12), dtype=bool),
    "h3": np.zeros((10, 12), dtype=bool),
}


@pytest.mark.parametrize("counts", RUNS)
def test_compressed_run_lengths(coco, counts):
    runs = {"size": [10, 12], "counts": counts}
    regions = coco({"segmentation": runs, "iscrowd": 1}, size=(12, 10))
    assert np.array_equal(regions["dog"], RUNS[counts])


@pytest.mark.parametrize("counts", RUNS)
def test_run_lengths_by_a_slow_encoder(coco, counts):
    runs, last = [0], False
    for pixel in RUNS[counts].ravel(order="F").tolist():
        runs += [0] * (pixel != last)
        runs[-1] += 1
        last = pixel
    annotation = {"segmentation": {"size": [10, 12], "counts": runs}, "keypoints": [3, 3, 2]}
    regions = coco(annotation, size=(12, 10))
    assert np.array_equal(regions["dog"], RUNS[counts])
    assert "dog left_eye" in regions


@pytest.mark.parametrize(
    ("counts", "size", "words"),
    [
        ([1], [1, 1], r"segmentation is for \[1, 1\] pixels .*the picture has \[10, 12\]"),
        ([100, 21], [10, 12], r"counts \[100, 21\], which are not run lengths .* all 120 pixels"),
        ([130, -10], [10, 12], "are not run lengths"),
        (["1"], [10, 12], "are not run lengths"),
        (120, [10, 12], "are not run lengths"),
        ("f0542O0000000", [10, 12], "are not run lengths"),
        ("\u20ac\x00", [10, 12], "are not run lengths"),
        ("", [10, 12], "are not run lengths"),
    ],
)
def test_run_lengths_that_do_not_fit(coco, counts, size, words):
    with pytest.raises(DataError, match=rf"annotation 0: segmentation .*{words}|{words}") as caught:
        coco({"segmentation": {"size": size, "counts": counts}}, size=(12, 10))
    assert "\n" not in str(caught.value)


# --- the picture's name ---


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("dog.jpg", "dog.jpg"),
        ("train/dog.jpg", "dog.jpg"),
        ("train\\dog.jpg", "photos/dog.jpg"),
        ("cafe\u0301.jpg", "caf\u00e9.jpg"),
        ("dog.jpg", None),
        (None, "dog.jpg"),
        ("", "dog.jpg"),
    ],
)
def test_a_file_of_one_picture_is_taken_for_that_one(coco, listed, name):
    images = [{"id": 7} | ({} if listed is None else {"file_name": listed})]
    assert "dog" in coco({"bbox": [1, 1, 5, 5]}, images=images, file_name=name)


def test_a_file_of_another_picture_is_refused(coco):
    images = [{"id": 7, "file_name": "train/cat.jpg"}]
    words = r"coco\.json is for the picture 'train/cat\.jpg', and this one is 'dog\.jpg': give the"
    with pytest.raises(DataError, match=words):
        coco({"bbox": [1, 1, 5, 5]}, images=images, file_name="dog.jpg")


def test_all_pictures_are_listed_unless_they_are_too_many(coco):
    images = [{"id": n, "file_name": f"{n}.jpg"} for n in range(20)]
    listed = ", ".join(f"{n}.jpg" for n in range(20))
    with pytest.raises(DataError, match=rf"; choose from {listed}$"):
        coco(images=images, file_name="wholly different")
    with pytest.raises(DataError, match=rf"; the first are {listed}$"):
        coco(images=[*images, {"id": 20, "file_name": "20.jpg"}], file_name="wholly different")


def test_names_can_be_printed_and_encoded(coco):
    categories = [{"id": 1, "name": "dog\n\ud800", "keypoints": ["\x1b[31m"]}]
    names = list(coco({"bbox": [1, 1, 5, 5], "keypoints": EYE}, categories=categories))
    assert names[:2] == [r"dog\n\ud800", r"dog\n\ud800 \u001b[31m"]
