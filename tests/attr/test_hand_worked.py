"""Networks small enough for pencil and paper; every expected array is worked out beside it."""

from collections import OrderedDict

import pytest
import torch
from hand_worked import MAPS, SCORES, X, filled, three_layers
from messages import warned
from methods import METHODS, both_rules, each_rule
from places import captums_testing
from torch import nn
from torch.nn import functional as F  # noqa: N812

import captum_guided_ext as cg
from captum_guided_ext.attr import named_maps


def functional():
    layers = three_layers()
    return lambda x: layers.linear3(F.relu(layers.linear2(F.relu(layers.linear1(x)))))


both_networks = pytest.mark.parametrize("network", [three_layers, functional])


@both_networks
def test_the_scores_are_those_above(network):
    assert network()(X).tolist() == SCORES
    assert three_layers().linear1(X).tolist() == [[1.0, 4.0, -1.0], [1.0, -2.0, -1.0]]


@pytest.mark.parametrize("target", [0, 1])
@each_rule
@both_networks
def test_every_rule(network, rule, target):
    (got,) = cg.ForwardPass(network(), X).input_gradients(rule, target)
    assert got.tolist() == MAPS[rule][target]


@both_rules
@both_networks
def test_guided_backprop_and_deconvolution(network, rule):
    method = METHODS[rule](network())
    assert method.attribute(X, target=0).tolist() == MAPS[rule][0]
    assert method.attribute(X[1:], target=1).tolist() == MAPS[rule][1][1:]
    mixed = [MAPS[rule][0][0], MAPS[rule][1][1]]
    assert method.attribute(X, target=[0, 1]).tolist() == mixed
    assert method.attribute((X,), target=torch.tensor([0, 1]))[0].tolist() == mixed


@both_networks
def test_a_guided_map_of_zeros_is_named(network):
    with pytest.warns(
        UserWarning,
        # all that arrives at k is -1 where the gate is open, and 4 where it is shut
        match="in example 0: a gradient reached 1 of 2 rectifiers, .* positive met closed",
    ):
        got = cg.GuidedBackprop(network()).attribute(X, target=1)
    assert got.tolist() == MAPS["guided"][1]


def test_a_rule_without_clip_and_gate_is_the_linear_networks_gradient():
    # W1^T W2^T (2, 3) = W1^T (7, 1, 7) = (2, 1);  W1^T W2^T (-1, 4) = W1^T (13, -6, 2) = (-1, -17)
    linear = cg.BackwardRule("linear", clips_gradient=False, gated_by_input=False)
    forward_pass = cg.ForwardPass(three_layers(), X)
    assert forward_pass.input_gradients(linear, 0)[0].tolist() == [[2.0, 1.0]] * 2
    assert forward_pass.input_gradients(linear, 1)[0].tolist() == [[-1.0, -17.0]] * 2


# The neurons of the first example, x = (2, 1), with h = (1, 4, -1) and k = (7, -1):
#
#   h1  is (2, 1) . x - 1, below every rectifier: its gradient                        = (2,  1)
#   k0  (-1, 2, 2) arrives at h:  deconvnet (0, 2, 2): (0 + 4 - 2, 0 + 2 + 2)         = (2,  4)
#                                 guided    (0, 2, 0): (4, 2)                         = (4,  2)
#   k1  (3, -1, 1) arrives at h:  deconvnet (3, 0, 1): (3 - 1, -3 + 1)                = (2, -2)
#                                 guided    (3, 0, 0): (3, -3)                        = (3, -3)
#   relu(k)0, whose gate is open, as k0
#   relu(k)1, whose gate is shut:  deconvnet as k1, guided nothing
#   relu(h)2, whose gate is shut:  deconvnet (-1, 1), guided nothing
#   k0 + k1:  (2, 1, 3) arrives at h:  deconvnet (2 + 2 - 3, -2 + 1 + 3)              = (1,  2)
#                                      guided (2, 1, 0): (2 + 2, -2 + 1)              = (4, -1)
@pytest.mark.parametrize(
    ("layer", "selector", "at_input", "deconvnet", "guided"),
    [
        ("linear1", 1, False, [2.0, 1.0], [2.0, 1.0]),
        ("relu1", 1, True, [2.0, 1.0], [2.0, 1.0]),
        ("linear2", 0, False, [2.0, 4.0], [4.0, 2.0]),
        ("linear2", 1, False, [2.0, -2.0], [3.0, -3.0]),
        ("relu2", 0, True, [2.0, 4.0], [4.0, 2.0]),
        ("relu2", 0, False, [2.0, 4.0], [4.0, 2.0]),
        ("relu2", (1,), False, [2.0, -2.0], [0.0, 0.0]),
        ("relu1", 2, False, [-1.0, 1.0], [0.0, 0.0]),
        ("linear2", (slice(0, 2),), False, [1.0, 2.0], [4.0, -1.0]),
        ("linear2", lambda k: k.sum(1), False, [1.0, 2.0], [4.0, -1.0]),
        ("linear3", 0, False, [2.0, 1.0], [8.0, 4.0]),
    ],
)
def test_neurons(layer, selector, at_input, deconvnet, guided):
    model = three_layers()
    arguments = {"neuron_selector": selector, "attribute_to_neuron_input": at_input}
    got = cg.NeuronDeconvolution(model, layer).attribute(X[:1], **arguments)
    assert got.tolist() == [deconvnet]
    method = cg.NeuronGuidedBackprop(model, layer)
    got, messages = warned(lambda: method.attribute(X[:1], **arguments))
    assert got.tolist() == [guided]
    assert ["the plain gradient is zero too" in m for m in messages] == [True] * (not any(guided))


