import functools
import re
import subprocess
import sys
from itertools import count
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import DATA
from torch import nn
from torchvision import models

from captum_guided_ext.attr._utils.layers import default_layer, resolve_layer
from captum_guided_ext.errors import ModelError
from captum_guided_ext.networks import Network, find_device, find_target, load_network

SQUEEZENET = DATA / "squeezenet1_0_imagenet" / "squeezenet1_0_imagenet.pth"
IMAGENET = models.ResNet50_Weights.DEFAULT.meta["categories"]


def noise(width, height, mode="RGB", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA" if mode == "RGBA" else None).convert(mode)


@pytest.fixture
def saved(tmp_path):
    """Save a torchvision network with random parameters; return it and its file."""

    def save(name, change=lambda state: state, **config):
        torch.manual_seed(0)
        model = models.get_model(name, weights=None, **config).eval()
        file = tmp_path / f"{name}.pth"
        torch.save(change(model.state_dict()), file)
        return model, file

    return save


def test_import_does_not_pull_in_torchvision():
    code = "import sys, captum_guided_ext.networks; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- preprocessing ---


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
    for image in (noise(300, 451), noise(640, 301), noise(90, 70), noise(256, 256)):
        assert torch.equal(network.prepare(image), transform(image))
    for mode in ("L", "RGBA", "P"):
        image = noise(300, 260, mode)
        assert torch.equal(network.prepare(image), transform(image.convert("RGB")))


def test_a_bare_network_takes_the_picture_as_it_is():
    image = noise(7, 5)
    network = Network("own", nn.Identity())
    assert network.view(image).tobytes() == image.tobytes()
    expected = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)
    assert torch.equal(network.prepare(image), expected)
    assert network.device == torch.device("cpu")


def test_to_tensor_gets_the_cut_picture():
    sizes = []

    def to_tensor(image):
        sizes.append((image.size, image.mode))
        return torch.zeros(3, 4, 4)

    Network("own", nn.Identity(), crop_size=4, to_tensor=to_tensor).prepare(noise(9, 6, "L"))
    assert sizes == [((4, 4), "RGB")]


def test_lay_mask_cuts_what_view_cuts():
    columns = np.tile(np.arange(8, dtype=np.uint8), (4, 1))
    network = Network("own", nn.Identity(), resize_size=4, crop_size=4)
    assert np.array(network.lay_mask(Image.fromarray(columns)))[0].tolist() == [2, 3, 4, 5]
    doubled = Network("own", nn.Identity(), resize_size=8, crop_size=4)
    assert np.array(doubled.lay_mask(Image.fromarray(columns)))[0].tolist() == [3, 3, 4, 4]


def test_lay_mask_stays_on_what_it_marks():
    picture = np.zeros((300, 400), dtype=np.uint8)
    picture[60:200, 110:290] = 255
    network = Network("own", nn.Identity(), resize_size=232, crop_size=224)
    seen = np.array(network.view(Image.fromarray(picture)))[..., 0] > 127
    laid = np.array(network.lay_mask(Image.fromarray(picture))) > 0
    assert 0.2 < laid.mean() < 0.4
    assert (seen != laid).sum() <= 2 * (135 + 105)  # the outline, at most


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    resize=st.integers(1, 60),
    crop=st.integers(1, 60),
    seed=st.integers(0, 9),
)
@settings(deadline=None)
def test_lay_mask_invents_no_labels(width, height, resize, crop, seed):
    labels = np.random.default_rng(seed).choice([0, 7, 201], (height, width)).astype(np.uint8)
    mask = Image.fromarray(labels)
    mask.putpalette(list(range(256)) * 3)
    laid = Network("own", nn.Identity(), resize_size=resize, crop_size=crop).lay_mask(mask)
    assert laid.size == (crop, crop)
    assert laid.mode == "P"
    assert set(np.unique(np.array(laid))) <= {0, 7, 201}


def test_category():
    network = Network("own", nn.Identity(), categories=("cat", "dog"))
    assert [network.category(i) for i in (0, 1, 2, -1)] == ["cat", "dog", "class 2", "class -1"]


