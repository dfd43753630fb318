"""explain() names what it cannot use."""

import numpy as np
import pytest
from networks import Conv, seeded
from PIL import Image
from torch import nn

from captum_guided_ext import CaptumGuidedError, DataError, ModelError, Network, compare, explain
from captum_guided_ext.networks import Preprocessing
from captum_guided_ext.pictures import PictureDataset, open_data

NETWORK = Network(seeded(Conv), Preprocessing(8, 8), name="net")
PICTURE = Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
ERRORS = {
    "network": ({"network": NETWORK.model}, TypeError, "must be a Network, not Conv: wrap a modu"),
    "path": ({"image": "photo.png"}, TypeError, "image must be a PIL picture, not str"),
    "method": ({"methods": ["guided"]}, ValueError, "no method is called 'guided'; choose from"),
    "no method": ({"methods": []}, ValueError, "methods is empty: choose from gradient, input_x"),
    "no region": ({"regions": {}}, DataError, "regions is empty: leave it out for a 3 x 3 grid"),
    "region": ({"regions": {"a": np.ones((3, 3))}}, DataError, r"region 'a' has shape \(3, 3\)"),
    "layer": ({"layer": "last"}, ModelError, r"shape \(1, 1\) cannot be laid over an input"),
    "scores": (
        {"network": Network(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU()), name="maps")},
        ModelError, r"maps returned shape \(1, 2, 8, 8\), and what is explained here is one score",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_the_offender(case):
    changed, kind, words = ERRORS[case]
    arguments = {"network": NETWORK, "image": PICTURE} | changed
    with pytest.raises(kind, match=words) as caught:
        explain(**arguments)
    # what a command line can be told is of the one family it catches
    assert case in ("network", "path", "method", "no method") or isinstance(
        caught.value, CaptumGuidedError
    )


def test_a_network_prepares_pictures_alone():
    with pytest.raises(TypeError, match="image must be a PIL picture, not ndarray"):
        NETWORK.prepare(np.zeros((8, 8, 3)))


def test_one_method_may_be_given_by_its_name_alone():
    assert explain(NETWORK, PICTURE, methods="gradient").maps.keys() == {"gradient"}


def test_compare_takes_a_network_as_benchmark_does():
    x = NETWORK.prepare(PICTURE)[None]
    options = {"methods": ["gradient"], "metrics": ["sensitivity_max"], "n_perturb_samples": 2}
    rows = compare(NETWORK, x, 1, **options).rows
    assert rows == compare(NETWORK.model, x, 1, **options).rows


def test_a_data_set_of_pictures_names_what_it_cannot_use(tmp_path):
    with pytest.raises(TypeError, match="network must be a Network, not Conv"):
        PictureDataset("demo", NETWORK.model)
    with pytest.raises(TypeError, match=r"data must be a folder, demo, idx:.*, not int"):
        PictureDataset(3, NETWORK)
    with pytest.raises(TypeError, match="masks go with a folder; _Demo has its own"):
        PictureDataset(open_data("demo"), NETWORK, masks=tmp_path)
    with pytest.raises(ValueError, match="limit must be 1 or more, and is 0"):
        PictureDataset("demo", NETWORK, limit=0)
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=r"a\.png is a file: data is a folder, demo or idx:"):
        PictureDataset(tmp_path / "a.png", NETWORK)
