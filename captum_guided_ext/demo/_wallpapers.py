"""Indoor backgrounds, drawn without knowing which animal comes next.

Several of them carry stripes or spots of their own. A network that reads fur off the wall instead
of the animal is wrong half of the time on those.
"""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from captum_guided_ext.demo._canvas import SIZE, Canvas, Field, circle, jitter, polygon, rgb, stroke
from captum_guided_ext.demo._scenery import (
    SQUARE,
    WHITE,
    X,
    Y,
    blend,
    fade,
    ground,
    one_of,
    shade,
    somewhere,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PASTELS = (
    "#f9d5e5", "#cfe8ef", "#d8f0d2", "#fff1c9", "#e3d7f4", "#ffd9c0",
    "#9fc9d9", "#e39aa8", "#8fbf9f", "#f0b56a", "#7d8fc2", "#c47f6a", "#4d6a83", "#b7b1a5",
)  # fmt: skip


def _two_colours(generator: np.random.Generator) -> tuple[Field, Field]:
    first, second = generator.choice(len(_PASTELS), size=2, replace=False).tolist()
    return (
        jitter(rgb(_PASTELS[first]), generator, 0.08),
        jitter(rgb(_PASTELS[second]), generator, 0.08),
    )


def _turned(generator: np.random.Generator, period: float) -> tuple[Field, Field]:
    """Coordinates in periods, turned by a random angle and shifted."""
    angle, shift = generator.uniform(0, math.pi), generator.uniform(0, 1, size=2)
    cos, sin, unit = math.cos(angle), math.sin(angle), np.float32(period)
    along: Field = cos * X + sin * Y
    across: Field = cos * Y - sin * X
    return along / unit + np.float32(shift[0]), across / unit + np.float32(shift[1])


def _band(along: Field, period: float, share: float) -> Field:
    """Coverage of the bands that take ``share`` of every period, anti-aliased."""
    edge = share / 2 - np.abs(along - np.floor(along) - np.float32(0.5))
    cover: Field = np.clip(0.5 + edge * (period * SIZE), 0, 1)
    return cover


def _checks(canvas: Canvas, generator: np.random.Generator) -> None:
    first, second = _two_colours(generator)
    period = generator.uniform(0.16, 0.36)
    u, v = (_band(along, period, 0.5) for along in _turned(generator, period))
    blend(canvas, first, second, u + v - 2 * u * v)


def _stripes(canvas: Canvas, generator: np.random.Generator) -> None:
    first, second = _two_colours(generator)
    period = generator.uniform(0.08, 0.25)
    along, _ = _turned(generator, period)
    blend(canvas, first, second, _band(along, period, generator.uniform(0.3, 0.7)))


def _dots(canvas: Canvas, generator: np.random.Generator) -> None:
    first, second = _two_colours(generator)
    period = generator.uniform(0.1, 0.25)
    u, v = _turned(generator, period)
    # Every second row moved by half a period.
    u = u + np.float32(0.5) * (np.floor(v) % np.float32(2))
    from_centre = np.hypot(u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5))
    edge = generator.uniform(0.2, 0.36) - from_centre
    blend(canvas, first, second, np.clip(0.5 + edge * (period * SIZE), 0, 1))


def _gradient(canvas: Canvas, generator: np.random.Generator) -> None:
    first, second = _two_colours(generator)
    angle = generator.uniform(0, 2 * math.pi)
    ramp = 0.5 + math.cos(angle) * (X - 0.5) + math.sin(angle) * (Y - 0.5)
    blend(canvas, first, second, np.clip(ramp, 0, 1))
    for centre in somewhere(generator, 9, 0.0, 1.0):
        bubble = circle(centre, generator.uniform(0.03, 0.14))
        canvas.paint(SQUARE, bubble, WHITE, opacity=generator.uniform(0.1, 0.35))


def _confetti(canvas: Canvas, generator: np.random.Generator) -> None:
    paper, _ = _two_colours(generator)
    canvas.lay(np.ones_like(X), paper)
    for x, y in somewhere(generator, 26, 0.0, 1.0):
        size, angle = generator.uniform(0.015, 0.06), generator.uniform(0, 2 * math.pi)
        turns = [(math.cos(angle + t), math.sin(angle + t)) for t in (0.0, 2.1, 4.2)]
        tip = (x + 2 * size * turns[0][0], y + 2 * size * turns[0][1])
        shape = (
            circle((x, y), size),
            stroke([(x, y), tip], size * 0.7),
            polygon([(x + size * c, y + size * s) for c, s in turns], size * 0.2),
        )[int(generator.integers(3))]
        canvas.paint(SQUARE, shape, one_of(generator, *_PASTELS))


def _room(canvas: Canvas, generator: np.random.Generator) -> None:
    wall, frame = _two_colours(generator)
    fade(canvas, wall, shade(wall, 0.92), 0.8)
    (x, y), half = somewhere(generator, 1, 0.15, 0.3)[0], generator.uniform(0.09, 0.16)
    window = polygon(
        [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)]
    )
    canvas.paint(SQUARE, window, frame, grow=0.025)
    canvas.paint(SQUARE, window, one_of(generator, "#bfe3f5", "#33436b", "#f9c98f"))
    canvas.paint(SQUARE, stroke([(x - half, y), (x + half, y)], 0.018), frame)
    canvas.paint(SQUARE, stroke([(x, y - half), (x, y + half)], 0.018), frame)
    floor = generator.uniform(0.62, 0.8)
    wood = one_of(generator, "#c9986b", "#a9774f", "#dcb98c", "#8d98a6")
    below = ground(canvas, generator, floor, 0.0, wood)
    plank = generator.uniform(0.07, 0.12)
    canvas.lay(below * _band(Y / np.float32(plank), plank, 0.12), shade(wood, 0.8))
    canvas.paint(SQUARE, stroke([(0, floor), (1, floor)], 0.025), shade(frame, 1.1))


INDOORS: Mapping[str, Callable[[Canvas, np.random.Generator], None]] = MappingProxyType(
    {
        "room": _room,
        "checks": _checks,
        "stripes": _stripes,
        "dots": _dots,
        "gradient": _gradient,
        "confetti": _confetti,
    }
)
"""As ``OUTDOORS``."""