# --- networks ---


@pytest.mark.skipif(not SQUEEZENET.exists(), reason="needs the real SqueezeNet weights")
def test_squeezenet_says_egyptian_cat():
    network = load_network("SqueezeNet1_0", checkpoint=SQUEEZENET)
    assert network.name == "squeezenet1_0"
    assert network.weights == "checkpoint squeezenet1_0_imagenet.pth"
    assert not network.model.training
    with Image.open(DATA / "photos" / "chelsea.png") as image:
        inputs = network.prepare(image)[None]
    with torch.no_grad():
        scores = network.model(inputs)[0]
    assert network.category(find_target("top1", scores, network.categories)) == "Egyptian cat"
    assert default_layer(network.model, inputs) == "features"


def wrapped(key, prefix=""):
    return lambda state: {key: {prefix + name: value for name, value in state.items()}, "epoch": 3}


@pytest.mark.parametrize(
    "change",
    [
        wrapped("state_dict", "module."),
        wrapped("model", "_orig_mod."),
        wrapped("model_state_dict"),
        lambda state: {f"module.{name}": value for name, value in state.items()},
    ],
)
def test_checkpoint_wrappings(saved, change):
    model, file = saved("shufflenet_v2_x0_5", change)
    network = load_network("shufflenet_v2_x0_5", checkpoint=file)
    for name, value in model.state_dict().items():
        assert torch.equal(network.model.state_dict()[name], value)
    assert network.categories == tuple(IMAGENET)


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small", "shufflenet_v2_x0_5"])
def test_number_of_classes_comes_from_the_checkpoint(saved, name):
    model, file = saved(name, num_classes=7)
    network = load_network(name, checkpoint=file)
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.model(inputs), model(inputs))
    assert network.categories == ()
    assert network.category(6) == "class 6"


def test_densenet_files_with_the_old_names(saved):
    def age(state):
        pattern = r"(denselayer\d+\.(?:norm|conv))([12])\."
        return {re.sub(pattern, r"\1.\2.", name): value for name, value in state.items()}

    model, file = saved("densenet121", age)
    assert "features.denseblock1.denselayer1.norm.1.weight" in torch.load(file)
    network = load_network("densenet121", checkpoint=file)
    for name, value in model.state_dict().items():
        assert torch.equal(network.model.state_dict()[name], value)


@pytest.mark.parametrize("aux_logits", [True, False])
def test_googlenet_is_set_up_as_for_torchvisions_weights(saved, aux_logits):
    model, file = saved(
        "googlenet", aux_logits=aux_logits, init_weights=False, transform_input=True
    )
    network = load_network("googlenet", checkpoint=file)
    inputs = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.model(inputs), model(inputs))


def test_loading_leaves_the_global_generator_alone(saved):
    _, file = saved("squeezenet1_1")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_network("squeezenet1_1", checkpoint=file)
    assert torch.equal(torch.rand(3), expected)


def test_demo():
    network = load_network("demo")
    from captum_guided_ext import demo

    assert network.categories == tuple(demo.CATEGORIES)
    image = noise(96, 96)
    assert torch.equal(network.prepare(image), demo.prepare(np.array(image)))
    inputs = network.prepare(noise(200, 150))[None]
    assert inputs.shape == (1, 3, 96, 96)
    assert default_layer(network.model, inputs) == "features"
    with torch.no_grad():
        assert network.model(inputs).shape == (1, len(network.categories))


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("resnet51", "DEFAULT", r"no network is called 'resnet51'; the nearest are resnet50.*demo"),
        ("xyzzy", "DEFAULT", r"called 'xyzzy'; known are torchvision's classification networks"),
        ("fcn_resnet50", "DEFAULT", r"no network is called 'fcn_resnet50'"),
        ("deno", "DEFAULT", r"the nearest are demo"),
        ("resnet50", "V3", r"has no weights 'V3': choose from IMAGENET1K_V1, IMAGENET1K_V2, DEF"),
        ("resnet50", "none", r"has no weights 'none': choose from"),
        ("vgg16", "IMAGENET1K_FEATURES", r"choose from IMAGENET1K_V1, DEFAULT$"),
        ("demo", "IMAGENET1K_V1", r"demo has no choice of weights: leave weights='IMAGENET1K_V1'"),
    ],
)
def test_unknown_names(name, weights, message):
    with pytest.raises(ModelError, match=message) as caught:
        load_network(name, weights=weights)
    assert "\n" not in str(caught.value)


