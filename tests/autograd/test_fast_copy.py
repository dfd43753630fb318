"""A faster copy computes what the model does; what may not be folded is not; the model stays."""

import copy

import pytest
import torch
import torchvision
from networks import make, seeded
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from unchanged import state_of

from captum_guided_ext.autograd import FastCopy, checked_copy
from captum_guided_ext.errors import ModelError

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def unlike(model):
    """Give batch norms and biases numbers that are nothing in particular."""
    generator = torch.Generator().manual_seed(2)

    def draw(one):
        one.copy_(torch.rand(one.shape, generator=generator) + 0.5)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                for one in (*module.parameters(), *module.buffers()):
                    if one.dim():
                        draw(one)
    return model


class Net(nn.Module):
    """A convolution, a batch norm, and a head; a test says how they are called."""

    def __init__(self, conv=None, norm=None, call=None):
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if norm is None else norm
        self.other = nn.Conv2d(4, 4, 1)
        self.call = call

    def forward(self, x):
        y = self.call(self, x) if self.call else self.norm(self.conv(x))
        return y.relu().flatten(2).mean(2)


def net(*arguments, **named):
    return unlike(seeded(lambda: Net(*arguments, **named)))


# How many batch norms are folded, and layers that are not the model's own: these, and convolutions
# that look at more than one place.
NETWORKS = {
    "resnet18": (20, 20),
    "mobilenet_v2": (52, 52),
    # Its first, and the second of each of 58 layers: others come before their convolution.
    "densenet121": (59, 59 + 58),
    "googlenet": (57, 57),
    "regnet_x_400mf": (71, 71),
    "vgg11": (0, 8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_torchvision_s_networks(name):
    folded, own = NETWORKS[name]
    further = {"init_weights": False} if name == "googlenet" else {}
    model = unlike(seeded(lambda: torchvision.models.get_model(name, weights=None, **further)))
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before = state_of(model, x)
    made = FastCopy(model, (x,))
    output = made.run((x,))
    check, exact = made.check((x,), None, output)
    with torch.no_grad():
        expected = model(x)
    assert torch.equal(exact, expected)
    assert check.folded == made.folded == folded
    assert made.channels_last
    largest = (output - expected).abs().max() / expected.abs().max()
    assert check.disagreement == pytest.approx(float(largest))
    assert 0 < check.disagreement < 1e-5
    assert same(before, state_of(model, x))
    # All others are the very same parameters.
    ours = dict(made.model.named_parameters())
    others = [name for name, one in model.named_parameters() if ours[name] is not one]
    assert len({name.rpartition(".")[0] for name in others}) == own
    assert all(one.data_ptr() != dict(model.named_parameters())[n].data_ptr()
               for n, one in ours.items() if n in others)  # fmt: skip


def same(before, after):
    assert before.keys() == after.keys()
    return all(
        torch.equal(one, after[name]) if isinstance(one, torch.Tensor) else one == after[name]
        for name, one in before.items()
    )


def tied():
    model = net(call=lambda m, x: m.norm(m.conv(x)) + m.twin(x))
    model.twin = nn.Conv2d(3, 4, 3)
    model.twin.weight = model.conv.weight
    return model.eval()


def linear():
    return unlike(seeded(lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))))


def checkpointed(model, x):
    return checkpoint(lambda y: model.norm(model.conv(y)), x, use_reentrant=False)


def viewed(model, x):
    return model.norm(model.conv(x)).view(len(x), -1)[:, None]


FOLDED = {
    "as they are": (net, X),
    "without a bias": (lambda: net(nn.Conv2d(3, 4, 3, bias=False)), X),
    "in groups": (lambda: net(nn.Conv2d(3, 6, 3, groups=3), nn.BatchNorm2d(6)), X),
    "without an affine part": (lambda: net(norm=nn.BatchNorm2d(4, affine=False)), X),
    "frozen": (lambda: net().requires_grad_(requires_grad=False), X),
    "double": (lambda: net().double(), X.double()),
    "padded": (lambda: net(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect")), X),
    "in three dimensions": (
        lambda: net(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4)),
        torch.stack([X] * 4, dim=2),
    ),
    "in one": (lambda: net(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4)), X[..., 0]),
    "linear": (linear, X[:, 0, 0]),
    "tied to another convolution": (tied, X),
    "in a DataParallel": (lambda: nn.DataParallel(net()).eval(), X),
    "checkpointed": (lambda: net(call=checkpointed), X),
    "with a view of one layout": (lambda: net(call=viewed), X),
}


@pytest.mark.parametrize(("build", "x"), FOLDED.values(), ids=FOLDED)
def test_what_is_folded(build, x):
    model = build()
    before = state_of(model, x)
    made = checked_copy(model, (x,))
    assert made.folded == 1
    assert made.channels_last == (
        x.dim() == 4 and build is not FOLDED["with a view of one layout"][0]
    )
    exact = model(x).detach()
    torch.testing.assert_close(made.run((x,)), exact, rtol=1e-5, atol=1e-5)
    assert same(before, state_of(model, x))
    theirs = dict(model.named_parameters(remove_duplicate=False))
    ours = made.model.named_parameters(remove_duplicate=False)
    changed = {n for n, one in ours if n not in theirs or not torch.equal(one, theirs[n])}
    assert {name.rpartition(".")[2] for name in changed} == {"weight", "bias"}
    assert len(changed) == 2


