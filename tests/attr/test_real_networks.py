"""Trained networks on photographs: SqueezeNet 1.0, and a ResNet-20 that calls its ReLUs."""

import re
from functools import cache

import captum.attr
import pytest
import torch
from messages import warned
from methods import METHODS, both_rules, captums_cam, captums_map
from PIL import Image
from places import DATA
from reference import rectifier_calls, reference_gradient
from resnet20 import ResNet20
from torchvision import models, transforms

from captum_guided_ext import GuidedBackprop, GuidedGradCam, rectifiers

WEIGHTS = {
    "squeezenet": DATA / "squeezenet1_0_imagenet" / "squeezenet1_0_imagenet.pth",
    "resnet20": DATA / "resnet20_cifar10" / "resnet20_cifar10.pt",
}
PHOTOS = ["cat_dog.jpg", "chelsea.png", "coffee.png", "dog.jpg", "zebra_elephant.jpg"]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not there")

CAT, HORSE = 3, 7  # of CIFAR-10's ten classes
# Here DeconvNet has nothing to show, as the reference finds too: on the way down it meets a
# rectifier that nothing but negative gradients reach.
NO_DECONVNET = {("squeezenet", photo) for photo in PHOTOS if photo != "zebra_elephant.jpg"}
LAYERS = {"squeezenet": "features.12", "resnet20": "layer3"}


@cache
def network(name):
    state = torch.load(WEIGHTS[name], weights_only=True, map_location="cpu")
    model = ResNet20() if name == "resnet20" else models.squeezenet1_0()
    model.load_state_dict(state)
    if name == "squeezenet":
        model.classifier[1].padding = (1, 1)  # as it was first defined
    return model.eval()


@cache
def picture(name, photo):
    edge, crop = (32, 32) if name == "resnet20" else (256, 227)
    prepare = transforms.Compose(
        [
            transforms.Resize(edge),
            transforms.CenterCrop(crop),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    with Image.open(DATA / "photos" / photo) as image:
        return prepare(image.convert("RGB"))[None]


def prediction(name, photo):
    with torch.no_grad():
        probabilities = network(name)(picture(name, photo)).softmax(1)[0]
    return int(probabilities.argmax()), float(probabilities.max())


def explained(name, photo):
    return network(name), picture(name, photo), prediction(name, photo)[0]


# As the folder's own description says
@pytest.mark.parametrize(
    ("photo", "label", "probability"),
    [
        ("chelsea.png", "Egyptian cat", 0.61),
        ("coffee.png", "espresso", 0.72),
        ("zebra_elephant.jpg", "zebra", 0.41),
    ],
)
def test_squeezenet_is_the_trained_one(photo, label, probability):
    index, found = prediction("squeezenet", photo)
    assert models.SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"][index] == label
    assert found == pytest.approx(probability, abs=0.005)


def test_resnet20_is_the_trained_one():
    index, probability = prediction("resnet20", "chelsea.png")
    assert index == CAT
    assert probability > 0.99
    assert prediction("resnet20", "zebra_elephant.jpg")[0] == HORSE


def test_what_is_overridden():
    # SqueezeNet: behind the first and the last convolution, and three in each of 8 fire modules.
    # ResNet-20: behind the first convolution, and two in each of 9 blocks.
    for name, count in (("squeezenet", 2 + 3 * 8), ("resnet20", 1 + 2 * 9)):
        model, x = network(name), picture(name, "dog.jpg")
        found = rectifiers(model, x)
        assert found.overridden == {"ReLU": count}
        assert len(rectifier_calls(model, x)) == count
        assert not found.left_alone
        assert not found.opaque


each_photo = pytest.mark.parametrize("photo", PHOTOS)
each_network = pytest.mark.parametrize("name", WEIGHTS)


@both_rules
@each_photo
@each_network
def test_equals_the_reference(name, photo, rule):
    model, x, target = explained(name, photo)
    expected = reference_gradient(model, x, rule, target)
    zero = rule == "deconvolution" and (name, photo) in NO_DECONVNET
    assert bool(expected.any()) is not zero
    got, messages = warned(lambda: METHODS[rule](model).attribute(x, target))
    assert len(messages) == zero
    assert all(re.search("deconvolution .* zero everywhere: .* negative", m) for m in messages)
    assert torch.equal(got, expected)


def slow_cam(model, layer, x, target):
    """Selvaraju et al. 2017, equations 1 and 2, channel by channel."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(
        lambda _, __, output: kept.append(output) or output.clone()
    )
    score = model(x)[0, target]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept)
    cam = torch.zeros(kept[0].shape[2:], dtype=torch.float64)
    for weights, activation in zip(gradient[0].double(), kept[0][0].detach().double(), strict=True):
        cam += weights.mean() * activation
    return cam.clamp(min=0)[None, None]


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@each_photo
@each_network
def test_guided_grad_cam_equals_the_reference(name, photo, mode):
    model, x, target = explained(name, photo)
    layer = LAYERS[name]
    guided = reference_gradient(model, x, "guided", target)
    got = GuidedGradCam(model, layer).attribute(x, target, interpolate_mode=mode)
    # Captum's Grad-CAM is right on both: bit for bit
    cam = captums_cam(model, model.get_submodule(layer), x, target, mode)
    assert torch.equal(got, guided * cam)
    # and the paper's, written out: up to rounding
    slow = slow_cam(model, layer, x, target)
    expected = guided * captum.attr.LayerAttribution.interpolate(slow, tuple(x.shape[2:]), mode)
    assert expected.any()
    near_zero = 1e-6 * expected.abs().max().item()
    torch.testing.assert_close(got.double(), expected, rtol=1e-3, atol=near_zero)


@each_photo
def test_captum_is_right_on_squeezenet(photo):
    model, x, target = explained("squeezenet", photo)
    captums = captums_map("guided", model, x.clone(), target)
    assert torch.equal(captums, reference_gradient(model, x, "guided", target))


@each_photo
def test_captum_returns_the_gradient_of_resnet20(photo):
    model, x, target = explained("resnet20", photo)
    gradient = reference_gradient(model, x, "gradient", target)
    for rule in METHODS:
        assert torch.equal(captums_map(rule, model, x.clone(), target), gradient)
        expected = reference_gradient(model, x, rule, target)
        assert (gradient - expected).norm() > 0.5 * expected.norm()


def test_all_photos_in_one_batch_with_a_target_each():
    model = network("resnet20")
    x = torch.cat([picture("resnet20", photo) for photo in PHOTOS])
    targets = [prediction("resnet20", photo)[0] for photo in PHOTOS]
    got = GuidedBackprop(model).attribute(x, targets)
    assert torch.equal(got, reference_gradient(model, x, "guided", targets))
    alone = torch.cat(
        [GuidedBackprop(model).attribute(x[i : i + 1], t) for i, t in enumerate(targets)]
    )
    torch.testing.assert_close(got, alone, rtol=1e-4, atol=1e-4 * alone.abs().max().item())
