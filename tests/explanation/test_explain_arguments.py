"""explain() names what it cannot use."""

import json
import re

import numpy as np
import pytest
import torch
from networks import Conv, seeded
from PIL import Image
from torch import nn

from captum_guided_ext import (
    CaptumGuidedError,
    DataError,
    Explanations,
    ModelError,
    Network,
    benchmark,
    compare,
    explain,
)
from captum_guided_ext.networks import Preprocessing
from captum_guided_ext.pictures import PictureDataset, open_data

NETWORK = Network(seeded(Conv), Preprocessing(8, 8), name="net")
PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
ERRORS = {
    "network": ({"model": 3}, TypeError, "model must be a Network, a module or another callable"),
    "picture": ({"image": 3}, TypeError, "image must be a path, a PIL picture, an array or a tens"),
    "path": ({"image": "photo.png"}, DataError, "there is no picture photo.png"),
    "batch": ({"image": torch.zeros(2, 3, 8, 8)}, DataError, r"\(2, 3, 8, 8\), and one input"),
    "integers": ({"image": np.zeros((8, 8), int)}, DataError, r"array of int64 and shape \(8, 8\)"),
    "channels": ({"image": np.zeros((8, 8, 5))}, DataError, r"of float64 and shape \(8, 8, 5\)"),
    "scale": ({"image": np.full((8, 8, 3), 7.0)}, DataError, "numbers from 7 to 7, and floats are"),
    "targets": ({"target": []}, ValueError, "target is an empty list: leave it out"),
    "layers": ({"layer": []}, ValueError, "layer is an empty list: leave it out"),
    "random": (
        {"model": Network(NETWORK.model, lambda _: torch.rand(3, 8, 8), name="net")},
        ModelError, "the transform of net gives another input each time: leave out what is random",
    ),
    "size": (
        {"model": Network(nn.Sequential(nn.Flatten(), nn.Linear(9, 2)), name="flat")},
        DataError, r"flat fails on an input of 3 x 8 x 8 \(RuntimeError: .*at its own size.*--size",
    ),
    "type": (
        {"model": nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).double()},
        DataError, r"parameters are torch.float64, and the input is torch.float32: make both",
    ),
    "method": ({"methods": ["guided"]}, ValueError, "no method is called 'guided'; choose from"),
    "no method": ({"methods": []}, ValueError, "methods is empty: choose from gradient, input_x"),
    "regions": (
        {"regions": [np.ones((8, 8))]}, TypeError, "regions must be a file or .* not list",
    ),
    "array": ({"regions": np.ones((8, 8))}, TypeError, "regions must be a file or .* not ndarray"),
    "nothing": ({"image": torch.zeros(3, 0, 8)}, DataError, r"shape \(3, 0, 8\), and one input is"),
    "ready": (
        {"image": torch.zeros(3, 9, 9), "model": nn.Sequential(nn.Flatten(), nn.Linear(9, 2))},
        DataError, "its preprocessing is: none: a tensor is taken as it is",
    ),
    "arguments": (
        {"model": Network(nn.Bilinear(8, 8, 2), Preprocessing(8, 8), name="two")},
        DataError, "'input2'.*If it takes more than pictures, give a function of pictures alone",
    ),
    "no region": ({"regions": {}}, DataError, "regions is empty: leave it out for a 3 x 3 grid"),
    "region": ({"regions": {"a": np.ones((3, 3))}}, DataError, r"'a' has shape \(3, 3\), and"),
    "layer": ({"layer": "last"}, ModelError, r"shape \(1, 1\) cannot be laid over an input"),
    "scores": (
        {"model": Network(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), name="maps")},
        ModelError, r"maps returned shape \(1, 2, 8, 8\), and what is explained here is one score",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_offender(case):
    changed, kind, words = ERRORS[case]
    arguments = {"model": NETWORK, "image": PICTURE} | changed
    with pytest.raises(kind, match=words) as caught:
        explain(**arguments)
    # what a command line can be told is of the one family it catches
    assert kind in (TypeError, ValueError) or isinstance(caught.value, CaptumGuidedError)


