"""Pictures, labels and masks reach the network as they lie on the disk."""

import gzip
import os
import re
import warnings

import numpy as np
import pytest
import small_benchmark as small
import torch
from picture_files import noise, save, write_idx
from PIL import Image
from places import DATA, needs

from captum_guided_ext.demo import CATEGORIES, PictureWorld
from captum_guided_ext.errors import DataError
from captum_guided_ext.networks import Network, Preprocessing, load_network
from captum_guided_ext.pictures import DEMO_SEED, PictureDataset, open_data, open_picture

ORIENTATION = 0x112


def classes(folder, network):
    """Return the class of each picture by name."""
    prepared = PictureDataset(open_data(str(folder)), network, use_labels=True)
    return {prepared.name(i): prepared[i][1] for i in range(len(prepared))}


@pytest.mark.parametrize(
    ("labels", "named", "found"),
    [
        (("wren", "Spaniel", "great_white_shark", "tabby cat"), True, (3, 1, 2, 0)),
        (("3", "0", "02"), True, (3, 0, 2)),
        (("3", "0", "02"), False, (3, 0, 2)),
        (("pear", "7", "apple"), False, (2, 0, 1)),
    ],
)
def test_folders_are_classes_by_name_else_by_number_else_in_order(tmp_path, labels, named, found):
    small.save_pictures(tmp_path, len(labels), labels=labels)
    network = small.named() if named else Network(small.cnn(), Preprocessing(), name="nameless")
    files = [f"{label}/{number}.png" for number, label in enumerate(labels)]
    assert classes(tmp_path, network) == dict(zip(files, found, strict=True))


@pytest.mark.parametrize(
    ("labels", "names", "found"),
    [
        (("1", "3"), ("1", "2", "3"), (0, 2)),  # names, and no indices
        (("hot_dog",), ("hot dog", "hot_dog"), (1,)),
        (("hot_dog", "cat"), ("hot_dog stand", "hot_dog", "a cat"), (1, 2)),
        (("top2", "label"), ("label", "prediction", "top2"), (2, 0)),
    ],
)
def test_a_folder_called_as_a_class_is_that_class(tmp_path, labels, names, found):
    small.save_pictures(tmp_path, len(labels), labels=labels)
    network = Network(small.cnn(), Preprocessing(), names, name="net")
    files = [f"{label}/{number}.png" for number, label in enumerate(labels)]
    assert classes(tmp_path, network) == dict(zip(files, found, strict=True))


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("wron", r"'wron' is none of named's .*the nearest is wren.*--target prediction"),
        ("4", r"'4' is none of named's .*not a class index from 0 to 3"),
    ],
)
def test_a_folder_that_is_no_class_is_named(tmp_path, label, words):
    small.save_pictures(tmp_path, 2, labels=("wren", label))
    with pytest.raises(DataError, match=words):
        classes(tmp_path, small.named())


