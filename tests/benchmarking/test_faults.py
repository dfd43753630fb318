"""One bad image is left out and named; what no image can be scored for is an error."""

import json
import os
import signal
import time

import pytest
import small_benchmark as small
import torch
from torch.utils.data import DataLoader, Dataset

import captum_guided_ext as cg
from captum_guided_ext import cli
from captum_guided_ext.errors import DataError, OutputError
from captum_guided_ext.pictures import load_batches

X, Y = small.dataset(9).tensors
BAD = 4
QUICK = {"n_perturb_samples": 2, "show_progress": False, "batch_size": 3,
         "methods": ["gradient", "guided_backprop"]}  # fmt: skip


class Pictures(Dataset):
    """Nine images with labels and masks, of which some are what ``spoil`` makes of them."""

    def __init__(self, spoil=None, bad=(BAD,), parent=None):
        self.spoil, self.bad, self.parent = spoil, bad, parent

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        item = X[index].clone(), int(Y[index]), torch.ones(8, 8, dtype=torch.bool)
        return self.spoil(*item) if index in self.bad else item


def raising(error):
    def spoil(*_):
        raise error

    return spoil


def dying(*_):
    os.kill(os.getpid(), signal.SIGKILL)


class Picky(small.Cnn):
    """A network that raises, or returns NaN, for a certain picture."""

    mark, answer = 7.0, None

    def forward(self, x):
        marked = x[:, 0, 0, 0] > self.mark / 2
        if marked.any() and self.answer is None:
            raise RuntimeError("I do not like this one")
        return torch.where(marked[:, None], torch.nan, 1.0) * super().forward(x)


class Doubtful(Picky):
    answer = torch.nan


def marked(x, label, mask):
    x[0, 0, 0] = Picky.mark
    return x, label, mask


FAULTS = {
    "raises": (raising(KeyError("x")), small.cnn, "KeyError: 'x'"),
    "unreadable": (raising(OSError("cut off")), small.cnn, "^cut off$"),
    "nan": (lambda x, y, m: (x / 0, y, m), small.cnn, "its input holds NaN or infinity"),
    "shape": (lambda x, y, m: (x[:, 1:], y, m), small.cnn, "input is float32 3 x 7 x 8, and that "),
    "type": (lambda x, y, m: (x.double(), y, m), small.cnn, "its input is float64 3 x 8 x 8, and"),
    "no tensor": (lambda _, y, m: ("a", y, m), small.cnn, "its input is no tensor, but str"),
    "label": (lambda x, _, m: (x, 1.5, m), small.cnn, "its label 1.5 is no integer"),
    "negative": (lambda x, _, m: (x, -1, m), small.cnn, "its label -1 is negative"),
    "unknown label": (lambda x, _, m: (x, 4, m), small.cnn, "target 4 is out of range"),
    "mask": (lambda x, y, m: (x, y, m[1:]), small.cnn, r"mask has shape \(7, 8\), and its input "),
    "model raises": (marked, lambda: cnn(Picky), "I do not like this one"),
    "model's nan": (marked, lambda: cnn(Doubtful), "holds NaN or infinity"),
}  # fmt: skip


def cnn(kind):
    """Return a network of this kind with the weights of the others."""
    network = kind().eval()
    network.load_state_dict(small.cnn().state_dict())
    return network


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch):
    monkeypatch.setattr(
        "captum_guided_ext.benchmarking._benchmark_result.figure_bytes", lambda *_: b""
    )


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    return cg.benchmark(
        small.cnn(), Pictures(), output=tmp_path_factory.mktemp("clean"), **QUICK
    )  # fmt: skip


@pytest.mark.parametrize("metrics", [["sensitivity_max"], ["infidelity", "sensitivity_max"]])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_image_is_left_out_and_named(fault, metrics, clean, tmp_path):
    spoil, network, reason = FAULTS[fault]
    options = QUICK | {"metrics": metrics}
    found = cg.benchmark(network(), Pictures(spoil), output=tmp_path / "run", **options)
    (skipped,) = found.skipped
    assert (skipped.image, skipped.name) == (BAD, str(BAD))
    with pytest.raises(DataError, match=reason):
        raise DataError(skipped.reason)
    expected = {
        key: value for key, value in small.values(clean.rows).items()
        if key[0] != BAD and key[2] in metrics
    }  # fmt: skip
    assert small.values(found.rows) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert any("by --size and --crop or by its transform" in note for note in found.notes) == (
        fault == "shape"
    )
    with pytest.raises(DataError, match=rf"image {BAD} \({BAD}\): .*{reason.strip('^$')}"):
        cg.benchmark(
            network(), Pictures(spoil), output=tmp_path / "strict", strict=True, **options
        )  # fmt: skip
    with pytest.raises(DataError, match=rf"image {BAD} \({BAD}\) was skipped: "):
        cg.benchmark(network(), Pictures(spoil), output=tmp_path / "run", strict=True, **options)


