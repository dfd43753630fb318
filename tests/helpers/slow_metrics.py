"""The metrics straight from the papers, number by number, for the tests to compare with."""

import math


def infidelity(model, x, maps, perturbations, *, scaled):
    """Definition 2.1 of Yeh et al. 2019, example by example; scaled as the authors' code scales."""
    results = []
    for image, one_map, steps in zip(x, maps, perturbations, strict=True):
        said, fell = [], []
        for step in steps:
            pairs = zip(one_map.flatten().tolist(), step.flatten().tolist(), strict=True)
            said.append(sum(a * i for a, i in pairs))
            fell.append(float(model(image[None])) - float(model((image - step)[None])))
        factor = 1.0
        if scaled:
            factor = sum(s * f for s, f in zip(said, fell, strict=True)) / sum(s * s for s in said)
        errors = [(factor * s - f) ** 2 for s, f in zip(said, fell, strict=True)]
        results.append(sum(errors) / len(errors))
    return results


def changes(explain, x, perturbed):
    """Definition 3.1 of Yeh et al. 2019 over the perturbed inputs that were drawn.

    Divided by the attribution's norm, as in the authors' code. Returns the list of each example.
    """
    results = []
    for image, others in zip(x, perturbed, strict=True):
        original = explain(image[None]).flatten().tolist()
        size = math.hypot(*original)
        results.append([])
        for other in others:
            distance = math.dist(original, explain(other[None]).flatten().tolist())
            results[-1].append(distance / size if size else distance)
    return results


def localisation(attribution, mask):
    """Return relevance mass and pointing game of a map (C, H, W), place by place.

    A place holds the absolute values of its channels. Of several largest places, the hit is the
    share of them that is inside; a map of zeros has none, and mass 0.
    """
    inside, whole, largest, hits = 0.0, 0.0, 0.0, []
    places = zip(*(channel.flatten().tolist() for channel in attribution.double()), strict=True)
    for channels, is_inside in zip(places, mask.flatten().tolist(), strict=True):
        held = sum(map(abs, channels))
        whole += held
        inside += held if is_inside else 0
        if held > largest:
            largest, hits = held, []
        if held == largest > 0:
            hits.append(bool(is_inside))
    return inside / whole if whole else 0, sum(hits) / len(hits) if hits else 0
