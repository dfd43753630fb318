"""summarize(): a run read again without its model, several runs together, and the command."""

import math
import shutil
import statistics

import pytest
import small_benchmark as small
import torch
from floors import FLOORS
from messages import fails
from networks import seeded
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.errors import DataError
from captum_guided_ext.sampling import mean_interval

IMAGES, SKIPPED = 13, 3
NOTHING = "the map is zero everywhere"
REFUSES = []  # whether refusing does
ZERO = []  # the images of which sometimes_zero returns nothing
PICTURES = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 0.1


def sometimes_zero(inputs, target):
    return inputs * torch.stack([~(one == PICTURES[ZERO]).flatten(1).all(1).any() for one in inputs]
                                )[:, None, None, None]  # fmt: skip


def broken(inputs, target):
    raise ValueError("not for me")


def refusing(inputs, target):
    if REFUSES:
        raise ValueError("not for me")
    return inputs


METHODS = {
    "gradient": "gradient",
    "sometimes": cg.MethodSpec(sometimes_zero, multiplies_by_inputs=False),
    "broken": broken,
}


class Data:
    """Pictures with masks, of which one cannot be read."""

    def __init__(self, pictures=PICTURES):
        self.pictures = pictures

    def __len__(self):
        return IMAGES

    def __getitem__(self, image):
        if image == SKIPPED:
            raise OSError("cut off")
        return self.pictures[image], image % small.CLASSES, torch.arange(64).reshape(8, 8) <= image


@pytest.fixture(autouse=True, scope="module")
def _no_figures():
    with pytest.MonkeyPatch.context() as patch:  # they take most of the time
        patch.setattr(
            "captum_guided_ext.benchmarking._benchmark_result.figure_bytes", lambda *_: b"figure"
        )
        yield


def run(folder, *, seed=0, weights=3, zero=(), act=F.relu, **options):
    ZERO[:] = zero
    settings = {"methods": METHODS, "metrics": ["infidelity", "sensitivity_max"]}
    settings |= {"n_perturb_samples": 2, "batch_size": 2, "data": Data(), "show_progress": False}
    network = seeded(lambda: small.Cnn(act), weights)
    return cg.benchmark(network, output=folder, seed=seed, **settings | options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return results by name: one run, the same of other seeds, and of other weights."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        "one": run(folder / "one"),
        "seed 1": run(folder / "seed 1", seed=1, zero=[4]),
        "seed 2": run(folder / "seed 2", seed=2),
        "weights": run(folder / "weights", weights=7),
        "both": run(folder / "both", seed=1, weights=7),
    }


def summed_up(runs, *names):
    return cg.summarize(*(runs[name].folder for name in names))


def written(result):
    """Return the values that a run has on the disk."""
    return small.values(small.table((result.folder / "scores.csv").read_text()))


def lines_of(result):
    return {(line.metric, line.method): line for line in result.summary}


# --- one folder -------------------------------------------------------------------------------


def test_it_is_what_benchmark_returned_and_nothing_is_written(runs):
    one = runs["one"]
    before = small.contents(one.folder)
    found = cg.summarize(str(one.folder))
    assert small.contents(one.folder) == before
    assert found.summary == one.summary
    assert str(found) == str(one)
    assert found.rows == one.rows
    assert found.to_csv() == (one.folder / "scores.csv").read_text()
    for part in ("images", "skipped", "notes", "object_area", "folder", "level"):
        assert getattr(found, part) == getattr(one, part)
    assert found.level == ""
    assert [(image, name, why) for image, name, why in found.skipped] == [
        (SKIPPED, str(SKIPPED), "cut off")
    ]
    assert len(found.images) == IMAGES - 1
    assert lines_of(found)["infidelity", "broken"].reason == "ValueError: not for me"


def test_results_of_the_same_rows_are_equal(runs):
    one, again = (summed_up(runs, "one") for _ in range(2))
    assert one == again
    assert one.scores == runs["one"].scores
    assert one.scores != runs["seed 1"].scores
    assert one != summed_up(runs, "seed 1")
    assert one.scores != one.rows