def test_a_network_prepares_pictures_alone():
    with pytest.raises(TypeError, match="image must be a PIL picture, not ndarray"):
        NETWORK.prepare(np.zeros((8, 8, 3)))


def test_one_method_may_be_given_by_its_name_alone():
    assert explain(NETWORK, PICTURE, methods="gradient").maps.keys() == {"gradient"}


def test_compare_takes_a_network_as_benchmark_does():
    x = NETWORK.prepare(PICTURE)[None]
    options = {"methods": ["gradient"], "metrics": ["sensitivity_max"], "n_perturb_samples": 2}
    rows = compare(NETWORK, x, 1, **options).rows
    assert rows == compare(NETWORK.model, x, 1, **options).rows


def test_class_names_must_be_as_many_as_outputs_in_tables_too(tmp_path):
    network = Network(NETWORK.model, NETWORK.transform, ("a", "b"), name="net")
    options = {"methods": ["gradient"], "metrics": ["sensitivity_max"], "n_perturb_samples": 2}
    words = r"net has \d+ outputs and 2 class names, of which the first is 'a' and the last 'b'"
    with pytest.raises(ModelError, match=words):
        compare(network, NETWORK.prepare(PICTURE)[None], 1, **options)
    PICTURE.save(tmp_path / "one.png")
    data = PictureDataset(tmp_path, network)
    with pytest.raises(DataError, match=rf"image 0 \(one.png\): {words}"):
        benchmark(network, data, output=tmp_path / "out", target="prediction", **options)


def test_a_data_set_of_pictures_names_what_it_cannot_use(tmp_path):
    with pytest.raises(TypeError, match="network must be a Network, not Conv"):
        PictureDataset("demo", NETWORK.model)
    with pytest.raises(TypeError, match=r"data must be a folder, demo, idx:.*, not int"):
        PictureDataset(3, NETWORK)
    with pytest.raises(TypeError, match="masks go with a folder; _Demo has its own"):
        PictureDataset(open_data("demo"), NETWORK, masks=tmp_path)
    with pytest.raises(ValueError, match="limit must be 1 or more, and is 0"):
        PictureDataset("demo", NETWORK, limit=0)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png is a file: data is a folder, demo or idx:"):
        PictureDataset(tmp_path / "a.png", NETWORK)


def assumed(image, model=NETWORK, **options):
    found = explain(model, image, methods="gradient", **options)
    return found, " ".join(found.assumed)


def test_a_picture_is_given_in_any_form(tmp_path):
    PICTURE.save(tmp_path / "a.png")
    pixels = np.array(PICTURE)
    reference, nothing = assumed(PICTURE)
    assert nothing == ""
    for image in (
        tmp_path / "a.png", str(tmp_path / "a.png"), pixels, pixels / 255,
        torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(pixels).permute(2, 0, 1)[None],
    ):  # fmt: skip
        found, _ = assumed(image)
        assert torch.equal(found.maps["gradient"], reference.maps["gradient"])
        assert found.view.tobytes() == reference.view.tobytes()
    assert assumed(tmp_path / "a.png")[0].image == "a.png"
    assert "RGB pixels, from 0 to 1" in assumed(pixels / 255)[1]
    assert "grey pixels, bytes" in assumed(pixels[..., 0])[1]


def test_a_tensor_of_floats_is_the_networks_input_as_it_is():
    ready = NETWORK.prepare(PICTURE) * 3 - 1
    found, words = assumed(ready)
    assert torch.equal(found.maps["gradient"], assumed(ready[None])[0].maps["gradient"])
    direct = compare(
        NETWORK.model, ready[None], found.target.index, methods=["gradient"], metrics=[]
    )
    assert torch.equal(found.maps["gradient"], direct.maps["gradient"][0])
    assert "the tensor is the network's input as it is" in words
    assert found.preprocessing.startswith("none")
    # and what is known of its scale makes the picture: black is -1, white is 1
    normal = Network(NETWORK.model, Preprocessing(mean=(0.5,), std=(0.5,)))
    view = np.array(assumed(torch.full((3, 8, 8), 0.5), normal)[0].view)
    assert (view == 191).all()


