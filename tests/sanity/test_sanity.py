"""The sanity checks of a tiny network: their rows are those of the metrics, whatever the batch."""

import itertools
import json

import numpy as np
import pytest
import small_benchmark as small
import torch
from messages import fails
from networks import Dense, seeded
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from unchanged import nothing_changed

import captum_guided_ext as cg
from captum_guided_ext import metrics
from captum_guided_ext.sanity import CHECKS

FEW = ("gradient", "guided_backprop", "grad_cam")
COLUMNS = "image,method,other,check,layer,draw,value"
LAYERS = ["last", "second", "first"]


def checked(count=3, **settings):
    given = {"methods": FEW, "draws": 2, "show_progress": False, "seed": 5}
    return cg.sanity(small.cnn(), small.dataset(count), **given | settings)


def by_name(found):
    return {row[:-1]: row.value for row in found.rows}


@pytest.fixture(scope="module")
def found():
    return checked()


def slow_rows(model, x):
    """Yield all rows of the six checks by the metrics' own functions, NaN where there is none."""
    target = model(x).argmax(1)
    common = {"target": target, "seed": 5}
    random = metrics.parameter_randomization(model, x, FEW, n_draws=2, **common)
    assert list(random.layers) == LAYERS
    for measure, check in zip(("spearman", "spearman_abs", "ssim"), CHECKS[:3], strict=True):
        for i, m, d in itertools.product(range(3), FEW, range(2)):
            value = random.random_map[measure][m][i, d]
            yield (i, m, "random_map", check, "", d), value
            for s, layer in enumerate(LAYERS):
                yield (i, m, "", check, layer, d), random.values[measure][m][i, s, d]
    smooth = metrics.smooth_parameter_randomization(
        model, x, FEW, n_draws=1, n_noise_samples=4, order="cascading", **common
    )
    rise = metrics.efficient_parameter_randomization(model, x, FEW, n_draws=2, **common)
    for i, m in itertools.product(range(3), FEW):
        for s, layer in enumerate(smooth.layers):
            value = smooth.values["spearman_abs"][m][i, s, 0]
            yield (i, m, "", "randomization_smooth", layer, 0), value
        for d in range(2):
            yield (i, m, "", "randomization_entropy", "first", d), rise.values[m][i, d]
    classes = metrics.class_sensitivity(model, x, FEW, other="top2", **common)
    maps = {m: cg.compare(model, x, target, methods=[m], metrics=()).maps[m] for m in FEW}
    picture, edges = metrics.input_recovery(maps, x), metrics.edge_recovery(maps, x)
    agreement = metrics.agreement(maps).rank_correlation
    for i, (a, m) in itertools.product(range(3), enumerate(FEW)):
        other = str(int(classes.other[i]))
        yield (i, m, other, "class_sensitivity", "", None), classes.values[m][i]
        yield (i, m, "", "input_recovery", "", None), picture[m][i]
        yield (i, m, "", "edge_recovery", "", None), edges[m][i]
        for b in range(a + 1, len(FEW)):
            yield (i, m, FEW[b], "agreement", "", None), agreement[i, a, b]


def test_rows_are_those_of_the_metrics(found):
    x = torch.stack([one for one, _ in small.dataset(3)])
    wanted = {key: float(value) for key, value in slow_rows(small.cnn(), x)}
    wanted = {key: value for key, value in wanted.items() if not np.isnan(value)}
    assert by_name(found) == pytest.approx(wanted, abs=1e-5)
    assert {row.check for row in found.rows} == set(CHECKS)
    keys = [(row.image, FEW.index(row.method), CHECKS.index(row.check)) for row in found.rows]
    assert keys == sorted(keys)


def test_numbers_do_not_depend_on_the_batch(found):
    for size in (1, 2):
        assert by_name(checked(batch_size=size)) == pytest.approx(by_name(found), abs=2e-4)


class Deep(nn.Sequential):
    """Fourteen layers, which are numbered from the input."""

    def __init__(self):
        parts = [nn.Linear(3, 3) if place % 2 else nn.ReLU() for place in range(1, 28)]
        super().__init__(*parts)


