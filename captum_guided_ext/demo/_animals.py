"""Animals: a coat of colours and a pose, then a face and a fur that know nothing of each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from captum_guided_ext.demo._canvas import (
    SIZE,
    Canvas,
    Field,
    Frame,
    Shape,
    arc,
    circle,
    curve,
    ellipse,
    jitter,
    polygon,
    rgb,
    stroke,
    union,
)

if TYPE_CHECKING:
    from captum_guided_ext.demo._canvas import Point

FACES = ("cat", "dog", "rabbit")
FURS = ("striped", "spotted")

# Coat, its marks and its light parts. Marks are darker in some and lighter in others, so that no
# colour gives a class away.
_COATS = (
    ("#f4a259", "#c56a2d", "#ffe9cf"),
    ("#b0b6bf", "#6d7683", "#f1f3f6"),
    ("#a9744f", "#6d4529", "#ecd2b5"),
    ("#f3dfbd", "#c0935f", "#fffaf0"),
    ("#5a5a68", "#b9b9c9", "#d6d6e2"),
    ("#fbf8f2", "#a79f97", "#ffffff"),
    ("#7d5a48", "#d9b38c", "#f0dcc6"),
    ("#8fa8c4", "#56708f", "#eaf2fa"),
    ("#e3b7a0", "#a86a58", "#fff0e6"),
    ("#6f7f72", "#c9d6b8", "#e8efdf"),
)
_PINK = rgb("#f2949c")
_WHITE = rgb("#ffffff")
_HEAD = (0.0, -0.27)


@dataclass(frozen=True)
class Coat:
    """The colours of one animal, each (3,) floats in [0, 1]."""

    base: Field
    marks: Field
    light: Field
    line: Field
    dark: Field


def pick_coat(generator: np.random.Generator) -> Coat:
    """A random coat, of the same distribution for every face and every fur."""
    base, marks, light = (
        jitter(rgb(code), generator, 0.06) for code in _COATS[int(generator.integers(len(_COATS)))]
    )
    strength = np.float32(generator.uniform(0.5, 1.1))
    marks = np.clip(base + strength * (marks - base), 0, 1)
    return Coat(base, marks, light, line=base * np.float32(0.48), dark=rgb("#33282b"))


@dataclass(frozen=True)
class Body:
    """The animal below its head: shapes in the animal's own coordinates."""

    tail: Shape
    trunk: Shape
    paws: tuple[Shape, Shape]


def pick_body(generator: np.random.Generator) -> Body:
    """A random body, of the same distribution for every face and every fur."""
    wide, low = generator.uniform(0.92, 1.1), generator.uniform(0.5, 0.7)
    trunk = union(
        ellipse((0, 0.38), (0.46 * wide, 0.5)),
        ellipse((-0.3 * wide, 0.62), (0.27, 0.25)),
        ellipse((0.3 * wide, 0.62), (0.27, 0.25)),
    )
    tip = (generator.uniform(0.78, 1.0), generator.uniform(-0.02, 0.4))
    bend = curve((0.35, low), (generator.uniform(0.9, 1.15), low + 0.15), tip)
    tail = stroke(bend, generator.uniform(0.18, 0.24), generator.uniform(0.13, 0.24))
    apart = generator.uniform(0.15, 0.22)
    paws = (ellipse((-apart, 0.8), (0.15, 0.1)), ellipse((apart, 0.8), (0.15, 0.1)))
    return Body(tail, trunk, paws)


def _stripes(frame: Frame, generator: np.random.Generator) -> Field:
    """Coverage of curved bands, thinner towards the middle of the body or broken there."""
    period, turn = generator.uniform(0.2, 0.3), generator.uniform(-0.35, 0.35)
    bow, taper = generator.uniform(-0.35, 0.35), generator.uniform(0.0, 1.1)
    wave, phase = generator.uniform(0.0, 0.04), generator.uniform(0, 2 * math.pi)
    x, y = frame.x, frame.y
    level = y + math.tan(turn) * x + bow * x * x + wave * np.sin(9 * x + np.float32(phase))
    along = level / period + generator.random()
    half = generator.uniform(0.2, 0.28) * (1 - taper * np.exp(-((x / np.float32(0.2)) ** 2)))
    edge = half - np.abs(along - np.floor(along) - np.float32(0.5))
    cover: Field = np.clip(0.5 + edge * (period * frame.unit), 0, 1)
    return cover


