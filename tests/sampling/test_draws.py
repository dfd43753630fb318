"""Streams of random numbers: one for each seed, purpose, image and sample, wherever it is drawn."""

from itertools import product

import torch

from captum_guided_ext.sampling import Draws


def test_each_seed_purpose_image_and_sample_has_a_stream_of_its_own():
    keys = product((0, 1, 2**40), ("method a", "method b"), (0, 1, 900), (0, 1, 2))
    found = {Draws(seed, [image], use).seed_of(0, sample) for seed, use, image, sample in keys}
    assert len(found) == 3 * 2 * 3 * 3


def test_the_place_in_the_batch_does_not_count():
    draws = Draws(3, [7, 9], "noise")
    alone = {image: Draws(3, [image], "noise") for image in (7, 9)}
    expected = [alone[image].seed_of(0, sample) for image in (7, 9) for sample in (0, 4)]
    assert draws.seeds([0, 4]) == expected
    cpu = torch.device("cpu")
    first, again = (one.generator(k, 4, cpu) for one, k in ((draws, 1), (alone[9], 0)))
    assert torch.equal(torch.rand(5, generator=first), torch.rand(5, generator=again))
