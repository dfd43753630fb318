"""``benchmark(fast=True)``: the same rows whenever they are made, and by how much they changed."""

import copy
import json
import shutil
import statistics

import pytest
import small_benchmark as small
import torch
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.attr import METHODS
from captum_guided_ext.benchmarking._changes import ScoreChange, changes_of
from captum_guided_ext.benchmarking._records import BatchRecord, ScoredImage
from captum_guided_ext.errors import DataError
from captum_guided_ext.evaluation._rows import ScoreRow

METRICS = ("infidelity", "sensitivity_max", "sensitivity_mean")


def benchmarked(folder, network=None, *, fast=True, **options):
    settings = {"metrics": METRICS, "n_perturb_samples": 3, "batch_size": 2, "show_progress": False}
    network = network or small.normed()
    return cg.benchmark(network, small.dataset(), output=folder, fast=fast, **settings | options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return benchmarked(tmp_path_factory.mktemp("fast"))


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return benchmarked(tmp_path_factory.mktemp("exact"), fast=False)


def by_place(result):
    return {(row.image, row.method, row.metric): row for row in result.rows}


def test_the_scores_are_nearly_the_exact_ones(found, exact):
    theirs = by_place(exact)
    assert by_place(found).keys() == theirs.keys()
    assert by_place(found) != theirs
    for place, row in by_place(found).items():
        assert row.value == pytest.approx(theirs[place].value, rel=1e-3, abs=1e-6), place


def test_the_changes_are_those_of_the_first_batch(found, exact):
    ours, theirs = by_place(found), by_place(exact)
    assert len(found.changes) == len({place[1:] for place in ours})
    for one in found.changes:
        places = [(image, one.method, one.metric) for image in (0, 1)]
        expected = [abs(ours[place].value - theirs[place].value) for place in places]
        assert one.images == 2
        assert one.largest == max(expected)
        assert one.median == statistics.median(expected)
        errors = [theirs[place].standard_error for place in places]
        ends = [(theirs[p].interval_low, theirs[p].interval_high) for p in places]
        if errors[0] is None and ends[0][0] is not None:
            errors = [(high - low) / 2 / 1.96 for low, high in ends]
        if errors[0] is None:
            assert one.standard_error is None
        else:
            assert one.standard_error == pytest.approx(statistics.median(errors))
    kinds = {
        one.metric: one.standard_error is None for one in found.changes if one.method in METHODS
    }
    assert kinds == {"infidelity": False, "sensitivity_max": True, "sensitivity_mean": False}
    assert any(one.largest > 0 for one in found.changes)
    assert exact.changes == ()


def test_what_is_said(found, exact, tmp_path):
    said = str(found)
    assert "fast arithmetic: how far the scores of the first 2 images are from the exact" in said
    lines = [line for line in said.splitlines() if " of guided_backprop: " in line]
    assert [line.split(" of ")[0].strip() for line in lines] == list(METRICS)
    assert lines[1].endswith("beside none")
    assert "of edges:" not in said
    assert "Fast arithmetic" in found.to_html()
    assert "fast=True," in found.to_html()
    report = json.loads((found.folder / "summary.json").read_text())
    assert report["fast"] == [one._asdict() for one in found.changes]
    assert report["settings"]["fast"] is True
    assert "fast" not in str(exact)
    assert "fast" not in json.loads((exact.folder / "summary.json").read_text())
    assert "fast" not in exact.settings
    assert '"exact"' not in (exact.folder / "rows-0.jsonl").read_text()
    assert str(cg.summarize(found.folder)) == said


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_run_that_goes_on_ends_as_it_would_have(found, tmp_path, kept):
    folder = tmp_path / "run"
    shutil.copytree(found.folder, folder)
    lines = (folder / "rows-0.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "rows-0.jsonl").write_bytes(b"".join(lines[:kept]))
    for name in small.SUMMARIES:
        (folder / name).unlink()
    again = benchmarked(folder)
    assert (folder / "rows-0.jsonl").read_bytes() == b"".join(lines)
    assert again.changes == found.changes
    assert (folder / "scores.csv").read_bytes() == (found.folder / "scores.csv").read_bytes()


@pytest.mark.parametrize("fast", [False, True])
def test_a_run_goes_on_with_the_same_arithmetic_only(tmp_path, fast):
    benchmarked(tmp_path, fast=fast, limit=2)
    with pytest.raises(DataError, match="holds rows of other settings: fast was"):
        benchmarked(tmp_path, fast=not fast, limit=2)


def test_two_processes_give_the_rows_of_one(tmp_path):
    data = small.save_pictures(tmp_path / "data")
    runs = {name: tmp_path / name for name in ("one", "two")}
    commands = {
        name: small.command(data, folder, "--fast", *small.FEW, model="small_benchmark:normed")
        for name, folder in runs.items()
    }
    assert small.codes([small.start(commands["one"])]) == [0]
    assert small.codes(small.start_many(2, commands["two"], tmp_path)) == [0, 0]
    for name in ("scores.csv", "summary.csv"):
        assert (runs["one"] / name).read_bytes() == (runs["two"] / name).read_bytes()
    said = [json.loads((one / "summary.json").read_text())["fast"] for one in runs.values()]
    assert said[0] == said[1]
    assert said[0]


def test_on_the_command_line(tmp_path, capsys):
    data = small.save_pictures(tmp_path / "data", 2)
    arguments = small.command(data, tmp_path / "out", *small.FEW, model="small_benchmark:normed")
    assert cli.main([*arguments, "--fast"]) == 0
    assert "fast arithmetic: how far the scores of the first 2 images" in capsys.readouterr().out
    assert cli.main(arguments) == 2
    assert "fast was True, now it is missing" in capsys.readouterr().err


class Wrong(nn.Module):
    """Its copy is another network for bright pictures, as nothing in the first one shows."""

    def __init__(self):
        super().__init__()
        self.net, self.is_copy = small.normed().model, False

    def forward(self, x):
        y = self.net(x)
        return y + 1 * (self.is_copy & (x.amax((1, 2, 3)) > 2))[:, None]

    def __deepcopy__(self, memo):
        made = Wrong()
        made.net, made.is_copy = copy.deepcopy(self.net, memo), True
        memo[id(self)] = made
        return made.eval()


def test_every_batch_is_checked_and_an_image_that_differs_is_skipped(tmp_path):
    pictures = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    pictures[3] *= 3
    data = torch.utils.data.TensorDataset(pictures, torch.arange(5) % 4)
    options = {"metrics": ["infidelity"], "batch_size": 2, "show_progress": False}
    found = cg.benchmark(Wrong().eval(), data, fast=True, output=tmp_path, **options)
    assert [one.image for one in found.skipped] == [3]
    assert found.skipped[0].reason.startswith("with fast=True, Wrong returns something else")
    assert set(found.images) == {0, 1, 2, 4}


def test_a_change_is_worked_out_by_hand():
    def row(image, value, **more):
        return ScoreRow(image, "mine", "score", value, **more)

    images = {image: ScoredImage(str(image), 0, None) for image in range(3)}
    fast = [row(0, 1.5), row(1, 2.0), row(2, None, reason="none")]
    ends = [{"interval_low": 0.0, "interval_high": width} for width in (3.92, 7.84, 1.0)]
    exact = [
        row(i, v, **e) for (i, v), e in zip([(0, 1.0), (1, 2.25), (2, 3.0)], ends, strict=True)
    ]
    record = BatchRecord.of(0, fast, images, exact=exact)
    assert BatchRecord.from_dict(json.loads(record.to_json())).to_json() == record.to_json()
    assert list(changes_of(record)) == [
        ScoreChange("score", "mine", 2, 0.5, 0.375, pytest.approx(1.0)),
    ]
    assert list(changes_of(BatchRecord.of(1, fast, images))) == []