def _spots(frame: Frame, generator: np.random.Generator) -> Field:
    """Coverage of round or oval spots on a loose grid."""
    period, stretch = generator.uniform(0.22, 0.3), generator.uniform(0.8, 1.25)
    rows, columns = np.mgrid[-1:6, -6:6] * period
    centres = np.stack([columns, rows], axis=-1)
    centres[1::2, :, 0] += period / 2
    centres += generator.uniform(-0.25, 0.25, size=centres.shape) * period
    centres += generator.uniform(0, period, size=2)
    radii = generator.uniform(0.22, 0.42, size=centres.shape[:2]) * period
    cover = np.zeros((SIZE, SIZE), dtype=np.float32)
    spots = np.concatenate([centres, radii[..., None]], axis=-1).reshape(-1, 3)
    for cx, cy, radius in spots.tolist():
        window = frame.window((cx, cy), radius * max(stretch, 1 / stretch))
        dx, dy = (frame.x[window] - cx) * stretch, (frame.y[window] - cy) / stretch
        alpha = np.clip(0.5 + (radius - np.sqrt(dx * dx + dy * dy)) * frame.unit, 0, 1)
        np.maximum(cover[window], alpha, out=cover[window])
    return cover


_MARKS = {"striped": _stripes, "spotted": _spots}


def draw_body(
    canvas: Canvas,
    frame: Frame,
    coat: Coat,
    body: Body,
    *,
    fur: str,
    generator: np.random.Generator,
) -> Field:
    """Paint the body with its fur and return its coverage (SIZE, SIZE)."""
    marks = _MARKS[fur](frame, generator)
    # A little darker towards the feet: the one hint of light in an otherwise flat picture.
    shade = 1 - np.float32(0.12) * np.clip(frame.y, 0, 1)
    base, dyed = coat.base[:, None, None] * shade, coat.marks[:, None, None] * shade
    cover = np.zeros((SIZE, SIZE), dtype=np.float32)
    for part in (body.tail, body.trunk):
        whole, inside = canvas.paint_outlined(frame, part, coat.line, coat.base)
        canvas.lay(inside, base + marks * (dyed - base))
        cover = np.maximum(cover, whole)
    shadow = ellipse((_HEAD[0], _HEAD[1] + 0.1), (0.5, 0.42))
    canvas.paint(frame, shadow, coat.line, opacity=0.35, softness=3, within=cover)
    for paw in body.paws:
        whole, _ = canvas.paint_outlined(frame, paw, coat.line, coat.light)
        cover = np.maximum(cover, whole)
    return cover


def _eyes(
    canvas: Canvas, frame: Frame, coat: Coat, generator: np.random.Generator, apart: float
) -> None:
    height, gaze = generator.uniform(0.085, 0.115), generator.uniform(-0.015, 0.015)
    for side in (-1, 1):
        x, y = side * apart, _HEAD[1] - 0.06
        canvas.paint(frame, ellipse((x, y), (0.078, height)), coat.dark)
        canvas.paint(frame, circle((x + 0.026 + gaze, y - 0.035), 0.03), _WHITE)
        canvas.paint(frame, circle((x - 0.025 + gaze, y + 0.035), 0.015), _WHITE, opacity=0.8)


def _blush(canvas: Canvas, frame: Frame, head: Field) -> None:
    for side in (-1, 1):
        cheek = ellipse((side * 0.34, _HEAD[1] + 0.11), (0.1, 0.065))
        canvas.paint(frame, cheek, _PINK, opacity=0.5, softness=2, within=head)


def _mouth(canvas: Canvas, frame: Frame, colour: Field, top: Point, radius: float) -> None:
    x, y = top
    for side in (-1, 1):
        smile = arc((x + side * radius, y), radius, 0.1, math.pi - 0.1, width=0.03)
        canvas.paint(frame, smile, colour)


def _skull(generator: np.random.Generator) -> Shape:
    plump = generator.uniform(0.94, 1.06)
    return union(
        ellipse(_HEAD, (0.5 * plump, 0.42)),
        ellipse((-0.2, _HEAD[1] + 0.12), (0.33 * plump, 0.27)),
        ellipse((0.2, _HEAD[1] + 0.12), (0.33 * plump, 0.27)),
    )


def _cat(canvas: Canvas, frame: Frame, coat: Coat, generator: np.random.Generator) -> Field:
    lift, lean = generator.uniform(-0.04, 0.05), generator.uniform(-0.04, 0.06)
    cover = np.zeros((SIZE, SIZE), dtype=np.float32)
    for side in (-1, 1):
        corners = [
            (side * 0.15, _HEAD[1] - 0.28),
            (side * (0.35 + lean), _HEAD[1] - 0.54 - lift),
            (side * 0.41, _HEAD[1] - 0.14),
        ][::side]
        ear = polygon(corners, 0.08)
        cover = np.maximum(cover, canvas.paint_outlined(frame, ear, coat.line, coat.base)[0])
        canvas.paint(frame, ear, _PINK, grow=-0.11)
    head, _ = canvas.paint_outlined(frame, _skull(generator), coat.line, coat.base)
    for side in (-1, 1):
        muzzle = ellipse((side * 0.1, _HEAD[1] + 0.18), (0.14, 0.11))
        canvas.paint(frame, muzzle, coat.light, within=head)
    _blush(canvas, frame, head)
    _eyes(canvas, frame, coat, generator, 0.22)
    nose_y = _HEAD[1] + 0.1
    nose = polygon([(-0.04, nose_y - 0.02), (0.04, nose_y - 0.02), (0, nose_y + 0.03)], 0.022)
    canvas.paint(frame, nose, _PINK * np.float32(0.85))
    _mouth(canvas, frame, coat.dark, (0, nose_y + 0.05), 0.06)
    spread = generator.uniform(0.02, 0.07)
    for side in (-1, 1):
        for step in (-1, 0, 1):
            start = (side * 0.24, _HEAD[1] + 0.16 + step * 0.035)
            end = (side * 0.56, _HEAD[1] + 0.16 + step * (0.035 + spread))
            # Whiskers stay on the head: outside of it they would be face on background pixels.
            canvas.paint(frame, stroke([start, end], 0.022), coat.dark, opacity=0.8, within=head)
    return np.maximum(cover, head)


