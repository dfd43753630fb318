"""A run goes on with the data that it began with, or with none."""

import itertools
import os
import shutil
import time

import pytest
import small_benchmark as small
import torch
from torch.utils.data import TensorDataset

import captum_guided_ext as cg
from captum_guided_ext.benchmarking import _data_check
from captum_guided_ext.benchmarking._identity import digest_of
from captum_guided_ext.errors import DataError
from captum_guided_ext.pictures import PictureDataset

QUICK = {"n_perturb_samples": 1, "show_progress": False, "batch_size": 3,
         "methods": ["gradient"], "metrics": ["sensitivity_max"]}  # fmt: skip
X, Y = small.dataset().tensors
MASKS = torch.ones(7, 8, 8, dtype=torch.bool)


@pytest.fixture(autouse=True)
def _no_figure(monkeypatch):
    monkeypatch.setattr(
        "captum_guided_ext.benchmarking._benchmark_result.figure_bytes", lambda *_: b""
    )


@pytest.fixture
def run(tmp_path):
    def benchmark(data, **options):
        return cg.benchmark(small.cnn(), data, output=tmp_path / "run", **QUICK | options)

    return benchmark


def changed(values, place, value):
    other = values.clone()
    other[place] = value
    return other


CHANGES = {
    "first": ((changed(X, (0, 0, 0, 0), 0.5), Y, MASKS), r"image 0 \(0\) has.*its input is anoth"),
    "last": ((changed(X, (6, 2, 7, 7), 0.5), Y, MASKS), r"image 6 \(6\) has.*its input is anoth"),
    "label": ((X, changed(Y, 3, 3 - Y[3] + 1), MASKS), r"image 3 \(3\) has.*its label or mask is"),
    "mask": ((X, Y, changed(MASKS, (5, 0, 0), 0)), r"image 5 \(5\) has.*its label or mask is ano"),
    "nan": ((changed(X, (2, 0, 0, 0), torch.nan), Y, MASKS), r"image 2 \(2\) has.*its input is an"),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_other_tensors_are_refused_by_name(run, change):
    rows = run(TensorDataset(X, Y, MASKS)).rows
    found = run(TensorDataset(X.clone(), Y, MASKS))
    assert found.rows == rows
    assert found.settings["data checked"] == "all 7 images by content"
    tensors, words = CHANGES[change]
    with pytest.raises(DataError, match=words + ".*Choose another folder"):
        run(TensorDataset(*tensors))


def test_labels_that_are_not_explained_do_not_count(run):
    rows = run(TensorDataset(X, Y), target="prediction").rows
    assert run(TensorDataset(X, 3 - Y), target="prediction").rows == rows


def test_where_time_is_short_the_first_and_the_last_are_compared(run, monkeypatch):
    run(TensorDataset(X, Y))
    monkeypatch.setattr(_data_check, "_SECONDS", 0.0)
    assert run(TensorDataset(X, Y)).settings["data checked"] == "2 of 7 images by content"
    for change in ("first", "last"):
        with pytest.raises(DataError, match="has changed since it was scored"):
            run(TensorDataset(*CHANGES[change][0][:2]))


def test_the_order_is_spread_over_the_data():
    assert list(_data_check._spread([])) == []
    for count in (1, 2, 3, 10, 1000):
        order = list(_data_check._spread(range(count)))
        assert sorted(order) == list(range(count))
        assert {0, count - 1} <= set(order[:2])
        for some in (count // 10, count // 3):
            places = sorted(order[: some + 2])
            gaps = [b - a for a, b in itertools.pairwise(places)]
            assert max(gaps, default=0) <= 4 * count / (some + 1) + 1


@pytest.fixture
def pictures(tmp_path):
    small.save_pictures(tmp_path / "data", 6)
    network = small.net()
    return lambda folder="data": PictureDataset(tmp_path / folder, network)


def touch(folder):
    for file in folder.rglob("*.png"):
        os.utime(file, (1, 1))


def test_a_folder_is_compared_by_stamps_and_a_sample(run, pictures, tmp_path, monkeypatch):
    rows = run(pictures()).rows
    monkeypatch.setattr(_data_check, "_SECONDS", 0.0)
    found = run(pictures())
    words = "all 6 by size and time, 2 of 6 images by content"
    assert (found.rows, found.settings["data checked"]) == (rows, words)
    # A copy of other times is no other data.
    shutil.copytree(tmp_path / "data", tmp_path / "copy" / "data")
    touch(tmp_path / "copy" / "data")
    found = run(pictures("copy/data"))
    assert (found.rows, found.settings["data checked"]) == (rows, "all 6 images by content")
    # One of them in the middle is another.
    noise = small.save_pictures(tmp_path / "noise", 8)
    shutil.copy(noise / "2" / "6.png", tmp_path / "data" / "2" / "2.png")
    with pytest.raises(DataError, match=r"\(2/2\.png\) has changed .*: its input is another one"):
        run(pictures())
    (tmp_path / "data" / "2" / "2.png").write_text("no picture")
    with pytest.raises(DataError, match=r"\(2/2\.png\) has changed .*: it cannot be read"):
        run(pictures())


def test_a_change_that_keeps_size_and_time_is_found_by_content(run, pictures, tmp_path):
    run(pictures())
    file = tmp_path / "data" / "1" / "1.png"
    stat = file.stat()
    small.save_pictures(tmp_path / "noise", 30)
    other = next(
        one for one in (tmp_path / "noise").rglob("*.png")
        if one.stat().st_size == stat.st_size and one.read_bytes() != file.read_bytes()
    )  # fmt: skip
    shutil.copy(other, file)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(DataError, match=r"\(1/1\.png\) has changed"):
        run(pictures())


class Named(TensorDataset):
    names = "abcdefg"

    def name(self, index):
        return self.names[index]


def test_other_names_are_refused(run):
    run(Named(X, Y))
    data = Named(X, Y)
    data.names = "abcdxfg"
    with pytest.raises(DataError, match="image 4 was e, and is x now"):
        run(data)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.uint8, torch.bool])
def test_a_digest_is_of_bytes_type_and_shape(dtype):
    x = torch.arange(12).reshape(3, 4).to(dtype)
    same = torch.arange(24).reshape(3, 8)[:, ::2].to(dtype) // 2 if dtype == torch.uint8 else x
    assert digest_of(x, 1, None) == digest_of(same.clone(), 1, None)
    mask = torch.ones(3, 4, dtype=torch.bool)
    others = [(x.reshape(4, 3), 1, None), (x.float(), 1, None), (x.flip(0), 1, None)]
    others += [(x, 2, None), (x, None, None), (x, 1, mask), (x, 1, ~mask)]
    assert len({digest_of(*one) for one in [(x, 1, None), *others]}) >= len(others)
    assert len(digest_of(x, 1, mask)) == 16


def test_a_digest_of_a_small_image_costs_microseconds():
    started = time.process_time()
    for image in X.repeat(300, 1, 1, 1):
        digest_of(image, 3, None)
    assert (time.process_time() - started) / 2100 < 2e-4
