"""``captum-guided explain`` of photos and networks that do not fit: named, the rest go on."""

import html
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from picture_files import noise, save
from PIL import Image

from captum_guided_ext import cli

NETS = """
import torch
from torch import nn
from torchvision import models
from captum_guided_ext import Network
from captum_guided_ext.networks import Preprocessing

def network(model):
    return Network(model.eval(), Preprocessing())

def fixed():
    return network(models.VisionTransformer(
        image_size=16, patch_size=8, num_layers=1, num_heads=2, hidden_dim=8, mlp_dim=8,
        num_classes=5,
    ))

def flat():
    layers = nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16 * 16, 5)
    return network(nn.Sequential(*layers))

def dense():
    return network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()))

class Raising(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.error, self.first = error, nn.Conv2d(3, 5, 1)

    def forward(self, x):
        if self.error is not None:
            raise self.error
        return self.first(x).relu().mean((2, 3)) / 0

def key():
    return network(Raising(KeyError("x")))

def memory():
    return network(Raising(torch.cuda.OutOfMemoryError("CUDA out of memory.")))

def several_lines():
    return network(Raising(RuntimeError("first\\n\\x1b[31msecond")))

def nan():
    return network(Raising(None))

class Moody(nn.Conv2d):
    def forward(self, x):
        scores = super().forward(x).relu().mean((2, 3))
        return scores / 0 if x.shape[-1] > 16 else scores

def moody():
    return network(Moody(3, 5, 1))

def ready(image):
    if image.width > 16:
        raise KeyError("size")
    return Preprocessing()(image)

def choosy():
    return Network(nn.Sequential(nn.Conv2d(3, 5, 16), nn.ReLU(), nn.Flatten()), ready)

class Back(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise NotImplementedError("not yet")

class OneWay(nn.Sequential):
    def forward(self, x):
        return super().forward(Back.apply(x)).mean((2, 3))

def one_way():
    return network(OneWay(nn.Conv2d(3, 5, 1), nn.ReLU()))
"""


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Save three pictures, the second one larger, beside networks of one's own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets_of_photos.py").write_text(NETS)
    sizes = {"a.png": (16, 16), "b.png": (40, 20), "c.png": (16, 16)}
    return [save(tmp_path / name, noise(*size)).name for name, size in sizes.items()]