def test_a_tensor_that_wants_a_gradient_gets_none():
    ready = NETWORK.prepare(PICTURE).requires_grad_()
    for model in (NETWORK, NETWORK.model):
        found, plain = (assumed(x, model)[0] for x in (ready, ready.detach()))
        assert torch.equal(found.maps["gradient"], plain.maps["gradient"])
    assert ready.requires_grad
    assert ready.grad is None


def test_targets_may_be_numbers_of_numpy_and_of_tensors():
    for target in (np.int64(1), torch.tensor(1)):
        assert explain(NETWORK, PICTURE, target=target, methods="gradient").target.index == 1
    for targets in (np.array([1, 0]), torch.tensor([1, 0]), range(1, -1, -1), (1, np.int8(0))):
        found = explain(NETWORK, PICTURE, target=targets, methods="gradient")
        assert [one.target.index for one in found] == [1, 0]


def test_one_output_is_said_to_be_always_certain():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1))
    found = explain(Network(model), PICTURE, methods="gradient")
    assert found.predictions[0].probability == 1
    (note,) = found.notes
    assert note == "the network has one output, of which the softmax is 100 % whatever the picture"
    assert note in " ".join(str(found).split())


def test_a_module_without_preprocessing_says_what_is_assumed():
    found, words = assumed(PICTURE, NETWORK.model)
    assert "no preprocessing is known for Conv: it gets pixels in [0, 1] at the picture's" in words
    assert words in " ".join(str(found).split())
    assert found.to_dict()["assumed"] == [words]
    assert "at its own size; pixels in [0, 1]" in str(found)


def test_a_network_that_ends_in_a_softmax_gets_no_second_one():
    plain = explain(NETWORK.model, PICTURE, methods="gradient")
    ends = nn.Sequential(NETWORK.model, nn.Softmax(dim=1))
    found, words = assumed(PICTURE, ends)
    assert "what the network returns are probabilities" in words
    assert "probabilities" not in " ".join(plain.assumed)
    expected = {one.index: one.probability for one in plain.predictions}
    assert {one.index: one.probability for one in found.predictions} == pytest.approx(expected)


def test_several_targets_come_from_one_forward_pass():
    calls = []
    hook = NETWORK.model.register_forward_hook(lambda module, *_: calls.append(module))
    both = explain(NETWORK, PICTURE, target=[1, "top1"], methods="gradient")
    hook.remove()
    assert [one is NETWORK.model for one in calls] == [True, False, False]  # a copy for each
    alone = explain(NETWORK, PICTURE, target=1, methods="gradient")
    assert isinstance(both, Explanations)
    assert len(both) == 2
    assert both[0].to_dict() == alone.to_dict()
    assert both[1].target.index == both[1].predictions[0].index
    assert str(alone) in str(both)
    assert both.to_dict()["explanations"][0] == alone.to_dict()
    assert [row["target"] for row in both.to_pandas().to_dict("records")] == (
        [both[0].target.name] * 9 + [both[1].target.name] * 9
    )


def test_a_layer_may_be_the_module_and_a_sequential_is_one_layer():
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Flatten(), nn.Linear(144, 2)
    )
    found = explain(Network(model, name="net"), PICTURE, layer=model[0], methods="grad_cam")
    named = explain(Network(model, name="net"), PICTURE, layer="0", methods="grad_cam")
    assert found.layer == named.layer == "0"
    assert torch.equal(found.maps["grad_cam"], named.maps["grad_cam"])


def test_several_layers_are_several_explanations(tmp_path):
    names = [name for name, module in NETWORK.model.named_modules() if name][:2]
    both = explain(NETWORK, PICTURE, layer=names, methods=["grad_cam"], name="a b.png")
    assert [one.layer for one in both] == names
    alone = explain(NETWORK, PICTURE, layer=names[1], methods=["grad_cam"], name="a b.png")
    assert torch.equal(both[1].maps["grad_cam"], alone.maps["grad_cam"])
    figure, report = both.save(tmp_path)
    assert (figure.name, report.name) == ("a-b.png", "a-b.json")
    assert json.loads(report.read_text()) == [one.to_dict() for one in both]
    *maps, about = both.save_maps(tmp_path)
    assert [file.name for file in maps] == ["a-b-1-grad_cam.npy", "a-b-2-grad_cam.npy"]
    said = json.loads(about.read_text())["maps"]
    for file, one in zip(maps, both, strict=True):
        assert np.array_equal(np.load(file), one.maps["grad_cam"].numpy())
        assert said[file.name]["network"]["layer"] == one.layer
        assert said[file.name]["shape"] == [1, 8, 8]