def one_pixel_convolutions():
    """Two 1 x 1 convolutions on 2 x 2 pixels, and a weighted sum.

    ::

        x  = [ 1  2]    first:  p0 = x,  p1 = 2 - x       p1 = [1  0]
             [-1  3]                                           [3 -1]

        relu(p0) = [1  2]    relu(p1) = [1  0]    second:  q = 2 relu(p0) - relu(p1) = [ 1  4]
                   [0  3]               [3  0]                                         [-3  6]

        score = [1 -1] . relu(q) = 1 - 4 + 0 + 6 = 3
                [2  1]
    """
    return nn.Sequential(
        OrderedDict(
            first=filled(nn.Conv2d(1, 2, 1), [[[[1.0]]], [[[-1.0]]]], [0.0, 2.0]),
            relu1=nn.ReLU(),
            second=filled(nn.Conv2d(2, 1, 1, bias=False), [[[[2.0]], [[-1.0]]]]),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            last=filled(nn.Linear(4, 1, bias=False), [[1.0, -1.0, 2.0, 1.0]]),
        )
    )


PIXELS = torch.tensor([[[[1.0, 2.0], [-1.0, 3.0]]]])

# At relu(q) arrives (1, -1, 2, 1).
#
#   gradient    at q, gated by (1, 4, -3, 6): (1, -1, 0, 1);  at relu(p0), times 2: (2, -2, 0, 2),
#               gated by (1, 2, -1, 3) the same;  at relu(p1), times -1: (-1, 1, 0, -1), gated by
#               (1, 0, 3, -1): (-1, 0, 0, 0);  at x, their difference: (3, -2, 0, 2)
#   deconvnet   at q, clipped: (1, 0, 2, 1);  at relu(p0): (2, 0, 4, 2);  at relu(p1) all is
#               negative or zero, clipped: 0;  at x: (2, 0, 4, 2)
#   guided      at q, both: (1, 0, 0, 1);  at relu(p0): (2, 0, 0, 2);  at relu(p1) nothing;
#               at x: (2, 0, 0, 2)
#
# Grad-CAM at relu1, whose activations are (1, 2, 0, 3) and (1, 0, 3, 0): the gradients are
# (2, -2, 0, 2), on average 0.5, and (-1, 1, 0, -1), on average -0.25. The weighted sum
# (0.5 - 0.25, 1, -0.75, 1.5) rectified is (0.25, 1, 0, 1.5), and times guided backprop
# (0.5, 0, 0, 3).
#
# At second, one channel: the gradient (1, -1, 0, 1) is 0.25 on average, and 0.25 * (1, 4, -3, 6)
# rectified is (0.25, 1, 0, 1.5) again. At relu2 the gradient (1, -1, 2, 1) is 0.75 on average:
# 0.75 * (1, 4, 0, 6) = (0.75, 3, 0, 4.5), times guided backprop (1.5, 0, 0, 9).
EXPECTED = {
    "gradient": [3.0, -2.0, 0.0, 2.0],
    "input_x_gradient": [3.0, -4.0, 0.0, 6.0],
    "deconvolution": [2.0, 0.0, 4.0, 2.0],
    "guided_backprop": [2.0, 0.0, 0.0, 2.0],
    "grad_cam": [0.25, 1.0, 0.0, 1.5],
    "guided_grad_cam": [0.5, 0.0, 0.0, 3.0],
}


