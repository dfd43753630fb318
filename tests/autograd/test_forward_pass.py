"""One forward pass, many backward passes: exact counts, reports, shares, and the extension."""

import contextlib
import warnings

import captum.attr
import pytest
import torch
from reference import reference_gradient
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint
from torchvision import models

from captum_guided_ext import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    Deconvolution,
    ForwardPass,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
    RectifierReport,
    rectifiers,
)
from captum_guided_ext.attr import LAYER_METHODS, METHODS, named_maps


class Net(nn.Module):
    def __init__(self, act=F.relu):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 6, 3)
        self.last = nn.Linear(6, 4)
        self.act = act

    def forward(self, x):
        x = self.act(self.second(self.act(self.first(x))))
        return self.last(x.mean((2, 3)))


class Scriptable(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 40), nn.ReLU(), nn.Linear(40, 30), nn.ReLU())
        self.last = nn.Linear(30, 3)

    def forward(self, x):
        return self.last(self.layers(x))


def make(build=Net, shape=(2, 3, 9, 9)):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build().eval(), torch.randn(shape)


class Passes:
    """Counts the passes in both directions, and how far down the backward ones went."""

    def __init__(self):
        self.forward, self.full, self.partial = 0, 0, 0

    def __iter__(self):
        return iter((self.forward, self.full, self.partial))


@pytest.fixture
def counted(monkeypatch):
    """Return a function that makes a model count; backward passes count wherever they run."""
    passes = Passes()
    run = torch.autograd.grad

    def grad(outputs, inputs, *args, **options):
        ends = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        to_leaves = all(end.is_leaf for end in ends)
        passes.full += to_leaves
        passes.partial += not to_leaves
        return run(outputs, inputs, *args, **options)

    def count(model):
        def forward(*args, **options):
            passes.forward += 1
            return original(*args, **options)

        original, model.forward = model.forward, forward
        return passes

    monkeypatch.setattr(torch.autograd, "grad", grad)
    return count


# --- counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda m, x: GuidedBackprop(m).attribute(x, 1), [1, 1, 0]),
        (lambda m, x: Deconvolution(m).attribute(x, 1), [1, 1, 0]),
        (lambda m, x: GuidedGradCam(m, "second").attribute(x, 1), [1, 1, 1]),
        (lambda m, x: NeuronGuidedBackprop(m, "second").attribute(x, (0, 1, 1)), [1, 1, 0]),
        (lambda m, x: NeuronDeconvolution(m, "second").attribute(x, (0, 1, 1)), [1, 1, 0]),
        (rectifiers, [1, 0, 0]),
        (lambda m, x: ForwardPass(m, x).ignored_share(GUIDED, 1), [1, 1, 0]),
        (lambda m, x: ForwardPass(m, x, layer=m.second).layer_gradients(1), [1, 0, 1]),
        (ForwardPass, [1, 0, 0]),
    ],
    ids=[
        "GuidedBackprop", "Deconvolution", "GuidedGradCam", "NeuronGuidedBackprop",
        "NeuronDeconvolution", "rectifiers", "ignored_share", "layer_gradients", "ForwardPass",
    ],
)  # fmt: skip
def test_counts(counted, call, expected):
    model, x = make()
    passes = counted(model)
    call(model, x)
    assert list(passes) == expected


def test_captum_counts(counted):
    """The same counting finds what Captum needs: a forward pass more for guided Grad-CAM."""
    model, x = make(lambda: Net(nn.ReLU()))
    passes = counted(model)
    with captum_warnings():
        captum.attr.GuidedGradCam(model, model.second).attribute(x, 1)
    assert list(passes) == [2, 1, 1]
    with captum_warnings():
        captum.attr.GuidedBackprop(model).attribute(x, 1)
        captum.attr.Deconvolution(model).attribute(x, 1)
        captum.attr.Saliency(model).attribute(x, 1)
    assert list(passes) == [5, 4, 1]


