"""A picture of any kind becomes what people see of it, and what was done to it is said."""

import os
import sys
import warnings

import numpy as np
import pytest
from picture_files import noise, save
from PIL import Image
from places import DATA, needs

from captum_guided_ext.demo import PictureWorld
from captum_guided_ext.errors import DataError
from captum_guided_ext.pictures import as_rgb, grid_regions, open_data, open_photo, open_picture
from captum_guided_ext.pictures._names import printable
from captum_guided_ext.pictures._reading import open_mask

PHOTO = "photos/chelsea.png"
GREY = np.arange(60, dtype=np.uint8).reshape(6, 10) * 4 + 19  # from 19 to 255


def opened(file):
    """Return the pixels of a picture, and what was said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        picture = open_picture(file)
    assert picture.mode == "RGB"
    assert all(warning.category is UserWarning for warning in caught)
    assert not any(file.name in str(warning.message) for warning in caught)
    return np.asarray(picture), [str(warning.message) for warning in caught]


def in_grey(pixels):
    return np.repeat(pixels[..., None], 3, axis=2)


# --- more than 8 bits ---


def as_16_bits(grey, order, kind, path):
    """Save 8 bits as the 16 that stand for the same shares of white."""
    values = grey.astype(np.uint16) * 257
    mode = {"big": "I;16B", "little": "I;16"}[order]
    raw = values.astype({"big": ">u2", "little": "<u2"}[order]).tobytes()
    return save(path.with_suffix(kind), Image.frombytes(mode, grey.shape[::-1], raw))


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_16_bit_grey_is_scaled(tmp_path, order, kind):
    pixels, said = opened(as_16_bits(GREY, order, kind, tmp_path / "a"))
    assert np.array_equal(pixels, in_grey(GREY))
    scale = "0 was taken as black and 65535 as white"
    assert said == [f"the picture has grey values that are not of 8 bits: {scale}"]


@pytest.mark.parametrize("kind", [".png", ".tiff"])
@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize(
    "source", ["demo", pytest.param("photo", marks=needs("photos/chelsea.png"))]
)
def test_a_photo_of_16_bits_is_that_of_8(tmp_path, source, order, kind):
    picture = Image.fromarray(PictureWorld(1, seed=3)[0].image)
    if source == "photo":
        picture = open_picture(DATA / PHOTO)
    grey = np.asarray(picture.convert("L"))
    exact, _ = opened(as_16_bits(grey, order, kind, tmp_path / "a"))
    assert np.array_equal(exact, in_grey(grey))
    shifted = save(tmp_path / "b.png", Image.fromarray(grey.astype(np.uint16) << 8))
    pixels, _ = opened(shifted)  # as other programs do: white is 65280
    assert np.abs(pixels.astype(int) - in_grey(grey)).max() <= 1


@pytest.mark.parametrize(
    ("dtype", "top", "scale"),
    [
        (np.uint16, 255, "0 was taken as black and 255 as white"),
        (np.uint16, 4095, "0 was taken as black and 4095 as white"),
        (np.uint16, 4096, "0 was taken as black and 65535 as white"),
        (np.int32, 65535, "0 was taken as black and 65535 as white"),
        (np.int32, 65536, "the lowest was taken as black and the highest as white"),
        (np.float32, 1, "0 was taken as black and 1 as white"),
        (np.float32, 1.5, "0 was taken as black and 255 as white"),
        (np.float32, 1e30, "the lowest was taken as black and the highest as white"),
    ],
)
def test_white_is_what_the_values_can_reach(tmp_path, dtype, top, scale):
    values = np.array([[0, top / 2, top]]).astype(dtype)
    pixels, said = opened(save(tmp_path / "a.tiff", values))
    white = float(scale.split()[-3]) if "lowest" not in scale else top
    assert np.abs(pixels[0, :, 0] - values[0].astype(float) / white * 255).max() <= 0.5001
    assert said == [f"the picture has grey values that are not of 8 bits: {scale}"]


def test_floats_below_0_are_stretched_and_those_that_are_none_refused(tmp_path):
    values = np.array([[-2.0, 0.0, 2.0]], dtype=np.float32)
    pixels, said = opened(save(tmp_path / "a.tiff", values))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    assert said[0].endswith("the lowest was taken as black and the highest as white")
    flat, _ = opened(save(tmp_path / "flat.tiff", np.full((2, 2), -3.0, dtype=np.float32)))
    assert not flat.any()
    for wrong in (np.nan, np.inf):
        save(tmp_path / "b.tiff", np.array([[wrong, 0]], dtype=np.float32))
        with pytest.raises(DataError, match=r"b\.tiff cannot be read .*: it holds NaN or infinity"):
            open_photo(tmp_path / "b.tiff")


def test_a_tiff_whose_white_is_0_is_inverted(tmp_path):
    values = GREY.astype(np.uint16) * 257
    file = save(tmp_path / "a.tiff", values, tiffinfo={262: 0})
    with Image.open(file) as image:
        assert image.tag_v2[262] == 0
    pixels, said = opened(file)
    assert np.array_equal(pixels, in_grey(255 - GREY))
    assert said[0].endswith("65535 was taken as black and 0 as white")


# --- colours and transparency ---


def test_what_is_transparent_is_white(tmp_path):
    colour, alpha = np.array([200, 100, 0]), np.array([0, 51, 255])
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[..., :3], rgba[..., 3] = colour, alpha
    over_white = (colour * alpha[:, None] + 255 * (255 - alpha[:, None])) / 255
    pixels, said = opened(save(tmp_path / "rgba.png", rgba))
    assert np.abs(pixels[0] - over_white).max() <= 1
    assert said == ["the picture has transparent parts: they were laid over white"]
    grey = np.stack([np.full((1, 3), 100), alpha[None]], axis=2).astype(np.uint8)
    pixels, said = opened(save(tmp_path / "la.png", Image.fromarray(grey, "LA")))
    assert np.abs(pixels[0] - over_white[:, 1:2]).max() <= 1
    assert len(said) == 1


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\xff"])
def test_palettes_with_transparency_are_laid_over_white(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    plain = save(tmp_path / "plain.png", image)
    pixels, said = opened(save(tmp_path / "a.png", image, transparency=transparency))
    assert pixels[0].tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]
    assert len(said) == 1
    pixels, said = opened(plain)
    assert (pixels[0, 1].tolist(), said) == ([40, 50, 60], [])


def test_a_colour_that_stands_for_transparency_is_white(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    pixels, said = opened(save(tmp_path / "a.png", image, transparency=(1, 2, 3)))
    assert pixels[0].tolist() == [[255, 255, 255], [4, 5, 6]]
    assert len(said) == 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "YCbCr"])
def test_nothing_is_said_where_nothing_was_done(tmp_path, mode):
    image = Image.fromarray(GREY).convert(mode)
    file = tmp_path / ("a.jpg" if mode == "YCbCr" else "a.png")
    save(file, image, **({"quality": 100} if mode == "YCbCr" else {}))
    pixels, said = opened(file)
    assert said == []
    assert np.abs(pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 2


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_cmyk_is_what_its_inks_show(tmp_path, name):
    # By hand: magenta and yellow over each other are red, black ink alone is black.
    inks = {(0, 0, 0, 0): (255,) * 3, (0, 255, 255, 0): (255, 0, 0), (0, 0, 0, 255): (0,) * 3}
    for ink, colour in inks.items():
        file = save(tmp_path / name, Image.new("CMYK", (16, 16), ink))
        if name == "a.jpg":
            assert b"Adobe" in file.read_bytes()[:100]  # and thereby its inks are inverted
        pixels, said = opened(file)
        assert np.abs(pixels - np.array(colour)).max() <= 2
        assert said == ["the picture is CMYK: it was turned into RGB without its colour profile"]


def test_a_picture_in_memory_is_laid_out_alike(tmp_path):
    deep = save(tmp_path / "a.tiff", GREY.astype(np.uint16) * 257, tiffinfo={262: 0})
    clear = save(tmp_path / "b.png", Image.new("RGBA", (3, 2), (200, 100, 0, 51)))
    for file in (deep, clear):
        pixels, said = opened(file)
        with (
            Image.open(file) as image,
            pytest.warns(UserWarning, match="the picture has") as caught,
        ):
            assert np.array_equal(np.asarray(as_rgb(image)), pixels)
        assert [str(warning.message) for warning in caught] == said
    image = Image.new("RGB", (3, 2), (200, 100, 0))
    assert np.array_equal(np.asarray(as_rgb(image)), np.asarray(image))


# --- frames, turns and sizes ---


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tiff"])
def test_the_first_of_several_frames_is_read(tmp_path, name):
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    first, *others = (Image.new("RGB", (8, 6), colour) for colour in colours)
    options = {"save_all": True, "append_images": others}
    pixels, said = opened(save(tmp_path / name, first, **options))
    assert np.abs(pixels - np.array([250, 0, 0])).max() <= 8
    assert said == ["the picture has several frames: the first was taken"]
    assert opened(save(tmp_path / f"one-{name}", first))[1] == []


def test_a_phones_preview_behind_its_photo_is_no_frame(tmp_path):
    photo, preview = noise(16, 12), noise(4, 3)
    file = save(tmp_path / "a.mpo", photo, save_all=True, append_images=[preview])
    with Image.open(file) as image:
        assert image.n_frames == 2
    pixels, said = opened(file)
    assert (pixels.shape, said) == ((12, 16, 3), [])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_pictures_are_turned_as_others_are(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    plain, _ = opened(save(tmp_path / "a.png", GREY, exif=exif))
    deep, said = opened(save(tmp_path / "b.png", GREY.astype(np.uint16) * 257, exif=exif))
    assert np.array_equal(plain, deep)
    assert len(said) == (1 if orientation == 1 else 2)  # the depth, and the turn


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 3), (30_000, 2), (2, 30_000)])
def test_tiny_pictures_and_panoramas(tmp_path, width, height):
    photo = open_photo(save(tmp_path / "a.png", Image.new("RGB", (width, height), (1, 2, 3))))
    assert photo.image.size == (width, height)
    regions = grid_regions(height, width)
    assert len(regions) == min(width, 3) * min(height, 3)
    assert sum(mask.sum() for mask in regions.values()) == width * height


def test_what_is_too_large_to_decode_is_one_line(tmp_path, monkeypatch):
    file = save(tmp_path / "a.png", Image.new("1", (100, 100)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"a\.png .*10000 pixels.* 2000 pixels: make it small") as e:
        open_photo(file)
    assert "\n" not in str(e.value)


def test_said_once_for_a_folder(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / name, GREY.astype(np.uint16) * 257)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for case in list(range(3)):
            open_data(str(tmp_path))[case]
    assert len(caught) == 1


# --- masks ---


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "I;16", "F", "frames"])
def test_a_mask_is_read_as_it_is_and_nothing_is_said(tmp_path, kind):
    found = np.zeros((6, 8), dtype=bool)
    found[1:3, 2:6] = True
    grey = found.astype(np.uint8)
    if kind == "RGBA":
        # White everywhere, and transparent around the object.
        file = save(tmp_path / "a.png", np.dstack([np.full((6, 8, 3), 255, np.uint8), grey * 255]))
    elif kind == "LA":
        alpha = np.full((6, 8), 255, np.uint8)
        file = save(tmp_path / "a.png", Image.fromarray(np.dstack([grey, alpha]), "LA"))
    elif kind == "P":
        image = Image.fromarray(grey, "P")
        image.putpalette([255, 255, 255, 0, 9, 0])
        file = save(tmp_path / "a.png", image, transparency=0)
    elif kind == "frames":
        image = Image.fromarray(grey * 255)
        file = save(tmp_path / "a.tiff", image, save_all=True, append_images=[image])
    else:
        values = grey.astype({"I;16": np.uint16, "F": np.float32}[kind]) / np.float32(1)
        values = values * 1e-3 if kind == "F" else values.astype(np.uint16)
        file = save(tmp_path / "a.tiff", values.astype(np.float32 if kind == "F" else np.uint16))
    assert np.array_equal(open_mask(file), found)  # warnings are errors here


# --- names ---


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("dog.jpg", "dog.jpg"),
        ("caf\u00e9 \u72ac \U0001f415.jpg", "caf\u00e9 \u72ac \U0001f415.jpg"),
        ("Screenshot 3.14\u202fPM.png", "Screenshot 3.14\u202fPM.png"),
        ("caf\udce9.jpg", r"caf\xe9.jpg"),
        ("caf\u0085.jpg", r"caf\u0085.jpg"),
        (r"caf\xe9.jpg", r"caf\\xe9.jpg"),
        ("a\nb\x1b[31m.jpg", r"a\nb\u001b[31m.jpg"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\ud800.jpg", r"\ud800.jpg"),
    ],
)
def test_names_are_printable(name, shown):
    assert printable(name) == shown
    shown.encode()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_files_whose_names_are_no_text(tmp_path):
    names = [b"caf\xe9.png", b"caf\xe8.png", b"caf\\xe9.png", b"two\nlines.png", b"caf\xc3\xa9.png"]
    for name in names:
        save(tmp_path / os.fsdecode(name), GREY)
    assert open_photo(tmp_path / os.fsdecode(names[0])).name == r"caf\xe9.png"
    data = open_data(str(tmp_path))
    found = {data.name(index) for index in range(len(data))}
    expected = {r"caf\xe9.png", r"caf\xe8.png", r"caf\\xe9.png", r"two\nlines.png", "caf\u00e9.png"}
    assert found == expected
    assert all(data[index].image.size == (10, 6) for index in range(len(data)))