def _dog(canvas: Canvas, frame: Frame, coat: Coat, generator: np.random.Generator) -> Field:
    head, _ = canvas.paint_outlined(frame, _skull(generator), coat.line, coat.base)
    canvas.paint(frame, stroke([(0, _HEAD[1] - 0.36), (0, _HEAD[1])], 0.13, 0.06), coat.light)
    muzzle = ellipse((0, _HEAD[1] + 0.19), (0.27, 0.21))
    canvas.paint(frame, muzzle, coat.light, within=head)
    _eyes(canvas, frame, coat, generator, 0.22)
    nose_y = _HEAD[1] + 0.08
    if generator.integers(2):
        tongue = ellipse((0, nose_y + 0.21), (0.065, 0.1))
        canvas.paint(frame, tongue, rgb("#ee6f7c"), within=head)
    _mouth(canvas, frame, coat.dark, (0, nose_y + 0.09), 0.08)
    canvas.paint(frame, ellipse((0, nose_y), (0.11, 0.078)), coat.dark)
    canvas.paint(frame, ellipse((-0.03, nose_y - 0.03), (0.035, 0.018)), _WHITE, opacity=0.7)
    swing, length = generator.uniform(0.0, 0.25), generator.uniform(0.29, 0.36)
    cover = head
    ear_colour = coat.base * np.float32(0.72)
    for side in (-1, 1):
        ear = union(
            ellipse((side * 0.47, _HEAD[1] + 0.02), (0.15, length), -side * swing),
            ellipse((side * 0.4, _HEAD[1] - 0.22), (0.16, 0.12), side * 0.5),
        )
        cover = np.maximum(cover, canvas.paint_outlined(frame, ear, coat.line, ear_colour)[0])
    return cover


def _rabbit(canvas: Canvas, frame: Frame, coat: Coat, generator: np.random.Generator) -> Field:
    cover = np.zeros((SIZE, SIZE), dtype=np.float32)
    spread, length = generator.uniform(0.05, 0.3), generator.uniform(0.3, 0.35)
    for side in (-1, 1):
        ear = ellipse(
            (side * (0.17 + spread * 0.3), _HEAD[1] - 0.56), (0.125, length), side * spread
        )
        cover = np.maximum(cover, canvas.paint_outlined(frame, ear, coat.line, coat.base)[0])
        canvas.paint(frame, ear, _PINK, grow=-0.075)
    head, _ = canvas.paint_outlined(frame, _skull(generator), coat.line, coat.base)
    _blush(canvas, frame, head)
    nose_y = _HEAD[1] + 0.1
    for side in (-1, 1):
        canvas.paint(frame, circle((side * 0.085, nose_y + 0.09), 0.105), coat.light, within=head)
    _eyes(canvas, frame, coat, generator, 0.25)
    teeth = polygon(
        [
            (-0.045, nose_y + 0.1),
            (0.045, nose_y + 0.1),
            (0.045, nose_y + 0.2),
            (-0.045, nose_y + 0.2),
        ],
        0.015,
    )
    canvas.paint(frame, teeth, coat.line, opacity=0.7, grow=0.014)
    canvas.paint(frame, teeth, _WHITE)
    canvas.paint(frame, stroke([(0, nose_y + 0.1), (0, nose_y + 0.21)], 0.016), coat.line)
    _mouth(canvas, frame, coat.dark, (0, nose_y + 0.05), 0.07)
    canvas.paint(frame, ellipse((0, nose_y), (0.055, 0.038)), _PINK * np.float32(0.85))
    return np.maximum(cover, head)


_FACES = {"cat": _cat, "dog": _dog, "rabbit": _rabbit}


def draw_head(
    canvas: Canvas, frame: Frame, coat: Coat, face: str, generator: np.random.Generator
) -> Field:
    """Paint the head over the body and return its coverage (SIZE, SIZE)."""
    return _FACES[face](canvas, frame, coat, generator)