@pytest.mark.filterwarnings("ignore:SSIM compares pictures")
@pytest.mark.parametrize(
    ("every", "columns"),
    [
        ("all", ["26", "7 of 14 layers", "all layers", "random map"]),
        (6, ["26", "7 of 14 layers", "all layers", "random map"]),  # after 1, 7, 13 and 14
        (9, ["26", "10 of 14 layers", "all layers", "random map"]),  # after 1, 10 and 14
        (20, ["26", "all layers", "random map"]),
    ],
)
def test_tables_and_figure_say_how_many_layers_are_random(every, columns):
    data = TensorDataset(torch.ones(1, 3))
    found = cg.sanity(
        seeded(Deep), data, methods=["gradient"], layers=every, draws=1, show_progress=False
    )  # fmt: skip
    lines = str(found).splitlines()
    assert lines[0].endswith("1 method on 1 picture, 14 layers randomised in 1 draw")
    assert [one.strip() for one in lines[3].strip("|").split("|")] == ["method", *columns]
    written = [text.get_text() for axes in found.plot().axes for text in axes.texts]
    assert "all 14 layers" in written


def test_a_model_is_left_as_it_is():
    model = small.cnn()
    with nothing_changed(model):
        cg.sanity(model, small.dataset(2), methods=FEW, draws=1, show_progress=False)


def test_files(found, tmp_path):
    assert {one.name for one in found.save(tmp_path)} == {
        "sanity.csv", "sanity.html", "sanity.json", "sanity.png",
    }  # fmt: skip
    text = (tmp_path / "sanity.csv").read_text()
    assert text.splitlines()[0] == COLUMNS
    rows = small.table(text)
    assert len(rows) == len(found.rows)
    for row, one in zip(rows, found.rows, strict=True):
        assert (int(row["image"]), row["method"], row["other"], row["check"], row["layer"]) == one[
            :5
        ]
        assert row["draw"] == ("" if one.draw is None else str(one.draw))
        assert float(row["value"]) == one.value
    report = json.loads((tmp_path / "sanity.json").read_text())
    assert report["sentences"] == list(found.sentences)
    assert [one["method"] for one in report["methods"]] == list(FEW)
    assert report["settings"]["layers"] == LAYERS
    assert report["settings"]["versions"]["captum_guided_ext"] == cg.__version__
    assert [one["name"] for one in report["images"]] == ["0", "1", "2"]
    page = (tmp_path / "sanity.html").read_text(encoding="utf-8")
    assert "cg.sanity(" in page
    assert "Structural similarity (SSIM)" in page
    with Image.open(tmp_path / "sanity.png") as image:
        assert image.width > 1000
        assert len(np.unique(np.asarray(image.convert("L")))) > 50  # something is drawn


def test_what_is_printed_is_the_mean_of_the_rows(found):
    text = str(found)
    for method in FEW:
        values = [
            row.value for row in found.rows
            if (row.method, row.check, row.layer) == (method, "randomization_spearman_abs", "last")
        ]  # fmt: skip
        line = next(one for one in text.splitlines() if one.startswith(f"| {method} "))
        assert line.split("|")[2].split()[0] == f"{np.mean(values):.2f}"
    for sentence in found.sentences:
        assert " ".join(sentence.split()) in " ".join(text.split())


def test_every_nth_layer(found):
    rows = by_name(checked(layers=2))
    assert {key[4] for key in rows if key[3] == CHECKS[0] and not key[2]} == {"last", "first"}
    assert (
        rows.items() <= {k: pytest.approx(v, abs=1e-6) for k, v in by_name(found).items()}.items()
    )