def test_a_gradient_is_the_model_s_and_laid_out_as_the_input_is():
    model = net()

    def gradient(of):
        x = X.clone().requires_grad_()
        return torch.autograd.grad(of(x)[:, 1].sum(), x)[0]

    found = gradient(checked_copy(model, (X,)).model)
    torch.testing.assert_close(found, gradient(model), rtol=1e-5, atol=1e-6)
    assert found.is_contiguous()


class Mine(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


def beside(branch):
    """Normalise what the convolution returns, and add what a branch makes of it."""

    def call(model, x):
        y = model.conv(x)
        return model.norm(y) + branch(model, y)

    return call


def weight_normed(norm):
    return norm(nn.Conv2d(3, 4, 3))


def replaced():
    model = net()
    model.conv.forward = lambda x, run=model.conv.forward: run(x).square()
    return model


def hooked(part, register, hook):
    model = net()
    getattr(getattr(model, part), register)(hook)
    return model


def training():
    model = net()
    model.norm.train()
    return model


NOT_FOLDED = {
    "a convolution that another branch uses": lambda: net(call=beside(lambda m, y: m.other(y))),
    "one that is added to its batch norm": lambda: net(call=beside(lambda m, y: y)),
    "one that is used detached": lambda: net(call=beside(lambda m, y: y.detach())),
    "one that is used without a graph": lambda: net(call=without_a_graph),
    "one that is written to": lambda: net(call=lambda m, x: m.norm(m.conv(x).mul_(2))),
    "one that is called twice": lambda: net(
        call=lambda m, x: m.norm(m.conv(x)) + m.conv(x).square()
    ),
    "a batch norm of two convolutions": lambda: net(
        call=lambda m, x: m.norm(m.conv(x)) + m.norm(m.other(m.conv(x)))
    ),
    "one that normalises twice": lambda: net(call=lambda m, x: m.norm(m.norm(m.conv(x)))),
    "an activation between": lambda: net(call=lambda m, x: m.norm(m.conv(x).relu())),
    "a batch norm in training mode": training,
    "one without running statistics": lambda: net(
        norm=nn.BatchNorm2d(4, track_running_stats=False)
    ),
    "a transposed convolution": lambda: net(nn.ConvTranspose2d(3, 4, 3)),
    "a class of one's own": lambda: net(Mine(3, 4, 3)),
    "a forward that was replaced": replaced,
    "a parametrized weight": lambda: net(weight_normed(parametrizations.weight_norm)),
    "a weight computed on each call": lambda: net(weight_normed(parametrizations.spectral_norm)),
    "a hook on the convolution": lambda: hooked(
        "conv", "register_forward_hook", lambda m, a, o: o.square()
    ),
    "a hook on the batch norm": lambda: hooked(
        "norm", "register_forward_pre_hook", lambda m, a: (a[0] * 3,)
    ),
    "a script": lambda: torch.jit.script(
        unlike(seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))))
    ),
}


def without_a_graph(model, x):
    y = model.conv(x)
    with torch.no_grad():
        scale = y.mean()
    return model.norm(y) * scale


@pytest.mark.parametrize("build", NOT_FOLDED.values(), ids=NOT_FOLDED)
@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
def test_what_is_not_folded(build):
    model = build()
    reference = copy.deepcopy(model)
    made = checked_copy(model, (X,))
    assert made.folded == 0
    exact = reference(X).detach()
    torch.testing.assert_close(made.run((X,)), exact, rtol=1e-5, atol=1e-5)
    ours = dict(made.model.named_parameters())
    assert all(torch.equal(ours[name], one) for name, one in model.named_parameters())


def test_a_linear_layer_of_sequences_is_not_folded():
    # (N, L, F): the batch norm is over L, and the weight's rows are F.
    model = unlike(seeded(lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))))
    x = torch.randn(2, 4, 5)
    assert checked_copy(model, (x,)).folded == 0


@pytest.mark.parametrize(("keep", "folded"), [("conv", 0), ("norm", 1), ("inside", 0)])
def test_what_has_to_keep_its_output(keep, folded):
    model = net(nn.Conv2d(3, 4, 3), call=lambda m, x: m.norm(m.inside(x)))
    model.inside = nn.Sequential(model.conv)
    kept = getattr(model, keep)
    made = checked_copy(model, (X,), keep=[kept])
    assert made.folded == folded
    outputs = {}
    for name, one in (("copy", made.memo[id(kept)]), ("model", kept)):
        one.register_forward_hook(lambda m, a, o, name=name: outputs.update({name: o.detach()}))
    made.run((X,)), model(X)
    torch.testing.assert_close(outputs["copy"], outputs["model"], rtol=1e-5, atol=1e-5)


