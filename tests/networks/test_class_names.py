"""Names of classes from files, in each form, and files that are none of them."""

import json

import pytest
import torch
from torch import nn

from captum_guided_ext import Network, explain
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import check_class_names, load_network
from captum_guided_ext.networks._class_names import read_class_names

NAMES = ("tench, Tinca tinca", "Katze", "chien d'été")
INDEX = {str(i): [f"n{i:08}", name] for i, name in enumerate(NAMES)}


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(NAMES),
        "\ufeff" + "\r\n".join(NAMES) + "\r\n\r\n",  # as editors of Windows save it
        "  " + "  \n".join(NAMES) + "\n \n",
        json.dumps(NAMES),
        json.dumps([[f"n{i}", name] for i, name in enumerate(NAMES)]),
        "\ufeff" + json.dumps({str(i): name for i, name in enumerate(NAMES)}),
        json.dumps(dict(reversed(INDEX.items())), indent=1),
    ],
    ids=["lines", "windows", "blanks", "list", "list of lists", "object", "imagenet's, reversed"],
)
def test_each_form_of_a_file(tmp_path, content):
    file = tmp_path / "classes"
    file.write_bytes(content.encode())
    assert read_class_names(file) == read_class_names(str(file)) == NAMES


def test_a_list_does_as_well():
    assert read_class_names(["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there are none; write one a line"),
        (b"\n \n", "there are none"),
        (b"[]", "there are none"),
        (b"cat\n\ndog", r"number 1 of 0 to 2 is empty, and each class needs its line"),
        (b'["cat", ""]', "number 1 of 0 to 1 is empty"),
        (b'["cat", 3]', "number 1 is 3, and not a name"),
        (b'["cat", {"a": 1}]', r'number 1 is {"a": 1}, and not a name'),
        (b'["cat", []]', r"number 1 is \[\], and not a name"),
        (b'{"0": "cat", "2": "dog"}', "2 are given, and none for index 1; the keys must be 0 to 1"),
        (b'{"cat": 0, "dog": 1}', "none for index 0; the keys must be 0 to 1"),
        (b'["cat", "dog"', r"are no JSON \(.*line 1"),
        ("café".encode("latin-1"), "is no text in UTF-8: save it as UTF-8"),
        ("cat\ndog".encode("utf-16"), "is no text in UTF-8"),
    ],
)
def test_files_of_no_form(tmp_path, content, words):
    file = tmp_path / "classes.txt"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        read_class_names(file)
    assert "classes.txt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path):
    (tmp_path / "classes.txt").touch()
    with pytest.raises(ModelError, match=r"clases\.txt does not exist; the nearest is classes\.t"):
        read_class_names(tmp_path / "clases.txt")
    with pytest.raises(ModelError, match=r"cannot be read \(Is a directory\)"):
        read_class_names(tmp_path)


def test_a_network_gets_them(tmp_path):
    demo = load_network("demo")
    names = [f"animal {i}" for i in range(len(demo.classes))]
    (tmp_path / "names").write_text("\n".join(names))
    assert load_network("demo", classes=tmp_path / "names").classes == tuple(names)
    assert load_network("demo", classes=names).classes == tuple(names)
    with pytest.raises(
        ModelError, match=rf"demo has {len(names)} outputs and 2 class names, of which the first"
    ):
        load_network("demo", classes=["a", "b"])


def test_another_number_than_outputs_is_noticed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network = Network(model.eval(), classes=["a", "b", "c"], name="mine")
    with pytest.raises(
        ModelError, match=r"mine has 4 outputs and 3 class names, of which .*'a' and the last 'c'"
    ):
        explain(network, torch.rand(3, 8, 8), methods=["gradient"])
    check_class_names((), 4, "mine")
    check_class_names(("a", "b"), 2, "mine")
