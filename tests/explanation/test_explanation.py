"""explain(), its report, its rows, its figure and its files, on a network with known answers."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from picture_files import halves
from PIL import Image
from torch import nn
from unchanged import nothing_changed

from captum_guided_ext.errors import DataError, ModelError, NoRectifierError
from captum_guided_ext.explanation import explain
from captum_guided_ext.explanation._explain import _alike
from captum_guided_ext.metrics import parameter_randomization
from captum_guided_ext.networks import Network, Preprocessing, load_network
from captum_guided_ext.pictures import demo_photo


class LeftOrRight(nn.Module):
    """Class 0 sees the left half of the picture only, class 1 the right half."""

    def __init__(self, activation=nn.ReLU):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 1), activation())
        with torch.no_grad():
            self.features[0].weight.copy_(torch.tensor([1.0, -0.5]).reshape(2, 1, 1, 1))
            self.features[0].bias.fill_(0.1)

    def forward(self, x):
        x = self.features(x)
        half = x.shape[-1] // 2
        left, right = x[..., :half].mean((2, 3)), x[..., half:].mean((2, 3))
        return torch.stack([left[:, 0] - left[:, 1], right[:, 0] - right[:, 1]], 1)


def network(**options):
    return Network(
        LeftOrRight(**options).eval(),
        Preprocessing(),
        ("left", "right"),
        name="halves",
        weights="by hand",
    )


@pytest.fixture
def picture():
    """Draw a picture whose left half is bright."""
    return Image.fromarray(30 + 190 * halves(24, 8)).convert("RGB")


HALVES = {"left half": halves(24, 8) == 1, "right half": halves(24, 8) == 0}


def test_the_region_that_decides_holds_the_map(picture):
    explanation = explain(network(), picture, regions=HALVES)
    assert explanation.target.name == explanation.predictions[0].name == "left"
    assert sum(one.probability for one in explanation.predictions) == pytest.approx(1)
    for method in ("gradient", "guided_backprop", "guided_grad_cam"):
        left, right = explanation.shares[method]
        assert (left.attribution, left.area, left.mark) == (pytest.approx(1), 0.5, "✔"), method
        assert right.mark == "✖"
    # Grad-CAM weighs channel 0, which is 3 * 220/255 + 0.1 on the left, 3 * 30/255 + 0.1 right;
    # channel 1 is closed in both.
    left, right = explanation.shares["grad_cam"]
    bright, dark = 660 / 255 + 0.1, 90 / 255 + 0.1
    assert left.attribution == pytest.approx(bright / (bright + dark))
    other = explain(network(), picture, target="right", regions=HALVES)
    assert other.shares["guided_backprop"][1].attribution == pytest.approx(1)


def test_limits_by_hand(picture):
    # Left half: x = 220/255 in three channels, so both channels of the layer see 3x:
    # channel 0: 2.59 + 0.1 > 0 receives +1/96, channel 1: -1.29 + 0.1 < 0 is closed. Right half:
    # no gradient. So nothing negative passes a gate for "left".
    explanation = explain(network(), picture, regions=HALVES)
    assert explanation.ignored_share == 0
    # The maps of left and right are each other's mirror image: where one is largest the other is
    # 0, and two values shared by half of the places each have rank correlation -1.
    assert explanation.contrast.name == "right"
    assert explanation.contrast_correlation == pytest.approx(-1)
    # A black picture opens both channels: +1/96 and -1/96 pass, and half of it is negative.
    black = explain(network(), Image.new("RGB", (24, 8)), regions=HALVES)
    assert black.ignored_share == pytest.approx(0.5)


def test_the_picture_in_the_map_by_hand(picture):
    # The map of "left" has one value on the left and 0 on the right, as the picture has: it is the
    # picture. Edges are at the two columns in the middle, one of them inside and one outside.
    explanation = explain(network(), picture, regions=HALVES)
    assert explanation.input_recovery == pytest.approx(1)
    assert explanation.edge_recovery == pytest.approx(0, abs=1e-6)
    assert "it correlates with the picture at 1.00" in " ".join(str(explanation).split())
    # a black picture is the same everywhere
    assert explain(network(), Image.new("RGB", (24, 8)), regions=HALVES).input_recovery is None


def test_the_last_layer_is_that_of_the_sanity_checks():
    demo = load_network("demo")
    before = demo_photo()
    with nothing_changed(demo.model):
        explanation = explain(demo, before.image, regions=before.regions)
    last = explanation.last_layer
    x = demo.prepare(before.image)[None]
    found = parameter_randomization(
        demo.model, x, ["guided_backprop"], explanation.target.index, n_draws=1, seed=0
    )
    assert last.name == found.layers[0] == "classifier"
    assert last.correlation == pytest.approx(
        float(found.values["spearman_abs"]["guided_backprop"][0, 0, 0]), abs=1e-4
    )
    limits = " ".join(str(explanation).split())
    words = "the last layer, classifier, permuted, the ranking of the pixels correlates with this"
    assert f"{words} one at {last.correlation:.2f}" in limits
    assert "That is one draw, and others may be far from it." in limits
    assert "captum-guided sanity PHOTO tells more" in limits
    said = explanation.to_dict()["limits"]
    assert (said["last_layer"], said["rank_correlation_with_last_layer_permuted"]) == last


def test_the_last_layer_costs_one_pass_of_a_copy(picture):
    model = network().model
    calls = []

    def count(module, *_):
        calls.append(module)

    model.register_forward_hook(count)  # a copy has it, too
    explain(Network(model, Preprocessing(), ("left", "right")), picture, regions=HALVES)
    assert [one is model for one in calls] == [True, False]
    calls.clear()
    model.requires_grad_(
        requires_grad=False
    )  # what leads to the output is not seen in the first pass
    found = explain(Network(model, Preprocessing(), ("left", "right")), picture, regions=HALVES)
    assert [one is model for one in calls] == [True, False, False]
    assert found.last_layer is not None


def test_a_report_is_not_lost_for_the_last_layer(picture):
    class NoCopy(LeftOrRight):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of a kind")

    report = explain(Network(NoCopy().eval(), Preprocessing(), ("left", "right")), picture)
    assert report.last_layer is None
    (note,) = report.notes
    assert "whether the map depends on the last layer was not measured: NoCopy cannot be" in note
    assert "one of a kind" in note
    # a function has no weights that anybody could see, and nothing is said
    report = explain(Network(network().model.forward, Preprocessing(), ("left", "right")), picture)
    assert report.last_layer is None
    assert report.notes == ()


def test_how_alike_two_maps_are_by_hand():
    # ranks of |values|: (1, 2.5, 2.5, 4) and (4, 3, 1, 2); Pearson of those is -3/sqrt(4.5 * 5)
    first, second = torch.tensor([[0.0, -1.0, 1.0, 5.0]]), torch.tensor([[9.0, 8.0, 0.5, -2.0]])
    assert _alike(first, second) == pytest.approx(-3 / (4.5 * 5) ** 0.5)
    assert _alike(first, 3 * first) == pytest.approx(1)
    assert _alike(first, torch.ones(1, 4)) is None


def test_what_does_not_apply_is_a_row_with_its_reason(picture):
    explanation = explain(network(activation=nn.GELU), picture)
    assert set(explanation.maps) == {"gradient", "grad_cam"}
    assert set(explanation.reasons) == {"deconvolution", "guided_backprop", "guided_grad_cam"}
    assert explanation.ignored_share is None
    report = " ".join(str(explanation).split())
    assert "guided_backprop does not apply: no rectifier" in report
    assert "gradient map's magnitude" in report
    with pytest.raises(NoRectifierError):
        explain(network(activation=nn.GELU), picture, methods=["guided_backprop"])


def test_a_network_without_a_feature_map(picture):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(8 * 24 * 3, 2), nn.ReLU(), nn.Linear(2, 2))
    plain = Network(flat.eval(), Preprocessing())
    explanation = explain(plain, picture)
    assert explanation.layer is None
    assert set(explanation.reasons) == {"grad_cam", "guided_grad_cam"}
    with pytest.raises(ModelError, match="no layer 'nowhere'"):
        explain(plain, picture, layer="nowhere")


def test_the_report_in_words(picture):
    report = str(explain(network(), picture, name="halves.png", regions=HALVES))
    first = report.splitlines()[0]
    assert first.startswith("input image: halves.png · prediction: left (")
    assert first.endswith("left half ✔ · right half ✖")
    assert all(len(line) <= 96 for line in report.splitlines()[1:])
    # The left half holds as much at its own 1 of 24 places across, whatever its height.
    assert "100 % of the map, 2.0 times its area, as much at   5 % of places" in report
    assert "asked for right instead" in " ".join(report.split())
    assert "not a full explanation" in report
    # Of a grid of nine only the marked ones stand in the headline: none here, since the map is
    # even over the left half, and a cell holds as much at many places of it.
    grid = str(explain(network(), picture)).splitlines()[0]
    assert grid.endswith(" · no region ✔")


def test_the_figure(picture):
    own = replace(network(), classes=("left $", "right $"))
    found = explain(own, picture, name="1$ or $2", target="right $")
    figure = found.plot()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    methods = ["Gradient", "Deconvolution", "Guided backprop", "Grad-CAM at features.0"]
    assert titles == ["1$ or $2", *methods, "Guided Grad-CAM at features.0"]
    title = figure.get_suptitle()
    assert re.fullmatch(r"prediction: left \$ \(\d+ %\) · explained: right \$ \(\d+ %\)", title)
    assert f" · {title} · " in str(found)
    (guided,) = [a for a in figure.axes if a.get_title() == "Guided backprop"]
    (drawn,) = guided.get_images()
    pixels = np.asarray(drawn.get_array())
    assert (pixels[:, :12] == pixels[0, 0]).all()  # the colour of 0
    assert (pixels[:, 12:] != pixels[0, 0]).any(axis=2).all()


def test_the_views_of_a_figure(picture):
    explanation = explain(network(), picture, methods=["guided_backprop", "grad_cam"])
    cam = "Grad-CAM at features.0"
    for views, expected in {
        ("overlay",): ["Guided backprop", cam],
        ("overlay", "signed"): ["Guided backprop, signed", "Guided backprop, overlay",
                                f"{cam}, signed", f"{cam}, overlay"],
        # Grad-CAM has no colours: left out beside another view, and signed where there is none
        ("colours", "overlay"): ["Guided backprop, overlay", "Guided backprop, colours",
                                 f"{cam}, overlay"],
        ("colours",): ["Guided backprop, colours", f"{cam}, signed"],
    }.items():  # fmt: skip
        panels = explanation.plot(views=views).axes
        titles = [axes.get_title() for axes in panels if axes.get_title()][1:]
        assert sorted(titles) == sorted(expected)
    with pytest.raises(ValueError, match="no view is called 'overlays'; the nearest is overlay"):
        explanation.plot(views=["overlays"])


def test_several_explanations_are_rows_with_their_targets_as_titles(picture):
    both = explain(network(), picture, target=[0, 1], methods=["guided_backprop", "grad_cam"])
    figure = both.plot(views=["overlay"])
    said = [text.get_text() for text in figure.texts]
    for one in both:
        assert sum(text.startswith(f"{one.target.name} (") for text in said) == 1
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles[1:3] == ["Guided backprop", "Grad-CAM at features.0"] == titles[4:6]


def test_an_empty_map_is_said_to_be_empty(picture):
    negative = LeftOrRight().eval()
    with torch.no_grad():
        negative.features[0].weight.copy_(-negative.features[0].weight.abs())
        negative.features[0].bias.fill_(-1)  # every rectifier is closed
    explanation = explain(Network(negative, Preprocessing()), picture, regions=HALVES)
    assert "the guided attribution is zero everywhere" in " ".join(explanation.notes)
    assert not any(share.holds_more for share in explanation.shares["guided_backprop"])
    figure = explanation.plot()
    (guided,) = [a for a in figure.axes if a.get_title() == "Guided backprop"]
    assert [text.get_text() for text in guided.texts] == ["zero everywhere"]


def test_prediction_and_top1_are_the_first_of_equal_scores(picture):
    last = nn.Linear(8 * 24 * 3, 4)
    last.weight.data.zero_()
    last.bias.data = torch.tensor([1.0, 2.0, 2.0, 2.0])
    tied = Network(nn.Sequential(nn.ReLU(), nn.Flatten(), last).eval(), Preprocessing())
    found = [
        explain(tied, picture, target=word, methods=["gradient"])
        for word in ("prediction", "top1", "top2")
    ]
    assert [one.predictions[0].index for one in found] == [1, 1, 1]
    assert [one.target.index for one in found] == [1, 1, 2]


@pytest.fixture
def halved(picture):
    """Explain the picture by two methods, whose maps lie in the left half alone."""
    methods = ["gradient", "guided_backprop"]
    return explain(network(), picture, name="my halves.png", methods=methods, regions=HALVES)


def test_its_repr_is_one_short_line(halved):
    # The scores are the channel's means, 660 / 255 + 0.1 and 90 / 255 + 0.1: 1 / (1 + exp(-2.235)).
    assert repr(halved) == "<Explanation: my halves.png, left (90 %), by gradient, guided_backprop>"


def test_its_data_survive_json(halved):
    data = halved.to_dict()
    read = json.loads(json.dumps(data))
    left = {"name": "left half", "attribution_share": 1, "area_share": 0.5, "holds_more": True}
    right = {"name": "right half", "attribution_share": 0, "area_share": 0.5, "holds_more": False}
    left |= {"share_of_places_with_as_much": 1 / 24, "seen": 1}
    right |= {"share_of_places_with_as_much": 1, "seen": 1}
    assert read["regions"] == {"gradient": [left, right], "guided_backprop": [left, right]}
    assert [one["name"] for one in read["predictions"]] == ["left", "right"]
    assert read["target"]["index"] == 0
    assert read["rectifiers"]["overridden"] == {"ReLU": 1}
    assert read.keys() == data.keys()


def test_it_has_a_row_for_each_method_and_region(halved, tmp_path):
    rows = halved.to_csv(tmp_path / "rows.csv")
    assert (
        (tmp_path / "rows.csv").read_text()
        == rows
        == (
            "method,region,attribution_share,area_share,share_of_places_with_as_much,"
            "holds_more,seen\n"
            f"gradient,left half,1.0,0.5,{1 / 24},True,1.0\n"  # one of 24 shifts
            "gradient,right half,0.0,0.5,1.0,False,1.0\n"
            f"guided_backprop,left half,1.0,0.5,{1 / 24},True,1.0\n"
            "guided_backprop,right half,0.0,0.5,1.0,False,1.0\n"
        )
    )
    first, second = (line.split() for line in halved.to_markdown().splitlines()[2:4])
    assert " ".join(first) == "| gradient | left half | 1 | 0.5 | 0.04167 | True | 1 |"
    assert " ".join(second) == "| gradient | right half | 0 | 0.5 | 1 | False | 1 |"
    frame = halved.to_pandas()
    assert list(frame.columns) == rows.splitlines()[0].split(",")
    assert frame["attribution_share"].tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize(("stem", "name"), [(None, "my-halves"), ("figure", "figure")])
def test_it_is_saved_under_the_pictures_name_or_another(halved, tmp_path, stem, name):
    folder = tmp_path / "made" / "here"
    path, report = halved.save(folder, stem=stem)
    with Image.open(path) as image:
        assert image.size[0] > 500
        assert image.format == "PNG"
    assert json.loads(report.read_text()) == [json.loads(json.dumps(halved.to_dict()))]
    assert (path, report) == (folder / f"{name}.png", folder / f"{name}.json")
    assert set(folder.iterdir()) == {path, report}
    with pytest.raises(DataError, match=r"'\.\./a' cannot be the name of a file in .*here"):
        halved.save(folder, stem="../a")


def test_figures_of_several_kinds_and_views_say_the_preprocessing(halved, tmp_path):
    files = halved.save(tmp_path, formats=("svg", "pdf"), views=("overlay", "colours"))
    assert [file.suffix for file in files] == [".svg", ".pdf", ".json"]
    text = files[0].read_text()
    for words in ("Gradient, overlay", "Guided backprop, colours", "Network: halves."):
        assert words in text
    assert "at its own size; pixels in [0, 1], mean 0, std 1." in text
    assert files[1].read_bytes().startswith(b"%PDF")
    alone = halved.save(tmp_path, formats="svg", views="overlay")
    assert [file.suffix for file in alone] == [".svg", ".json"]
    with pytest.raises(ValueError, match="cannot be written as 'gif'; choose from png, sv"):
        halved.save(tmp_path, formats=("gif",))
    with pytest.raises(ValueError, match="no view is called 'color'; the nearest is colours"):
        halved.save(tmp_path, views=("color",))
