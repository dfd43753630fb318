"""A faster copy whose outputs are right has the right maps as well, or says that it has none."""

import captum.attr
import pytest
import torch
from networks import seeded
from torch import nn

import captum_guided_ext as cg
from captum_guided_ext.autograd import checked_copy
from captum_guided_ext.errors import ModelError
from captum_guided_ext.metrics import NoisyBaseline, infidelity, sensitivity

X = torch.rand(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """Two convolutions, each with a batch norm of which every second weight is negative."""

    def __init__(self, *, affine=True, channels=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6)
        self.last, self.last_norm = (
            nn.Conv2d(6, channels, 3),
            nn.BatchNorm2d(channels, affine=affine),
        )
        self.head = nn.Identity() if channels == 4 else nn.Linear(channels, 4)
        with torch.no_grad():
            self.norm.running_mean.uniform_(0.3, 1)
            self.norm.weight.uniform_(0.5, 2)[::2] *= -1
            self.norm.bias.fill_(1.0)
            self.last_norm.running_mean.uniform_(-2, -1)
            self.last_norm.running_var.uniform_(0.3, 2)

    def stem(self, x):
        return self.norm(self.conv(x))

    def forward(self, x):
        return self.head(self.last_norm(self.last(self.stem(x).relu())).mean((2, 3)))


def compared(model, **options):
    return [cg.compare(model, X, 0, metrics=(), fast=fast, **options) for fast in (False, True)]


def assert_same_maps(exact, fast):
    assert exact.layer == fast.layer
    for name, one in exact.maps.items():
        assert one.any(), name
        torch.testing.assert_close(fast.maps[name], one, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        Net,  # as many channels as classes: a map of scores, and what comes before is the layer
        lambda: Net(affine=False, channels=8),  # the batch norm holds no parameter
    ],
)
def test_a_convolution_that_is_found_to_be_grad_cam_s_layer_keeps_its_output(build):
    model = seeded(build)
    with torch.no_grad():
        model.last.bias.fill_(1.0)  # so that no Grad-CAM is zero everywhere
        if isinstance(model.head, nn.Linear):
            model.head.weight.abs_()
    exact, fast = compared(model)
    assert exact.layer == "last"
    assert fast.fast.folded == 1
    assert_same_maps(exact, fast)


class WithoutGraph(Net):
    """Blocks the gradient at the batch norm, and has another way for it."""

    def stem(self, x):
        y = self.conv(x)
        with torch.no_grad():
            z = self.norm(y)
        return z * x[:, :1, 1:-1, 1:-1]


class TensorHook(Net):
    def stem(self, x):
        y = self.conv(x)
        if y.requires_grad:
            y.register_hook(lambda gradient: gradient.clamp(min=0))
        return self.norm(y)


class HookedBlock(Net):
    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(self.conv)
        self.block.register_full_backward_hook(lambda _, gi, go: (gi[0] * go[0].abs().sum(),))

    def stem(self, x):
        return self.norm(self.block(x))


@pytest.mark.parametrize("kind", [WithoutGraph, TensorHook, HookedBlock])
def test_who_changes_gradients_in_front_of_a_batch_norm_still_does(kind):
    exact, fast = compared(seeded(kind), methods=["gradient"])
    assert fast.fast.folded == 1
    assert_same_maps(exact, fast)


def test_an_attribution_at_the_input_of_a_batch_norm():
    model = seeded(Net)
    attribution = captum.attr.LayerGradCam(model, model.last_norm)
    exact, fast = (
        sensitivity(
            attribution.attribute, X, target=0, seed=0, attribute_to_layer_input=True, fast=fast
        ).mean
        for fast in (False, True)
    )
    assert exact.any()
    torch.testing.assert_close(fast, exact, rtol=1e-3, atol=1e-6)


class Sharing(Net):
    def __deepcopy__(self, memo):
        twin = type(self)()
        twin.load_state_dict(self.state_dict())
        twin.conv, twin.norm = self.conv, self.norm
        return twin.eval()


def test_a_copy_that_shares_layers_is_refused_before_they_change():
    model = seeded(Sharing)
    expected = model(X)
    with pytest.raises(ModelError, match="a deep copy of Sharing shares its conv, which is not to"):
        checked_copy(model, (X,))
    assert torch.equal(model(X), expected)
    assert "forward" not in vars(model.norm)
    assert not model.conv._forward_hooks


class Skipping(Net):
    """Skips its first batch norm for dark pictures."""

    def stem(self, x):
        y = self.conv(x)
        return self.norm(y) if x.mean() > 0.5 else y


class Crossing(Net):
    """Gives the batch norm another tensor for dark pictures."""

    def stem(self, x):
        y = self.conv(x)
        return self.norm(y if x.mean() > 0.5 else 2 * y)


@pytest.mark.parametrize("kind", [Skipping, Crossing])
def test_inputs_that_go_another_way_are_an_error(kind):
    model = seeded(kind)
    bright = X - X.mean() + 0.5001  # perturbed, it is dark at times
    maps = torch.ones_like(X)
    with pytest.raises(ModelError, match=f"different ways through {kind.__name__}"):
        infidelity(model, NoisyBaseline(), bright, maps, target=0, seed=0, fast=True)
    made = checked_copy(model, (bright,))
    with pytest.raises(ModelError, match="different ways"):
        made.model(bright - 1)
    torch.testing.assert_close(made.model(bright), model(bright))  # and it runs as before


class Remembering(Net):
    def stem(self, x):
        self.seen = [super().stem(x)]
        return self.seen[0]


def test_a_network_that_remembers_an_activation_can_be_copied():
    model = seeded(Remembering)
    model(X)
    assert model.seen[0].grad_fn is not None
    exact, fast = compared(model, methods=["gradient"])
    assert fast.fast.folded == 2
    assert_same_maps(exact, fast)
