"""One forward pass, many backward passes: exact counts, reports and shares."""

import re
from types import SimpleNamespace

import captum.attr
import pytest
import quiet
import reference
import topologies
import torch
from methods import METHODS, NEURON_METHODS, both_rules, captums_cam, each_rule
from networks import Conv, TwoParts, make
from reference import reference_gradient
from topologies import Checkpointed, checkpointed, has_run, on_a_slice, part
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torchvision import models

import captum_guided_ext as cg
from captum_guided_ext import attr


@pytest.fixture
def counted(monkeypatch):
    """Return a function that makes a model count passes: forward, backward, and partly backward.

    Backward passes count wherever they run.
    """
    passes = SimpleNamespace(forward=0, full=0, partial=0)
    run = torch.autograd.grad

    def grad(outputs, inputs, *args, **options):
        ends = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        to_leaves = any(end.is_leaf for end in ends)
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

COUNTS = {
    "GuidedBackprop": (lambda m, x: cg.GuidedBackprop(m).attribute(x, 1), [1, 1, 0]),
    "Deconvolution": (lambda m, x: cg.Deconvolution(m).attribute(x, 1), [1, 1, 0]),
    "GuidedGradCam": (lambda m, x: cg.GuidedGradCam(m, "second").attribute(x, 1), [1, 1, 1]),
    **{
        f"{rule} neuron": (lambda m, x, n=neuron: n(m, "second").attribute(x, (0, 1, 1)), [1, 1, 0])
        for rule, neuron in NEURON_METHODS.items()
    },
    "rectifiers": (cg.rectifiers, [1, 0, 0]),
    "ignored_share": (lambda m, x: cg.ForwardPass(m, x).ignored_share(cg.GUIDED, 1), [1, 1, 0]),
    "layer_gradients": (
        lambda m, x: cg.ForwardPass(m, x, layer=m.second).layer_gradients(1),
        [1, 0, 1],
    ),
    "ForwardPass": (cg.ForwardPass, [1, 0, 0]),
}


@pytest.mark.parametrize(("call", "expected"), COUNTS.values(), ids=COUNTS)
def test_counts(counted, call, expected):
    model, x = make(Conv)
    passes = counted(model)
    call(model, x)
    assert list(vars(passes).values()) == expected


def test_captum_counts(counted):
    """The same counting finds what Captum needs: a forward pass more for guided Grad-CAM."""
    model, x = make(lambda: Conv(nn.ReLU()))
    passes = counted(model)
    with quiet.captum():
        captum.attr.GuidedGradCam(model, model.second).attribute(x, 1)
        assert list(vars(passes).values()) == [2, 1, 1]
        captum.attr.GuidedBackprop(model).attribute(x, 1)
        captum.attr.Deconvolution(model).attribute(x, 1)
        captum.attr.Saliency(model).attribute(x, 1)
    assert list(vars(passes).values()) == [5, 4, 1]