def test_regions_are_of_the_picture_as_it_is():
    wide = Image.fromarray(np.zeros((8, 16, 3), np.uint8))
    left = np.arange(16) < 6
    masks = {"left": np.tile(left, (8, 1)), "out": np.tile(np.arange(16) < 4, (8, 1))}
    found = explain(NETWORK, wide, regions=masks, methods="gradient")
    # of 16 columns the middle 8 are seen
    assert found.masks["left"][0].tolist() == [True, True] + [False] * 6
    assert not found.masks["out"].any()
    ready = explain(
        NETWORK, torch.zeros(3, 8, 8), regions={"all": np.ones((8, 8))}, methods="gradient"
    )
    assert ready.masks["all"].all()


def test_very_long_names_are_cut_where_they_are_files(tmp_path):
    found = explain(NETWORK, PICTURE, name="é" * 300 + ".png", methods="gradient")
    figure, _ = found.save(tmp_path)
    assert re.fullmatch("é{60}-[0-9a-f]{8}.png", figure.name)


def test_pictures_in_memory_are_read_as_files_are(tmp_path):
    deep = Image.fromarray(np.array(PICTURE)[..., 0].astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    for given in (deep, tmp_path / "deep.png"):
        found, words = assumed(given)
        assert "0 was taken as black and 65535 as white" in words
        assert np.array_equal(np.array(found.view)[..., 0], np.array(PICTURE)[..., 0])
    half = np.dstack([np.array(PICTURE), np.full((8, 8), 0, np.uint8)])
    for given in (Image.fromarray(half), half, torch.from_numpy(half).permute(2, 0, 1)):
        found, words = assumed(given)
        assert "transparent parts: they were laid over white" in words
        assert np.array(found.view).min() == 255
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees
    Image.fromarray(np.array(PICTURE)[:, :5]).save(tmp_path / "turned.png", exif=exif)
    file, _ = assumed(tmp_path / "turned.png", NETWORK.model)
    with Image.open(tmp_path / "turned.png") as image:
        found, _ = assumed(image, NETWORK.model)
    assert found.view.size == (8, 5)
    assert found.view.tobytes() == file.view.tobytes()
    with pytest.raises(DataError, match="image cannot be read as a picture: it holds NaN"):
        assumed(Image.fromarray(np.full((8, 8), np.nan, np.float32)))


def test_a_region_that_is_cut_away_is_told(tmp_path):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 16, 3), np.uint8))
    masks = {"edge": np.tile(np.arange(16) < 2, (8, 1)), "half": np.tile(np.arange(16) < 8, (8, 1))}
    found = explain(NETWORK, wide, regions=masks, methods="gradient")
    edge, half = found.shares["gradient"]
    assert (edge.mark, edge.seen, edge.area) == ("–", 0, 0)
    assert half.seen == pytest.approx(0.5, abs=0.07)
    report = " ".join(str(found).split())
    assert "– edge outside what the network sees" in report
    assert re.search(r"half .* 50 % of it is outside", report)


def test_regions_of_a_file_are_looked_up_by_the_files_name(tmp_path):
    PICTURE.save(tmp_path / "mine.png")
    coco = {
        "images": [{"id": 1, "file_name": "mine.png"}, {"id": 2, "file_name": "other.png"}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 8]}],
    }
    (tmp_path / "regions.json").write_text(json.dumps(coco))
    options = {"regions": tmp_path / "regions.json", "methods": "gradient", "name": "a title"}
    found = explain(NETWORK, tmp_path / "mine.png", **options)
    assert found.masks["thing"][:, :4].all()
    with pytest.raises(DataError, match="holds 2 images: say which"):
        explain(NETWORK, PICTURE, **options)