# --- checkpoints that do not fit ---


def load_squeezenet(file):
    return load_network("squeezenet1_1", checkpoint=file)


def test_checkpoint_that_does_not_exist(tmp_path):
    (tmp_path / "weights.pth").touch()
    with pytest.raises(ModelError, match=r"weight\.pth does not exist; the nearest are weights"):
        load_squeezenet(tmp_path / "weight.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut short"])
def test_checkpoint_that_is_no_torch_file(tmp_path, content):
    file = tmp_path / "broken.pth"
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"broken\.pth cannot be read \(.*torch\.save\(model") as e:
        load_squeezenet(file)
    assert "\n" not in str(e.value)


def test_checkpoint_with_code_in_it_is_not_run(tmp_path):
    file = tmp_path / "model.pth"
    torch.save(nn.Linear(2, 2), file)
    with pytest.raises(ModelError, match=r"cannot be read \(UnpicklingError"):
        load_squeezenet(file)


@pytest.mark.parametrize("content", [torch.zeros(3), {}, {"epoch": 3}, [1], {3: torch.zeros(1)}])
def test_checkpoint_that_is_no_state_dict(tmp_path, content):
    file = tmp_path / "other.pth"
    torch.save(content, file)
    kind = type(content).__name__
    with pytest.raises(ModelError, match=rf"other\.pth is not a state_dict .* but a {kind}: write"):
        load_squeezenet(file)


def test_checkpoint_of_another_shape(saved):
    def change(state):
        state["features.0.weight"] = torch.zeros(64, 1, 3, 3)
        del state["features.3.squeeze.bias"]
        return state | {"extra": torch.zeros(1)}

    _, file = saved("squeezenet1_1", change)
    message = (
        r"squeezenet1_1\.pth does not fit squeezenet1_1: 3 entries differ, first: "
        r"features\.0\.weight has shape \(64, 1, 3, 3\) and not \(64, 3, 3, 3\)"
    )
    with pytest.raises(ModelError, match=message):
        load_squeezenet(file)


def test_checkpoint_of_another_network(saved):
    _, file = saved("shufflenet_v2_x0_5")
    with pytest.raises(ModelError, match=r"first: features\.0\.weight is missing"):
        load_squeezenet(file)


# --- downloads ---


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache and no network; the place where torch.hub looks for SqueezeNet 1.1."""

    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    return tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1]


def test_failed_download_says_where_the_file_goes(offline, saved, capsys):
    url = models.SqueezeNet1_1_Weights.DEFAULT.url
    with pytest.raises(ModelError) as caught:
        load_network("squeezenet1_1")
    message = str(caught.value)
    assert "cannot download the weights IMAGENET1K_V1 of squeezenet1_1" in message
    assert "no route to host" in message
    assert f"fetch {url} on a machine with a network and put it at {offline}, or" in message
    assert "--checkpoint FILE" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""

    # And that place is the right one.
    model, file = saved("squeezenet1_1")
    file.rename(offline)
    network = load_network("squeezenet1_1")
    assert network.weights == "IMAGENET1K_V1"
    assert torch.equal(network.model.classifier[1].weight, model.classifier[1].weight)


def test_damaged_cache_is_named(offline):
    offline.parent.mkdir(parents=True)
    offline.write_bytes(b"half a file")
    with pytest.raises(ModelError, match=rf"cannot be loaded .*{offline.name}, it is damaged; del"):
        load_network("squeezenet1_1")


# --- networks of one's own ---


@pytest.fixture
def own_module(tmp_path, monkeypatch):
    """Write a module into the current directory; return its name, a new one each time."""
    monkeypatch.chdir(tmp_path)
    written = []

    def write(code):
        name = f"my_network_{next(NUMBERS)}"
        (tmp_path / f"{name}.py").write_text(code)
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


NUMBERS = count()

OWN = """
from torch import nn
from captum_guided_ext.networks import Network