def test_memory_that_is_used_again_is_not_taken_for_what_was_kept():
    stages = [
        [nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)] for _ in range(8)
    ]
    model = unlike(seeded(lambda: nn.Sequential(*[one for stage in stages for one in stage])))
    made = checked_copy(model, (X,), keep=[model[1], model[2]])
    assert made.folded == 8


def test_buffers_are_the_copy_s_own():
    model = net()
    model.norm.train()
    before = state_of(model)
    made = FastCopy(model, (X,))
    made.run((X,))
    assert same(before, state_of(model))


def test_kernels_have_the_layout_of_the_pictures():
    model = net(nn.Conv2d(3, 4, 3, padding=1), call=lambda m, x: m.twin(x) + m.other(m.conv(x)))
    model.twin = nn.Conv2d(3, 4, 3, padding=1)
    model.twin.weight = model.conv.weight
    model.conv.weight.requires_grad_(requires_grad=False)
    made = checked_copy(model, (X,)).model
    assert made.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not model.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(made.conv.weight, model.conv.weight)
    assert made.twin.weight is made.conv.weight  # once
    assert not made.conv.weight.requires_grad
    assert made.other.weight is model.other.weight  # 1 x 1
    assert made.conv.bias is model.conv.bias


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_left_as_it_is(dtype):
    model, x = net().to(dtype), X.to(dtype)
    made = checked_copy(model, (x,))
    assert (made.folded, made.channels_last) == (0, False)
    assert torch.equal(made.run((x,)), model(x))


class Reading(Net):
    """Reads the weight of its convolution beside calling it, which no fold can respect."""

    def forward(self, x):
        return super().forward(x) + self.conv.weight.sum()


class Altered(Net):
    def __deepcopy__(self, memo):
        twin = Net()
        twin.load_state_dict(self.state_dict())
        with torch.no_grad():
            twin.conv.weight *= 1.01
        return twin.eval()


@pytest.mark.parametrize("kind", [Reading, Altered])
def test_a_copy_that_returns_something_else_is_an_error(kind):
    model = unlike(seeded(kind))
    with pytest.raises(ModelError, match=f"with fast=True, {kind.__name__} returns something else"):
        checked_copy(model, (X,))


def test_the_tolerance_is_a_part_of_the_largest_output():
    model = net()
    made = FastCopy(model, (X,))
    exact = model(X).detach()
    step = torch.zeros_like(exact)
    step[1, 2] = exact.abs().max()
    assert made.check((X,), None, exact)[0].disagreement == 0
    check, _ = made.check((X,), None, exact + 0.9e-4 * step)
    assert check.disagreement == pytest.approx(0.9e-4, rel=0.01)
    with pytest.raises(ModelError, match=r"1\.1e-04 of its largest value apart, and 0\.0001 is"):
        made.check((X,), None, exact - 1.1e-4 * step)


def test_outputs_that_are_zero():
    model = net(call=lambda m, x: m.norm(m.conv(x)) * 0)
    made = FastCopy(model, (X,))
    assert made.check((X,), None, torch.zeros(2, 4))[0].disagreement == 0
    with pytest.raises(ModelError, match="inf of its largest value apart"):
        made.check((X,), None, torch.full((2, 4), 1e-30))


def test_dropout_is_named():
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 3)))
    model.train()
    with pytest.raises(ModelError, match="something else each time"):
        checked_copy(model, (X,))


class Uncopied(Net):
    def __deepcopy__(self, memo):
        raise RuntimeError("holds a file")


class Itself(Net):
    def __deepcopy__(self, memo):
        return self


class Once(Net):
    def __deepcopy__(self, memo):
        twin = Net()
        twin.conv = None
        return twin


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: lambda x: x, "the model is a function: give the nn.Module itself"),
        (lambda: net().forward, "the model is a method"),
        (lambda: seeded(Uncopied), r"Uncopied cannot be copied \(RuntimeError: holds a file\)"),
        (lambda: seeded(Itself), "a deep copy of Itself is the network itself"),
        (lambda: seeded(Once), r"a copy of Once does not run \(TypeError"),
    ],
)
def test_what_cannot_be_copied(build, message):
    with pytest.raises(ModelError, match=message):
        FastCopy(build(), (X,))


def test_further_arguments_and_inputs_without_pictures():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(5, 3), nn.BatchNorm1d(3)

        def forward(self, x, other, factor):
            return self.norm(self.layer(x) * 1) + factor * other

    model, x = make(Two, (2, 5))
    made = checked_copy(model, (x, torch.ones(2, 3)), 2.0)
    assert not made.channels_last
    assert made.folded == 0
    assert str(made.check((x, torch.ones(2, 3)), 2.0, model(x, 1, 2.0))[0]).startswith(
        "fast arithmetic (0 batch norms folded): the network's outputs are within"
    )