def test_the_six_named_methods():
    model = one_pixel_convolutions()
    assert model(PIXELS).item() == 3
    maps, errors = named_maps(cg.ForwardPass(model, PIXELS, layer=model.relu1), None)
    assert {name: one.flatten().tolist() for name, one in maps.items()} == EXPECTED
    assert errors == {}


@pytest.mark.parametrize(
    ("layer", "at_input", "expected"),
    [
        ("relu1", False, [0.5, 0.0, 0.0, 3.0]),
        ("second", True, [0.5, 0.0, 0.0, 3.0]),
        ("second", False, [0.5, 0.0, 0.0, 3.0]),
        ("relu2", True, [0.5, 0.0, 0.0, 3.0]),
        ("relu2", False, [1.5, 0.0, 0.0, 9.0]),
    ],
)
def test_guided_grad_cam_at_a_layer(layer, at_input, expected):
    method = cg.GuidedGradCam(one_pixel_convolutions(), layer)
    got = method.attribute(PIXELS, attribute_to_layer_input=at_input)
    assert got.flatten().tolist() == expected


def test_gradient_and_activation_at_a_layer():
    model = one_pixel_convolutions()
    gradient, activation = cg.ForwardPass(model, PIXELS, layer=model.relu1).layer_gradients()
    assert gradient.flatten(2).tolist() == [[[2.0, -2.0, 0.0, 2.0], [-1.0, 1.0, 0.0, -1.0]]]
    assert activation.flatten(2).tolist() == [[[1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 3.0, 0.0]]]


def test_a_map_laid_over_a_longer_input():
    # x = (1, 2, 3, 4), added in pairs: (3, 7). The score is their sum, so the map is (3, 7) itself
    # and guided backprop all ones. Nearest gives (3, 3, 7, 7); linear reads the map a quarter of
    # the way between its two values, and at three quarters: (3, 3 + 4/4, 3 + 3 * 4/4, 7).
    conv = filled(nn.Conv1d(1, 1, 2, stride=2, bias=False), [[[1.0, 1.0]]])
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), filled(nn.Linear(2, 1), [[1.0, 1.0]]))
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    method = cg.GuidedGradCam(model, "0")
    assert method.attribute(x, 0).tolist() == [[[3.0, 3.0, 7.0, 7.0]]]
    assert method.attribute(x, 0, interpolate_mode="linear").tolist() == [[[3.0, 4.0, 6.0, 7.0]]]


def test_captums_one_convolution():
    # The 3 x 3 sums of 0 ... 15 are (45, 54, 81, 90); one channel subtracts 50, the other 75:
    # (-5, 4, 31, 40) and (-30, -21, 6, 15). The scores add the first five of their rectified
    # values and subtract the last three: 4 + 31 + 40 + 0 - 0 - 6 - 15 = 54.
    #
    # guided      what arrives is (1, 1, 1, 1) and (1, -1, -1, -1). Both conditions leave
    #             (0, 1, 1, 1) and nothing; each 1 is spread over its 3 x 3 window
    # deconvnet   clipped: (1, 1, 1, 1) and (1, 0, 0, 0), so two more windows at the top left
    # Grad-CAM    at relu1 the gradients are 1 and (1 - 3) / 4 = -0.5 on average:
    #             (0, 4, 31 - 3, 40 - 7.5) = (0, 4, 28, 32.5)
    small = captums_testing("helpers.basic_models")
    model, x = small.BasicModel_ConvNet_One_Conv(), torch.arange(16.0).view(1, 1, 4, 4)
    assert model(x)[0, 0].item() == 54
    guided = torch.tensor([[0.0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]])
    corner = F.pad(torch.full((3, 3), 2.0), (0, 1, 0, 1))
    cam = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [28, 28, 32.5, 32.5], [28, 28, 32.5, 32.5]])
    assert torch.equal(cg.GuidedBackprop(model).attribute(x, 0)[0, 0], guided)
    assert torch.equal(cg.Deconvolution(model).attribute(x, 0)[0, 0], guided + corner)
    assert torch.equal(cg.GuidedGradCam(model, "relu1").attribute(x, 0)[0, 0], guided * cam)
