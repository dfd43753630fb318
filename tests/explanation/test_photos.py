"""From photos to figures and reports on disk, without the command line."""

import json
from pathlib import Path

import pytest
from picture_files import halves, noise, save
from PIL import Image

from captum_guided_ext.errors import DataError, ModelError
from captum_guided_ext.explanation import explain, explain_photos
from captum_guided_ext.networks import load_network
from captum_guided_ext.pictures import Photo, demo_photo, open_photo

QUICK = {"methods": ["gradient"], "target": "top2"}


@pytest.fixture(scope="module")
def network():
    return load_network("demo")


@pytest.fixture
def photo(tmp_path):
    save(tmp_path / "regions.png", halves(90, 60))
    return save(tmp_path / "a photo.png", noise(90, 60))


def test_each_photo_is_opened_explained_and_written(network, photo, tmp_path):
    output = tmp_path / "made" / "here"
    with_regions = open_photo(photo, regions=tmp_path / "regions.png")
    found = list(explain_photos(network, [photo, with_regions], output=output, **QUICK))
    figures = [output / "a-photo.png", output / "a-photo-2.png"]
    assert [one.files[0] for one in found] == figures
    assert {f.name for f in output.iterdir()} == {
        "a-photo.png", "a-photo.json", "a-photo-2.png", "a-photo-2.json",
    }  # fmt: skip
    (single,) = explain_photos(network, str(photo), output=tmp_path / "single", **QUICK)
    assert single.found.to_dict() == found[0].found.to_dict()
    alone = explain(network, Image.open(photo), name="a photo.png", **QUICK)
    assert found[0].found.to_dict() == alone.to_dict()
    assert json.loads((output / "a-photo.json").read_text()) == [alone.to_dict()]
    shares = found[1].found.shares["gradient"]
    assert [share.name for share in shares] == ["region 1", "background"]


def test_photos_are_explained_one_by_one(network, tmp_path):
    photos = [demo_photo(), "nowhere.jpg", demo_photo()]
    first, second, third = explain_photos(network, photos, output=tmp_path, save_maps=True, **QUICK)
    assert first.photo == first.found.image == "striped cat"
    assert {share.name for share in first.found.shares["gradient"]} == {
        "face", "fur", "background",
    }  # fmt: skip
    assert (second.photo, second.found, second.files) == ("nowhere.jpg", None, ())
    assert "there is no picture nowhere" in str(second.error)
    assert {file.name for file in (*first.files, *third.files)} == {
        f"striped-cat{again}{end}"
        for again in ("", "-2")
        for end in (".png", ".json", "-gradient.npy", "-maps.json")
    }
    # what is no photo's fault ends it all
    with pytest.raises(ModelError, match="no class is called 'dgo'"):
        list(explain_photos(network, photos, output=tmp_path, target="dgo"))


def test_a_photo_that_cannot_be_opened_is_named(photo, tmp_path):
    with pytest.raises(DataError, match=r"no picture .*a phot\.png; the nearest is a photo\.png"):
        open_photo(photo.with_name("a phot.png"))
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png cannot be read as a picture: cannot identify"):
        open_photo(tmp_path / "text.png")
    with pytest.raises(DataError, match=r" is a folder: name the pictures in it, such as .*jpg"):
        open_photo(tmp_path)
    with pytest.raises(DataError, match=r"^https://a\.org/b\.png is an address, .*: download it"):
        open_photo("https://a.org/b.png")
    with pytest.raises(DataError, match=r"regions\.png is for a picture of 90 x 60 pixels"):
        demo_photo(regions=tmp_path / "regions.png")
    with pytest.raises(TypeError, match="a photo is a path or a Photo, not int"):
        open_photo(3)
    assert isinstance(open_photo(str(photo)), Photo)


@pytest.mark.parametrize("names", [("a.png", "a-maps.png"), ("a-maps.png", "a.png")])
def test_the_maps_of_a_photo_never_take_the_place_of_anothers_report(network, tmp_path, names):
    photos = [save(tmp_path / name, noise(90, 60)) for name in names]
    found = list(explain_photos(network, photos, output=tmp_path / "made", save_maps=True, **QUICK))
    files = [file for one in found for file in one.files]
    assert len(set(files)) == len(files) == 8
    for one in found:
        figure, report, *maps, about = one.files
        assert json.loads(report.read_text()) == [one.found.to_dict()]
        said = json.loads(about.read_text())["maps"]
        assert {file.name for file in maps} == set(said)
        assert {told["image"] for told in said.values()} == {Path(one.photo).name}
        assert figure.suffix == ".png"