@contextlib.contextmanager
def captum_warnings():
    """Let Captum give the warnings it gives on every call, and no others."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting backward hooks on ReLU", UserWarning)
        warnings.filterwarnings("ignore", r"Input Tensor \d did not already", UserWarning)
        yield


def test_all_six_methods_cost_one_forward_pass_and_three_backward_passes(counted):
    model, x = make()
    passes = counted(model)
    maps, errors = named_maps(ForwardPass(model, x, layer=model.second), 1)
    assert list(maps) == list(METHODS)
    assert errors == {}
    assert list(passes) == [1, 3, 1]


@pytest.mark.parametrize(
    ("methods", "full", "partial"),
    [
        (["gradient", "input_x_gradient"], 1, 0),
        (["guided_backprop"], 1, 0),
        (["deconvolution", "guided_backprop"], 2, 0),
        (["grad_cam"], 0, 1),
        (["guided_grad_cam"], 1, 1),
        (["guided_grad_cam", "guided_backprop", "grad_cam"], 1, 1),
        ([], 0, 0),
    ],
    ids=str,
)
def test_methods_share_their_backward_passes(counted, methods, full, partial):
    model, x = make()
    passes = counted(model)
    maps, _ = named_maps(ForwardPass(model, x, layer=model.second), 1, methods)
    assert list(maps) == methods
    assert list(passes) == [1, full, partial]


def test_the_six_methods_are_the_six_classes():
    model, x = make(lambda: Net(nn.ReLU()))
    mode = "bilinear"
    maps, _ = named_maps(ForwardPass(model, x, layer=model.second), 1, interpolate_mode=mode)
    with captum_warnings():
        expected = {
            "gradient": captum.attr.Saliency(model).attribute(x, 1, abs=False),
            "input_x_gradient": captum.attr.InputXGradient(model).attribute(x, 1),
            "deconvolution": captum.attr.Deconvolution(model).attribute(x, 1),
            "guided_backprop": captum.attr.GuidedBackprop(model).attribute(x, 1),
            "grad_cam": captum.attr.LayerAttribution.interpolate(
                captum.attr.LayerGradCam(model, model.second).attribute(
                    x, 1, relu_attributions=True
                ),
                (9, 9),
                mode,
            ),
            "guided_grad_cam": captum.attr.GuidedGradCam(model, model.second).attribute(
                x, 1, interpolate_mode=mode
            ),
        }
    assert maps.keys() == expected.keys()
    assert set(LAYER_METHODS) < set(METHODS)
    for name, wanted in expected.items():
        assert wanted.any()
        assert torch.equal(maps[name], wanted)


def test_methods_that_do_not_apply_are_named_with_their_errors():
    model, x = make(lambda: Net(F.silu))
    maps, errors = named_maps(ForwardPass(model, x, layer=model.second), 0)
    assert list(maps) == ["gradient", "input_x_gradient", "grad_cam"]
    assert list(errors) == ["deconvolution", "guided_backprop", "guided_grad_cam"]
    assert all("SiLU" in str(error) for error in errors.values())


class Outer(nn.Module):
    """Counts its runs around an inner part."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.outer = nn.Linear(3, 3)
        self.runs = []

    def forward(self, x):
        self.runs.append(1)
        return self.outer(self.inner(x))


def scripted(part, x):
    return torch.jit.script(part)


def traced(part, x):
    return torch.jit.trace(part, x)


def compiled(part, x):
    return torch.compile(part, backend="aot_eager")


def compiled_in_a_closure(part, x):
    function = torch.compile(part, backend="aot_eager")

    class Hiding(nn.Module):
        def forward(self, x):
            return function(x)

    return Hiding()