def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())

def network():
    return Network("cats and dogs", build(), ("cat", "dog"), "mine", crop_size=8)

class Net(nn.Conv2d):
    def __init__(self):
        super().__init__(3, 2, 1)

made = Net()
number = lambda: 3
needs = lambda size: build()
"""


def test_factory_of_a_plain_module(own_module):
    name = own_module(OWN) + ":build"
    path = list(sys.path)
    network = load_network(name)
    assert (network.name, network.categories) == (name, ())
    assert "pixels in [0, 1]" in network.weights
    assert not network.model[1].training
    assert network.prepare(noise(31, 17)).shape == (3, 17, 31)
    assert sys.path == path


def test_factory_of_a_network(own_module):
    network = load_network(own_module(OWN) + ":network")
    assert (network.name, network.categories, network.weights) == (
        "cats and dogs",
        ("cat", "dog"),
        "mine",
    )
    assert network.crop_size == 8
    assert not network.model.training


@pytest.mark.parametrize("attribute", ["Net", "made"])
def test_a_class_or_a_module_does_as_a_factory(own_module, attribute):
    assert type(load_network(f"{own_module(OWN)}:{attribute}").model).__name__ == "Net"


def test_factory_with_a_checkpoint(own_module, tmp_path):
    name = own_module(OWN) + ":build"
    state = {"module.0.weight": torch.ones(4, 3, 3, 3), "module.0.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "own.pth")
    network = load_network(name, checkpoint=tmp_path / "own.pth")
    assert network.weights == "checkpoint own.pth"
    assert torch.equal(network.model[0].weight, torch.ones(4, 3, 3, 3))


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("biuld", r"module 'my_network_\d+' has no 'biuld'; the nearest are build"),
        ("number", r"returned a int: it must return a torch\.nn\.Module or a captum_guided_ext"),
        ("needs", r"could not be called without arguments \(TypeError: .*size"),
    ],
)
def test_factories_that_cannot_be_used(own_module, attribute, message):
    with pytest.raises(ModelError, match=message):
        load_network(f"{own_module(OWN)}:{attribute}")


def test_modules_that_cannot_be_imported(own_module):
    name = own_module("1 / 0")
    with pytest.raises(ModelError, match=rf"cannot import '{name}' of .*ZeroDivisionError"):
        load_network(f"{name}:build")
    with pytest.raises(
        ModelError, match=rf"ModuleNotFoundError: No module named 'x{name}'\); the nearest are"
    ):
        load_network(f"x{name}:build")
    with pytest.raises(ModelError, match=r"has no choice of weights: leave weights='V1' out"):
        load_network(f"{name}:build", weights="V1")


# --- devices ---


@pytest.mark.parametrize(
    ("cuda", "mps", "found"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu"), (True, False, "cuda")],
)
def test_auto_device(monkeypatch, cuda, mps, found):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert find_device("auto") == torch.device(found)
    assert find_device("cpu") == torch.device("cpu")
    if cuda:
        assert find_device("cuda:0") == torch.device("cuda:0")
        with pytest.raises(ModelError, match="device 'cuda:1' is not available: choose auto, cuda"):
            find_device("cuda:1")


@pytest.mark.parametrize("spec", ["cuda", "mps", "tpu", "meta", "", "gpu"])
def test_device_that_is_not_there(monkeypatch, spec):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ModelError, match=rf"device '{spec}' is not available: choose auto, cpu$"):
        load_network("demo", device=spec)


# --- targets ---

NAMES = ("tench, Tinca tinca", "tabby cat", "tiger cat", "crane", "Crane", "zebra")
SCORES = torch.tensor([0.1, 0.5, 0.0, 0.1, 0.2, 0.1])


@pytest.mark.parametrize(
    ("spec", "index"),
    [
        ("top1", 1),
        ("prediction", 1),
        ("Prediction", 1),
        ("TOP2", 4),
        ("top3", 0),  # of three equal scores the first
        ("top6", 2),
        ("5", 5),
        (0, 0),
        (" 3 ", 3),
        ("ZEBRA", 5),
        ("tabby cat", 1),
        ("tinca TINCA", 0),
        ("tabby", 1),
        ("tinca", 0),
        ("crane", 3),
        ("Crane", 4),
    ],
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
        (
            "zebar",
            r"no class is called 'zebar'; the nearest are zebra; or give an index, pred",
        ),
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
    with pytest.raises(ModelError, match="needs finite scores"):
        find_target("top1", torch.tensor([0.0, float("nan")]))
    with pytest.raises(ModelError, match="'label' is the class that a data set gives: here there"):
        find_target("label", SCORES)
    with pytest.raises(ModelError, match=r"one example's scores, not shape \(1, 6\)"):
        find_target("top1", SCORES[None])


def test_every_imagenet_name_finds_its_class():
    scores = torch.zeros(1000)
    assert [find_target(name, scores, IMAGENET) for name in IMAGENET] == list(range(1000))
    assert find_target("ZEBRA", scores, IMAGENET) == 340  # 340 and 386 are ImageNet's numbers
    assert find_target("african elephant", scores, IMAGENET) == 386


# --- layers ---


def test_layers_by_name():
    model = models.get_model("squeezenet1_1", weights=None)
    assert resolve_layer(model, "features.3.squeeze") is model.features[3].squeeze
    with pytest.raises(
        ModelError, match=r"SqueezeNet has no layer 'features\.99'; the nearest are feat"
    ):
        resolve_layer(model, "features.99")
    with pytest.raises(ModelError, match=r"'xyzzy'; the first are features, features\.0"):
        resolve_layer(model, "xyzzy")
    with pytest.raises(ModelError, match="no layer ''"):
        resolve_layer(model, "")


@pytest.mark.parametrize(
    ("name", "size", "layer"),
    [
        ("resnet18", 64, "layer4"),
        ("alexnet", 224, "features"),
        ("vgg11", 96, "features"),  # the 7 x 7 pooling behind it is no layer of features
        ("densenet121", 64, "features"),
        ("squeezenet1_0", 64, "features"),
        ("mobilenet_v2", 64, "features"),
        ("mobilenet_v3_small", 64, "features"),
        ("efficientnet_b0", 64, "features"),
        ("mnasnet0_5", 64, "layers"),
        ("shufflenet_v2_x0_5", 64, "conv5"),
        ("regnet_x_400mf", 64, "trunk_output"),
        ("convnext_tiny", 64, "features"),
        ("googlenet", 64, "inception5b"),
        ("inception_v3", 128, "Mixed_7c"),
    ],
)
def test_default_layer_of_torchvisions_networks(name, size, layer):
    config = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **config)
    assert default_layer(model, torch.randn(1, 3, size, size)) == layer


@pytest.mark.parametrize("shape", [(2, 3, 64, 64), (1, 3, 64, 160), (1, 3, 100, 64)])
def test_default_layer_of_other_shapes(shape):
    assert default_layer(models.get_model("resnet18", weights=None), torch.randn(shape)) == "layer4"


@pytest.mark.parametrize("size", [(64, 64), (64, 128)])
def test_default_layer_of_swin_is_where_its_map_is_channels_first(size):
    model = models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=5)
    assert default_layer(model, torch.randn(1, 3, *size)) == "permute"


def test_vit_has_no_feature_map():
    model = models.VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    message = r"ends on outputs of shape \(1, 17, 16\), which are no map of the picture: name a lay"
    with pytest.raises(ModelError, match=message):
        default_layer(model, torch.randn(1, 3, 32, 32))


def conv(inputs, outputs):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


HEAD = (nn.AdaptiveAvgPool2d(1), nn.Flatten())


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        # As many channels as classes, but a layer of parameters reads them.
        (nn.Sequential(conv(3, 8), conv(8, 5), nn.ReLU(), *HEAD, nn.Linear(5, 5)), "1"),
        # The last convolution's map is the classes' scores.
        (nn.Sequential(conv(3, 8), nn.Sequential(conv(8, 5), nn.ReLU()), *HEAD), "0"),
        (nn.Sequential(conv(3, 5), *HEAD), "0"),
        # Neither a ReLU, nor a dropout, nor a pooling, nor a map of one position.
        (
            nn.Sequential(conv(3, 8), nn.ReLU(), nn.Dropout(), nn.MaxPool2d(2), *HEAD[:1])
            + nn.Sequential(conv(8, 8), nn.Flatten(), nn.Linear(8, 5)),
            "0",
        ),
        # The container that ends on the same map.
        (nn.Sequential(nn.Sequential(conv(3, 8), nn.ReLU()), *HEAD, nn.Linear(8, 5)), "0"),
    ],
)
@pytest.mark.parametrize("size", [(16, 16), (12, 40)])
def test_default_layer_by_hand(model, layer, size):
    assert default_layer(model, torch.randn(1, 3, *size)) == layer


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = conv(3, 8), nn.LayerNorm(8), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2)))


def test_default_layer_refuses_a_channels_last_map():
    with pytest.raises(ModelError, match=r"outputs of shape \(1, 16, 16, 8\), which are no map"):
        default_layer(ChannelsLast(), torch.randn(1, 3, 16, 16))


def test_default_layer_without_any_map():
    with pytest.raises(ModelError, match=r"no layer returns a feature map .* name one \(--layer\)"):
        default_layer(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.randn(1, 3, 2, 2))
    with pytest.raises(ModelError, match=r"must be pictures \(N, C, H, W\), not \(3, 4, 4\)"):
        default_layer(nn.Sequential(conv(3, 4)), torch.randn(3, 4, 4))


def test_default_layer_of_torchscript():
    model = nn.Sequential(conv(3, 4), torch.jit.script(conv(4, 4)), *HEAD)
    with pytest.raises(ModelError, match=r"TorchScript hides .* name one \(--layer\)"):
        default_layer(model, torch.randn(1, 3, 8, 8))


class Failing(nn.Module):
    def forward(self, x):
        raise RuntimeError("my own mistake")


@pytest.mark.parametrize("fails", [False, True])
def test_default_layer_leaves_the_model_as_it_was(fails):
    passes = []
    model = nn.Sequential(
        conv(3, 4), nn.BatchNorm2d(4), nn.Dropout(), *HEAD, nn.Linear(4, 2), nn.Identity()
    )
    if fails:
        model[6] = Failing()
    model.train()
    model[2].eval()
    counter = model[0].register_forward_hook(lambda *_: passes.append(torch.is_grad_enabled()))
    flags = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    if fails:
        with pytest.raises(ModelError, match=r"\(RuntimeError: my own mistake\): name a layer"):
            default_layer(model, torch.randn(3, 3, 8, 8))
    else:
        assert default_layer(model, torch.randn(3, 3, 8, 8)) == "1"
    assert passes == [False]
    assert [m.training for m in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    counter.remove()
    assert not any(m._forward_hooks for m in model.modules())


class Stateful(nn.Module):
    """Keeps what layers put out, by hooks that are its own methods, and refers to one in a list."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = conv(3, 4), nn.Linear(4, 2)
        self.aside = [(self.conv,)]
        self.register_buffer("seen", torch.zeros(()))
        self.conv.register_forward_hook(self.keep)
        self.head.register_forward_pre_hook(functools.partial(self.note, "head"))
        self.notes = {}

    def keep(self, _module, _args, output):
        self.kept = output

    def note(self, name, _module, _args):
        self.notes |= {name: len(self.notes)}

    def forward(self, x):
        self.seen += len(x)
        self.aside[0][0](x)
        return self.head(self.kept.mean((2, 3)))


def test_default_layer_of_a_model_that_keeps_state_in_hooks_and_buffers():
    model = Stateful()
    attributes, buffer = dict(vars(model)), model.seen
    assert default_layer(model, torch.randn(1, 3, 8, 8)) == "conv"
    assert vars(model) == attributes
    assert model.seen is buffer
    assert buffer == 0