def test_the_classes_that_are_asked_for():
    model, (x, _) = small.cnn(), small.dataset(1)[0]
    ranked = model(x[None])[0].argsort(descending=True).tolist()

    def classes(**asked):
        result = checked(1, draws=1, methods=["gradient"], **asked)
        (other,) = (row.other for row in result.rows if row.check == "class_sensitivity")
        return result.collected.images[0].target, int(other)

    assert classes() == (ranked[0], ranked[1])
    assert classes(target="top2") == (ranked[1], ranked[0])
    assert classes(target=ranked[2], other_target=ranked[3]) == (ranked[2], ranked[3])
    assert classes(target="label")[0] == 0
    target, other = classes(other_target="random")
    assert target == ranked[0] != other
    names = ("tabby cat", "spaniel, dog", "great_white shark", "wren")
    network = cg.Network(model, classes=names)
    result = cg.sanity(
        network, small.dataset(1), methods=["gradient"], draws=1, target="wren",
        other_target="spaniel", show_progress=False,
    )  # fmt: skip
    assert result.collected.images[0].target == 3
    assert "spaniel, dog" in str(result)
    for wrong, words in (
        ({"target": "wrn"}, "no class is called 'wrn'; the nearest is wren"),
        ({"other_target": "wren", "target": 3}, "is the class that is explained, wren (3)"),
        ({"other_target": "top3"}, "other_target 'top3' is none of top2"),
        ({"target": 4}, "is not a class index from 0 to 3"),
    ):
        with fails(cg.ModelError, words):
            cg.sanity(network, small.dataset(1), show_progress=False, **wrong)


def test_what_has_no_number_says_why():
    gelu = small.cnn(nn.functional.gelu)
    result = cg.sanity(gelu, small.dataset(2), draws=1, show_progress=False)
    assert {row.method for row in result.rows} == {"gradient", "input_x_gradient", "grad_cam"}
    missing = {
        (one["method"], one["check"]): one["reason"] for one in result.to_dict()["without a number"]
    }
    assert "no rectifier" in missing["guided_backprop", "class_sensitivity"]
    text = " ".join(str(result).split())
    assert "numbers are missing for deconvolution: no rectifier" in text
    assert "numbers are missing for guided_grad_cam, guided_backprop: no rectifier" in text
    assert "the metric gives this method no score" not in text
    result.plot()


def test_inputs_that_are_no_pictures():
    data = TensorDataset(torch.rand(2, 5))
    with pytest.warns(UserWarning, match="SSIM compares pictures"):
        result = cg.sanity(
            seeded(Dense),
            data,
            methods=["gradient", "guided_backprop"],
            draws=1,
            show_progress=False,
        )
    assert {row.check for row in result.rows} == set(CHECKS) - {
        "randomization_ssim",
        "edge_recovery",
    }


def test_networks_that_cannot_be_checked():
    with fails(cg.ModelError, "has no weights to randomise"):
        cg.sanity(small.cnn().forward, small.dataset(1), show_progress=False)
    with fails(cg.ModelError, "what is checked here is one score for each class"):
        cg.sanity(nn.Conv2d(3, 2, 3), small.dataset(1), show_progress=False)
    with fails(ValueError, "draws must be 1 or more"):
        checked(draws=0)
    with fails(cg.DataError, "none of the pictures can be used", "image 0 (0)", "NaN or infinity"):
        cg.sanity(
            small.cnn(), TensorDataset(torch.full((2, 3, 8, 8), torch.nan)), show_progress=False
        )


def test_a_reason_is_of_its_own_picture():
    class Dim(nn.Module):
        """Gives bright pictures no gradient."""

        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(144, 3)

        def forward(self, x):
            bright = (x.mean(dim=(1, 2, 3), keepdim=True) > 0.8).float()
            return self.last(torch.relu(self.first(x) - 99 * bright).flatten(1))

    x = torch.cat([torch.rand(3, 3, 8, 8), torch.rand(1, 3, 8, 8) / 10 + 0.9])
    model = seeded(Dim)
    told = []
    for size in (1, 2, 4):
        result = cg.sanity(
            model, TensorDataset(x), methods=["gradient"], draws=1, batch_size=size, seed=0,
            show_progress=False,
        )  # fmt: skip
        told.append(result.to_dict()["without a number"])
    assert told[0]
    assert told[0] == told[1] == told[2]
    assert not any("example" in one["reason"] for one in told[0])


@pytest.mark.parametrize("first", ["guided_backprop", "gradient"])
def test_the_figure_has_its_key_where_the_first_method_has_no_curve(first):
    result = cg.sanity(
        small.cnn(nn.functional.gelu), small.dataset(1), methods=[first, "input_x_gradient"],
        draws=1, show_progress=False,
    )  # fmt: skip
    keys = [axes.get_legend() for axes in result.plot().axes if axes.get_legend()]
    assert [[text.get_text() for text in one.get_texts()] for one in keys] == [
        ["rank correlation", "SSIM"]
    ]