@pytest.mark.parametrize(
    ("wrap", "runs"),
    [(scripted, 1), (traced, 1), (compiled, 1), (compiled_in_a_closure, 2)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_parts_that_hide_their_rectifiers(counted, wrap, runs):
    if wrap is compiled_in_a_closure and not hasattr(torch.compiler, "set_stance"):
        pytest.skip("this torch cannot open it")
    inner, x = make(Scriptable, (4, 5))
    eager = Outer(inner)
    expected = reference_gradient(eager, x, "guided", 1)
    torch._dynamo.reset()
    wrapped = Outer(wrap(inner, x))
    wrapped.outer = eager.outer
    for _ in range(3):  # from the second call on, a script's graph is one opaque node
        wrapped(x.clone().requires_grad_())
    wrapped.runs.clear()
    passes = counted(wrapped.outer)
    before = passes.full
    assert torch.equal(GuidedBackprop(wrapped).attribute(x, 1), expected)
    assert len(wrapped.runs) == passes.forward == runs
    assert passes.full == before + 1
    torch._dynamo.reset()


def test_a_compiled_network_is_unwrapped_and_run_once(counted):
    model, x = make(Scriptable, (4, 5))
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    compiled(x.clone().requires_grad_())
    passes = counted(model)
    got = GuidedBackprop(compiled).attribute(x, 1)
    assert list(passes) == [1, 1, 0]
    assert torch.equal(got, reference_gradient(model, x, "guided", 1))
    torch._dynamo.reset()


def test_an_in_place_relu_on_a_view_costs_a_second_run(counted):
    def in_part(x):
        x = x * 1
        x[:, :3].relu_()
        return F.relu(x)

    model, x = make(lambda: Net(in_part))
    passes = counted(model)
    got = GuidedBackprop(model).attribute(x, 1)
    assert list(passes) == [2, 1, 0]
    assert torch.equal(got, reference_gradient(model, x, "guided", 1))


def test_a_checkpointed_network_runs_once_and_once_more_in_the_backward_pass():
    model, x = make()
    forwards = []
    model.first.register_forward_hook(lambda *_: forwards.append(1))
    got = GuidedBackprop(lambda x: checkpoint(model, x, use_reentrant=False)).attribute(x, 1)
    assert len(forwards) == 2
    assert torch.equal(got, reference_gradient(model, x, "guided", 1))


def test_why_a_map_is_zero_costs_backward_passes_only_then(counted):
    model, x = make()
    nn.init.constant_(model.last.weight, -1.0)
    passes = counted(model)
    with pytest.warns(UserWarning, match="a gradient reached 1 of 2 rectifiers, .* negative"):
        GuidedBackprop(model).attribute(x, 1)
    assert passes.forward == 1
    assert passes.full <= 3


# --- several answers of one forward pass -------------------------------------------------------


@pytest.mark.parametrize("rule", [GRADIENT, DECONVNET, GUIDED], ids=lambda rule: rule.name)
def test_two_targets_of_one_forward_pass_are_those_of_two(rule):
    model, x = make()
    forward_pass = ForwardPass(model, x)
    for target in (1, 2, [0, 3], 1):
        (got,) = forward_pass.input_gradients(rule, target)
        assert torch.equal(got, reference_gradient(model, x, rule.name, target))
        assert torch.equal(got, ForwardPass(model, x).input_gradients(rule, target)[0])


def test_rules_of_one_forward_pass_do_not_disturb_each_other():
    model, x = make()
    forward_pass = ForwardPass(model, x, layer=model.second)
    layer = forward_pass.layer_gradients(1)
    for rule in (GUIDED, GRADIENT, DECONVNET, GRADIENT, GUIDED):
        forward_pass.ignored_share(rule, 1)
        (got,) = forward_pass.input_gradients(rule, 1)
        assert torch.equal(got, reference_gradient(model, x, rule.name, 1))
        for one, wanted in zip(forward_pass.layer_gradients(1), layer, strict=True):
            assert torch.equal(one, wanted)


def test_the_output_is_the_models():
    model, x = make()
    forward_pass = ForwardPass(model, x)
    assert torch.equal(forward_pass.output, model(x))
    assert forward_pass.output.grad_fn is not None
    assert forward_pass.inputs[0] is x


def test_the_layers_gradient_and_activation_are_autograds():
    model, x = make()
    gradient, activation = ForwardPass(model, x, layer=model.second).layer_gradients(2)
    below = model.second(F.relu(model.first(x))).detach().requires_grad_()
    score = model.last(F.relu(below).mean((2, 3)))[:, 2].sum()
    assert torch.equal(activation, below)
    assert torch.equal(gradient, torch.autograd.grad(score, below)[0])
    assert not activation.requires_grad
    at_input = ForwardPass(model, x, layer=model.second, at_layer_input=True)
    assert torch.equal(at_input.layer_gradients(2)[1], F.relu(model.first(x)))


def test_what_an_in_place_relu_behind_the_layer_overwrites_is_kept():
    model, x = make(lambda: Net(nn.ReLU(inplace=True)))
    _, activation = ForwardPass(model, x, layer=model.second).layer_gradients(2)
    assert (activation < 0).any()


# --- what is on the path ----------------------------------------------------------------------


def report(name, size=64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.get_model(name, weights=None).eval()
        return rectifiers(model, torch.randn(1, 3, size, size))


# Counted in the papers and in torchvision's definitions of the networks
def test_rectifiers_of_resnet18():
    # one behind the first convolution, two in each of the 8 blocks
    assert report("resnet18") == RectifierReport(overridden={"ReLU": 17})


def test_rectifiers_of_mobilenet_v2():
    # one in the first layer, one in the first block, two in the other 16, one in the last layer
    found = report("mobilenet_v2")
    assert found == RectifierReport(overridden={"ReLU6": 35})
    assert str(found) == "overridden: 35 ReLU6"


def test_rectifiers_of_mobilenet_v3_small():
    # Howard et al. 2019, table 2. RE: the first block has one, the next two have two each (they
    # expand), and 9 of 11 blocks squeeze and excite, with a ReLU and a hard sigmoid each.
    # HS: the stem, two in each of the other 8 blocks, the last convolution and the classifier.
    found = report("mobilenet_v3_small")
    assert found.overridden == {"ReLU": 1 + 2 * 2 + 9}
    assert found.left_alone == {"Hardswish": 1 + 2 * 8 + 2, "Hardsigmoid": 9}
    assert found.opaque == {}
    assert str(found).startswith("overridden: 14 ReLU; left alone: ")


def test_rectifiers_of_convnext():
    # 3 + 3 + 9 + 3 blocks with a GELU each
    found = report("convnext_tiny")
    assert found == RectifierReport(left_alone={"GELU": 18})
    assert str(found) == "overridden: nothing; left alone: 18 GELU"


def test_rectifiers_off_the_path_do_not_count():
    model, x = make()
    found = rectifiers(lambda x: model(x) + F.relu(model.last.bias) + F.gelu(x.detach()).sum(), x)
    assert found == RectifierReport(overridden={"ReLU": 2})


def test_rectifiers_tells_what_is_opaque():
    model, x = make()
    found = rectifiers(lambda x: checkpoint(model, x, use_reentrant=True), x)
    assert found.overridden == {}
    assert list(found.opaque) == ["a reentrant checkpoint (use checkpoint(use_reentrant=False))"]
    assert str(found).startswith("overridden: nothing; opaque: 1 a reentrant checkpoint")


def test_rectifiers_counts_calls_and_not_modules():
    relu = nn.ReLU()
    found = rectifiers(lambda x: relu(relu(relu(x) - 1)).clamp(0, 6), torch.ones(2, 2))
    assert found.overridden["ReLU"] == 3
    assert sum(found.overridden.values()) == 4


# --- how much negative evidence a rule ignores -------------------------------------------------


def test_ignored_share_by_hand():
    # h = x = (1, 2, -1), relu(h) = (1, 2, 0), the score is (1, -1) . relu(k), and
    #
    #   k = [ 3 -1  5] relu(h) = (3 - 2, -1 + 4) = (1, 3), both gates open
    #       [-1  2 -3]
    #
    # At k the gates let (1, -1) pass. gradient sends it on; guided and deconvnet clip it to (1, 0).
    #   gradient   at h arrives (3, -1, 5) - (-1, 2, -3) = (4, -3, 8), the gates let (4, -3, 0)
    #              pass. In all 1 + 3 of 2 + 7 is negative: 4 / 9
    #   guided     at h arrives (3, -1, 5), the gates let (3, -1, 0) pass: 1 + 1 of 2 + 4: 1 / 3
    #   deconvnet  the same arrives, and what the gates would let pass is what counts: 1 / 3
    second = nn.Linear(3, 2, bias=False)
    second.weight = nn.Parameter(torch.tensor([[3.0, -1.0, 5.0], [-1.0, 2.0, -3.0]]))
    last = torch.tensor([1.0, -1.0])
    x = torch.tensor([[1.0, 2.0, -1.0]])
    forward_pass = ForwardPass(lambda x: F.relu(second(F.relu(x))) @ last, x)
    assert forward_pass.ignored_share(GRADIENT) == pytest.approx(4 / 9)
    assert forward_pass.ignored_share(GUIDED) == pytest.approx(1 / 3)
    assert forward_pass.ignored_share(DECONVNET) == pytest.approx(1 / 3)


def test_ignored_share_of_nothing_and_of_everything():
    ones = torch.ones(1, 2)
    assert ForwardPass(lambda x: F.relu(x).sum(1), ones).ignored_share(GUIDED) == 0
    assert ForwardPass(lambda x: -F.relu(x).sum(1), ones).ignored_share(GUIDED) == 1
    assert ForwardPass(lambda x: F.relu(x).sum(1), -ones).ignored_share(GUIDED) == 0


class _Watched(torch.autograd.Function):
    """A ReLU under a rule, which adds what its gate lets pass to a list."""

    @staticmethod
    def forward(ctx, x, rule, seen):
        ctx.save_for_backward(x > 0)
        ctx.rule, ctx.seen = rule, seen
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, g):
        (gate,) = ctx.saved_tensors
        ctx.seen.append((g * gate).double())
        if ctx.rule == "gradient":
            g = g * gate
        else:
            g = g.clamp(min=0) * (gate if ctx.rule == "guided" else 1)
        return g, None, None


@pytest.mark.parametrize("rule", [GRADIENT, DECONVNET, GUIDED], ids=lambda rule: rule.name)
@pytest.mark.parametrize("target", [0, 1, [2, 3]], ids=str)
def test_ignored_share_of_a_network(rule, target):
    seen = []
    model, x = make()
    watched, _ = make(lambda: Net(lambda x: _Watched.apply(x, rule.name, seen)))
    leaf = x.clone().requires_grad_()
    scores = watched(leaf)[torch.arange(2), torch.tensor(target).expand(2)]
    torch.autograd.grad(scores.sum(), leaf)
    magnitude = sum(passed.abs().sum() for passed in seen)
    negative = -sum(passed.clamp(max=0).sum() for passed in seen)
    share = ForwardPass(model, x).ignored_share(rule, target)
    assert 0 < share < 1
    assert share == pytest.approx((negative / magnitude).item(), rel=1e-6)


# --- the extension to other activations ---------------------------------------------------------


class _Extended(torch.autograd.Function):
    """The extension as it is stated: max(g, 0) * f'(x) where x > 0, and for DeconvNet max(g, 0)."""

    @staticmethod
    def forward(ctx, x, f, rule):
        ctx.save_for_backward(x)
        ctx.f, ctx.rule = f, rule
        return f(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        g = g.clamp(min=0)
        if ctx.rule == "guided":
            with torch.enable_grad():
                leaf = x.detach().clone().requires_grad_()
                (slope,) = torch.autograd.grad(ctx.f(leaf).sum(), leaf)
            g = g * slope * (x > 0)
        return g, None, None


ACTIVATIONS = {
    "GELU": F.gelu,
    "GELU(tanh)": lambda x: F.gelu(x, approximate="tanh"),
    "SiLU": F.silu,
    "ELU": F.elu,
    "ELU(2.5)": lambda x: F.elu(x, 2.5),
    "SELU": F.selu,
    "CELU": F.celu,
    "LeakyReLU": F.leaky_relu,
    "LeakyReLU(0.3)": lambda x: F.leaky_relu(x, 0.3),
    "PReLU": lambda x: F.prelu(x, torch.tensor([0.4])),
    "Hardswish": F.hardswish,
    "Hardsigmoid": F.hardsigmoid,
    "Softplus": F.softplus,
    "Mish": F.mish,
    "Sigmoid": torch.sigmoid,
    "LogSigmoid": F.logsigmoid,
    "Tanh": torch.tanh,
    "Hardtanh": F.hardtanh,
    "Softshrink": lambda x: F.softshrink(x, 0.1),
    "Hardshrink": lambda x: F.hardshrink(x, 0.1),
}
IN_PLACE = {
    "ELU in place": (F.elu, lambda x: F.elu(x, inplace=True)),
    "SiLU in place": (F.silu, lambda x: F.silu(x, inplace=True)),
    "LeakyReLU in place": (F.leaky_relu, lambda x: F.leaky_relu(x, inplace=True)),
    "Sigmoid in place": (torch.sigmoid, lambda x: x.sigmoid_()),
    "Tanh in place": (torch.tanh, lambda x: x.tanh_()),
    "Hardswish in place": (F.hardswish, lambda x: F.hardswish(x, inplace=True)),
    "Mish in place": (F.mish, lambda x: F.mish(x, inplace=True)),
}
CASES = {name: (f, f) for name, f in ACTIVATIONS.items()} | IN_PLACE


@pytest.mark.parametrize("wrap", ["plain", "checkpoint"])
@pytest.mark.parametrize("rule", ["guided", "deconvolution"])
@pytest.mark.parametrize("name", CASES)
def test_the_extension(name, rule, wrap):
    f, written = CASES[name]
    method = {"guided": GuidedBackprop, "deconvolution": Deconvolution}[rule]

    def network(act):
        return lambda: Net(lambda x: act(x * 3))  # wide enough for slopes to differ

    model, x = make(network(written))
    slow, _ = make(network(lambda x: _Extended.apply(x, f, rule)))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(slow(leaf)[:, 2].sum(), leaf)
    assert expected.any()
    if wrap == "checkpoint":
        eager = model

        def model(x):
            return checkpoint(eager, x, use_reentrant=False)

    got = method(model, extend_to_activations=True).attribute(x, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    (gradient,) = torch.autograd.grad(model(leaf)[:, 2].sum(), leaf)
    assert not torch.allclose(got, gradient, rtol=1e-3, atol=1e-7)


def test_the_extension_says_nothing_and_leaves_rectifiers_as_they_are():
    model, x = make(lambda: Net(lambda x: F.gelu(F.relu(x) - 0.1)))
    slow, _ = make(lambda: Net(lambda x: _Extended.apply(F.relu(x) - 0.1, F.gelu, "guided")))
    expected = reference_gradient(slow, x, "guided", 2)
    got = GuidedBackprop(model, extend_to_activations=True).attribute(x, 2)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-7)
    with pytest.warns(UserWarning, match="left alone, with their own gradient: 2 GELU"):
        without = GuidedBackprop(model).attribute(x, 2)
    assert not torch.allclose(got, without, rtol=1e-3, atol=1e-7)


def test_the_extension_changes_nothing_where_there_are_rectifiers_only():
    model, x = make()
    for method, rule in ((GuidedBackprop, "guided"), (Deconvolution, "deconvolution")):
        got = method(model, extend_to_activations=True).attribute(x, 2)
        assert torch.equal(got, reference_gradient(model, x, rule, 2))


def test_the_extension_in_the_other_classes():
    model, x = make(lambda: Net(F.silu))
    slow, _ = make(lambda: Net(lambda x: _Extended.apply(x, F.silu, "guided")))
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(slow(leaf)[:, 0].sum(), leaf)
    got = GuidedGradCam(model, "second", extend_to_activations=True).attribute(x, 0)
    with captum_warnings():
        cam = captum.attr.LayerGradCam(model, model.second).attribute(x, 0, relu_attributions=True)
    laid = captum.attr.LayerAttribution.interpolate(cam, (9, 9))
    assert laid.any()
    torch.testing.assert_close(got, expected * laid, rtol=1e-5, atol=1e-9)
    leaf = x.clone().requires_grad_()
    neuron = slow.second(slow.act(slow.first(leaf)))[:, 1, 2, 2]
    (expected,) = torch.autograd.grad(neuron.sum(), leaf)
    method = NeuronGuidedBackprop(model, "second", extend_to_activations=True)
    torch.testing.assert_close(method.attribute(x, (1, 2, 2)), expected, rtol=1e-5, atol=1e-7)
