"""Classes by rank, by index and by name."""

import pytest
import torch
from torchvision import models

from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import find_target

NAMES = ("tench, Tinca tinca", "tabby cat", "tiger cat", "crane", "Crane", "zebra")
IMAGENET = models.ResNet50_Weights.DEFAULT.meta["categories"]
SCORES = torch.tensor([0.1, 0.5, 0.0, 0.1, 0.2, 0.1])


FOUND = {
    0: ["top3", 0, "tinca TINCA", "tinca"],  # top3 is the first of three equal scores
    1: ["top1", "prediction", "Prediction", "tabby cat", "tabby"],
    2: ["top6"],
    3: [" 3 ", "crane"],
    4: ["TOP2", "Crane"],
    5: ["5", "ZEBRA"],
}


@pytest.mark.parametrize(
    ("spec", "index"), [(spec, index) for index, specs in FOUND.items() for spec in specs]
)
def test_find_target(spec, index):
    assert find_target(spec, SCORES, NAMES) == index


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("top0", r"target 'top0' is not one of top1 to top6"),
        ("top7", r"target 'top7' is not one of top1 to top6"),
        ("6", r"target 6 is not a class index from 0 to 5"),
        ("-1", r"target -1 is not a class index from 0 to 5"),
        ("cat", r"target 'cat' fits 2 classes: tabby cat \(1\), tiger cat \(2\); give an index"),
        ("CRANE", r"fits 2 classes: crane \(3\), Crane \(4\)"),
        ("zebar", r"no class is called 'zebar'; the nearest is zebra; or give an index, pred"),
        ("tinco tinca", r"the nearest are Tinca tinca"),
        ("xyzzy", r"no class is called 'xyzzy'; or give"),
        ("", r"no class is called ''"),
    ],
)
def test_target_not_found(spec, message):
    with pytest.raises(ModelError, match=message):
        find_target(spec, SCORES, NAMES)


def test_target_without_names_or_finite_scores():
    assert find_target("3", SCORES) == 3
    with pytest.raises(ModelError, match="the classes have no names; give an index, prediction"):
        find_target("zebra", SCORES)
    for bad in ("nan", "inf"):
        with pytest.raises(ModelError, match="the network returned NaN or infinity"):
            find_target("top1", torch.tensor([0.0, float(bad)]))
    assert find_target(" top1 ", torch.tensor([0.0, float("-inf")])) == 0
    with pytest.raises(ModelError, match="'label' is the class that a data set gives: here there"):
        find_target("label", SCORES)
    with pytest.raises(ModelError, match=r"one example's scores, not shape \(1, 6\)"):
        find_target("top1", SCORES[None])


def test_every_imagenet_name_finds_its_class():
    scores = torch.zeros(1000)
    assert [find_target(name, scores, IMAGENET) for name in IMAGENET] == list(range(1000))
    assert find_target("ZEBRA", scores, IMAGENET) == 340  # 340 and 386 are ImageNet's numbers
    assert find_target("african elephant", scores, IMAGENET) == 386