def test_batches_may_lie_in_any_order_in_files_of_many_processes(runs, tmp_path):
    folder = shutil.copytree(runs["one"].folder, tmp_path / "run")
    lines = (folder / "rows-0.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "rows-0.jsonl").write_bytes(b"".join(lines[::-2]))
    (folder / "rows-1.jsonl").write_bytes(b"".join(lines[-2::-2]))
    found = cg.summarize(folder)
    assert found.summary == runs["one"].summary
    assert str(found) == str(runs["one"])


def unfinished(result, folder, batches):
    """Copy a run that was killed while it wrote the line behind these batches."""
    folder.mkdir()
    shutil.copy(result.folder / "run.json", folder)
    lines = (result.folder / "rows-0.jsonl").read_bytes().splitlines(keepends=True)
    cut_off = lines[batches][: len(lines[batches]) // 2]
    (folder / "rows-0.jsonl").write_bytes(b"".join(lines[:batches]) + cut_off)
    return folder


def test_an_unfinished_run_has_the_images_that_are_there(runs, tmp_path):
    folder = unfinished(runs["one"], tmp_path / "run", 3)
    found = cg.summarize(folder)
    assert list(found.images) == [0, 1, 2, 4, 5]
    values = written(runs["one"])
    gradient = lines_of(found)["infidelity", "gradient"]
    expected = [values[image, "gradient", "infidelity"] for image in found.images]
    assert gradient.mean == pytest.approx(statistics.mean(expected), rel=1e-12)
    assert (gradient.images, gradient.missing, gradient.rank) == (5, 0, None)
    assert "fewer than 10 images" in str(found)
    assert f"unfinished: {IMAGES - 6} of {IMAGES} images are not scored yet" in str(found)
    assert "unfinished" not in str(runs["one"])
    assert sorted(file.name for file in folder.iterdir()) == ["rows-0.jsonl", "run.json"]


def test_what_is_no_run_is_named(runs, tmp_path):
    with fails(DataError, "no folder to summarize: name one that a benchmark wrote to"):
        cg.summarize()
    for folder in (tmp_path / "nowhere", tmp_path):
        with fails(DataError, f"{folder} holds no run: there is no {folder / 'run.json'}"):
            cg.summarize(folder)
    with fails(DataError, f"{tmp_path / 'nowhere'} holds no run"):
        cg.summarize(runs["one"].folder, tmp_path / "nowhere")


def test_a_folder_of_0_1_0_is_refused(tmp_path):
    """As that version wrote it."""
    (tmp_path / "run.json").write_text(
        '{"data": {"description": "d"}, "images": 1, "batch_size": 1, "target": "label", "seed": 0,'
        ' "model": {"name": "n", "weights": "", "digest": "0"}, "device": "cpu", "versions": {},'
        ' "methods": {"gradient": "\'gradient\'"}, "metrics": {"infidelity": "i"}, "layer": null,'
        ' "interpolate_mode": "bilinear", "max_examples_per_batch": 32}'
    )
    (tmp_path / "rows-0.jsonl").write_text(
        '{"batch": 0, "rows": [[0, "gradient", "infidelity", 0.5, null, 0.25, 1.0, ""]],'
        ' "images": {"0": ["a.png", 0, null]}, "skipped": [], "notes": []}\n'
    )
    with pytest.raises(DataError, match=f"{tmp_path}.*0.1.0"):
        cg.summarize(tmp_path)


# --- several ----------------------------------------------------------------------------------


def test_scores_are_means_over_the_runs(runs):
    names = ["one", "seed 1", "seed 2"]
    found = summed_up(runs, *names)
    assert found.level == "seeds"
    each = [written(runs[name]) for name in names]
    assert len(set(map(str, each))) == 3
    values = small.values(found.rows)
    assert values.keys() == each[0].keys()
    for key, value in values.items():
        given = [one[key] for one in each]
        if None in given:
            assert value is None
        else:
            assert value == pytest.approx(sum(given) / 3, rel=1e-12)
    # One of them has no score of image 4, where the map was zero.
    key = (4, "sometimes", "sensitivity_max")
    assert [one[key] is None for one in each] == [False, True, False]
    (reason,) = {row.reason for row in found.rows if row.method == "sometimes" and row.reason}
    assert reason == NOTHING
    assert lines_of(found)["sensitivity_max", "sometimes"].missing == 1
    assert lines_of(found)["infidelity", "broken"].reason == "ValueError: not for me"
    assert found.settings["seed"] is found.settings["model"] is None
    assert [one["seed"] for one in found.settings["runs"]] == [0, 1, 2]


STUDENT = {2: 12.706205, 3: 4.302653}  # the 97.5 % points for one and for two degrees of freedom


@pytest.mark.parametrize("names", [["one", "seed 1"], ["one", "seed 1", "seed 2"]])
def test_the_second_interval_is_students_over_the_runs(runs, names):
    found = summed_up(runs, *names)
    each = [written(runs[name]) for name in names]
    for (metric, method), line in lines_of(found).items():
        if method == "broken":
            assert line.runs_low is line.runs_high is None
            continue
        images = [
            i for i in found.images if all(one[i, method, metric] is not None for one in each)
        ]
        means = [statistics.mean(one[i, method, metric] for i in images) for one in each]
        middle = statistics.mean(means)
        half = STUDENT[len(names)] * statistics.stdev(means) / math.sqrt(len(names))
        ends = (line.runs_low, line.runs_high)
        assert ends == pytest.approx((middle - half, middle + half), rel=1e-6)
        assert line.mean == pytest.approx(middle, rel=1e-9)
    gradient = lines_of(found)["infidelity", "gradient"]
    over_images = mean_interval(found.scores.series["infidelity", "gradient"].values)
    assert (gradient.ci_low, gradient.ci_high) == over_images
    assert gradient.runs_high > gradient.runs_low
    words = " ".join(str(found).split())
    assert f"means over {len(names)} runs with different seeds" in words
    assert "| over seeds " in words


def test_what_the_runs_differ_in_is_said(runs):
    assert summed_up(runs, "one", "weights").level == "weights"
    assert summed_up(runs, "one", "both").level == "seeds and weights"
    assert summed_up(runs, "seed 1", "weights").level == "seeds and weights"
    words = " ".join(str(summed_up(runs, "one", "weights")).split())
    assert "means over 2 runs with different weights" in words
    assert "over weights like these, on these images" in words


def test_runs_are_put_together_on_the_images_that_all_have(runs, tmp_path):
    part = unfinished(runs["seed 1"], tmp_path / "part", 3)
    for folders in ([runs["one"].folder, part], [part, runs["one"].folder]):
        found = cg.summarize(*folders)
        assert list(found.images) == found.scores.images.tolist() == [0, 1, 2, 4, 5]
        each = [written(runs["one"]), written(runs["seed 1"])]
        means = [statistics.mean(one[i, "gradient", "infidelity"] for i in found.images)
                 for one in each]  # fmt: skip
        line = lines_of(found)["infidelity", "gradient"]
        assert line.mean == pytest.approx(statistics.mean(means))
        assert line.runs_high - line.runs_low == pytest.approx(
            2 * STUDENT[2] * statistics.stdev(means) / math.sqrt(2), rel=1e-6
        )


def test_a_run_without_an_image_cannot_be_put_together(runs, tmp_path):
    empty = unfinished(runs["seed 1"], tmp_path / "empty", 0)
    nothing = cg.summarize(empty)
    assert nothing.images == {}
    assert str(nothing).startswith("no image has scores")
    parquet = pytest.importorskip("pyarrow.parquet")
    nothing.to_parquet(tmp_path / "rows.parquet")
    columns = parquet.read_table(tmp_path / "rows.parquet").column_names
    assert columns == nothing.to_csv().strip().split(",")
    for folders in ([runs["one"].folder, empty], [empty, runs["one"].folder]):
        with fails(DataError, "no image has scores in all of", str(folders[1]), "go on before"):
            cg.summarize(*folders)


def test_a_network_that_no_method_applies_to_has_no_floors(runs, tmp_path, monkeypatch):
    methods = {"refusing": cg.MethodSpec(refusing, multiplies_by_inputs=False)}
    folders = [tmp_path / "applies", tmp_path / "does not"]
    run(folders[0], methods=methods)
    monkeypatch.setattr(f"{__name__}.REFUSES", [True])
    run(folders[1], methods=methods, weights=7)
    for order in (folders, folders[::-1]):
        found = cg.summarize(*order)
        assert {line.method for line in found.summary} == {"refusing"}
        assert {row.value for row in found.rows} == {None}
        assert "not for me" in found.summary[0].reason


def test_another_network_is_not_the_same_one_with_other_weights(runs, tmp_path):
    run(tmp_path, weights=7, act=F.leaky_relu)
    with fails(DataError, "model structure was", "Only seeds and weights may differ"):
        cg.summarize(runs["one"].folder, tmp_path)


def test_a_name_makes_no_other_weights(runs, tmp_path):
    network = cg.Network(seeded(small.Cnn, 3), name="another name")
    settings = {"metrics": ["infidelity", "sensitivity_max"], "n_perturb_samples": 2}
    cg.benchmark(network, Data(), output=tmp_path, methods=METHODS, batch_size=2, **settings,
                 show_progress=False)  # fmt: skip
    with fails(DataError, "has the seed and the weights of a folder before it"):
        cg.summarize(runs["one"].folder, tmp_path)


def test_the_prediction_of_other_weights_is_no_single_target(tmp_path):
    each = [run(tmp_path / str(weights), weights=weights, target="prediction", methods=["gradient"])
            for weights in (3, 7)]  # fmt: skip
    targets = [[one.target for one in result.images.values()] for result in each]
    assert targets[0] != targets[1]
    found = cg.summarize(tmp_path / "3", tmp_path / "7")
    assert [one.target for one in found.images.values()] == [
        one if one == other else None for one, other in zip(*targets, strict=True)
    ]


def test_other_settings_are_named(runs, tmp_path):
    first = runs["one"].folder
    others = {
        "metrics": ({"metrics": ["infidelity"]}, "higher_is_better sensitivity_max was False, now"),
        "samples": ({"n_perturb_samples": 3}, "n_perturb_samples=2", "n_perturb_samples=3"),
        "methods": (
            {"methods": METHODS | {"more": "grad_cam"}},
            "methods more was missing, now it is 'grad_cam'",
        ),
        "target": ({"target": "prediction"}, "target was label, now it is prediction"),
    }
    for name, (changed, *words) in others.items():
        run(tmp_path / name, seed=1, **changed)
        said = f"{first} and {tmp_path / name} are runs of other settings: "
        with fails(DataError, said, *words, "Only seeds and weights may differ"):
            cg.summarize(first, tmp_path / name)


def test_other_images_are_named(runs, tmp_path):
    pictures = PICTURES.clone()
    pictures[5] += 0.01
    run(tmp_path, seed=1, data=Data(pictures))
    first = runs["one"].folder
    with fails(DataError, "image 5 is 5 (", f") in {first}, and 5 (", f") in {tmp_path}: runs are"):
        cg.summarize(first, tmp_path)


def test_each_run_counts_once(runs, tmp_path):
    copy = shutil.copytree(runs["one"].folder, tmp_path / "copy")
    words = "has the seed and the weights of a folder before it: name each run once"
    for again in (copy, runs["one"].folder):
        with fails(DataError, f"{again} {words}"):
            cg.summarize(runs["seed 1"].folder, runs["one"].folder, again)


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def command(capsys):
    """Run ``captum-guided summarize``; return its exit code, output and errors."""

    def summarize(*arguments):
        capsys.readouterr()
        try:
            code = cli.main(["summarize", *map(str, arguments)])
        except SystemExit as exit_:
            code = exit_.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return summarize


def test_the_command_prints_and_writes_where_it_is_told(runs, command, tmp_path):
    one = runs["one"]
    before = small.contents(one.folder)
    assert command(one.folder) == (0, f"{one}\n", "")
    together = summed_up(runs, "one", "seed 1")
    both = (one.folder, runs["seed 1"].folder)
    assert command(*both) == (0, f"{together}\n", "")
    code, out, err = command(*both, "--output", tmp_path / "new")
    names = ["scores.csv", "summary.csv", "summary.html", "summary.json", "summary.png"]
    said = f"{', '.join(names)} are in {tmp_path / 'new'}"
    assert (code, out, err) == (0, f"{together}\n\n{said}\n", "")
    assert sorted(small.contents(tmp_path / "new")) == names
    assert (tmp_path / "new" / "scores.csv").read_text() == together.to_csv()
    assert command(one.folder, "--output", tmp_path / "again")[0] == 0
    for name in names[:2]:
        assert (tmp_path / "again" / name).read_bytes() == before[name]
    assert small.contents(one.folder) == before


def test_the_command_writes_a_parquet_file(runs, command, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    one = runs["one"]
    code, out, err = command(one.folder, "--parquet", tmp_path / "rows.parquet")
    assert (code, out, err) == (0, f"{one}\n", "")
    found = parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert small.values(found) == written(one)
    assert {row["method"] for row in found} == {*METHODS, *FLOORS}


def test_a_mistake_is_one_line_and_exit_code_2(runs, command, tmp_path):
    one = runs["one"].folder
    (tmp_path / "file").write_text("text")
    mistakes = {
        (tmp_path,): f"captum-guided summarize: {tmp_path} holds no run",
        (one, one): "name each run once",
        (one, "--output", tmp_path / "file"): f"{tmp_path / 'file'} cannot be written to",
        (one, "--parquet", tmp_path / "no" / "rows"): f"--parquet {tmp_path / 'no' / 'rows'}: ",
        (one, "--outptu", "there"): "there is no option '--outptu'; the nearest is --output",
        (): "FOLDER",
    }
    for arguments, words in mistakes.items():
        code, _, err = command(*arguments)
        assert code == 2, arguments
        assert words in err
        assert len(err.strip().splitlines()) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
