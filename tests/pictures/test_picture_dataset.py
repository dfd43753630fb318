"""A data set of pictures by the name of its source."""

import gzip
import struct

import pytest
import torch

from captum_guided_ext.errors import DataError
from captum_guided_ext.networks import load_network
from captum_guided_ext.pictures import PictureDataset, open_data


@pytest.fixture(scope="module")
def network():
    return load_network("demo")


def test_a_name_stands_for_its_source(network):
    by_name, by_source = PictureDataset("demo", network, limit=7), open_data("demo", limit=7)
    given = PictureDataset(by_source, network)
    assert len(by_name) == len(given) == 7
    for one, other in zip(by_name, given, strict=True):
        assert torch.equal(one[0], other[0])
        assert one[1] == other[1]
        assert torch.equal(one[2], other[2])
    assert by_name.describe() == given.describe()


def test_a_limit_holds_for_every_source_and_ends_an_iteration(network, tmp_path):
    for name, dimensions, content in (("x", (4, 8, 8), bytes(256)), ("y", (4,), bytes(4))):
        head = bytes([0, 0, 8, len(dimensions)]) + struct.pack(f">{len(dimensions)}I", *dimensions)
        (tmp_path / name).write_bytes(gzip.compress(head + content))
    data = PictureDataset(f"idx:{tmp_path}/x,{tmp_path}/y", network, limit=3, use_labels=False)
    assert len(list(data)) == len(data) == 3
    assert data[-1][1] is None
    with pytest.raises(IndexError):
        data[3]


def test_labels_are_used_where_there_are_any_unless_they_are_not_wanted(network, tmp_path):
    assert PictureDataset("demo", network, limit=1)[0][1] == 0
    assert PictureDataset("demo", network, limit=1, use_labels=False)[0][1] is None
    image, *_ = open_data("demo", limit=1)
    image.image.save(tmp_path / "one.png")
    assert PictureDataset(tmp_path, network)[0][1:] == (None, None)
    with pytest.raises(DataError, match="has no labels: explain the prediction"):
        PictureDataset(tmp_path, network, use_labels=True)
