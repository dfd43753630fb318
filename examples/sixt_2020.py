"""How alike the backward directions of two classes become: Sixt et al. 2020 (arXiv:1912.09818).

From the score of a class something is sent back to each layer of SqueezeNet: by the gradient, under
the two other rules, and the relevance of the z+ rule, which the paper's theorem is about. Here is
the cosine similarity of what two random classes send to a layer: of the channels at a place, as in
the authors' code, and of the layer as a whole; medians over places, photos and pairs of classes.
Left out is where nothing arrives for one of the two; of deconvolution it is said for how many pairs
and photos something does.

Run: python examples/sixt_2020.py
"""

import copy

import torch
import torch.nn.functional as F
from shared_photos import arguments, load, photos, print_table
from torch import nn

import captum_guided_ext as cg

RULES = ("gradient", "deconvolution", "guided", "z+")


class ZPlus(nn.Conv2d):
    """A convolution whose backward pass, times its input, is the z+ rule of Deep Taylor."""

    def forward(self, x):
        """Return what it returns, as a multiple of what its positive weights make of the input."""
        plus = F.conv2d(x, self.weight.clamp(min=0), None, self.stride, self.padding) + 1e-9
        return plus * (super().forward(x) / plus).detach()


def with_rule(net, rule):
    """Return a copy of the network whose backward pass follows a rule."""
    net = copy.deepcopy(net)
    for one in net.modules():
        if isinstance(one, nn.ReLU):
            one.inplace = False  # so that what the layer before it returned is still there
        elif rule == "z+" and isinstance(one, nn.Conv2d):
            one.__class__ = ZPlus
    if rule in ("deconvolution", "guided"):
        cg.GuidedReLU.convert(net, rule)
    return net


def cosines(net, x, pairs, rule):
    """Return by layer the cosines at places, and those of the whole layer, of all pairs."""
    net = with_rule(net, rule)
    layers = {"input": x.clone().requires_grad_()}
    for name, part in net.features.named_children():
        layers[f"features.{name}"] = part(layers[next(reversed(layers))])
    scores = net.classifier(layers[next(reversed(layers))])
    if rule == "z+":
        del layers["input"]  # it is not above 0, as the rule wants it
    found = {name: ([], []) for name in reversed(layers)}
    for pair in pairs:
        for (name, layer), *sent in zip(
            layers.items(), *(_sent(scores[:, one], layers) for one in pair), strict=True
        ):
            first, second = (one * layer.detach() if rule == "z+" else one for one in sent)
            found[name][0].append(cosine(first.flatten(2), second.flatten(2)).flatten())
            found[name][1].append(cosine(first.flatten(1), second.flatten(1)))
    return {name: [torch.cat(one) for one in both] for name, both in found.items()}


def _sent(scores, layers):
    return torch.autograd.grad(scores.sum(), [*layers.values()], retain_graph=True)


def cosine(first, second):
    """Return the magnitude of the cosine of vectors along dimension 1, NaN where one is 0."""
    first, second = first.double(), second.double()
    found = (first * second).sum(dim=1) / (first.norm(dim=1) * second.norm(dim=1))
    return found.abs()


def main():
    """Measure, print."""
    parser = arguments(__doc__, quick="a few seconds and one photo, to see that it runs")
    parser.add_argument("--pairs", type=int, default=10, help="pairs of random classes")
    parser.add_argument("--seed", type=int, default=0, help="that draws them")
    given = parser.parse_args()
    network = load(given.data)
    _, x = photos(given.data, network, 1 if given.quick else None)
    draws = torch.Generator().manual_seed(given.seed)
    pairs = torch.randperm(1000, generator=draws).view(-1, 2)[: 2 if given.quick else given.pairs]
    found = {rule: cosines(network.model, x, pairs.tolist(), rule) for rule in RULES}
    for which, where in enumerate(("channels at a place", "the layer as a whole")):
        rows = []
        for name in found["gradient"]:
            cells = [found[rule][name][which] if name in found[rule] else None for rule in RULES]
            arrives = found["deconvolution"][name][1].isfinite().double().mean()
            medians = ["" if one is None else f"{one.nanmedian():.3f}" for one in cells]
            rows.append([name, *medians, f"{arrives:.0%}"])
        print(f"\n{where}\n")
        print_table(["layer", *RULES, "deconvolution arrives"], rows)


if __name__ == "__main__":
    main()