def test_pictures_and_masks_are_laid_alike(tmp_path):
    # A picture of two flat halves, the object the brighter one; it is halved and cut by the net.
    for width, height in ((40, 20), (20, 40)):
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, width // 2 + 3 :] = 200
        case = tmp_path / f"{width}"
        save(case / "pictures" / "wren" / "a.png", pixels)
        save(case / "masks" / "wren" / "a.png", pixels[..., 0] // 200)
        pictures = open_data(str(case / "pictures"), masks=case / "masks")
        network = Network(small.cnn(), Preprocessing(10, 8), ("wren",))
        x, label, mask = PictureDataset(pictures, network, use_labels=True)[0]
        assert label == 0
        assert x.shape == (3, 8, 8)
        assert (mask.shape, mask.dtype) == ((8, 8), torch.bool)
        assert 0.1 < mask.float().mean() < 0.5
        # Smoothing shifts the picture's edge by less than a pixel.
        assert (mask == (x[0] > 100 / 255)).float().mean() > 1 - 1 / 8 - 1e-6
        assert torch.equal(mask, mask[:1].expand(8, 8))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_whatever_is_not_black_is_the_object(tmp_path, mode):
    small.save_pictures(tmp_path / "pictures", 1, labels=())
    mask = Image.new(mode, (8, 8))
    if mode == "P":
        mask.putpalette([0, 0, 0, 0, 0, 1])
    faint = {"RGB": (0, 0, 1), "RGBA": (0, 0, 1, 255)}.get(mode, 1)
    mask.putpixel((2, 5), faint)
    save(tmp_path / "masks" / "0.png", mask)
    found = open_data(str(tmp_path / "pictures"), masks=tmp_path / "masks")[0].mask
    assert np.argwhere(found).tolist() == [[5, 2]]


def test_masks_must_be_there_and_of_the_pictures_size(tmp_path):
    small.save_pictures(tmp_path / "pictures", 3, labels=("0", "1"))
    masks = tmp_path / "masks"
    save(masks / "0" / "0.png", Image.new("L", (8, 8)))
    expected = r"2 of 3 pictures have no mask, first 0/2\.png: it should be .*masks/0/2\.png"
    with pytest.raises(DataError, match=expected):
        open_data(str(tmp_path / "pictures"), masks=masks)
    save(masks / "0" / "2.png", Image.new("L", (8, 9)))
    save(masks / "1" / "1.png", Image.new("L", (8, 8)))
    pictures = open_data(str(tmp_path / "pictures"), masks=masks)
    assert pictures[0].mask is not None
    with pytest.raises(OSError, match=re.escape("mask is of (8, 9) pixels, and the picture of (8")):
        pictures[1]
    for data in ("demo", "idx:a,b"):
        with pytest.raises(DataError, match="masks go with a folder"):
            open_data(data, masks=masks)


@pytest.mark.parametrize("compress", [False, True])
def test_idx_files_are_read_as_mnists(tmp_path, compress):
    pixels = np.random.default_rng(3).integers(0, 256, (5, 4, 6))
    labels = np.array([3, 0, 1, 3, 2])
    data = open_data(write_idx(tmp_path, pixels, labels, compress=compress))
    assert len(data) == 5
    assert data.labels == ["0", "1", "2", "3"]
    for index in range(5):
        assert np.array_equal(np.asarray(data[index].image), pixels[index])
        assert data[index].label == labels[index]
        assert data[index].mask is None
    network = load_network("small_benchmark:grey_net")
    x, label, mask = PictureDataset(data, network, use_labels=True)[4]
    assert (label, mask) == (2, None)
    assert torch.equal(x, torch.tensor(pixels[4][None] / 255).float())


def test_unknown_preprocessing_is_a_warning(tmp_path):
    small.save_pictures(tmp_path, 1)
    with pytest.warns(
        UserWarning, match=r"no preprocessing is known for Cnn: it gets pixels in \["
    ):
        PictureDataset(tmp_path, Network(small.cnn()))


def test_the_first_convolution_decides_how_many_channels_there_are(tmp_path):
    small.save_pictures(tmp_path, 1, labels=())
    pictures = open_data(str(tmp_path))
    for name, channels in (("grey_net", 1), ("net", 3)):
        network = load_network(f"small_benchmark:{name}")
        x, label, _ = PictureDataset(pictures, network, use_labels=False)[0]
        assert x.shape == (channels, 8, 8)
        assert label is None
        assert network.model(x[None]).shape == (1, small.CLASSES)


WRONG_IDX = {
    "empty": (b"", "is no IDX file of bytes with 3 dimensions"),
    "labels for images": (bytes([0, 0, 8, 1]) + bytes(4), "is no IDX file of bytes with 3 dim"),
    "floats": (bytes([0, 0, 13, 3]) + bytes(12), "is no IDX file of bytes"),
    "none": (bytes([0, 0, 8, 3]) + bytes(12), "holds no picture"),
    "too short": (bytes([0, 0, 8, 3, *b"\0\0\0\2" * 3]) + bytes(7), "should hold 8 bytes.* has 7"),
    "too long": (bytes([0, 0, 8, 3, *b"\0\0\0\2" * 3]) + bytes(9), "should hold 8 bytes.* has 9"),
    "cut gzip": (gzip.compress(bytes(100))[:-5], "cannot be read: "),
    "bad gzip": (b"\x1f\x8b" + bytes(30), "cannot be read: "),
}


@pytest.mark.parametrize("case", WRONG_IDX)
def test_idx_files_that_are_none_are_named(tmp_path, case):
    content, words = WRONG_IDX[case]
    data = write_idx(tmp_path, np.zeros(0), np.zeros(0))
    (tmp_path / "images").write_bytes(content)
    with pytest.raises(DataError, match=rf"images .*{words}"):
        open_data(data)


def test_an_idx_file_cut_anywhere_is_named(tmp_path):
    data = write_idx(tmp_path, np.ones((2, 2, 2)), np.ones(2))
    whole = (tmp_path / "images").read_bytes()
    assert len(open_data(data)) == 2
    for cut in range(len(whole)):
        (tmp_path / "images").write_bytes(whole[:cut])
        with pytest.raises(DataError, match="images"):
            open_data(data)


def test_idx_files_must_fit(tmp_path):
    data = write_idx(tmp_path, np.zeros((2, 2, 2)), np.zeros(3))
    with pytest.raises(DataError, match=r"images holds 2 pictures, and .*labels holds 3 labels"):
        open_data(data)
    with pytest.raises(DataError, match=r"nothing cannot be read: .*No such file"):
        open_data(data.replace("images", "nothing"))
    for spec in ("idx:", "idx:a", "idx:a,", "idx:,b"):
        with pytest.raises(DataError, match="must name two files, idx:IMAGES,LABELS"):
            open_data(spec)


@needs("mnist")
def test_mnists_own_files():
    files = (DATA / "mnist" / f"t10k-{name}-ubyte.gz" for name in ("images-idx3", "labels-idx1"))
    data = open_data(f"idx:{','.join(map(str, files))}")
    assert len(data) == 10_000
    assert data.labels == [str(digit) for digit in range(10)]
    assert [data[index].label for index in range(10)] == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert data[0].image.size == (28, 28)
    ink = np.asarray(data[0].image) > 128
    assert 20 < ink.sum() < 200  # a thin figure
    assert not ink[:4].any()  # with nothing around it
    assert not ink[:, :4].any()


@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_a_photo_is_turned_upright(tmp_path, orientation):
    upright = np.zeros((6, 10, 3), np.uint8)
    upright[0, 0], upright[0, 9], upright[5, 0] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # How a picture is stored that is to be shown so, by the Exif standard's table.
    stored = {
        2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.swapaxes(0, 1), 6: np.rot90(upright), 7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }.get(orientation, upright)  # fmt: skip
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    file = save(tmp_path / "a.png", np.ascontiguousarray(stored), exif=exif)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert np.array_equal(np.asarray(open_picture(file)), upright)
    said = [str(one.message) for one in caught]
    turned = "the picture was turned upright, as its EXIF says"
    assert said == ([turned] if orientation not in (None, 1) else [])


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it reads nevertheless
def test_a_picture_with_damaged_exif_is_read_or_is_an_oserror(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[0x10E] = "a description"
    file = save(tmp_path / "a.jpg", Image.new("RGB", (8, 8), (9, 99, 199)), exif=exif)
    whole = file.read_bytes()
    header, read = whole.index(b"Exif"), 0
    for place in range(header, header + 44):
        for byte in (0, 2, 7, 255):
            file.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
            try:
                read += open_picture(file).mode == "RGB"
            except OSError:
                continue
    assert read > 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_picture_that_is_cut_anywhere_is_an_oserror(tmp_path):
    for name in ("a.png", "a.jpg", "a.bmp", "a.webp", "a.tiff", "a.ppm"):
        file = save(tmp_path / name, noise(9, 9, seed=1))
        whole = file.read_bytes()
        for cut in range(0, len(whole) // 2, 7):
            file.write_bytes(whole[:cut])
            with pytest.raises(OSError):  # noqa: PT011 - Pillow has many words for it
                open_picture(file)


def test_folders_that_hold_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "classes" / "0").mkdir(parents=True)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("text")
    for name in ("empty", "classes", "text"):
        with pytest.raises(DataError, match=f"folder .*{name} holds no picture"):
            open_data(str(tmp_path / name))
    for wrong, near in (("emty", "; the nearest is empty"), ("text/a.tx", "; data is")):
        with pytest.raises(DataError, match=f"there is no folder .*{wrong}{near}"):
            open_data(str(tmp_path / wrong))


def test_a_folder_leaves_out_no_picture_that_explain_takes(tmp_path):
    names = [f"{number}{end}" for number, end in enumerate((".GIF", ".jfif", ".apng", ".png"))]
    for folder in (tmp_path / "flat", tmp_path / "labelled" / "cat"):
        folder.mkdir(parents=True)
        for name, kind in zip(names, ("GIF", "JPEG", "PNG", "PNG"), strict=True):
            Image.new("RGB", (4, 4)).save(folder / name, kind)
    assert [open_data(str(tmp_path / "flat")).name(i) for i in range(4)] == names
    labelled = open_data(str(tmp_path / "labelled"))
    assert [labelled.name(i) for i in range(4)] == [f"cat/{name}" for name in names]


def test_pictures_in_folders_beside_pictures_are_left_out_aloud(tmp_path):
    for name in ("a.png", "masks/a.png", "more/b.png", "text/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / f"{name[:-3]}png", noise(9, 9, seed=1)).rename(tmp_path / name)
    with pytest.warns(UserWarning, match=r"folders of pictures \(more\): those in the folders are"):
        data = open_data(str(tmp_path), masks=tmp_path / "masks")
    assert [data.name(index) for index in range(len(data))] == ["a.png"]


def test_the_demo_has_labels_and_the_whole_animal_as_mask():
    data = open_data("demo", limit=3)
    world = PictureWorld(3, seed=DEMO_SEED)
    assert len(data) == 3
    assert len(open_data("demo")) == 300
    assert tuple(data.labels) == CATEGORIES
    for index in range(3):
        picture = world[index]
        assert np.array_equal(np.asarray(data[index].image), picture.image)
        assert data[index].label == picture.label
        assert np.array_equal(data[index].mask, picture.masks["face"] | picture.masks["fur"])


@pytest.fixture(scope="module")
def demo():
    return load_network("demo")


def test_a_name_stands_for_its_source(demo):
    by_name, by_source = PictureDataset("demo", demo, limit=7), open_data("demo", limit=7)
    given = PictureDataset(by_source, demo)
    assert len(by_name) == len(given) == 7
    torch.testing.assert_close(list(by_name), list(given), rtol=0, atol=0)
    assert by_name.describe() == given.describe()


def test_a_limit_holds_for_every_source_and_ends_an_iteration(demo, tmp_path):
    idx = write_idx(tmp_path, np.zeros((4, 8, 8)), np.zeros(4), compress=True)
    data = PictureDataset(idx, demo, limit=3, use_labels=False)
    assert len(list(data)) == len(data) == 3
    assert data[-1][1] is None
    with pytest.raises(IndexError):
        data[3]


def test_labels_are_used_where_there_are_any_unless_they_are_not_wanted(demo, tmp_path):
    assert PictureDataset("demo", demo, limit=1)[0][1] == 0
    assert PictureDataset("demo", demo, limit=1, use_labels=False)[0][1] is None
    save(tmp_path / "one.png", open_data("demo", limit=1)[0].image)
    assert PictureDataset(tmp_path, demo)[0][1:] == (None, None)
    with pytest.raises(DataError, match="has no labels: explain the prediction"):
        PictureDataset(tmp_path, demo, use_labels=True)


def test_a_folder_has_stamps_and_is_read_ahead(demo, tmp_path):
    small.save_pictures(tmp_path / "pictures", 2, labels=())
    save(tmp_path / "masks" / "0.png", Image.new("L", (8, 8)))
    save(tmp_path / "masks" / "1.png", Image.new("L", (8, 8)))
    plain = PictureDataset(tmp_path / "pictures", demo)
    masked = PictureDataset(tmp_path / "pictures", demo, masks=tmp_path / "masks")
    assert plain.reads_files
    stat = (tmp_path / "pictures" / "1.png").stat()
    assert plain.stamp(1) == f"{stat.st_size}:{stat.st_mtime_ns}"
    assert masked.stamp(1).startswith(plain.stamp(1) + ":")
    before = plain.stamp(1), masked.stamp(1)
    os.utime(tmp_path / "masks" / "1.png", (1, 1))
    assert (plain.stamp(1), masked.stamp(1)) != before
    assert plain.stamp(1) == before[0]
    (tmp_path / "pictures" / "0.png").unlink()
    assert plain.stamp(0) == ""
    assert "digest of names" in plain.describe()


def test_data_in_memory_has_no_stamps(demo):
    data = PictureDataset("demo", demo, limit=2)
    assert (data.stamp(1), data.reads_files) == ("", False)


def test_pictures_of_ones_own_need_no_fingerprint(demo):
    class Own:
        description, labels = "mine", ()

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return open_data("demo", limit=1)[index]

        def name(self, index):
            return f"mine {index}"

    data = PictureDataset(Own(), demo)
    assert data.describe().keys() == {"description", "digest of names"}
    assert (len(data), data.stamp(0), data.reads_files) == (1, "", False)
