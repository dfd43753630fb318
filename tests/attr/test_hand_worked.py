"""Networks small enough for pencil and paper; every expected array is worked out beside it.

Three layers, ``h = W1 x + b1``, ``k = W2 relu(h)``, ``y = W3 relu(k)``::

    W1 = [ 1 -1]   b1 = [ 0]    W2 = [-1  2  2]    W3 = [ 2  3]
         [ 2  1]        [-1]         [ 3 -1  1]         [-1  4]
         [-1  1]        [ 0]

First example, x = (2, 1)::

    h = (2 - 1, 4 + 1 - 1, -2 + 1)    = ( 1, 4, -1)    relu(h) = (1, 4, 0)
    k = (-1 + 8 + 0, 3 - 4 + 0)       = ( 7, -1)       relu(k) = (7, 0)
    y = (14, -7)

Second example, x = (0, -1)::

    h = (0 + 1, 0 - 1 - 1, 0 - 1)     = ( 1, -2, -1)   relu(h) = (1, 0, 0)
    k = (-1, 3)                                        relu(k) = (0, 3)
    y = (9, 12)

Target 0 of the first example: (2, 3) arrives at k = (7, -1)::

    gradient    gated (2, 0)    at h: W2^T (2, 0) = (-2, 4, 4), gated (-2, 4, 0)
                                at x: (-2 + 8, 2 + 4)                            = ( 6, 6)
    deconvnet   clipped (2, 3)  at h: (-2 + 9, 4 - 3, 4 + 3) = (7, 1, 7), clipped the same
                                at x: (7 + 2 - 7, -7 + 1 + 7)                    = ( 2, 1)
    guided      both (2, 0)     at h: (-2, 4, 4), both (0, 4, 0)
                                at x: (8, 4)                                     = ( 8, 4)

Target 1 of the first example: (-1, 4) arrives at k = (7, -1)::

    gradient    gated (-1, 0)   at h: (1, -2, -2), gated (1, -2, 0)
                                at x: (1 - 4, -1 - 2)                            = (-3, -3)
    deconvnet   clipped (0, 4)  at h: (12, -4, 4), clipped (12, 0, 4)
                                at x: (12 - 4, -12 + 4)                          = ( 8, -8)
    guided      both (0, 0)     nothing is left                                  = ( 0, 0)

Target 0 of the second example: (2, 3) arrives at k = (-1, 3)::

    gradient    gated (0, 3)    at h: (9, -3, 3), gated (9, 0, 0)                = ( 9, -9)
    deconvnet   clipped (2, 3)  as in the first example, which gates nothing     = ( 2, 1)
    guided      both (0, 3)     at h: (9, -3, 3), both (9, 0, 0)                 = ( 9, -9)

Target 1 of the second example: (-1, 4) arrives at k = (-1, 3)::

    gradient    gated (0, 4)    at h: (12, -4, 4), gated (12, 0, 0)              = (12, -12)
    deconvnet   clipped (0, 4)  as in the first example                          = ( 8, -8)
    guided      both (0, 4)     at h: (12, -4, 4), both (12, 0, 0)               = (12, -12)
"""

import pytest
import torch
from captum.testing.helpers.basic_models import BasicModel_ConvNet_One_Conv
from torch import nn
from torch.nn import functional as F  # noqa: N812

from captum_guided_ext import (
    DECONVNET,
    GRADIENT,
    GUIDED,
    BackwardRule,
    Deconvolution,
    ForwardPass,
    GuidedBackprop,
    GuidedGradCam,
    NeuronDeconvolution,
    NeuronGuidedBackprop,
)
from captum_guided_ext.attr import named_maps

X = torch.tensor([[2.0, 1.0], [0.0, -1.0]])
SCORES = [[14.0, -7.0], [9.0, 12.0]]
MAPS = {  # rule -> target -> both examples
    GRADIENT: {0: [[6.0, 6.0], [9.0, -9.0]], 1: [[-3.0, -3.0], [12.0, -12.0]]},
    DECONVNET: {0: [[2.0, 1.0], [2.0, 1.0]], 1: [[8.0, -8.0], [8.0, -8.0]]},
    GUIDED: {0: [[8.0, 4.0], [9.0, -9.0]], 1: [[0.0, 0.0], [12.0, -12.0]]},
}
METHODS = {GUIDED: GuidedBackprop, DECONVNET: Deconvolution}


