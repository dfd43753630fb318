"""``captum-guided benchmark``: what it writes, what it says, and each mistake in one line."""

import functools
import json
import os
import platform
import re
import shutil

import captum
import numpy as np
import pytest
import slow_metrics
import small_benchmark as small
import torch
from floors import of_methods
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.attr import METHODS
from captum_guided_ext.demo import PictureWorld
from captum_guided_ext.networks import load_network
from captum_guided_ext.pictures import DEMO_SEED


@pytest.fixture
def program(tmp_path, capsys):
    return functools.partial(small.called, capsys, tmp_path / "out")


def test_what_is_written(program, tmp_path):
    data = small.save_pictures(tmp_path / "data")
    options = ("--metrics", "sensitivity_mean,infidelity", "--seed", "11")
    assert program(data, *options)[0] == 0
    out = tmp_path / "out"
    text = (out / "scores.csv").read_text()
    assert text.startswith("image,method,metric,value,standard_error,")
    rows = of_methods(small.table(text))
    keys = [(int(r["image"]), r["method"], r["metric"]) for r in rows]
    names = ["infidelity", "sensitivity_mean"]
    assert keys == [(i, m, n) for i in range(8) for m in sorted(METHODS) for n in names]
    assert [r["name"] for r in rows[::12]] == [f"{i % 4}/{i}.png" for i in (0, 4, 1, 5, 2, 6, 3, 7)]
    assert [int(r["target"]) for r in rows[::12]] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert all(bool(r["standard_error"]) == (r["metric"] == names[1]) for r in rows)

    report = json.loads((out / "summary.json").read_text())
    lines = of_methods(small.table((out / "summary.csv").read_text()))
    summary = of_methods(report["summary"])
    assert len(lines) == len(summary) == 6 * 2
    for line, reported in zip(lines, summary, strict=True):
        scores = [
            float(r["value"]) for r in rows if all(r[k] == line[k] for k in ("method", "metric"))
        ]
        assert float(line["mean"]) == reported["mean"] == pytest.approx(sum(scores) / 8)
        assert line["images"] == "8"
    settings = report["settings"]
    assert settings["versions"] == {
        "captum_guided_ext": cg.__version__, "captum": captum.__version__,
        "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    assert (settings["seed"], settings["batch_size"], settings["processes"]) == (11, 2, 1)
    assert settings["model"]["name"] == "relu"
    assert list(settings["methods"]) == list(METHODS)
    assert all("n_perturb_samples=2" in words for words in settings["metrics"].values())
    page = (out / "summary.html").read_text(encoding="utf-8")
    assert "captum-guided benchmark --data" in page  # how to make it again
    with Image.open(out / "summary.png") as image:
        assert min(image.size) > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 50  # something is drawn


def test_a_method_that_does_not_apply_has_rows_that_say_so(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 2)
    code, out, _ = program(data, model="small_benchmark:gelu_net")
    assert code == 0
    rows = of_methods(small.table((tmp_path / "out" / "scores.csv").read_text()))
    assert len(rows) == 2 * 6 * 2
    refused = {"deconvolution", "guided_backprop", "guided_grad_cam"}
    # Its layer is not a rectifier's, and of one picture nothing there speaks for the class.
    zero = [row for row in rows if row["reason"] == "the map is zero everywhere"]
    assert [(row["image"], row["method"], row["metric"]) for row in zero] == [
        ("0", "grad_cam", "sensitivity_max")
    ]
    for row in rows:
        assert (row["value"] == "") == (row["method"] in refused or row in zero)
        assert ("no rectifier" in row["reason"]) == (row["method"] in refused)
    assert "guided_backprop has no score: no rectifier" in " ".join(out.split())


def test_localisation_is_that_of_a_slow_count(program, tmp_path):
    layer, count = "features.relu5", 3
    code, out, _ = program(
        "demo", "--limit", count, "--metrics", "relevance_mass,pointing_game", "--layer", layer,
        model="demo",
    )  # fmt: skip
    assert code == 0
    found = small.values(small.table((tmp_path / "out" / "scores.csv").read_text()))
    network, world = load_network("demo"), PictureWorld(count, seed=DEMO_SEED)
    x = torch.stack([network.prepare(Image.fromarray(picture.image)) for picture in world])
    labels = [picture.label for picture in world]
    maps = {
        "deconvolution": cg.Deconvolution(network.model).attribute(x, labels),
        "guided_backprop": cg.GuidedBackprop(network.model).attribute(x, labels),
        "guided_grad_cam": cg.GuidedGradCam(
            network.model, network.model.get_submodule(layer)
        ).attribute(x, labels, interpolate_mode="bilinear"),
    }
    areas = []
    for image, picture in enumerate(world):
        inside = torch.tensor(~picture.masks["background"])
        areas.append(float(inside.double().mean()))
        for method, of_all in maps.items():
            mass, hit = slow_metrics.localisation(of_all[image], inside)
            assert found[image, method, "relevance_mass"] == pytest.approx(mass, rel=1e-5)
            assert found[image, method, "pointing_game"] == hit
    assert f"the object covers {sum(areas) / count:.0%}".replace("%", " %") in out


def test_unreadable_pictures_are_skipped_counted_and_named(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 5)
    (data / "0" / "2.png").write_text("no picture")
    (data / "2" / "2.png").write_bytes((data / "2" / "2.png").read_bytes()[:60])
    (data / "3" / "9.png").symlink_to(tmp_path / "nowhere.png")
    code, out, err = program(data)
    assert (code, "Traceback" in err) == (3, False)
    assert "skipped 3 images that could not be scored" in out
    assert all(f"{name}: " in out for name in ("0/2.png", "2/2.png", "3/9.png"))
    rows = small.table((tmp_path / "out" / "scores.csv").read_text())
    names = {int(row["image"]): row["name"] for row in rows}
    assert names == {0: "0/0.png", 2: "0/4.png", 3: "1/1.png", 5: "3/3.png"}
    skipped = json.loads((tmp_path / "out" / "summary.json").read_text())["skipped"]
    assert [(one["image"], one["name"]) for one in skipped] == [
        (1, "0/2.png"), (4, "2/2.png"), (6, "3/9.png"),
    ]  # fmt: skip
    assert all(one["reason"] for one in skipped)
    assert program(data)[0] == 3  # when it is finished, too


def test_pictures_of_another_size_are_skipped_with_advice(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 3)
    Image.new("RGB", (9, 8)).save(data / "1" / "1.png")
    code, out, _ = program(data, "--workers", "0")
    assert code == 3
    assert "1/1.png: its input is float32 3 x 8 x 9, and that of the first image float32 3 x" in out
    assert "give the network one size, by --size and --crop" in " ".join(out.split())
    scores = (tmp_path / "out" / "scores.csv").read_text()
    (tmp_path / "out").rename(tmp_path / "before")
    assert program(data)[0] == 3  # read ahead by one worker
    assert (tmp_path / "out" / "scores.csv").read_text() == scores


def test_any_name_of_a_file(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 2, labels=())
    names = [
        b"caf\xe9",
        b"a" * 251,
        b"new\nline\t",
        b"esc\x1b[31m\x07",
        "😀".encode(),
        b"$x_{ | <i>",
    ]
    for number, name in enumerate(names):
        path = data / os.fsdecode(name + b".png")
        if number % 2:
            shutil.copy(data / "0.png", path)
        else:
            path.write_text("no picture")
    code, out, err = program(data, *small.FEW)
    assert (code, "Traceback" in err) == (3, False)
    assert all(line.isprintable() for line in out.splitlines())
    assert "skipped 3 images" in out
    folder = tmp_path / "out"
    rows = small.table((folder / "scores.csv").read_text(encoding="utf-8"))
    assert len({row["name"] for row in rows}) == 5
    skipped = json.loads((folder / "summary.json").read_text(encoding="utf-8"))["skipped"]
    assert len({one["name"].encode() for one in skipped}) == 3


def test_nothing_but_unreadable_pictures(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 3)
    for picture in data.rglob("*.png"):
        picture.write_text("no picture")
    code, out, err = program(data)
    assert (code, "Traceback" in err) == (3, False)
    assert "skipped 3 images that could not be scored" in out
    assert small.table((tmp_path / "out" / "scores.csv").read_text()) == []
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["summary"] == []


def test_pictures_without_labels_are_explained_as_predicted(program, tmp_path):
    data = small.save_pictures(tmp_path / "data", 4, labels=())
    code, _, err = program(data, "--target", "label")
    assert code == 2
    assert re.search("folder data has no labels: .*--target prediction", small.complaint(err))
    assert program(data, "--methods", "gradient")[0] == 0
    rows = small.table((tmp_path / "out" / "scores.csv").read_text())
    pixels = [np.asarray(Image.open(data / f"{n}.png")).transpose(2, 0, 1) / 255 for n in range(4)]
    predicted = small.cnn()(torch.tensor(np.stack(pixels)).float()).argmax(dim=1).tolist()
    assert {row["name"]: int(row["target"]) for row in rows} == {
        f"{n}.png": predicted[n] for n in range(4)
    }


NAMED, DEMO = {"model": "small_benchmark:named"}, {"model": "demo"}
MISTAKES = {
    "empty folder": ("{tmp}/empty", [], {}, "folder .*empty holds no picture"),
    "no folder": ("{tmp}/picturs", [], {}, "there is no folder .*picturs; .*nearest is pictures"),
    "no class": ("{tmp}/pictures", [], NAMED, "the data's class 'puma' is none of named's"),
    "class number": ("{tmp}/numbers", [], NAMED, "class '9' is none of .*from 0 to 3"),
    "label": ("{tmp}/numbers", ["--strict"], {}, r"\(9/1\.png\): target 9 is out of range"),
    "workers": ("{tmp}/pictures", ["--workers", "-1"], {}, "--workers must not be negative, and"),
    "no masks": ("{tmp}/pictures", ["--metrics", "relevance_mass"], {}, "relevance_mass .*--masks"),
    "masks": ("{tmp}/pictures", ["--masks", "{tmp}/empty"], {}, "2 of 2 pictures have no mask"),
    "no mask folder": ("{tmp}/pictures", ["--masks", "{tmp}/n"], {}, "2 of 2 .* be .*n/0/0.png"),
    "demo's masks": ("demo", ["--masks", "{tmp}/empty"], DEMO, "masks go with a folder"),
    "idx": ("idx:{tmp}/pictures/a,{tmp}/b", [], {}, "pictures/a cannot be read"),
    "method": ("{tmp}/pictures", ["--methods", "gradcam"], {}, "'gradcam'; the near.* grad_cam"),
    "metric": ("{tmp}/pictures", ["--metrics", "fidelity"], {}, "'fidelity'; the nea.* infide"),
    "no limit": ("{tmp}/pictures", ["--limit", "0"], {}, "--limit: '0' must be a whole number, 1"),
    "limit": ("{tmp}/pictures", ["--limit", "x"], {}, "--limit: 'x' must be a whole number, 1"),
    "samples": ("{tmp}/pictures", ["--samples", "0"], {}, "--samples: '0' must be a whole"),
    "one sample": ("{tmp}/pictures", ["--samples", "1"], {}, r"is 1: .* 2 or more \(--samples\)"),
    "batch": ("{tmp}/pictures", ["--batch-size", "-2"], {}, "--batch-size: '-2' must be a whole"),
    "seed": ("{tmp}/pictures", ["--seed", "-1"], {}, "--seed must not be negative, and is -1"),
    "layer": ("{tmp}/pictures", ["--layer", "secnd"], {}, "'secnd'; the nearest is second"),
    "device": ("{tmp}/pictures", ["--device", "abacus"], {}, "device 'abacus' is not available"),
    "model": ("{tmp}/pictures", [], {"model": "small_benchmark:cn"}, "no 'cn'; the nearest is cnn"),
    "target": ("{tmp}/pictures", ["--target", "best"], {}, "'best'.*label.*prediction"),
    "option": ("{tmp}/pictures", ["--sede", "1"], {}, "no option '--sede'; the nearest are --seed"),
    "output": ("{tmp}/pictures", ["--output", "{tmp}/file"], {}, "file cannot be written to"),
    "over the data": (
        "{tmp}/pictures", ["--output", "{tmp}/empty/../pictures"], {},
        "--output .*pictures is the folder of the pictures, of which the figure",
    ),
    "in a file": ("{tmp}/pictures", ["--output", "{tmp}/file/out"], {}, "out cannot be written to"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(program, tmp_path, case):
    small.save_pictures(tmp_path / "pictures", 2, labels=("0", "puma"))
    small.save_pictures(tmp_path / "numbers", 2, labels=("0", "9"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    data, more, options, words = MISTAKES[case]
    code, out, err = program(
        data.format(tmp=tmp_path), *(one.format(tmp=tmp_path) for one in more), **options
    )
    assert (code, out) == (2, "")
    assert re.search(words, small.complaint(err)), err
    assert not (tmp_path / "out" / "scores.csv").exists()


def test_a_mistyped_option_is_named_before_what_is_missing(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["benchmark", "--data", "demo", "--outptu", "x"])
    assert stopped.value.code == 2
    assert "no option '--outptu'; the nearest is --output" in capsys.readouterr().err


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(["benchmark", "--help"])
    assert done.value.code == 0
    text = capsys.readouterr().out
    for option in ("--data", "--masks", "--output", "--model", "--weights", "--checkpoint",
                   "--layer", "--device", "--target", "--methods", "--metrics", "--samples",
                   "--limit", "--seed", "--batch-size", "--max-examples", "--workers", "--strict",
                   "torchrun"):  # fmt: skip
        assert option in text
