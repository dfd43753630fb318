"""How often a benchmark's table claims what is not so, and sees what is: a simulation.

Scores are drawn whose truth is known. ``equal``: the methods are exchangeable within an image, and
every claim that one is better is false. ``unlike``: their means are equal and their shapes are not.
``python examples/false_claims.py`` prints the tables of examples/benchmark.md.
"""

import argparse
import math

import numpy as np
from scipy import stats

from captum_guided_ext.sampling import all_pairs, mean_interval

IMAGES = (10, 30, 100, 1000)
METHODS = (6, 13)


def equal_normal(draw, methods, images):
    """Normal scores around a common one of each image."""
    return draw.standard_normal((methods, images)) + draw.standard_normal(images)


def equal_lognormal(draw, methods, images, sigma=1.0):
    """Lognormal scores, half of whose variance is the image's."""
    return np.exp(sigma * math.sqrt(0.5) * equal_normal(draw, methods, images))


def equal_lognormal_wide(draw, methods, images):
    """The same with sigma 1.5."""
    return equal_lognormal(draw, methods, images, 1.5)


def equal_hits(draw, methods, images):
    """Images of unlike difficulty, on each of which every method hits as often."""
    return (draw.random((methods, images)) < draw.beta(2, 2, images)).astype(float)


def unlike_shapes(draw, methods, images):
    """Normal, exponential, lognormal and mirrored exponential scores, all of mean 0."""
    shapes = (
        lambda: draw.standard_normal(images),
        lambda: draw.exponential(1, images) - 1,
        lambda: np.exp(draw.standard_normal(images)) - math.exp(0.5),
        lambda: 1 - draw.exponential(1, images),
    )
    common = 0.5 * draw.standard_normal(images)
    return np.stack([shapes[method % 4]() + common for method in range(methods)])


def unlike_tails(draw, methods, images):
    """Lognormal scores of mean 1, sigma from 0.2 to 1.5."""
    sigma = np.linspace(0.2, 1.5, methods)[:, None]
    return np.exp(sigma * draw.standard_normal((methods, images)) - sigma**2 / 2)


EQUAL = {
    "normal": equal_normal,
    "lognormal, sigma 1": equal_lognormal,
    "lognormal, sigma 1.5": equal_lognormal_wide,
    "0 or 1": equal_hits,
}
UNLIKE = {"unlike shapes": unlike_shapes, "lognormal, unlike sigmas": unlike_tails}


def share_of_false_claims(scores, methods, images, tables, seed=0):
    """Return the share of tables in which any two methods are said to differ."""
    draw = np.random.default_rng([seed, methods, images])
    false = sum(all_pairs(scores(draw, methods, images)).above().any() for _ in range(tables))
    return false / tables


def power(methods, images, tables, seed=0):
    """Return how often one better method of normal scores is told from another.

    By this package's family, by Tukey's simultaneous t (each pair's own variance), and by Tukey's
    with the variance of all pairs taken together. The effect is 4.2 standard errors.
    """
    draw = np.random.default_rng([seed, methods, images])
    own, pooled = (
        stats.studentized_range.ppf(0.95, methods, freedom) / math.sqrt(2)
        for freedom in (images - 1, (images - 1) * (methods - 1))
    )
    seen = np.zeros(3)
    for _ in range(tables):
        scores = draw.standard_normal((methods, images))
        scores[0] += 4.2 * math.sqrt(2 / images)
        found = all_pairs(scores)
        differences = scores[0] - scores[1:]
        size = np.abs(differences.mean(axis=1)) * math.sqrt(images)
        left = scores - scores.mean(0) - scores.mean(1, keepdims=True) + scores.mean()
        variance = (left**2).sum() / ((images - 1) * (methods - 1))
        seen += (
            found.above()[0, 1:].mean(),
            (size / differences.std(axis=1, ddof=1) > own).mean(),
            (size / math.sqrt(2 * variance) > pooled).mean(),
        )
    return seen / tables


