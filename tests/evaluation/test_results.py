"""What results have in common: words, rows, a figure, and a way to disk."""

import dataclasses
import itertools
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import Conv, seeded
from picture_files import noise
from PIL import Image

from captum_guided_ext import Network, explain
from captum_guided_ext.benchmarking import Benchmark
from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage, SkippedImage
from captum_guided_ext.benchmarking._scores import Scores
from captum_guided_ext.benchmarking._summary import SummaryLine
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation import Comparison
from captum_guided_ext.evaluation._rows import ScoreRow
from captum_guided_ext.output import figure_bytes

WHY = "no rectifier"

X = torch.linspace(0, 1, 2 * 3 * 25).reshape(2, 3, 5, 5)
ROWS = (
    ScoreRow(4, "gradient", "infidelity", 0.1 + 0.2, interval_low=0.25, interval_high=1.0),
    ScoreRow(4, "mine", "infidelity", None, reason=WHY),
    ScoreRow(7, "gradient", "infidelity", 2.5, interval_low=1.0, interval_high=3.0),
    ScoreRow(7, "mine", "infidelity", None, reason=WHY),
)
NOTHING = dict.fromkeys([column.name for column in dataclasses.fields(SummaryLine)]) | {
    "metric": "infidelity",
    "higher_is_better": False,
    "is_floor": False,
    "reason": "",
}
SUMMARY = (
    SummaryLine(**NOTHING | {"method": "gradient", "images": 2, "missing": 0, "mean": 1.4,
                             "lower_quartile": 0.3, "upper_quartile": 2.5, "ci_low": 0.3,
                             "ci_high": 2.5, "difference": 0.0, "shared_images": 2}),
    SummaryLine(**NOTHING | {"method": "mine", "images": 0, "missing": 2, "reason": WHY}),
)  # fmt: skip
COMPARISON = Comparison(X, [0, 3], {"gradient": X - 0.5}, ROWS, {"mine": WHY}, "second")
IMAGES = {4: ScoredImage("é.png", 0, 0.25), 7: ScoredImage("b.png", 3, 0.75)}
BENCHMARK = Benchmark(
    scores=Scores.of([BatchRecord.of(0, ROWS, IMAGES)]),
    summary=SUMMARY,
    images=IMAGES,
    skipped=(SkippedImage(5, "c.png", "cut off"),),
    notes={"it is zero": 2},
    object_area=0.5,
    folder=Path("results"),
    settings={"seed": 0, "images": 3},
    threads=1,
)
EXPLANATION = explain(Network(seeded(Conv), name="own"), noise(8, 8))
each_result = pytest.mark.parametrize("result", [COMPARISON, BENCHMARK], ids=["compare", "bench"])


def test_words():
    assert repr(COMPARISON) == "<Comparison: 2 methods on 2 examples: infidelity>"
    assert str(COMPARISON) == (
        "| method   | infidelity |\n"
        "|----------|-----------:|\n"
        "| gradient |        1.4 |\n"
        "| mine     |            |\n"
        "means over 2 images\n"
        "no map of mine: no rectifier"
    )
    assert repr(BENCHMARK) == "<Benchmark: 2 methods on 2 images: infidelity>"
    table, _, *said = str(BENCHMARK).split("\n\n")
    assert table.startswith("infidelity (lower is better)\n| method ")
    assert said == [
        "mine has no score: no rectifier",
        "it is zero (2 batches)",
        "skipped 1 image that could not be scored:\n  c.png: cut off",
    ]


def test_data():
    found = COMPARISON.to_dict()
    assert found.pop("versions").keys() == {"captum_guided_ext", "captum", "torch", "python"}
    assert found.pop("rows") == [dataclasses.asdict(row) for row in ROWS]
    assert json.loads(json.dumps(found)) == found == {
        "target": [0, 3], "layer": "second", "methods": ["gradient", "mine"],
        "not_applicable": {"mine": WHY}, "preprocessing": "inputs as they were given",
    }  # fmt: skip
    tensor = dataclasses.replace(COMPARISON, target=torch.tensor([0, 3]))
    assert tensor.to_dict()["target"] == [0, 3]
    found = BENCHMARK.to_dict()
    assert json.loads(json.dumps(found)) == found == {
        "summary": [dataclasses.asdict(line) for line in SUMMARY],
            "settings": {"seed": 0, "images": 3},
        "skipped": [{"image": 5, "name": "c.png", "reason": "cut off"}],
        "notes": {"it is zero": 2}, "object_area": 0.5, "threads": 1,
    }  # fmt: skip