@pytest.mark.parametrize(
    ("methods", "full", "partial"),
    [
        (list(attr.METHODS), 3, 0),  # the layer's gradient is a part of the plain one
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
def test_methods_share_their_forward_and_backward_passes(counted, methods, full, partial):
    model, x = make(Conv)
    passes = counted(model)
    maps, errors = attr.named_maps(cg.ForwardPass(model, x, layer=model.second), 1, methods)
    assert list(maps) == methods
    assert errors == {}
    assert list(vars(passes).values()) == [1, full, partial]


def test_the_six_methods_are_the_six_classes():
    model, x = make(lambda: Conv(nn.ReLU()))
    options = {"interpolate_mode": "bilinear"}
    maps, _ = attr.named_maps(cg.ForwardPass(model, x, layer=model.second), 1, **options)
    ca = captum.attr
    with quiet.captum():
        expected = {
            "gradient": ca.Saliency(model).attribute(x, 1, abs=False),
            "input_x_gradient": ca.InputXGradient(model).attribute(x, 1),
            "deconvolution": ca.Deconvolution(model).attribute(x, 1),
            "guided_backprop": ca.GuidedBackprop(model).attribute(x, 1),
            "grad_cam": captums_cam(model, model.second, x, 1, "bilinear"),
            "guided_grad_cam": ca.GuidedGradCam(model, model.second).attribute(x, 1, **options),
        }
    assert list(maps) == list(expected)
    assert set(attr.LAYER_METHODS) < set(attr.METHODS)
    for name, wanted in expected.items():
        assert wanted.any()
        assert torch.equal(maps[name], wanted)


def test_methods_that_do_not_apply_are_named_with_their_errors():
    model, x = make(lambda: Conv(F.silu))
    maps, errors = attr.named_maps(cg.ForwardPass(model, x, layer=model.second), 0)
    assert list(maps) == ["gradient", "input_x_gradient", "grad_cam"]
    assert list(errors) == ["deconvolution", "guided_backprop", "guided_grad_cam"]
    assert all("SiLU" in str(error) for error in errors.values())


# --- runs of what hides its rectifiers --------------------------------------------------------

HIDING = {
    "compiled as a whole": has_run(topologies.compiled_by_eager),
    "scripted": part("first", topologies.script),
    "traced": part("first", topologies.trace),
    "compiled": part("first", topologies.compiled),
    "a compiled closure": topologies.in_stages(topologies.compiled_function),
}


@pytest.mark.parametrize("name", HIDING)
@pytest.mark.usefixtures("dynamo")
def test_parts_that_hide_their_rectifiers(counted, name):
    wrap = HIDING[name]
    model, x = make(TwoParts)
    expected = reference_gradient(model, x, "guided", 1)
    wrapped = wrap(model, x)
    for _ in range(3):  # from the second call on, a script's graph is one opaque node
        wrapped(x.clone().requires_grad_())
    passes = counted(model.head)
    passes.full = passes.partial = 0  # before, the reference and the compiler ran
    assert torch.equal(cg.GuidedBackprop(wrapped).attribute(x, 1), expected)
    assert list(vars(passes).values()) == [1, 1, 0]


def test_an_in_place_relu_on_a_view_costs_a_second_run(counted):
    model, x = make(lambda: Conv(on_a_slice(torch.relu_)))
    passes = counted(model)
    expected = reference_gradient(model, x, "guided", 1)
    passes.forward = passes.full = passes.partial = 0
    for forwards in (2, 3, 4):  # the first call is remembered
        assert torch.equal(cg.GuidedBackprop(model).attribute(x, 1), expected)
        assert list(vars(passes).values()) == [forwards, forwards - 1, 0]


@both_rules
@pytest.mark.parametrize("whole", [False, True])
def test_a_checkpointed_network_runs_once_and_once_more_in_the_backward_pass(whole, rule):
    model, x = make(TwoParts)
    forwards = []
    model.first[0].register_forward_hook(lambda *_: forwards.append(1))
    METHODS[rule](Checkpointed(model, whole=whole)).attribute(x, 1)
    assert len(forwards) == 2


def test_why_a_map_is_zero_costs_backward_passes_only_then(counted):
    model, x = make(Conv)
    nn.init.constant_(model.last.weight, -1.0)
    passes = counted(model)
    why = "a gradient reached 1 of 2 rectifiers, .* negative"
    with pytest.warns(UserWarning, match=why):
        cg.ForwardPass(model, x).input_gradients(cg.GUIDED, 1, warn_if_zero=True)
    assert (passes.forward, passes.full) == (1, 3)
    with pytest.warns(UserWarning, match=why):
        cg.GuidedBackprop(model).attribute(x, 1)  # which had let the graph go
    assert (passes.forward, passes.full) == (1 + 2, 3 + 3)


# --- several answers of one forward pass -------------------------------------------------------


@each_rule
def test_targets_of_one_forward_pass_are_those_of_several(rule):
    model, x = make(Conv)
    forward_pass = cg.ForwardPass(model, x)
    for target in (1, 2, [0, 3], 1):
        (got,) = forward_pass.input_gradients(rule, target)
        assert torch.equal(got, reference_gradient(model, x, rule, target))
        assert torch.equal(got, cg.ForwardPass(model, x).input_gradients(rule, target)[0])


def test_rules_of_one_forward_pass_do_not_disturb_each_other():
    model, x = make(Conv)
    forward_pass = cg.ForwardPass(model, x, layer=model.second)
    layer = forward_pass.layer_gradients(1)
    for rule in (cg.GUIDED, cg.GRADIENT, cg.DECONVNET, cg.GRADIENT, cg.GUIDED):
        forward_pass.ignored_share(rule, 1)
        (got,) = forward_pass.input_gradients(rule, 1)
        assert torch.equal(got, reference_gradient(model, x, rule.name, 1))
        for one, wanted in zip(forward_pass.layer_gradients(1), layer, strict=True):
            assert torch.equal(one, wanted)


def test_the_output_is_the_models():
    model, x = make(Conv)
    forward_pass = cg.ForwardPass(model, x)
    assert torch.equal(forward_pass.output, model(x))
    assert forward_pass.output.grad_fn is not None
    assert forward_pass.inputs[0] is x


def test_the_layers_gradient_and_activation_are_autograds():
    model, x = make(Conv)
    gradient, activation = cg.ForwardPass(model, x, layer=model.second).layer_gradients(2)
    below = model.second(F.relu(model.first(x))).detach().requires_grad_()
    score = model.last(F.relu(below).mean((2, 3)))[:, 2].sum()
    assert torch.equal(activation, below)
    assert torch.equal(gradient, torch.autograd.grad(score, below)[0])
    assert not activation.requires_grad
    at_input = cg.ForwardPass(model, x, layer=model.second, at_layer_input=True)
    assert torch.equal(at_input.layer_gradients(2)[1], F.relu(model.first(x)))


def test_what_an_in_place_relu_behind_the_layer_overwrites_is_kept():
    model, x = make(lambda: Conv(nn.ReLU(inplace=True)))
    _, activation = cg.ForwardPass(model, x, layer=model.second).layer_gradients(2)
    assert (activation < 0).any()


# --- what is on the path ----------------------------------------------------------------------


# Counted in the papers and in torchvision's definitions of the networks
@pytest.mark.parametrize(
    ("name", "expected", "text"),
    [
        # one behind the first convolution, two in each of the 8 blocks
        ("resnet18", cg.RectifierReport({"ReLU": 17}), "overridden: 17 ReLU"),
        # one in the first layer, one in the first block, two in the other 16, one in the last
        ("mobilenet_v2", cg.RectifierReport({"ReLU6": 35}), "overridden: 35 ReLU6"),
        # Howard et al. 2019, table 2. RE: the first block has one, the next two have two each
        # (they expand), and 9 of 11 blocks squeeze and excite, with a ReLU and a hard sigmoid each.
        # HS: the stem, two in each of the other 8 blocks, the last convolution and the classifier.
        (
            "mobilenet_v3_small",
            cg.RectifierReport(
                {"ReLU": 1 + 2 * 2 + 9}, {"Hardswish": 1 + 2 * 8 + 2, "Hardsigmoid": 9}
            ),
            "overridden: 14 ReLU; left alone: .*",
        ),
        # 3 + 3 + 9 + 3 blocks with a GELU each
        (
            "convnext_tiny",
            cg.RectifierReport(left_alone={"GELU": 18}),
            "overridden: nothing; left alone: 18 GELU",
        ),
    ],
)
def test_rectifiers_of_torchvisions(name, expected, text):
    model, x = make(lambda: models.get_model(name, weights=None), (1, 3, 64, 64))
    found = cg.rectifiers(model, x)
    assert found == expected
    assert re.fullmatch(text, str(found))


def test_a_rectifier_is_called_as_it_was_written():
    def all_of_them(x):
        x = F.relu(x) + F.relu6(x) + F.hardtanh(x, 0, 2) + F.threshold(x, 0, 0)
        return x.clamp(min=0) + x.clamp(0, 2)

    names = ["ReLU", "ReLU6", "Hardtanh(0, 2)", "Threshold(0)", "clamp(min=0)", "clamp(0, 2)"]
    assert cg.rectifiers(all_of_them, torch.randn(2, 3)).overridden == dict.fromkeys(names, 1)


def test_rectifiers_off_the_path_do_not_count():
    model, x = make(Conv)
    found = cg.rectifiers(lambda x: model(x) + F.relu(model.last.bias) + F.gelu(x.data).sum(), x)
    assert found == cg.RectifierReport(overridden={"ReLU": 2})


def test_rectifiers_tells_what_is_opaque():
    model, x = make(Conv)
    found = cg.rectifiers(checkpointed(model, use_reentrant=True), x)
    assert found.overridden == {}
    assert list(found.opaque) == ["a reentrant checkpoint (use checkpoint(use_reentrant=False))"]
    assert str(found).startswith("overridden: nothing; opaque: 1 a reentrant checkpoint")


def test_rectifiers_counts_calls_and_not_modules():
    relu = nn.ReLU()
    found = cg.rectifiers(lambda x: relu(relu(relu(x) - 1)).clamp(0, 6), torch.ones(2, 2))
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
    forward_pass = cg.ForwardPass(lambda x: F.relu(second(F.relu(x))) @ last, x)
    assert forward_pass.ignored_share(cg.GRADIENT) == pytest.approx(4 / 9)
    assert forward_pass.ignored_share(cg.GUIDED) == pytest.approx(1 / 3)
    assert forward_pass.ignored_share(cg.DECONVNET) == pytest.approx(1 / 3)


def test_ignored_share_of_nothing_and_of_everything():
    ones = torch.ones(1, 2)
    assert cg.ForwardPass(lambda x: F.relu(x).sum(1), ones).ignored_share(cg.GUIDED) == 0
    assert cg.ForwardPass(lambda x: -F.relu(x).sum(1), ones).ignored_share(cg.GUIDED) == 1
    assert cg.ForwardPass(lambda x: F.relu(x).sum(1), -ones).ignored_share(cg.GUIDED) == 0


class Watched(torch.autograd.Function):
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
        return reference.RULES[ctx.rule](g, gate), None, None


@each_rule
@pytest.mark.parametrize("target", [0, 1, [2, 3]], ids=str)
def test_ignored_share_of_a_network(rule, target):
    seen = []
    model, x = make(Conv)
    watched, _ = make(lambda: Conv(lambda x: Watched.apply(x, rule, seen)))
    leaf = x.clone().requires_grad_()
    scores = watched(leaf)[torch.arange(2), torch.tensor(target).expand(2)]
    torch.autograd.grad(scores.sum(), leaf)
    magnitude = sum(passed.abs().sum() for passed in seen)
    negative = -sum(passed.clamp(max=0).sum() for passed in seen)
    share = cg.ForwardPass(model, x).ignored_share(rule, target)
    assert 0 < share < 1
    assert share == pytest.approx((negative / magnitude).item(), rel=1e-6)
