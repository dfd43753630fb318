"""A small anti-aliased painter: shapes are signed distances, pictures are numpy arrays.

Every shape answers one question, "how far is this point from your edge" (negative inside). The
share of a pixel that a shape covers follows from that distance, so edges come out smooth without
drawing at a higher resolution first, which is what makes drawing fast enough to train on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZE = 96
"""Height and width of a picture, in pixels."""

Field = npt.NDArray[np.float32]
Point = tuple[float, float]


def rgb(code: str) -> Field:
    """The colour ``"#rrggbb"`` as three floats in [0, 1]."""
    levels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array(levels, dtype=np.float32)


def jitter(colour: Field, generator: np.random.Generator, amount: float) -> Field:
    """The colour moved by up to ``amount`` per channel, half of it shared by the channels."""
    shift = generator.uniform(-amount, amount, size=4).astype(np.float32)
    moved: Field = np.clip(colour + (shift[:3] + shift[3]) / 2, 0, 1)
    return moved


@dataclass(frozen=True)
class Shape:
    """A signed distance with the circle that holds all of the shape.

    Attributes:
        centre: Middle of that circle.
        reach: Its radius.
        distance: From coordinate arrays ``x, y`` to the signed distance, negative inside.
    """

    centre: Point
    reach: float
    distance: Callable[[Field, Field], Field]


def ellipse(centre: Point, radii: Point, angle: float = 0.0) -> Shape:
    """An ellipse, its first radius turned by ``angle`` radians (clockwise, y points down)."""
    (cx, cy), (rx, ry) = centre, radii
    cos, sin = math.cos(angle), math.sin(angle)

    def distance(x: Field, y: Field) -> Field:
        dx, dy = x - cx, y - cy
        u, v = (cos * dx + sin * dy) / rx, (cos * dy - sin * dx) / ry
        # The implicit function over the length of its gradient: exact on the edge to first order.
        level = np.sqrt(u * u + v * v)
        slope = np.sqrt((u / rx) ** 2 + (v / ry) ** 2) + np.float32(1e-6)
        result: Field = level * (level - 1) / slope
        return result

    return Shape(centre, max(rx, ry), distance)


def circle(centre: Point, radius: float) -> Shape:
    """A circle."""
    cx, cy = centre

    def distance(x: Field, y: Field) -> Field:
        dx, dy = x - cx, y - cy
        result: Field = np.sqrt(dx * dx + dy * dy) - np.float32(radius)
        return result

    return Shape(centre, radius, distance)


def _to_segment(x: Field, y: Field, start: Point, end: Point) -> tuple[Field, Field]:
    """Distance to a line segment, and how far along it the nearest point lies, in [0, 1]."""
    ex, ey = end[0] - start[0], end[1] - start[1]
    dx, dy = x - start[0], y - start[1]
    along: Field = np.clip((dx * ex + dy * ey) / (ex * ex + ey * ey), 0, 1)
    dx -= along * ex
    dy -= along * ey
    away: Field = np.sqrt(dx * dx + dy * dy)
    return away, along


def polygon(corners: Sequence[Point], rounding: float = 0.0) -> Shape:
    """A convex polygon, corners in clockwise order (y points down), grown by ``rounding``."""
    cx = sum(x for x, _ in corners) / len(corners)
    cy = sum(y for _, y in corners) / len(corners)
    reach = max(math.hypot(x - cx, y - cy) for x, y in corners) + rounding
    edges = list(zip(corners, [*corners[1:], corners[0]], strict=True))

    def distance(x: Field, y: Field) -> Field:
        sides = []
        for (ax, ay), (bx, by) in edges:
            length = math.hypot(bx - ax, by - ay)
            sides.append(((by - ay) * (x - ax) + (ax - bx) * (y - ay)) / length)
        inside: Field = np.maximum.reduce(sides)
        if not rounding:
            return inside
        outside = np.minimum.reduce([_to_segment(x, y, *edge)[0] for edge in edges])
        result: Field = np.where(inside < 0, inside, outside) - np.float32(rounding)
        return result

    return Shape((cx, cy), reach, distance)


def stroke(points: Sequence[Point], width: float, end_width: float | None = None) -> Shape:
    """A line through ``points`` with round ends, from ``width`` at the start to ``end_width``."""
    last = width if end_width is None else end_width
    cx = (min(x for x, _ in points) + max(x for x, _ in points)) / 2
    cy = (min(y for _, y in points) + max(y for _, y in points)) / 2
    reach = max(math.hypot(x - cx, y - cy) for x, y in points) + max(width, last) / 2
    pieces = len(points) - 1

    def distance(x: Field, y: Field) -> Field:
        parts = []
        for i in range(pieces):
            away, along = _to_segment(x, y, points[i], points[i + 1])
            parts.append(away - (width + (last - width) * (i + along) / pieces) / 2)
        nearest: Field = np.minimum.reduce(parts)
        return nearest

    return Shape((cx, cy), reach, distance)


def arc(centre: Point, radius: float, start: float, end: float, *, width: float) -> Shape:
    """A stroke along a circle, from the angle ``start`` to ``end`` (radians, clockwise)."""
    angles = np.linspace(start, end, 6)
    return stroke(
        [(centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles],
        width,
    )


def curve(start: Point, control: Point, end: Point, pieces: int = 7) -> list[Point]:
    """Points on a quadratic Bezier curve."""
    return [
        (
            (1 - t) ** 2 * start[0] + 2 * t * (1 - t) * control[0] + t * t * end[0],
            (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * control[1] + t * t * end[1],
        )
        for t in np.linspace(0, 1, pieces + 1).tolist()
    ]


def union(*shapes: Shape) -> Shape:
    """All of the shapes as one."""
    cx = sum(shape.centre[0] for shape in shapes) / len(shapes)
    cy = sum(shape.centre[1] for shape in shapes) / len(shapes)
    reach = max(math.hypot(s.centre[0] - cx, s.centre[1] - cy) + s.reach for s in shapes)

    def distance(x: Field, y: Field) -> Field:
        nearest = shapes[0].distance(x, y)
        for shape in shapes[1:]:
            nearest = np.minimum(nearest, shape.distance(x, y))
        return nearest

    return Shape((cx, cy), reach, distance)


_ROWS, _COLUMNS = np.indices((SIZE, SIZE), dtype=np.float32) + np.float32(0.5)


class Frame:
    """Where a drawing's own coordinates lie on the picture.

    Args:
        origin: The drawing's (0, 0), in pixels from the upper left corner.
        unit: Pixels per unit of length.
        angle: Clockwise turn in radians.
        mirrored: Whether x runs to the left.
    """

    def __init__(
        self, origin: Point, unit: float, *, angle: float = 0.0, mirrored: bool = False
    ) -> None:
        self.unit = unit
        self._origin = origin
        self._cos, self._sin = math.cos(angle), math.sin(angle)
        self._side = -1.0 if mirrored else 1.0
        dx, dy = (_COLUMNS - origin[0]) / unit, (_ROWS - origin[1]) / unit
        self.x: Field = self._side * (self._cos * dx + self._sin * dy)
        self.y: Field = self._cos * dy - self._sin * dx

    def window(self, centre: Point, reach: float) -> tuple[slice, slice]:
        """The rows and columns that a circle of radius ``reach`` can touch."""
        x, y = self._side * centre[0], centre[1]
        column = self._origin[0] + self.unit * (self._cos * x - self._sin * y)
        row = self._origin[1] + self.unit * (self._sin * x + self._cos * y)
        half = reach * self.unit + 1
        return (
            slice(max(0, math.floor(row - half)), max(0, math.ceil(row + half))),
            slice(max(0, math.floor(column - half)), max(0, math.ceil(column + half))),
        )


class Canvas:
    """A picture in the making.

    Attributes:
        pixels: (3, SIZE, SIZE) red, green and blue, in [0, 1] apart from rounding.
    """

    def __init__(self) -> None:
        self.pixels: Field = np.zeros((3, SIZE, SIZE), dtype=np.float32)

    def lay(self, alpha: Field, colour: Field) -> None:
        """Blend one colour (3,), or a colour per pixel (3, SIZE, SIZE), over the whole picture."""
        if colour.ndim == 1:
            colour = colour[:, None, None]
        self.pixels += alpha * (colour - self.pixels)

    def paint(
        self,
        frame: Frame,
        shape: Shape,
        colour: Field,
        *,
        opacity: float = 1.0,
        grow: float = 0.0,
        softness: float = 1.0,
        within: Field | None = None,
    ) -> None:
        """Blend a shape over the picture.

        Args:
            frame: Whose coordinates the shape is in.
            shape: What to paint.
            colour: (3,) floats in [0, 1].
            opacity: How much of the colour arrives.
            grow: Moves the edge outwards, in the frame's units.
            softness: Width of the edge's ramp in pixels; 1 is a crisp anti-aliased edge.
            within: A coverage (SIZE, SIZE) to stay inside of.
        """
        margin = (softness - 1) / (2 * frame.unit)
        window = frame.window(shape.centre, shape.reach + grow + margin)
        distance = shape.distance(frame.x[window], frame.y[window])
        alpha = np.clip(0.5 - (distance - grow) * (frame.unit / softness), 0, 1)
        if opacity != 1:
            alpha *= opacity
        if within is not None:
            alpha *= within[window]
        part = self.pixels[:, window[0], window[1]]
        part += alpha * (colour[:, None, None] - part)

    def paint_outlined(
        self, frame: Frame, shape: Shape, line: Field, fill: Field, *, width: float = 0.035
    ) -> tuple[Field, Field]:
        """Blend a shape with a line of ``width`` inside of its edge.

        Returns:
            The coverage of the shape and that of what lies inside of the line, (SIZE, SIZE) each.
        """
        window = frame.window(shape.centre, shape.reach)
        distance = shape.distance(frame.x[window], frame.y[window])
        part = self.pixels[:, window[0], window[1]]
        covers = np.zeros((2, SIZE, SIZE), dtype=np.float32)
        for cover, colour, grow in zip(covers, (line, fill), (0.0, -width), strict=True):
            alpha = np.clip(0.5 - (distance - grow) * frame.unit, 0, 1)
            part += alpha * (colour[:, None, None] - part)
            cover[window] = alpha
        return covers[0], covers[1]

    def to_bytes(self) -> npt.NDArray[np.uint8]:
        """The picture as (SIZE, SIZE, 3) bytes."""
        levels = np.clip(self.pixels * 255 + np.float32(0.5), 0, 255).astype(np.uint8)
        return np.ascontiguousarray(levels.transpose(1, 2, 0))


def sprinkle(points: npt.NDArray[np.float64], radii: npt.NDArray[np.float64]) -> Field:
    """Coverage (SIZE, SIZE) of many small discs at once.

    Args:
        points: (N, 2) centres as x, y in pixels.
        radii: (N,) radii in pixels.
    """
    whole = np.zeros((SIZE, SIZE), dtype=np.float32)
    half = math.ceil(float(radii.max(initial=0.0))) + 1
    steps = np.arange(-half, half + 1)
    columns = np.floor(points[:, :1]).astype(np.intp) + steps
    rows = np.floor(points[:, 1:]).astype(np.intp) + steps
    dx = (columns + 0.5 - points[:, :1])[:, None, :]
    dy = (rows + 0.5 - points[:, 1:])[:, :, None]
    alpha = np.clip(0.5 - (np.hypot(dx, dy) - radii[:, None, None]), 0, 1).astype(np.float32)
    rows, columns = np.broadcast_arrays(rows[:, :, None], columns[:, None, :])
    inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE) & (alpha > 0)
    np.maximum.at(whole, (rows[inside], columns[inside]), alpha[inside])
    return whole
