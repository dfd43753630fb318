"""The command line as a user meets it: a process for the whole, main() for each mistake."""

import json
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from picture_files import halves, save
from PIL import Image
from places import DATA, needs
from programs import python

from captum_guided_ext import cli
from captum_guided_ext.demo import CATEGORIES, PictureWorld

program = partial(python, "-m", "captum_guided_ext", "explain")


@pytest.fixture
def photo(tmp_path):
    """Save a picture of the demo world as a photo."""
    return save(tmp_path / "photo.png", PictureWorld(3, seed=5)[2].image)


@pytest.fixture
def explain(tmp_path, capsys):
    """Run ``captum-guided explain`` in this process; return its exit code, output and errors."""

    def run(*arguments):
        try:
            code = cli.main(["explain", "--output", str(tmp_path / "out"), *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_no_arguments_explain_the_embedded_picture(tmp_path):
    done = program(cwd=tmp_path)
    assert done.stderr == ""
    headline = done.stdout.splitlines()[0]
    assert headline.startswith("input image: ")
    assert "prediction: " in headline
    for part in ("face", "fur", "background"):
        assert any(f"{part} {mark}" in headline for mark in "✔✖")
    for section in ("overridden", "regions", "limits", "Negative evidence", "figure"):
        assert section in done.stdout
    (figure,) = (tmp_path / "captum-guided-output").glob("*.png")
    with Image.open(figure) as image:
        assert min(image.size) > 500
        assert len(np.unique(np.asarray(image.convert("L")))) > 50  # something is drawn
    (report,) = json.loads(figure.with_suffix(".json").read_text())
    assert set(report["versions"]) == {"captum_guided_ext", "captum", "torch", "python"}
    assert set(figure.parent.iterdir()) == {figure, figure.with_suffix(".json")}


def test_json_is_the_report(explain):
    code, out, err = explain("--json", "--target", "top2")
    assert (code, err) == (0, "")
    (report,) = json.loads(out)
    assert report["target"]["index"] == report["predictions"][1]["index"]
    for shares in report["regions"].values():
        assert sum(share["attribution_share"] for share in shares) == pytest.approx(1)
        assert sum(share["area_share"] for share in shares) == pytest.approx(1)
    assert set(report["regions"]) == {
        "gradient", "deconvolution", "guided_backprop", "grad_cam", "guided_grad_cam",
    }  # fmt: skip
    assert report["rectifiers"]["overridden"]
    assert 0 < report["limits"]["negative_gradient_ignored"] < 1
    assert -1 <= report["limits"]["rank_correlation_with_other_class"] <= 1


def test_two_photos_of_one_name_keep_both_results(explain, photo, tmp_path):
    other = save(tmp_path / "elsewhere" / photo.name, PictureWorld(1, seed=6)[0].image)
    code, out, _ = explain(photo, other, "--model", "demo", "--methods", "guided_backprop")
    assert code == 0
    assert out.count("input image:") == 2
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"photo.png", "photo-2.png"}


def test_a_class_by_name_a_layer_and_regions(explain, photo, tmp_path):
    regions = save(tmp_path / "regions.png", halves(96, 96))
    regions.with_suffix(".json").write_text(json.dumps({"1": "left half"}))
    code, out, _ = explain(
        photo, "--model", "demo", "--target", CATEGORIES[3], "--regions", regions, "--json",
        "--layer", "features.relu5", "--methods", "grad_cam,guided_backprop",
    )  # fmt: skip
    assert code == 0
    (report,) = json.loads(out)
    assert report["target"]["name"] == CATEGORIES[3]
    assert report["network"]["layer"] == "features.relu5"
    assert [r["name"] for r in report["regions"]["grad_cam"]] == ["left half", "background"]
    assert report["regions"]["grad_cam"][0]["area_share"] == pytest.approx(0.5)


def test_a_network_of_ones_own(explain, photo):
    code, out, _ = explain(photo, "--model", "small_benchmark:net")
    assert code == 0
    assert "2 ReLU between prediction and image" in out
    smooth = photo, "--model", "small_benchmark:gelu_net"
    code, out, _ = explain(*smooth)
    assert code == 0
    assert "guided_backprop does not apply: no rectifier" in " ".join(out.split())
    assert "2 GELU" in out
    code, out, err = explain(*smooth, "--methods", "guided_backprop")
    assert (code, out) == (2, "")
    assert "2 GELU" in err


MISTAKES = {
    "nowhere.jpg": r"there is no picture nowhere\.jpg",
    "{folder}/phto.png": r"phto\.png; the nearest is photo\.png",
    "{folder}/text.jpg": r"text\.jpg cannot be read as a picture",
    "{photo} --model resnet51": r"'resnet51'; the nearest are resnet",
    "--model resnet18": "--model resnet18 needs a photo",
    "--model resnt18": "no network is called 'resnt18'; the nearest are resnet",
    "nowhere.jpg --model resnt18": "no network is called 'resnt18'; the nearest are resnet",
    "{photo} --model resnet18 --weights V9": (
        "resnet18 has no weights 'V9': choose from IMAGENET1K_V1"
    ),
    "--layer featurs": "has no layer 'featurs'; the nearest are features",
    "--target 'striped cot'": "no class is called 'striped cot'.*striped cat",
    "--target 6": "target 6 is not a class index from 0 to 5",
    "--methods guided_bakprop": "'guided_bakprop'; the near.* guided_backprop",
    "--regions nothing.png": r"nothing\.png",
    "--checkpoint nothing.pth": r"nothing\.pth does not exist",
    "--device abacus": "device 'abacus' is not available",
    "--modle demo": "there is no option '--modle'; the nearest are --model",
    "--output {folder}/text.jpg/out": r"text\.jpg/out cannot be written to",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(explain, photo, command):
    folder = photo.parent
    (folder / "text.jpg").write_text("not a picture")
    code, out, err = explain(*shlex.split(command.format(photo=photo, folder=folder)))
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert re.search(MISTAKES[command], err), err
    assert not (folder / "out").exists()


def test_a_mistake_has_no_traceback(tmp_path):
    done = program("nowhere.jpg", code=2, cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing was left behind


def test_a_failed_write_leaves_no_half_file(explain, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    code, _, err = explain("--methods", "guided_backprop")
    assert code == 2
    assert "No space left on device" in err
    assert not (tmp_path / "out").exists()


def test_help_names_every_option():
    words = program("--help").stdout
    for option in ("--model", "--weights", "--checkpoint", "--layer", "--target", "--methods",
                   "--regions", "--output", "--json", "--device", "--views", "--format", "--html",
                   "--save-maps", "--mean", "--std", "--size", "--crop", "--interpolation",
                   "--classes"):  # fmt: skip
        assert option in words


@needs("squeezenet1_0_imagenet")
def test_a_real_photo(explain):
    code, out, err = explain(
        DATA / "photos" / "chelsea.png", "--model", "SqueezeNet1_0", "--checkpoint",
        DATA / "squeezenet1_0_imagenet" / "squeezenet1_0_imagenet.pth",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert "prediction: Egyptian cat" in out.splitlines()[0]
    words = " ".join(out.split())
    assert "squeezenet1_0 (checkpoint squeezenet1_0_imagenet.pth)" in words
    assert "26 ReLU between prediction and image" in out
    assert "Grad-CAM at layer features" in words
    assert "the deconvolution attribution is zero everywhere" in words