def test_rows(tmp_path):
    columns = "image,method,metric,value,standard_error,interval_low,interval_high"
    text = COMPARISON.to_csv(tmp_path / "rows.csv")
    assert text.splitlines() == [
        f"{columns},reason",
        "4,gradient,infidelity,0.30000000000000004,,0.25,1.0,",
        "4,mine,infidelity,,,,,no rectifier",
        "7,gradient,infidelity,2.5,,1.0,3.0,",
        "7,mine,infidelity,,,,,no rectifier",
    ]
    assert (tmp_path / "rows.csv").read_text() == text
    assert COMPARISON.to_markdown().splitlines() == [
        "| image | method   | metric     | value | interval_low | interval_high | reason       |",
        "|------:|----------|------------|------:|-------------:|--------------:|--------------|",
        "|     4 | gradient | infidelity |   0.3 |         0.25 |             1 |              |",
        "|     4 | mine     | infidelity |       |              |               | no rectifier |",
        "|     7 | gradient | infidelity |   2.5 |            1 |             3 |              |",
        "|     7 | mine     | infidelity |       |              |               | no rectifier |",
    ]
    assert BENCHMARK.to_csv().splitlines()[:3] == [
        f"{columns},name,target,object_area,reason",
        "4,gradient,infidelity,0.30000000000000004,,0.25,1.0,é.png,0,0.25,",
        "4,mine,infidelity,,,,,é.png,0,0.25,no rectifier",
    ]
    head, _, first, *_ = BENCHMARK.to_markdown().splitlines()
    assert head.endswith("| interval_high | name  | target | object_area | reason       |")
    assert first.endswith("|             1 | é.png |      0 |        0.25 |              |")


@each_result
def test_a_data_frame_has_the_columns_and_values_of_the_csv(result):
    frame = result.to_pandas()
    assert ",".join(frame.columns) == result.to_csv().splitlines()[0]
    assert frame.value.dropna().tolist() == [0.30000000000000004, 2.5]
    assert frame.method.tolist() == ["gradient", "mine"] * 2


def test_the_raw_maps_are_files_that_say_what_they_are(tmp_path):
    *maps, about = COMPARISON.save_maps(tmp_path / "maps")
    assert [file.name for file in maps] == [f"comparison-{name}.npy" for name in COMPARISON.maps]
    said = json.loads(about.read_text())
    for file, one in zip(maps, COMPARISON.maps.values(), strict=True):
        assert np.array_equal(np.load(file, allow_pickle=False), one.numpy())
        form = said["maps"][file.name]
        assert form["shape"] == list(one.shape)
        assert form["axes"] == ["example", "channel", "row", "column"]
        assert (form["target"], form["layer"], form["method"]) == ([0, 3], "second", "gradient")
    assert said["versions"]["torch"] == torch.__version__


def test_the_raw_maps_have_names_that_any_file_has_and_none_twice(tmp_path):
    names = ["../up", "a/b", "a:b", "A/B", "a\\b", "x" * 300, "0.5"]
    maps = {name: X + place for place, name in enumerate(names)}
    *files, about = dataclasses.replace(COMPARISON, maps=maps).save_maps(tmp_path / "maps")
    assert set(files) == set((tmp_path / "maps").iterdir()) - {about}
    said = json.loads(about.read_text())["maps"]
    assert [said[file.name]["method"] for file in files] == names
    assert len({file.name.casefold() for file in files}) == len(names)
    for file, one in zip(files, maps.values(), strict=True):
        assert np.array_equal(np.load(file), one.numpy())


def test_the_raw_maps_of_bfloat16_are_written_without_loss(tmp_path):
    maps = {"gradient": X.bfloat16()}
    file, about = dataclasses.replace(COMPARISON, maps=maps).save_maps(tmp_path)
    assert np.array_equal(np.load(file), X.bfloat16().float().numpy())
    assert json.loads(about.read_text())["maps"][file.name]["dtype"] == "float32"


@pytest.mark.parametrize("shape", [(2, 5), (2, 4, 5), (2, 1, 3, 4, 5)])
def test_what_is_no_picture_has_no_channels_and_rows(tmp_path, shape):
    x = torch.zeros(shape)
    found = dataclasses.replace(COMPARISON, inputs=x, maps={"gradient": x})
    said = json.loads(found.save_maps(tmp_path)[-1].read_text())["maps"]
    (axes,) = (one["axes"] for one in said.values())
    assert axes == ["example", *(f"dimension {n}" for n in range(1, len(shape)))]


def test_a_comparison_draws_every_map_and_a_benchmark_every_mean():
    maps = {"gradient": X - 0.5, "guided_backprop": X}
    figure = dataclasses.replace(COMPARISON, maps=maps).plot()
    titles = ["Gradient", "Guided backprop"]
    shown = [(one.get_title(), one.get_xlabel()) for one in figure.axes[:6]]
    assert [title for title, _ in shown] == ["image 4", *titles, "image 7", *titles]
    assert [label for _, label in shown] == ["", "infidelity 0.3", "", "", "infidelity 2.5", ""]
    overlays = dataclasses.replace(COMPARISON, maps=maps).plot(views=["overlay", "signed"])
    shown = [one.get_title() for one in overlays.axes[:5]]
    assert shown == ["image 4", *(f"{t}, {v}" for t in titles for v in ("overlay", "signed"))]
    (panel,) = BENCHMARK.plot().axes
    assert "infidelity" in panel.get_title()
    assert [label.get_text() for label in panel.get_yticklabels()] == ["Gradient"]


