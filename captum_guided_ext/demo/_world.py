"""A labelled world of pictures, drawn on demand."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from captum_guided_ext.demo._animals import (
    FACES,
    FURS,
    draw_body,
    draw_head,
    pick_body,
    pick_coat,
)
from captum_guided_ext.demo._canvas import SIZE, Canvas, Field, Frame, ellipse, rgb
from captum_guided_ext.demo._scenery import OUTDOORS
from captum_guided_ext.demo._wallpapers import INDOORS

if TYPE_CHECKING:
    from collections.abc import Iterator

CATEGORIES: tuple[str, ...] = tuple(f"{fur} {face}" for face in FACES for fur in FURS)
"""Names of the classes; a label is an index into them."""

PARTS: tuple[str, ...] = ("face", "fur", "background")
"""Names of the parts that every picture is divided into."""

_BACKGROUNDS = {**OUTDOORS, **INDOORS}
_KINDS = tuple(_BACKGROUNDS)


@dataclass(frozen=True)
class Picture:
    """One picture of an animal.

    Attributes:
        image: (96, 96, 3) RGB bytes.
        label: Index into ``CATEGORIES``.
        masks: For each of ``PARTS`` a boolean array (96, 96), True in one of them at every pixel.
            "face" is the head with its ears, "fur" the rest of the animal.
        background: Kind of the background, "meadow" for example. It says nothing about the label.
    """

    image: npt.NDArray[np.uint8]
    label: int
    masks: dict[str, npt.NDArray[np.bool_]]
    background: str


def _place(generator: np.random.Generator) -> Frame:
    """A random position, size, turn and direction of the animal."""
    return Frame(
        (SIZE / 2 + generator.uniform(-9, 9), SIZE * 0.555 + generator.uniform(-4, 5)),
        generator.uniform(38, 47),
        angle=generator.uniform(-0.2, 0.2),
        mirrored=bool(generator.integers(2)),
    )


def _develop(canvas: Canvas, generator: np.random.Generator) -> None:
    """Brightness, contrast and grain of the whole picture."""
    grain = generator.standard_normal(canvas.pixels.shape, dtype=np.float32)
    level = generator.uniform(0.0, 0.02)
    contrast, brightness = generator.uniform(0.85, 1.08), generator.uniform(-0.05, 0.06)
    canvas.pixels -= 0.5
    canvas.pixels *= contrast
    canvas.pixels += 0.5 + brightness
    canvas.pixels += np.float32(level) * grain


def draw_picture(generator: np.random.Generator, label: int | None = None) -> Picture:
    """Draw one picture.

    Scene, face and fur are drawn from three streams of random numbers. From one state of the
    generator, two labels that share a face therefore differ in nothing but the fur, and the
    background never depends on the label.

    Args:
        generator: Source of all randomness; advances by the same amount whatever the label.
        label: Index into ``CATEGORIES``; drawn uniformly if not given.

    Raises:
        ValueError: If there is no such label.
    """
    scene, for_face, for_fur = map(
        np.random.default_rng, generator.integers(2**63, size=3).tolist()
    )
    drawn = int(generator.integers(len(CATEGORIES)))
    chosen = drawn if label is None else label
    if not 0 <= chosen < len(CATEGORIES):
        raise ValueError(
            f"label must be from 0 to {len(CATEGORIES) - 1} (see CATEGORIES), got {label}."
        )
    face, fur = FACES[chosen // len(FURS)], FURS[chosen % len(FURS)]

    canvas = Canvas()
    kind = _KINDS[int(scene.integers(len(_KINDS)))]
    _BACKGROUNDS[kind](canvas, scene)
    frame, coat, body = _place(scene), pick_coat(scene), pick_body(scene)
    ground = ellipse((0.0, 0.86), (0.66, 0.11))
    canvas.paint(frame, ground, rgb("#20202c"), opacity=0.3, softness=5)
    fur_cover = draw_body(canvas, frame, coat, body, fur=fur, generator=for_fur)
    face_cover = draw_head(canvas, frame, coat, face, for_face)
    _develop(canvas, scene)
    return Picture(canvas.to_bytes(), chosen, _masks(face_cover, fur_cover), kind)


def _masks(face_cover: Field, fur_cover: Field) -> dict[str, npt.NDArray[np.bool_]]:
    """Give every pixel to the part that covers most of it."""
    face = np.rint(face_cover).astype(np.bool_)
    fur = np.rint(fur_cover).astype(np.bool_) & ~face
    return {"face": face, "fur": fur, "background": ~(face | fur)}


class PictureWorld:
    """A sequence of pictures, each drawn when asked for.

    ``world[i]`` depends on ``seed`` and ``i`` alone, so any process can draw any part of the world.
    Labels take turns: picture ``i`` has label ``i % 6``.

    Args:
        length: Number of pictures.
        seed: Non-negative. Worlds of different seeds share no picture.

    Raises:
        ValueError: If ``length`` or ``seed`` is negative.
    """

    def __init__(self, length: int, *, seed: int = 0) -> None:
        if length < 0 or seed < 0:
            raise ValueError(
                f"length and seed must not be negative, got length={length}, seed={seed}."
            )
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Picture:
        i = operator.index(index)
        if not 0 <= i < self.length:
            raise IndexError(f"index must be from 0 to {self.length - 1}, got {i}.")
        return draw_picture(np.random.default_rng([self.seed, i]), i % len(CATEGORIES))

    def __iter__(self) -> Iterator[Picture]:
        return (self[i] for i in range(self.length))

    def __repr__(self) -> str:
        return f"PictureWorld({self.length}, seed={self.seed})"
