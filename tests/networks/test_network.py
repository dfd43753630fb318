"""From a picture to a network's input: as torchvision lays it, and masks as pictures."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import noise
from PIL import Image
from torch import nn
from torchvision import models

from captum_guided_ext.networks import Network, load_network

own = partial(Network, "own", nn.Identity())


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


def test_to_tensor_gets_the_cut_picture():
    sizes = []

    def to_tensor(image):
        sizes.append((image.size, image.mode))
        return torch.zeros(3, 4, 4)

    own(crop_size=4, to_tensor=to_tensor).prepare(noise(9, 6, "L"))
    assert sizes == [((4, 4), "RGB")]


@pytest.mark.parametrize(("resize", "columns"), [(4, [2, 3, 4, 5]), (8, [3, 3, 4, 4])])
def test_lay_mask_cuts_what_view_cuts(resize, columns):
    mask = Image.fromarray(np.tile(np.arange(8, dtype=np.uint8), (4, 1)))
    laid = own(resize_size=resize, crop_size=4).lay_mask(mask)
    assert np.array(laid)[0].tolist() == columns


def test_lay_mask_stays_on_what_it_marks():
    picture = np.zeros((300, 400), dtype=np.uint8)
    picture[60:200, 110:290] = 255
    network = own(resize_size=232, crop_size=224)
    seen = np.array(network.view(Image.fromarray(picture)))[..., 0] > 127
    laid = np.array(network.lay_mask(Image.fromarray(picture))) > 0
    assert 0.2 < laid.mean() < 0.4
    assert (seen != laid).sum() <= 2 * (135 + 105)  # the outline, at most


sides = st.integers(1, 40)
lengths = st.integers(1, 60)


@given(width=sides, height=sides, resize=lengths, crop=lengths, seed=st.integers(0, 9))
@settings(deadline=None)
def test_lay_mask_invents_no_labels(width, height, resize, crop, seed):
    labels = np.random.default_rng(seed).choice([0, 7, 201], (height, width)).astype(np.uint8)
    mask = Image.fromarray(labels)
    mask.putpalette(list(range(256)) * 3)
    laid = own(resize_size=resize, crop_size=crop).lay_mask(mask)
    assert laid.size == (crop, crop)
    assert laid.mode == "P"
    assert set(np.unique(np.array(laid))) <= {0, 7, 201}


def test_category():
    network = own(categories=("cat", "dog"))
    assert [network.category(i) for i in (0, 1, 2, -1)] == ["cat", "dog", "class 2", "class -1"]
