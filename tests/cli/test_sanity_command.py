"""``captum-guided sanity``: what it takes, what it says, and each mistake in one line."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import small_benchmark as small
import torch
from messages import fails
from PIL import Image

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.sanity import CHECKS

QUICK = ("--methods", "gradient,guided_backprop", "--draws", "1", "--device", "cpu")


@pytest.fixture
def program(tmp_path, capsys, monkeypatch):
    """Run the command in an empty folder; return its exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, model="small_benchmark:named"):
        given = [*QUICK, *(("--model", model) if model else ())]
        capsys.readouterr()
        try:
            code = cli.main(["sanity", *given, *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def photos(tmp_path):
    folder = small.save_pictures(tmp_path / "photos", 3, labels=())
    return sorted(folder.iterdir())


def complaints(errors):
    """Return what was said besides the progress bars."""
    lines = [line.split("\r")[-1] for line in errors.replace("\x1b[A", "\n").split("\n")]
    return [one for one in lines if one.startswith("captum-guided")]


def test_photos(program, photos, tmp_path):
    code, out, err = program(*photos[:2])
    assert code == 0
    folder = tmp_path / "captum-guided-output"
    rows = small.table((folder / "sanity.csv").read_text())
    assert {row["image"] for row in rows} == {"0", "1"}
    assert {row["check"] for row in rows} == set(CHECKS)
    report = json.loads((folder / "sanity.json").read_text())
    assert [one["name"] for one in report["images"]] == ["0.png", "1.png"]
    assert report["settings"]["target"] == "prediction"
    for sentence in report["sentences"]:
        assert sentence in " ".join(out.split())
    assert "captum-guided sanity" in (folder / "sanity.html").read_text(encoding="utf-8")
    assert complaints(err) == []
    # one run after the other goes there, since none goes on
    assert program(photos[2])[0] == 0
    assert not list(folder.glob("rows-*"))


def test_without_arguments_it_is_the_demos_picture(program, tmp_path):
    code, out, _ = program("--layers", "100", model=None)
    assert code == 0
    assert "sanity checks of demo: 2 methods on 1 picture" in out
    report = json.loads((tmp_path / "captum-guided-output" / "sanity.json").read_text())
    assert [one["name"] for one in report["images"]] == ["demo 0"]
    assert len(report["settings"]["layers"]) == 2  # the first and the last of them


def test_data_with_labels_and_a_class_by_name(program, photos, tmp_path):
    data = small.save_pictures(tmp_path / "data", 4, labels=("wren", "spaniel"))
    code, _, err = program(
        "--data", data, "--target", "label", "--other-target", "shark", "--limit", "3",
        "--output", tmp_path / "out", "--batch-size", "2", "--layers", "2",
    )  # fmt: skip
    assert (code, complaints(err)) == (0, [])
    rows = small.table((tmp_path / "out" / "sanity.csv").read_text())
    assert {row["image"] for row in rows} == {"0", "1", "2"}
    assert {row["other"] for row in rows if row["check"] == "class_sensitivity"} == {"2"}
    layers = {row["layer"] for row in rows if row["check"] == "randomization_spearman"}
    assert layers == {"", "last", "first"}
    targets = [
        one["target"]
        for one in json.loads((tmp_path / "out" / "sanity.json").read_text())["images"]
    ]
    assert set(targets) <= {1, 3}


def test_a_folder_that_is_there_goes_on(program, photos, tmp_path):
    out = ("--output", tmp_path / "out", "--batch-size", "1")
    assert program(*photos[:2], *out)[0] == 0
    before = small.contents(tmp_path / "out")
    (tmp_path / "out" / "sanity.csv").unlink()
    assert program(*photos[:2], *out)[0] == 0
    assert small.contents(tmp_path / "out")["sanity.csv"] == before["sanity.csv"]
    code, _, err = program(*photos[:2], *out, "--seed", "1")
    assert code == 2
    (line,) = complaints(err)
    assert "holds rows of other settings: seed was 0, now it is 1" in line


def test_a_run_that_was_killed_ends_with_the_same_rows(photos, tmp_path):
    def command(folder, *more):
        return [
            "sanity", *map(str, photos), "--output", str(folder), "--batch-size", "1",
            "--model", "small_benchmark:net", *QUICK, *more,
        ]  # fmt: skip

    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert cli.main(command(whole)) == 0
    process = small.start(command(folder), SMALL_SLEEP=0.02)
    rows = folder / "rows-0.jsonl"
    while process.is_alive() and not (rows.exists() and b"\n" in rows.read_bytes()):
        time.sleep(0.01)
    process.kill()
    assert small.codes([process]) == [-9]
    assert 1 <= rows.read_bytes().count(b"\n") < len(photos)
    assert not (folder / "sanity.csv").exists()
    assert cli.main(command(folder)) == 0
    for name in ("sanity.csv", "sanity.png", "rows-0.jsonl"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    with fails(cg.DataError, "holds sanity checks, and no benchmark"):
        cg.summarize(folder)


def test_bad_photos_are_named(program, photos, tmp_path):
    bad = tmp_path / "notes.jpg"
    bad.write_text("not a picture")
    code, out, err = program(photos[0], bad, tmp_path / "photos" / "10.png")
    assert code == 3
    text = " ".join(out.split())
    assert "skipped 2 pictures that could not be used" in text
    assert "notes.jpg" in text
    assert "there is no picture" in text
    assert complaints(err)[-1] == "captum-guided sanity: 2 of 3 pictures left out"
    code, _, err = program(bad)
    assert code == 2
    (line,) = complaints(err)
    assert f"{bad} cannot be read as a picture" in line
    # before any network is looked for, which may be a download
    code, _, err = program(tmp_path / "no.jpg", "--checkpoint", tmp_path / "no.pth")
    assert code == 2
    (line,) = complaints(err)
    assert f"there is no picture {tmp_path / 'no.jpg'}" in line


@pytest.mark.filterwarnings("default:SSIM comes from")
def test_without_torchmetrics(program, photos, tmp_path, monkeypatch):
    for name in [one for one in sys.modules if one.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)  # so that an import of it fails
    code, out, err = program(photos[0])
    assert code == 0, err
    (line,) = complaints(err)
    assert "warning: SSIM" in line
    assert 'pip install "captum-guided-ext[sanity]"' in line
    rows = small.table((tmp_path / "captum-guided-output" / "sanity.csv").read_text())
    assert {row["check"] for row in rows} == set(CHECKS) - {"randomization_ssim"}
    assert "SSIM" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "guided"], "no method is called 'guided'"),
        (["--target", "wrn"], "no class is called 'wrn'; the nearest is wren"),
        (["--target", "4"], "target 4 is not a class index from 0 to 3"),
        (["--other-target", "spaniels"], "no class is called 'spaniels'; the nearest are spaniel"),
        (["--other-target", "4"], "other_target: target 4 is not a class index from 0 to 3"),
        (["--other-target", "label"], "other_target 'label' is none of top2 (the best other"),
        (["--target", "wren", "--other-target", "3"], "is the class that is explained, wren (3)"),
        (["--target", "label"], "has no labels: explain the prediction (--target prediction)"),
        (["--layers", "some"], "'some' must be a whole number, 1 or more"),
        (["--draws", "0"], "'0' must be a whole number, 1 or more"),
        (["--seed", "-1"], "--seed must not be negative, and is -1"),
        (["--data", "demo"], "--data demo or photos: leave one of them out"),
        (["--layer", "third"], "third"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(program, photos, tmp_path, arguments, words):
    code, out, err = program(photos[0], *arguments)
    assert (code, out) == (2, "")
    (line,) = complaints(err)
    assert words in line
    assert not (tmp_path / "captum-guided-output").exists()


def test_photos_are_not_written_over(program, photos, tmp_path):
    own = photos[0].rename(photos[0].with_name("sanity.png"))
    before = own.read_bytes()
    code, _, err = program(own, "--output", own.parent)
    assert code == 2
    assert "the figure would overwrite the photo" in complaints(err)[-1]
    assert own.read_bytes() == before
    code, _, err = program("--data", own.parent, "--output", own.parent)
    assert code == 2
    assert "is the folder of the pictures, of which the figure would be one" in complaints(err)[-1]


def test_pictures_left_out_are_of_those_that_were_asked_for(program, photos, tmp_path):
    code, _, err = program(photos[0], tmp_path / "none.png", *photos[1:], "--limit", "2")
    assert code == 3
    assert complaints(err)[-1] == "captum-guided sanity: 1 of 2 pictures left out"


def test_a_finished_run_is_read_where_nothing_can_be_written(
    program, photos, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    assert program(photos[0], "--output", out)[0] == 0
    before = small.contents(out)
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    monkeypatch.setattr(Path, "touch", lambda *_, **__: pytest.fail("it is only read"))
    code, said, err = program(photos[0], "--output", out)
    assert (code, complaints(err)) == (0, [])
    assert "sanity checks of" in said
    assert small.contents(out) == before


def test_each_process_of_a_machine_gets_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    asked = {}

    def stop(arguments, default, device):
        asked["device"] = device
        raise KeyboardInterrupt

    monkeypatch.setattr("captum_guided_ext.cli._sanity.network_of", stop)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        sys.exit(cli.main(["sanity"]))
    assert asked["device"] == "cuda:1"


def test_a_network_needs_a_photo(program):
    code, _, err = program()
    assert code == 2
    assert "--model small_benchmark:named needs a photo to look at" in err


def test_a_folder_that_cannot_be_written_to(program, photos, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = program(photos[0], "--output", tmp_path / "file")
    assert code == 2
    assert "cannot be written to" in complaints(err)[-1]
    assert shutil.os.path.isfile(tmp_path / "file")
    with Image.open(photos[0]) as image:
        assert image.size == (8, 8)