@pytest.fixture
def explain(photos, capsys):
    """Run ``captum-guided explain``; return its exit code, output and lines of errors."""

    def run(*arguments, model="demo"):
        more = ("--methods", "gradient", "--model", model.replace(":", "nets_of_photos:"))
        try:
            code = cli.main(["explain", *more, *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err.splitlines()

    return run


def test_one_bad_file_among_many_is_named_and_the_rest_go_on(explain, photos, tmp_path):
    (tmp_path / "b.png").write_text("no picture")
    code, out, err = explain(*photos, "d.png", "--json")
    assert code == 3
    reports = json.loads(out)
    assert [report["image"] for report in reports] == ["a.png", "c.png"]
    assert [Path(report["figure"]).name for report in reports] == ["a.png", "c.png"]
    assert len(err) == 3
    assert err[0].startswith("captum-guided explain: b.png cannot be read as a picture: ")
    assert err[1].startswith("captum-guided explain: there is no picture d.png; the nearest are ")
    assert err[2] == "captum-guided explain: 2 of 4 photos left out"
    assert {file.name for file in (tmp_path / "captum-guided-output").iterdir()} == {
        "a.png", "a.json", "c.png", "c.json",
    }  # fmt: skip


def test_a_photo_is_never_written_over(explain, photos, tmp_path):
    before = {name: (tmp_path / name).read_bytes() for name in photos}
    (tmp_path / "elsewhere").mkdir()
    shutil.copy("a.png", "elsewhere/b.png")
    shutil.copy("a.png", "c.jpg")
    code, out, _ = explain("elsewhere/b.png", *photos, "c.jpg", "--json", "--output", ".")
    assert code == 0
    figures = [Path(report["figure"]).name for report in json.loads(out)]
    assert figures == ["b-2.png", "a-2.png", "b-3.png", "c-2.png", "c-3.png"]
    assert {name: (tmp_path / name).read_bytes() for name in photos} == before
    # beside a photo of another format, a figure has its name
    _, out, _ = explain("c.jpg", "--json", "--output", ".")
    assert Path(json.loads(out)[0]["figure"]).name == "c.png"


def test_what_was_done_to_a_picture_is_said_by_the_report_alone(explain, tmp_path):
    pixels = np.arange(400, dtype=np.uint16).reshape(20, 20) * 160
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    code, out, err = explain("deep.png", "--json")
    assert (code, err) == (0, [])
    assert any("65535 as white" in line for line in json.loads(out)[0]["assumed"])


def test_under_torchrun_the_exit_code_is_no_failure(explain, photos, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    code, _, err = explain(*photos, "nowhere.png")
    assert code == 0
    assert err[-1] == "captum-guided explain: 1 of 4 photos left out"


def test_all_bad_is_a_mistake_and_no_network_is_loaded(explain, tmp_path, monkeypatch):
    monkeypatch.setattr("captum_guided_ext.cli._explain.network_of", None)
    code, out, err = explain("x.png", "nets_of_photos.py")
    assert (code, out) == (2, "")
    assert len(err) == 2
    assert "there is no picture x.png" in err[0]
    assert "nets_of_photos.py cannot be read as a picture" in err[1]
    code, _, err = explain("x.png", "x.png")
    assert (code, len(err)) == (2, 1)
    assert not (tmp_path / "captum-guided-output").exists()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        (["--target", "zzz"], "no class is called 'zzz'"),
        (["--target", "17"], "target 17 is not a class index"),
        (["--layer", "zzz", "--methods", "grad_cam"], "has no layer 'zzz'"),
        (["--regions", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_concerns_all_photos_is_said_once(explain, photos, mistake, words, tmp_path):
    code, out, err = explain(*photos, *mistake)
    assert (code, out) == (2, "")
    (line,) = err
    assert words in line
    assert not (tmp_path / "captum-guided-output").exists()


FAILS = {
    "fixed": ("fails on an input of 3 x 20 x 40 (AssertionError: ", "--size and --crop"),
    "flat": ("fails on an input of 3 x 20 x 40 (RuntimeError: mat1 and", "--size and --crop"),
}


@pytest.mark.parametrize("network", FAILS)
def test_a_photo_that_the_network_cannot_take(explain, photos, network):
    code, out, err = explain(*photos, "--json", model=f":{network}")
    assert code == 3
    assert [report["image"] for report in json.loads(out)] == ["a.png", "c.png"]
    assert err[0].startswith("captum-guided explain: b.png: ")
    assert all(words in err[0] for words in FAILS[network])
    # the advice helps
    code, out, err = explain(*photos, "--json", "--size", "16", "--crop", "16", model=f":{network}")
    assert (code, err) == (0, [])
    assert len(json.loads(out)) == 3


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("moody", "the network returned NaN or infinity"),
        (
            "choosy",
            "the transform of Sequential fails on a RGB picture of 40 x 20 pixels (KeyError",
        ),
    ],
)
def test_what_goes_wrong_with_the_first_photo_alone(explain, network, words):
    code, out, err = explain("b.png", "a.png", "c.png", "--json", model=f":{network}")
    assert code == 3
    assert [report["image"] for report in json.loads(out)] == ["a.png", "c.png"]
    assert err[0].startswith("captum-guided explain: b.png: ")
    assert words in err[0]
    assert err[1:] == ["captum-guided explain: 1 of 3 photos left out"]


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ("key", "fails on an input of 3 x 16 x 16 (KeyError: 'x')"),
        ("memory", "(OutOfMemoryError: CUDA out of memory.); "),
        ("memory", "A smaller input needs less memory: --size"),
        ("several_lines", "(RuntimeError: first)"),
        ("dense", "returned shape (1, 4, 14, 14)"),
        ("nan", "the network returned NaN or infinity"),
        ("one_way", "(NotImplementedError: not yet)"),
    ],
)
def test_a_network_that_cannot_be_run_is_one_line(explain, photos, network, words):
    for given in (photos[:1], [photos[0], photos[2]]):
        code, out, err = explain(*given, model=f":{network}")
        assert (code, out) == (2, "")
        (line,) = err
        assert words in line


def test_the_traceback_of_a_network_of_ones_own_can_be_had(explain, photos, monkeypatch):
    monkeypatch.setenv("CAPTUM_GUIDED_TRACEBACK", "1")
    _, _, err = explain(photos[0], model=":key")
    assert err[0] == "Traceback (most recent call last):"
    assert any("nets_of_photos.py" in line for line in err)
    assert err[-1].startswith(
        "captum-guided explain: Raising fails on an input of 3 x 16 x 16 (Key"
    )


def test_several_classes_and_layers_are_side_by_side(explain, photos, tmp_path):
    layers = ["features.relu5", "features.relu4"]
    code, out, _ = explain(
        photos[0], "--json", "--target", "top2", "--target", "0", "--save-maps",
        "--layer", layers[0], "--layer", layers[1], "--methods", "grad_cam",
    )  # fmt: skip
    assert code == 0
    reports = json.loads(out)
    second = reports[0]["predictions"][1]["index"]
    assert [(one["network"]["layer"], one["target"]["index"]) for one in reports] == [
        (layer, index) for layer in layers for index in (second, 0)
    ]
    assert len({report["figure"] for report in reports}) == 1
    assert {file.name for file in (tmp_path / "captum-guided-output").iterdir()} == {
        "a.png", "a.json", "a-maps.json", *(f"a-{number}-grad_cam.npy" for number in range(1, 5)),
    }  # fmt: skip


def test_views_and_formats(explain, photos, tmp_path):
    code, out, _ = explain(photos[0], "--views", "overlay,colours", "--format", "svg,pdf")
    assert code == 0
    folder = Path("captum-guided-output")
    assert out.splitlines()[-2] == f"figure        {folder / 'a.svg'}, {folder / 'a.pdf'}"
    assert {file.name for file in folder.iterdir()} == {"a.svg", "a.pdf", "a.json"}
    drawn = (folder / "a.svg").read_text(encoding="utf-8")
    assert "Overlay: strength" in drawn
    assert "Colours: the attribution" in drawn
    assert (folder / "a.pdf").read_bytes().startswith(b"%PDF")
    for option, value, words in (
        ("--views", "sign", "--views: no view is called 'sign'; the nearest is signed"),
        ("--views", "rgb", "no view is called 'rgb'; choose from signed, overlay, colours"),
        ("--format", "gif", "--format: no format is called 'gif'; choose from png, svg, pdf"),
    ):
        code, out, (line,) = explain(photos[0], option, value)
        assert (code, out) == (2, "")
        assert words in line


def test_a_page_of_all_photos(explain, photos, tmp_path):
    page = tmp_path / "new" / "page.html"
    given = (photos[0], "nowhere.png", photos[2], "--target", "top2")
    code, out, _ = explain(*given, "--html", page.relative_to(tmp_path))
    assert code == 3
    assert out.splitlines()[-1] == f"page          {Path('new', 'page.html')}"
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert all(name in text for name in ("a.png", "c.png"))
    assert "captum-guided explain --methods gradient --model demo a.png nowhere.png c.png" in text
    assert {file.name for file in page.parent.iterdir()} == {"page.html"}
    assert explain("nowhere.png", "--html", "other/page.html")[0] == 2
    assert not (tmp_path / "other").exists()
    code, out, (line,) = explain(photos[0], "--html", "new")
    assert (code, out) == (2, "")
    assert "--html new is a folder: name the file, such as new/page.html" in line
    code, out, err = explain(photos[0], "--html", "new/again.html", "--json")
    assert (code, len(json.loads(out)), err) == (0, 1, [])


@pytest.mark.parametrize("place", ["a.png", "out/a.json", "page", "labels.txt"])
def test_a_page_takes_the_place_of_no_other_file(explain, photos, tmp_path, place):
    (tmp_path / "labels.txt").write_text("here")
    before = (tmp_path / "a.png").read_bytes()
    code, out, (line,) = explain(photos[0], "--output", "out", "--html", place)
    assert (code, out) == (2, "")
    assert f"--html {place} is not the name of a page, such as {Path(place).stem}.html" in line
    assert (tmp_path / "a.png").read_bytes() == before
    assert (tmp_path / "labels.txt").read_text() == "here"


NUMBERS = {
    "--mean=-1,0,1 --std 2": None,
    "--mean -1,0,1 --std 0.5,.25,1e-1": None,
    "--size 20,30 --crop 16": None,
    "--mean 1,2": "argument --mean: '1,2' must be one number, or one for each of R,G,B",
    "--mean a": "argument --mean: 'a' must be one number, or",
    "--std nan": "argument --std: 'nan' must be one number, or",
    "--size 1,2,3": "argument --size: '1,2,3' must be one number of pixels, or two: H,W",
    "--size 0": "argument --size: '0' must be a whole number, 1 or more",
    "--crop -3": "argument --crop: '-3' must be a whole number, 1 or more",
    "--std 0": "std 0",
    "--size=": "the value of --size is empty: a variable of the shell that is not set?",
    "--size 9 --interpolation bicubi": "'bicubi': choose from nearest, nearest-exact, bilinear, ",
}


@pytest.mark.parametrize("options", NUMBERS)
def test_preprocessing_by_numbers(explain, photos, options):
    code, out, err = explain(photos[1], "--json", *options.split())
    if NUMBERS[options] is None:
        assert (code, err) == (0, [])
        said = json.loads(out)[0]["preprocessing"]
        for number in ("-1, 0, 1", "2") if "=-1" in options else ():
            assert number in said
    else:
        assert (code, out) == (2, "")
        (line,) = err
        assert NUMBERS[options] in line


NAMES = {
    "not UTF-8": b"caf\xe9.png",
    "long": b"a" * 251 + b".png",
    "long in two bytes": "é".encode() * 125 + b".png",
    "lines": b"new\nline\ttab.png",
    "codes": b"esc\x1b[31mred\x07.png",
    "emoji": "😀.png".encode(),
    "mathematics": b"$x_{1$ \\frac.png",
    "table": b"a|b <i>.png",
    "hidden": b".png",
    "right to left": "\u202egnp.exe.png".encode(),
}


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_file(explain, photos, name, tmp_path):
    path = str(shutil.copy("a.png", tmp_path / os.fsdecode(NAMES[name])))
    code, out, err = explain(path, path, "--save-maps", "--json")
    assert (code, err) == (0, [])
    reports = json.loads(out)
    figures = [report["figure"] for report in reports]
    assert len(set(figures)) == 2
    names = {file.name for file in (tmp_path / "captum-guided-output").iterdir()}
    assert len(names) == 2 * 4
    assert all(one.isprintable() and len(one.encode()) < 200 for one in names)
    for report in reports:
        report["image"].encode()
    code, out, err = explain(path)
    assert (code, err) == (0, [])
    assert all(line.isprintable() for line in out.splitlines())
