"""From a picture to a network's input: as torchvision lays it, and masks as pictures."""

import math
import re
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import noise
from PIL import Image
from torch import nn
from torchvision import models, transforms
from torchvision.transforms import InterpolationMode

from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import Network, Preprocessing, load_network
from captum_guided_ext.networks._preprocessing import INTERPOLATIONS

own = partial(Network, nn.Identity())


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("squeezenet1_1", "DEFAULT"),  # 256 and 224, bilinear
        ("mobilenet_v2", "IMAGENET1K_V2"),  # 232 and 224
        ("efficientnet_b0", "EfficientNet_B0_Weights.IMAGENET1K_V1"),  # bicubic
        ("efficientnet_b1", "imagenet1k_v2"),  # 255 and 240
    ],
)
def test_prepare_is_the_weights_own_transform_bit_for_bit(saved, name, weights):
    _, file = saved(name)
    network = load_network(name, weights=weights, checkpoint=file)
    transform = models.get_model_weights(name)[weights.split(".")[-1].upper()].transforms()
    images = [noise(*size) for size in ((300, 451), (640, 301), (90, 70), (256, 256))]
    for image in images + [noise(300, 260, mode) for mode in ("L", "RGBA", "P")]:
        assert torch.equal(network.prepare(image), transform(image.convert("RGB")))


def test_a_bare_network_takes_the_picture_as_it_is():
    image = noise(7, 5)
    assert own().view(image).tobytes() == image.tobytes()
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
    assert torch.equal(own().prepare(image), expected)
    assert own().device == torch.device("cpu")


def test_any_transform_does():
    from torchvision.transforms import v2

    image = noise(90, 70)
    steps = [transforms.Resize(40), transforms.CenterCrop((30, 36)), transforms.ToTensor()]
    cut = transforms.Compose(steps[:2])(image)
    new = [
        v2.Resize(40),
        v2.CenterCrop((30, 36)),
        v2.PILToTensor(),
        v2.ToDtype(torch.float, scale=True),
    ]
    normal = [0.3, 0.5, 0.6], [0.2, 0.4, 0.1]
    for transform in (
        transforms.Compose([*steps, transforms.Normalize(*normal)]),
        v2.Compose([*new, v2.Normalize(*normal)]),
        lambda picture: (
            transforms.ToTensor()(cut if picture is image else steps[1](steps[0](picture))) * -3
        ),
    ):
        network = Network(nn.Identity(), transform)
        assert torch.equal(network.prepare(image), transform(image))
        assert np.array_equal(np.array(network.view(image)), np.array(cut))


@pytest.mark.parametrize(("size", "places"), [(4, [2, 3, 4, 5]), (8, [6, 7, 8, 9])])
def test_lay_mask_cuts_what_view_cuts(size, places):
    """Of 16 columns, 4 are seen at half the size: two of the picture's to one of the view's."""
    network = Network(nn.Identity(), Preprocessing(size, 4))
    for start in range(0, 16, 2):
        mask = np.zeros((8, 16), bool)
        mask[:, start : start + 2] = True
        column = start // 2 if size == 4 else start
        expected = [
            place // (1 if size == 4 else 2) * (1 if size == 4 else 2) == column for place in places
        ]
        assert network.lay_mask(mask)[0].tolist() == expected


def test_lay_mask_stays_on_what_it_marks():
    mask = np.zeros((300, 400), dtype=bool)
    mask[60:200, 110:290] = True
    network = own(Preprocessing(232, 224))
    seen = np.array(network.view(Image.fromarray(mask.astype(np.uint8) * 255)))[..., 0] > 128
    laid = network.lay_mask(mask)
    assert 0.2 < laid.mean() < 0.4
    assert np.array_equal(seen, laid)


sides = st.integers(1, 40)
lengths = st.integers(1, 60)