@pytest.mark.parametrize("fault", ["unknown label", "nan", "model raises"])
def test_a_batch_of_bad_images_is_left_out(fault, clean, tmp_path):
    spoil, network, _ = FAULTS[fault]
    found = cg.benchmark(network(), Pictures(spoil, bad=(3, 4, 5)), output=tmp_path, **QUICK)
    assert [one.image for one in found.skipped] == [3, 4, 5]
    assert {row.image for row in found.rows} == {0, 1, 2, 6, 7, 8}


@pytest.mark.parametrize("fault", ["unknown label", "negative", "model raises", "model's nan"])
def test_what_no_image_can_be_scored_for_is_raised(fault, tmp_path):
    spoil, network, reason = FAULTS[fault]
    with pytest.raises(DataError, match=rf"image 0 \(0\): .*{reason}"):
        cg.benchmark(network(), Pictures(spoil, bad=range(9)), output=tmp_path, **QUICK)


def test_a_model_that_returns_no_tensor_is_a_type_error(tmp_path):
    with pytest.raises(TypeError, match="the model returned str, in which there is no tensor"):
        cg.benchmark(repr, Pictures(), output=tmp_path, **QUICK)


def test_a_model_that_returns_no_scores_is_named(tmp_path):
    with pytest.raises(OutputError, match="the model returned dtype"):
        cg.benchmark(lambda x: x.mean((2, 3)).long(), Pictures(), output=tmp_path, **QUICK)


@pytest.mark.parametrize("error", [AssertionError("Expected 32!"), KeyError("Expected 32!")])
def test_what_a_model_raises_for_each_input_is_said_with_the_input(error, tmp_path):
    def model(_):
        raise error

    words = (
        rf"image 0 \(0\): {type(error).__name__}: .*Expected 32!.*given float32 3 x 8 x 8, .*--size"
    )
    with pytest.raises(DataError, match=words):
        cg.benchmark(model, Pictures(), output=tmp_path, **QUICK)


def test_a_lack_of_memory_for_a_batch_is_no_images_fault(tmp_path):
    network = small.cnn()

    def model(x):
        if len(x) == 3:
            raise torch.OutOfMemoryError("out of memory")
        return network(x)

    with pytest.raises(DataError, match=r"images 0 .0. to 2 .2.: OutOfM.*: out of m.*--batch-size"):
        cg.benchmark(model, Pictures(), output=tmp_path, **QUICK)


def test_an_image_that_kills_its_reader_is_left_out(clean, tmp_path):
    before = signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(Pictures(dying, bad=(0, BAD)), num_workers=1)
    found = cg.benchmark(small.cnn(), loader, output=tmp_path, **QUICK)
    assert [(one.image, one.reason) for one in found.skipped] == [
        (0, "the process that read it died"), (BAD, "the process that read it died"),
    ]  # fmt: skip
    expected = {k: v for k, v in small.values(clean.rows).items() if k[0] not in (0, BAD)}
    assert small.values(found.rows) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    signal.signal(signal.SIGCHLD, before)


def test_a_reader_that_dies_while_the_batch_is_computed_is_no_error_there():
    batches = load_batches(Pictures(dying, bad=(5,)), [[0, 1], [2, 3], [4, 5], [6]], workers=1)
    found = [next(batches)]
    time.sleep(1)  # the worker reads ahead and dies meanwhile
    found += batches
    assert [one.images for one in found] == [[0, 1], [2, 3], [4], [6]]
    assert found[2].skipped == [(5, "the process that read it died")]


def test_two_processes_leave_out_the_same(tmp_path):
    data = small.save_pictures(tmp_path / "data", 8)
    (data / "1" / "1.png").write_text("no picture")
    other = small.save_pictures(tmp_path / "other", 3, size=(9, 8))
    (data / "2" / "2.png").write_bytes((other / "2" / "2.png").read_bytes())
    alone, both = tmp_path / "alone", tmp_path / "both"
    assert cli.main(small.command(data, alone, *small.FEW)) == 3
    assert small.codes(small.start_many(2, small.command(data, both, *small.FEW), tmp_path)) == [
        0,
        0,
    ]
    assert (both / "scores.csv").read_bytes() == (alone / "scores.csv").read_bytes()
    skipped = [json.loads((run / "summary.json").read_text())["skipped"] for run in (alone, both)]
    assert skipped[0] == skipped[1]
    assert [one["name"] for one in skipped[0]] == ["1/1.png", "2/2.png"]
