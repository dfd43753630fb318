"""Outdoor backgrounds, drawn without knowing which animal comes next."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from captum_guided_ext.demo._canvas import (
    SIZE,
    Canvas,
    Field,
    Frame,
    Point,
    circle,
    ellipse,
    jitter,
    polygon,
    rgb,
    sprinkle,
    stroke,
    union,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Scenery is laid out on the unit square.
SQUARE = Frame((0.0, 0.0), SIZE)
X, Y = SQUARE.x, SQUARE.y
WHITE = rgb("#ffffff")


def one_of(generator: np.random.Generator, *codes: str, amount: float = 0.06) -> Field:
    """One of the colours, jittered by ``amount``."""
    return jitter(rgb(codes[int(generator.integers(len(codes)))]), generator, amount)


def shade(colour: Field, factor: float) -> Field:
    """The colour made darker, or lighter if ``factor`` is above 1."""
    shaded: Field = np.clip(colour * np.float32(factor), 0, 1)
    return shaded


def blend(canvas: Canvas, first: Field, second: Field, ramp: Field) -> None:
    """Fill the canvas with ``first`` where the ramp is 0, ``second`` where it is 1."""
    canvas.pixels[:] = first[:, None, None] + (second - first)[:, None, None] * ramp


def fade(canvas: Canvas, top: Field, bottom: Field, horizon: float) -> None:
    """Fill the canvas from ``top`` at the upper edge to ``bottom`` at the horizon and below."""
    blend(canvas, top, bottom, np.clip(Y / np.float32(horizon), 0, 1))


def ground(
    canvas: Canvas, generator: np.random.Generator, height: float, swing: float, colour: Field
) -> Field:
    """Fill below a wavy line and return what was covered."""
    phase, waves = generator.uniform(0, 2 * math.pi), generator.uniform(0.5, 1.3)
    line = height + swing * np.sin(2 * math.pi * waves * X[0] + phase)
    cover: Field = np.clip(0.5 + (Y - line) * SIZE, 0, 1)
    canvas.lay(cover, colour)
    return cover


def _scatter(
    generator: np.random.Generator, count: int, top: float, bottom: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    points = generator.uniform(0, SIZE, size=(count, 2))
    points[:, 1] = SIZE * (top + (bottom - top) * points[:, 1] / SIZE)
    return points


def somewhere(generator: np.random.Generator, count: int, top: float, bottom: float) -> list[Point]:
    """Random points between two heights, on the unit square."""
    points = generator.uniform((0, top), (1, bottom), size=(count, 2))
    return [(x, y) for x, y in points.tolist()]


def _cloud(canvas: Canvas, centre: Point, size: float) -> None:
    x, y = centre
    puffs = union(
        ellipse((x, y), (size, size * 0.34)),
        circle((x - size * 0.35, y - size * 0.16), size * 0.36),
        circle((x + size * 0.25, y - size * 0.26), size * 0.44),
    )
    canvas.paint(SQUARE, puffs, WHITE, opacity=0.85)


def _clouds(canvas: Canvas, generator: np.random.Generator) -> None:
    for centre in somewhere(generator, int(generator.integers(1, 4)), 0.06, 0.3):
        _cloud(canvas, centre, generator.uniform(0.08, 0.15))


def _sun(canvas: Canvas, generator: np.random.Generator, colour: Field) -> None:
    (centre,) = somewhere(generator, 1, 0.06, 0.25)
    radius = generator.uniform(0.06, 0.1)
    canvas.paint(SQUARE, circle(centre, radius * 1.7), colour, opacity=0.35, softness=9)
    canvas.paint(SQUARE, circle(centre, radius), colour)


def _meadow(canvas: Canvas, generator: np.random.Generator) -> None:
    sky = one_of(generator, "#7cc6f2", "#a5dcf5", "#f7c9a0", "#b9c8f0")
    horizon = generator.uniform(0.4, 0.65)
    fade(canvas, sky, sky + (1 - sky) * np.float32(0.6), horizon)
    if generator.integers(2):
        _sun(canvas, generator, rgb("#ffe27a"))
    _clouds(canvas, generator)
    grass = one_of(generator, "#7fc35a", "#98c95c", "#5fb074", "#b3c958")
    ground(canvas, generator, horizon - 0.06, 0.05, shade(grass, 0.86))
    ground(canvas, generator, horizon + 0.07, 0.03, grass)
    for x, y in somewhere(generator, 9, horizon + 0.12, 1.0):
        blades = [(x - 0.018, y - 0.035), (x, y), (x + 0.018, y - 0.035)]
        canvas.paint(SQUARE, stroke(blades, 0.013), shade(grass, 0.75))
    flowers = _scatter(generator, int(generator.integers(5, 16)), horizon + 0.12, 1.0)
    turns = np.arange(5) * (2 * math.pi / 5)
    petals = np.stack([np.cos(turns), np.sin(turns)], axis=1) * 1.8
    around = (flowers[:, None] + petals).reshape(-1, 2)
    bloom = one_of(generator, "#ffffff", "#f78fb3", "#ffd166", "#c8a2f0", "#ff7b6b")
    canvas.lay(sprinkle(around, np.full(len(around), 1.35)), bloom)
    canvas.lay(sprinkle(flowers, np.full(len(flowers), 1.2)), rgb("#ffc93c"))


def _sand(canvas: Canvas, generator: np.random.Generator) -> None:
    sky = one_of(generator, "#8fd3f4", "#bfe6f5", "#ffd3b0")
    fade(canvas, sky, sky + (1 - sky) * np.float32(0.7), 0.4)
    _sun(canvas, generator, rgb("#fff0a8"))
    shore = generator.uniform(0.42, 0.62)
    sea = one_of(generator, "#3fa7c9", "#52bfc1", "#3b8fc4")
    ground(canvas, generator, shore - generator.uniform(0.1, 0.22), 0.0, sea)
    for x, y in somewhere(generator, 4, shore - 0.12, shore):
        canvas.paint(SQUARE, stroke([(x - 0.05, y), (x + 0.05, y)], 0.014), WHITE, opacity=0.6)
    sand = one_of(generator, "#f2d9a0", "#e8c98c", "#f5e1bd", "#e6b887")
    ground(canvas, generator, shore - 0.02, 0.015, WHITE)
    ground(canvas, generator, shore + 0.005, 0.015, sand)
    grains = _scatter(generator, 60, shore + 0.05, 1.0)
    canvas.lay(sprinkle(grains, generator.uniform(0.4, 0.8, size=60)) * 0.8, shade(sand, 0.8))
    for x, y in somewhere(generator, 5, shore + 0.12, 1.0):
        stone = ellipse(
            (x, y), (generator.uniform(0.02, 0.05), 0.022), generator.uniform(-0.4, 0.4)
        )
        canvas.paint(SQUARE, stone, one_of(generator, "#b9a48c", "#f29f8e", "#fff3e2", "#9fb0b8"))


def _fir(canvas: Canvas, centre: Point, size: float, colour: Field, snow: Field) -> None:
    x, y = centre
    canvas.paint(SQUARE, stroke([(x, y), (x, y + size * 0.7)], size * 0.16), rgb("#7a5b45"))
    for step, width in ((0.25, 0.42), (-0.15, 0.34), (-0.5, 0.24)):
        top, low = y + size * (step - 0.45), y + size * step
        half = width * size
        canvas.paint(SQUARE, polygon([(x, top), (x + half, low), (x - half, low)], 0.004), colour)
        cap = polygon(
            [(x, top), (x + half * 0.45, top + size * 0.2), (x - half * 0.45, top + size * 0.2)]
        )
        canvas.paint(SQUARE, cap, snow)


def _snow(canvas: Canvas, generator: np.random.Generator) -> None:
    sky = one_of(generator, "#a9c4de", "#8fb0d6", "#c5cfe2", "#d9c7dd")
    fade(canvas, sky, sky + (1 - sky) * np.float32(0.55), 0.6)
    snow = one_of(generator, "#f6faff", "#e9f1fb", "#f3ecf8", amount=0.03)
    horizon = generator.uniform(0.45, 0.62)
    ground(canvas, generator, horizon - 0.05, 0.05, shade(snow, 0.88))
    green = one_of(generator, "#4f8a76", "#5c9a8b", "#3f7569")
    for x, _ in somewhere(generator, int(generator.integers(2, 6)), 0, 1):
        _fir(canvas, (x, horizon - 0.03), generator.uniform(0.16, 0.28), green, snow)
    ground(canvas, generator, horizon + 0.08, 0.03, snow)
    flakes = _scatter(generator, 45, 0.0, 1.0)
    canvas.lay(sprinkle(flakes, generator.uniform(0.5, 1.5, size=45)), WHITE)


def _night(canvas: Canvas, generator: np.random.Generator) -> None:
    sky = one_of(generator, "#1d2b53", "#2a2150", "#14304a", "#3a2a5e")
    glow = one_of(generator, "#6a5a9c", "#3e6a96", "#9a5f86")
    fade(canvas, sky, glow, 0.8)
    stars = _scatter(generator, 50, 0.0, 0.7)
    canvas.lay(sprinkle(stars, generator.uniform(0.3, 1.1, size=50)), rgb("#fff6cf"))
    (x, y), size = somewhere(generator, 1, 0.1, 0.25)[0], generator.uniform(0.07, 0.1)
    canvas.paint(SQUARE, circle((x, y), size * 1.8), rgb("#fff2c2"), opacity=0.25, softness=10)
    canvas.paint(SQUARE, circle((x, y), size), rgb("#fff2c2"))
    for dx, dy, part in ((-0.3, -0.2, 0.2), (0.3, 0.25, 0.26), (-0.1, 0.5, 0.14)):
        crater = circle((x + dx * size, y + dy * size), part * size)
        canvas.paint(SQUARE, crater, rgb("#e8d9a6"))
    hill = one_of(generator, "#24405a", "#2f3f5f", "#2b4a4a")
    horizon = generator.uniform(0.6, 0.75)
    ground(canvas, generator, horizon, 0.05, hill)
    ground(canvas, generator, horizon + 0.12, 0.03, shade(hill, 0.8))
    lights = _scatter(generator, 10, horizon, 1.0)
    canvas.lay(sprinkle(lights, np.full(10, 1.0)), rgb("#ffe08a"))


def _forest(canvas: Canvas, generator: np.random.Generator) -> None:
    air = one_of(generator, "#cfe8cf", "#e6e9c4", "#c4e0dd", "#f0d6b0")
    leaf = one_of(generator, "#6fae6a", "#a9b85a", "#d98f4e", "#4f9a78")
    fade(canvas, air, air * np.float32(0.9), 0.8)
    bark = one_of(generator, "#8a6a50", "#6f5a4c", "#a8876a", "#efe8df")
    for x, _ in somewhere(generator, int(generator.integers(4, 8)), 0, 1):
        width, lean = generator.uniform(0.03, 0.09), generator.uniform(-0.05, 0.05)
        canvas.paint(SQUARE, stroke([(x + lean, -0.1), (x, 0.75)], width * 0.7, width), bark)
    for centre in somewhere(generator, 12, -0.05, 0.2):
        tone = shade(leaf, generator.uniform(0.75, 1.1))
        canvas.paint(SQUARE, circle(centre, generator.uniform(0.06, 0.14)), tone)
    horizon = generator.uniform(0.6, 0.75)
    ground(canvas, generator, horizon, 0.03, shade(leaf, 0.7))
    fallen = _scatter(generator, 30, horizon + 0.04, 1.0)
    canvas.lay(sprinkle(fallen, generator.uniform(0.6, 1.8, size=30)), shade(leaf, 1.15))


OUTDOORS: Mapping[str, Callable[[Canvas, np.random.Generator], None]] = MappingProxyType(
    {"meadow": _meadow, "sand": _sand, "snow": _snow, "night": _night, "forest": _forest}
)
"""What paints each kind of background: ``paint(canvas, generator)`` fills the whole canvas."""