def test_a_metric_without_a_score_has_a_panel_that_says_so():
    line = SummaryLine(**NOTHING | {"method": "mine", "images": 0, "missing": 2, "reason": WHY,
                                    "higher_is_better": True})  # fmt: skip
    figure = dataclasses.replace(BENCHMARK, summary=(line,)).plot()
    figure_bytes(figure, "png")  # warns where there is no room
    (panel,) = figure.axes
    assert [text.get_text() for text in panel.texts] == ["no scores"]
    assert "higher is better" in panel.get_xlabel()


def test_numbers_of_an_axis_do_not_run_into_one_another():
    lines = [dataclasses.replace(SUMMARY[0], method=f"m{i}", mean=0.264 + i * 1e-4)
             for i in range(12)]  # fmt: skip
    summary = [dataclasses.replace(line, metric=metric) for metric in "abc" for line in lines]
    figure = dataclasses.replace(BENCHMARK, summary=tuple(summary)).plot()
    figure_bytes(figure, "png")
    for panel in figure.axes:
        low, high = panel.get_xlim()
        boxes = [label.get_window_extent() for value, label in
                 zip(panel.get_xticks(), panel.get_xticklabels(), strict=True)
                 if low <= value <= high]  # fmt: skip
        assert len(boxes) >= 2
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))


def test_what_cannot_be_drawn_is_said_and_saved_without_a_figure(tmp_path):
    flat = dataclasses.replace(COMPARISON, inputs=torch.rand(2, 5))
    no_map = dataclasses.replace(COMPARISON, maps={})
    for number, (result, words) in enumerate(
        [(flat, r"shape \(2, 5\) are no pictures to draw"), (no_map, f"no .* map to draw: {WHY}")]
    ):
        with pytest.raises(ValueError, match=words):
            result.plot()
        files = result.save(tmp_path / str(number))
        assert [file.name for file in files] == ["comparison.csv", "comparison.json"]


@each_result
def test_files(result, tmp_path):
    folder, name = tmp_path / "new" / "folder", "summary"
    if result is COMPARISON:
        name = "comparison"
    names = [f"{name}.csv", f"{name}.json", f"{name}.png"]
    of_benchmark = ["scores.csv", names[0], "summary.html", *names[1:]]
    expected = names if result is COMPARISON else of_benchmark
    assert result.save(folder) == tuple(folder / one for one in expected)
    assert sorted(path.name for path in folder.iterdir()) == sorted(expected)
    assert (folder / expected[0]).read_text(encoding="utf-8") == result.to_csv()
    said = json.loads((folder / f"{name}.json").read_text())
    of_rows = said.pop("scores.csv", {"crc32": 0})
    assert said == result.to_dict()
    assert of_rows["crc32"] == (result is BENCHMARK and zlib.crc32(result.to_csv().encode()))
    with Image.open(folder / f"{name}.png") as image:
        assert min(image.size) > 200
    if result is BENCHMARK:
        _, *lines = (folder / f"{name}.csv").read_text().splitlines()
        assert lines == [
            "infidelity,gradient,2,0,1.4,0.3,,2.5,0.3,2.5,,,,2,,0.0,,,,,False,False,",
            "infidelity,mine,0,2,,,,,,,,,,,,,,,,,False,False,no rectifier",
        ]


@pytest.mark.parametrize(
    "result", [COMPARISON, BENCHMARK, EXPLANATION], ids=["compare", "bench", "explain"]
)
def test_where_nothing_can_be_written_nothing_is_left(result, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("text")
    for name, reason in (("file", "File exists"), ("file/below", "Not a directory")):
        place = tmp_path / name
        with pytest.raises(DataError, match=f"{place} cannot be written to: {reason}"):
            result.save(place)
    assert (tmp_path / "file").read_text() == "text"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(DataError, match="cannot be written to: No space left on device"):
            result.save(folder)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_parquet_file_has_the_columns_and_values_of_the_data_frame(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    BENCHMARK.to_parquet(tmp_path / "rows.parquet")
    found = parquet.read_table(tmp_path / "rows.parquet").to_pydict()
    assert list(found) == BENCHMARK.to_csv().splitlines()[0].split(",")
    assert found["value"] == [0.30000000000000004, None, 2.5, None]
    assert found["method"] == ["gradient", "mine"] * 2
