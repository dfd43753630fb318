"""A network small enough for pencil and paper; every array is worked out here.

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

from collections import OrderedDict

import torch
from torch import nn

X = torch.tensor([[2.0, 1.0], [0.0, -1.0]])
SCORES = [[14.0, -7.0], [9.0, 12.0]]
MAPS = {  # rule -> target -> both examples
    "gradient": {0: [[6.0, 6.0], [9.0, -9.0]], 1: [[-3.0, -3.0], [12.0, -12.0]]},
    "deconvolution": {0: [[2.0, 1.0], [2.0, 1.0]], 1: [[8.0, -8.0], [8.0, -8.0]]},
    "guided": {0: [[8.0, 4.0], [9.0, -9.0]], 1: [[0.0, 0.0], [12.0, -12.0]]},
}


def filled(layer, weight, bias=None):
    layer.weight = nn.Parameter(torch.tensor(weight))
    if bias is not None:
        layer.bias = nn.Parameter(torch.tensor(bias))
    return layer


def three_layers():
    return nn.Sequential(
        OrderedDict(
            linear1=filled(
                nn.Linear(2, 3), [[1.0, -1.0], [2.0, 1.0], [-1.0, 1.0]], [0.0, -1.0, 0.0]
            ),
            relu1=nn.ReLU(),
            linear2=filled(nn.Linear(3, 2, bias=False), [[-1.0, 2.0, 2.0], [3.0, -1.0, 1.0]]),
            relu2=nn.ReLU(),
            linear3=filled(nn.Linear(2, 2, bias=False), [[2.0, 3.0], [-1.0, 4.0]]),
        )
    )
