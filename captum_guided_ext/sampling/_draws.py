"""Random numbers that depend on what they are for, and not on when they are drawn.

Each seed, purpose, image and sample has a stream of its own. The noise of an image is therefore
the same in whatever batch, order or process it is drawn.
"""

from __future__ import annotations

import operator
import random
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LEGACY_SEEDS = 2**32  # numpy's and, on the CPU, torch's generators take no more


@dataclass(frozen=True)
class Draws:
    """Independent streams of random numbers for the images of a batch.

    Args:
        seed: Not negative.
        images: Which image each example of the batch is; the batch it is in does not matter.
        purpose: What the numbers are for. Other purposes get other numbers.
    """

    seed: int
    images: Sequence[int]
    purpose: str

    def seed_of(self, example: int, sample: int) -> int:
        """Return the seed of sample ``sample`` of the ``example``-th image of the batch."""
        key = [self.seed, zlib.crc32(self.purpose.encode()), self.images[example], sample]
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])

    def seeds(self, samples: Sequence[int]) -> list[int]:
        """Return the seeds of these samples of each example, those of one example together."""
        return [self.seed_of(e, sample) for e in range(len(self.images)) for sample in samples]

    def generator(self, example: int, sample: int, device: torch.device) -> torch.Generator:
        """Return a fresh generator for it on ``device``."""
        return torch.Generator(device).manual_seed(self.seed_of(example, sample))


def seed_from(generator: torch.Generator | None, seed: int | None) -> int | None:
    """Return the one seed meant by ``generator`` (one draw from it) or ``seed``.

    Returns:
        None, where neither is given.

    Raises:
        TypeError: if they are of another kind.
        ValueError: if both are given, or a negative seed.
    """
    if generator is not None and seed is not None:
        raise ValueError("generator and seed are two ways to say the same: give one of them")
    if seed is not None:
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(f"seed must be a whole number, not {type(seed).__name__}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, and is {seed}")
        return seed
    if generator is None:
        return None
    if not isinstance(generator, torch.Generator):
        raise TypeError(f"generator must be a torch.Generator, not {type(generator).__name__}")
    drawn = torch.randint(2**62, (), generator=generator, device=generator.device)
    return int(drawn)


def a_seed(generator: torch.Generator | None, seed: int | None) -> int:
    """Return the seed meant by ``generator`` or ``seed``; without either, one drawn globally.

    Args:
        generator: Takes the place of a ``seed`` of 0, which is the default where this is used.
        seed: Not negative; None for one that torch's global generator draws.

    Raises:
        TypeError: as :func:`seed_from`.
        ValueError: as :func:`seed_from`.
    """
    is_default = type(seed) is int and seed == 0
    found = seed_from(generator, None if generator is not None and is_default else seed)
    return int(torch.randint(2**62, ())) if found is None else found


def find_draws(
    generator: torch.Generator | None,
    seed: int | None,
    images: Sequence[int] | None,
    examples: int,
    purpose: str,
) -> Draws | None:
    """Return the draws of a batch of ``examples``; None for the global stream, as Captum has it.

    Raises:
        ValueError: if ``images`` does not name each example, once and by a number from 0.
    """
    found = seed_from(generator, seed)
    if found is None and images is not None:
        raise ValueError(
            "image_indices say whose noise is drawn, which needs a seed or a generator"
        )
    if found is None:
        return None
    named = range(examples) if images is None else [operator.index(image) for image in images]
    if len(named) != examples or len(set(named)) != examples or min(named, default=0) < 0:
        raise ValueError(
            f"image_indices must hold a different number, 0 or more, for each of the {examples} "
            f"examples, and is {list(named)}"
        )
    return Draws(found, named, purpose)


@contextmanager
def seeded_globally(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python for the ``with`` block only.

    For code that knows no other way to be given its random numbers. Global state belongs to the
    whole process: another thread that draws meanwhile sees it.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what Captum uses
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            torch.default_generator.manual_seed(seed)
            if device.type == "cuda":
                with torch.cuda.device(device):
                    torch.cuda.manual_seed(seed)
            np.random.seed(seed % _LEGACY_SEEDS)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            np.random.set_state(legacy)  # noqa: NPY002
            random.setstate(python)