def paired_effect_seen(tables, sigma, methods=6, images=60, seed=0):
    """Return how often an effect of 10 % on every image, under 7 % of noise, is told.

    By this package's family, by the t interval of one pair, and by two means' intervals that do not
    overlap. ``sigma`` says how unlike the images are: their difficulty is lognormal.
    """
    draw = np.random.default_rng([seed, methods, images])
    seen = np.zeros(3)
    for _ in range(tables):
        difficulty = np.exp(sigma * draw.standard_normal(images))
        scores = difficulty * (1 + 0.07 * draw.standard_normal((methods, images)))
        scores[0] *= 0.9
        low, high = np.transpose([student_t(one) for one in scores])
        seen += (
            all_pairs(scores).above()[1:, 0].mean(),
            np.mean([student_t(one - scores[0])[0] > 0 for one in scores[1:]]),
            (low[1:] > high[0]).mean(),
        )
    return seen / tables


def lognormal(sigma):
    """Return scores, and their true mean."""
    return lambda draw, n: np.exp(sigma * draw.standard_normal(n)), math.exp(sigma**2 / 2)


def hits(share):
    """Return scores of 0 and 1, and their true mean."""
    return lambda draw, n: (draw.random(n) < share).astype(float), share


MEANS = {
    "normal": (lambda draw, n: draw.standard_normal(n), 0.0),
    "lognormal, sigma 1": lognormal(1),
    "lognormal, sigma 1.5": lognormal(1.5),
    "hits, 98 %": hits(0.98),
    "hits, 70 %": hits(0.7),
}


def of_hits(values):
    """Return the interval of a mean of hits."""
    return mean_interval(values, are_hits=True)


def student_t(values):
    """Return the interval that Student's t would give."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return values.mean() - half, values.mean() + half


def coverage(scores, truth, images, samples, seed=0, interval=mean_interval):
    """Return the share of 95 % intervals that hold the true mean."""
    draw = np.random.default_rng([seed, images])
    held = 0
    for _ in range(samples):
        low, high = interval(scores(draw, images)) or (-math.inf, math.inf)
        held += low <= truth <= high
    return held / samples


def table(heads, rows):
    """Print a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    print("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines), end="\n\n")


def main():
    """Run every cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000, help="tables in each cell")
    tables = parser.parse_args().tables
    error = math.sqrt(0.05 * 0.95 / tables)
    print(f"{tables} tables in a cell: a true 5 % has a standard error of {error:.1%}\n")
    cells = [(methods, images) for methods in METHODS for images in IMAGES]
    heads = [f"{methods} methods, {images} images" for methods, images in cells]
    rows = [
        [name, *(f"{share_of_false_claims(draw, *cell, tables):.1%}" for cell in cells)]
        for name, draw in (EQUAL | UNLIKE).items()
    ]
    table(["any false claim", *heads], rows)
    rows = [
        [f"{methods} methods, {images} images", *(f"{one:.0%}" for one in found)]
        for methods, images in cells
        for found in [power(methods, images, tables)]
    ]
    table(["power", "this package", "Tukey, each pair", "Tukey, pooled"], rows)
    rows = [
        [f"images' difficulty lognormal, sigma {sigma}", *(f"{one:.1%}" for one in found)]
        for sigma in (0.5, 1.0)
        for found in [paired_effect_seen(tables, sigma)]
    ]
    ways = ("this package", "t of one pair", "intervals that do not overlap")
    table(["a paired effect of 10 % on 60 images", *ways], rows)
    rows = [
        [name]
        + [
            f"{coverage(*case, images, tables, interval=interval):.1%}"
            for interval in (of_hits if "hits" in name else mean_interval, student_t)
            for images in IMAGES[:3]
        ]
        for name, case in MEANS.items()
    ]
    three = [f"{images} images" for images in IMAGES[:3]]
    table(["a mean's interval", *three, *(f"{one}, by t" for one in three)], rows)


if __name__ == "__main__":
    main()