def filled(layer, weight, bias=None):
    layer.weight = nn.Parameter(torch.tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(torch.tensor(bias))
    return layer


class ThreeLayers(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear1 = filled(
            nn.Linear(2, 3), [[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]], [0.0, -1.0, 0.0]
        )
        self.relu1 = nn.ReLU()
        self.linear2 = filled(nn.Linear(3, 2, bias=False), [[-1.0, 2.0, 2.0], [3.0, -1.0, 1.0]])
        self.relu2 = nn.ReLU()
        self.linear3 = filled(nn.Linear(2, 2, bias=False), [[2.0, 3.0], [-1.0, 4.0]])

    def forward(self, x):
        return self.linear3(self.relu2(self.linear2(self.relu1(self.linear1(x)))))


class Functional(ThreeLayers):
    def forward(self, x):
        return self.linear3(F.relu(self.linear2(F.relu(self.linear1(x)))))


both_networks = pytest.mark.parametrize("network", [ThreeLayers, Functional])


@both_networks
def test_the_scores_are_those_above(network):
    assert network()(X).tolist() == SCORES
    assert network().linear1(X).tolist() == [[1.0, 4.0, -1.0], [1.0, -2.0, -1.0]]


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("rule", MAPS, ids=lambda rule: rule.name)
@both_networks
def test_every_rule(network, rule, target):
    (got,) = ForwardPass(network(), X).input_gradients(rule, target)
    assert got.tolist() == MAPS[rule][target]


@pytest.mark.parametrize("rule", METHODS, ids=lambda rule: rule.name)
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
        got = GuidedBackprop(network()).attribute(X, target=1)
    assert got.tolist() == MAPS[GUIDED][1]


def test_a_rule_without_clip_and_gate_is_the_linear_networks_gradient():
    # W1^T W2^T (2, 3) = W1^T (7, 1, 7) = (2, 1);  W1^T W2^T (-1, 4) = W1^T (13, -6, 2) = (-1, -17)
    linear = BackwardRule("linear", clips_gradient=False, gated_by_input=False)
    forward_pass = ForwardPass(ThreeLayers(), X)
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
        ("relu2", (1,), False, [2.0, -2.0], None),
        ("relu1", 2, False, [-1.0, 1.0], None),
        ("linear2", (slice(0, 2),), False, [1.0, 2.0], [4.0, -1.0]),
        ("linear2", lambda k: k.sum(1), False, [1.0, 2.0], [4.0, -1.0]),
        ("linear3", 0, False, [2.0, 1.0], [8.0, 4.0]),
    ],
)
def test_neurons(layer, selector, at_input, deconvnet, guided):
    model = ThreeLayers()
    arguments = {"neuron_selector": selector, "attribute_to_neuron_input": at_input}
    got = NeuronDeconvolution(model, layer).attribute(X[:1], **arguments)
    assert got.tolist() == [deconvnet]
    neuron_guided = NeuronGuidedBackprop(model, layer)
    if guided is None:
        with pytest.warns(UserWarning, match="the plain gradient is zero too"):
            assert neuron_guided.attribute(X[:1], **arguments).tolist() == [[0.0, 0.0]]
    else:
        assert neuron_guided.attribute(X[:1], **arguments).tolist() == [guided]


class OnePixelConvolutions(nn.Module):
    """Two 1 x 1 convolutions on 2 x 2 pixels, and a weighted sum.

    ::

        x  = [ 1  2]    first:  p0 = x,  p1 = 2 - x       p1 = [1  0]
             [-1  3]                                           [3 -1]

        relu(p0) = [1  2]    relu(p1) = [1  0]    second:  q = 2 relu(p0) - relu(p1) = [ 1  4]
                   [0  3]               [3  0]                                         [-3  6]

        score = [1 -1] . relu(q) = 1 - 4 + 0 + 6 = 3
                [2  1]
    """

    def __init__(self):
        super().__init__()
        self.first = filled(nn.Conv2d(1, 2, 1), [[[[1.0]]], [[[-1.0]]]], [0.0, 2.0])
        self.relu1 = nn.ReLU()
        self.second = filled(nn.Conv2d(2, 1, 1, bias=False), [[[[2.0]], [[-1.0]]]])
        self.relu2 = nn.ReLU()
        self.last = filled(nn.Linear(4, 1, bias=False), [[1.0, -1.0, 2.0, 1.0]])

    def forward(self, x):
        x = self.relu1(self.first(x))
        return self.last(self.relu2(self.second(x)).flatten(1))


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
    model = OnePixelConvolutions()
    assert model(PIXELS).item() == 3
    maps, errors = named_maps(ForwardPass(model, PIXELS, layer=model.relu1), None)
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
    method = GuidedGradCam(OnePixelConvolutions(), layer)
    got = method.attribute(PIXELS, attribute_to_layer_input=at_input)
    assert got.flatten().tolist() == expected


def test_gradient_and_activation_at_a_layer():
    model = OnePixelConvolutions()
    gradient, activation = ForwardPass(model, PIXELS, layer=model.relu1).layer_gradients()
    assert gradient.flatten(2).tolist() == [[[2.0, -2.0, 0.0, 2.0], [-1.0, 1.0, 0.0, -1.0]]]
    assert activation.flatten(2).tolist() == [[[1.0, 2.0, 0.0, 3.0], [1.0, 0.0, 3.0, 0.0]]]


def test_a_map_laid_over_a_longer_input():
    # x = (1, 2, 3, 4), added in pairs: (3, 7). The score is their sum, so the map is (3, 7) itself
    # and guided backprop all ones. Nearest gives (3, 3, 7, 7); linear reads the map a quarter of
    # the way between its two values, and at three quarters: (3, 3 + 4/4, 3 + 3 * 4/4, 7).
    conv = filled(nn.Conv1d(1, 1, 2, stride=2, bias=False), [[[1.0, 1.0]]])
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), filled(nn.Linear(2, 1), [[1.0, 1.0]]))
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    method = GuidedGradCam(model, "0")
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
    model, x = BasicModel_ConvNet_One_Conv(), torch.arange(16.0).view(1, 1, 4, 4)
    assert model(x)[0, 0].item() == 54
    guided = torch.tensor([[0.0, 1, 1, 1], [1, 3, 3, 2], [1, 3, 3, 2], [1, 2, 2, 1]])
    corner = F.pad(torch.full((3, 3), 2.0), (0, 1, 0, 1))
    cam = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 4], [28, 28, 32.5, 32.5], [28, 28, 32.5, 32.5]])
    assert torch.equal(GuidedBackprop(model).attribute(x, 0)[0, 0], guided)
    assert torch.equal(Deconvolution(model).attribute(x, 0)[0, 0], guided + corner)
    assert torch.equal(GuidedGradCam(model, "relu1").attribute(x, 0)[0, 0], guided * cam)