@given(width=sides, height=sides, size=lengths, crop=lengths, seed=st.integers(0, 9))
@settings(deadline=None)
def test_a_mask_and_the_rest_share_nothing(width, height, size, crop, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    network = own(Preprocessing(size, crop))
    one, rest = network.lay_mask(mask), network.lay_mask(~mask)
    assert one.shape == rest.shape == (crop, crop)
    assert not (one & rest).any()
    everything = network.lay_mask(np.ones_like(mask))
    assert np.array_equal(
        everything, np.array(network.view(Image.new("L", (width, height), 255)))[..., 0] > 0
    )


@given(width=st.integers(8, 900), height=st.integers(8, 900), size=st.integers(8, 300))
@settings(deadline=None, max_examples=30)
def test_the_window_is_the_part_that_is_cut_out(width, height, size):
    short = min(width, height)
    left, top, right, bottom = own(Preprocessing(size, size)).window((width, height))
    for low, high, length in ((left, right, width), (top, bottom, height)):
        # the centre square, to a pixel of the view or of the picture, and the steps of a byte
        close = short / length / size + 1 / length + 0.008
        assert low == pytest.approx((1 - short / length) / 2, abs=close)
        assert high == pytest.approx((1 + short / length) / 2, abs=close)


def test_padding_is_no_part_of_the_picture():
    network = own(Preprocessing(crop=(8, 12)))
    image = Image.new("RGB", (6, 4), "white")
    assert (np.array(network.view(image)) > 0).sum() == 6 * 4 * 3
    assert network.lay_mask(np.ones((4, 6), bool)).sum() == 24
    assert network.window((6, 4)) == pytest.approx((0, 0, 1, 1), abs=0.002)


def test_a_window_between_wide_borders_is_as_exact():
    # Of 400 rows the middle 100 are seen, and 5 columns of the 100 are the picture's.
    found = own(Preprocessing(crop=100)).window((5, 400))
    assert found == pytest.approx((0, 0.375, 1, 0.625), abs=0.004)


OBJECT = np.zeros((40, 60), bool)
OBJECT[8:30, 12:42] = True
ALIKE = transforms.Compose([transforms.Resize((20, 30)), transforms.ToTensor()])


@pytest.mark.parametrize(
    ("mode", "last"),
    [
        ("", lambda x: torch.cat([x, torch.ones(1, 20, 30)])),
        ("", lambda x: torch.cat([torch.linspace(-9, 9, 30).expand(1, 20, 30), x])),
        ("", lambda x: torch.stack([0 * x[0], 0 * x[0], x.amax(dim=0)])),  # as HSV of greys
        ("RGBA", lambda x: x),
        ("", lambda x: (x - x.mean()) / x.std()),
        ("", lambda x: (x - x.mean()) / (x.std() + 1e-6)),
        ("", lambda x: (x - x.min()) / (x.max() - x.min() + 1e-8)),
    ],
)
def test_masks_go_through_channels_that_tell_nothing_and_pictures_scaled_by_themselves(mode, last):
    network = own(lambda picture: last(ALIKE(picture)), mode=mode)
    expected = np.zeros((20, 30), bool)
    expected[4:15, 6:21] = True
    assert np.array_equal(network.lay_mask(OBJECT), expected)
    assert network.lay_mask(np.ones_like(OBJECT)).all()
    assert not network.lay_mask(np.zeros_like(OBJECT)).any()
    assert network.window((60, 40)) == pytest.approx((0, 0, 1, 1), abs=0.01)
    assert np.ptp(network.view(noise(60, 40))) > 50


@pytest.mark.parametrize(
    "step", [transforms.RandomHorizontalFlip(0.5), transforms.RandomGrayscale(0.3)]
)
def test_a_transform_that_is_now_and_then_another_is_refused_whenever_it_is(step):
    network = own(transforms.Compose([step, transforms.ToTensor()]), name="net")
    for seed in range(20):
        torch.manual_seed(seed)
        with pytest.raises(ModelError, match="of net gives another input each time: leave out"):
            network.prepare(noise(9, 7))


def test_a_transform_that_draws_in_vain_is_none_that_is_random():
    steps = [transforms.ToTensor(), transforms.RandomErasing(p=0)]
    network, image = own(transforms.Compose(steps)), noise(9, 7)
    assert torch.equal(network.prepare(image), steps[0](image))


def test_what_a_transform_must_give():
    def fails(image):
        raise RuntimeError("no")

    for transform, words in {
        fails: r"fails on a RGB picture of 3 x 2 pixels \(RuntimeError: no\)",
        (lambda image: image): "gives <class 'PIL.Image.Image'>, and a float tensor",
        (lambda image: torch.zeros(3, 2, 3).byte()): r"gives torch.uint8 of shape \(3, 2, 3\), and",
        (lambda image: torch.zeros(2, 3)): r"gives torch.float32 of shape \(2, 3\), and a float",
    }.items():
        with pytest.raises(ModelError, match=words):
            own(transform).prepare(Image.new("RGB", (3, 2)))


def test_what_a_network_is_made_of():
    with pytest.raises(
        TypeError, match=r"model is a str, which cannot be called: Network\(model, tr"
    ):
        Network("own", nn.Identity())
    with pytest.raises(TypeError, match=r"transform is a int"):
        Network(nn.Identity(), 3)
    with pytest.raises(TypeError, match="classes is one text, 'cat': give a list"):
        Network(nn.Identity(), None, "cat")
    assert Network(nn.Conv2d(1, 2, 1)).mode == "L"
    assert Network(lambda x: x).name == "function"


def test_the_preprocessing_in_words():
    assert str(Preprocessing(256, 224, mean=(0.5, 0.4, 0.3))) == (
        "shorter side to 256, bilinear; centre 224 x 224; pixels in [0, 1], mean 0.5, 0.4, 0.3, "
        "std 1"
    )
    for size, crop, words in (
        (100, 224, "shorter side to 100, bilinear; centre 224 x 224, padded with black; pixels"),
        ((300, 100), (224, 99), "resized to 100 x 300, bilinear; centre 99 x 224; pixels"),
        ((300, 98), (224, 99), "resized to 98 x 300, bilinear; centre 99 x 224, padded with bl"),
    ):
        assert str(Preprocessing(size, crop)).startswith(words)
    assert Network(nn.Identity()).preprocessing.startswith(
        "at its own size; pixels in [0, 1], mean"
    )
    assert "no preprocessing is known for Identity" in Network(nn.Identity()).assumption
    known = Network(nn.Identity(), models.ResNet18_Weights.DEFAULT.transforms())
    assert known.assumption == ""
    assert "crop_size=[224]" in known.preprocessing
    assert "test_the_preprocessing_in_words" in Network(nn.Identity(), lambda x: x).preprocessing
    steps = transforms.Compose([transforms.Resize(9), abs, noise])
    assert re.search(r"Compose\( Resize\(size=9,.* noise \)$", own(steps).preprocessing)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size": 0}, "size must be 1 pixel or more, and is 0"),
        ({"crop": (4, -1)}, r"crop must be 1 pixel or more, and is \(4, -1\)"),
        (
            {"crop": (4, 4, 4)},
            r"crop must be a whole number of pixels, or two of them, not \(4, 4, 4",
        ),
        ({"size": 3.5}, "size must be a whole number of pixels, or two of them, not 3.5"),
        ({"size": "256"}, "or two of them, not '256'"),
        ({"std": (1, 0, 1)}, "std 1, 0, 1 must be above 0 for each channel"),
        ({"std": math.nan}, "std must be a number for each channel, or one for all, and is nan"),
        ({"mean": ()}, r"mean must be a number for each channel, or one for all, and is \(\)"),
        ({"mean": ("a",)}, r"and is \('a',\)"),
        (
            {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)},
            "mean 123.7, 116.3, 103.5 and std 58.4, 57.1, 57.4 are of pixels up to 255, .*: divide",
        ),
        ({"mean": (1.0, 2.0)}, r"mean has 2 numbers \(1, 2\), and a picture has 3 channels"),
        (
            {"interpolation": "lanzcos"},
            "called 'lanzcos': choose from nearest, nearest-exact, bilinear, bicubic, box, hamm",
        ),
    ],
)
def test_preprocessing_names_what_it_cannot_use(values, words):
    with pytest.raises(ModelError, match=words):
        Preprocessing(**values)(Image.new("RGB", (6, 5)))


def test_preprocessing_takes_lists_and_single_numbers():
    assert Preprocessing([4, 6], mean=0.5, std=[0.1, 0.2, 0.3]) == Preprocessing(
        (4, 6), mean=(0.5,), std=(0.1, 0.2, 0.3)
    )
    assert Preprocessing(mean=(-1, 0, 1)).mean == (-1, 0, 1)


def test_the_interpolations_are_torchvisions():
    assert tuple(mode.value for mode in InterpolationMode) == INTERPOLATIONS


def test_category():
    network = own(classes=("cat", "dog"))
    assert [network.category(i) for i in (0, 1, 2, -1)] == ["cat", "dog", "class 2", "class -1"]
