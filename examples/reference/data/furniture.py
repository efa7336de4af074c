"""The things that stand in generated rooms, each made of boxes, spheres and upright cylinders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

Box = tuple[float, float, float, float, float, float]
RGB = tuple[float, float, float]

COLOURS: dict[str, RGB] = {
    "red": (0.86, 0.11, 0.10),
    "orange": (0.98, 0.52, 0.05),
    "yellow": (0.98, 0.90, 0.12),
    "green": (0.10, 0.62, 0.18),
    "cyan": (0.15, 0.85, 0.88),
    "blue": (0.12, 0.26, 0.88),
    "purple": (0.56, 0.16, 0.72),
    "black": (0.14, 0.14, 0.15),
}


@dataclass(frozen=True)
class Primitive:
    """One solid, described by the box it fills from face to face.

    Attributes:
        shape: a sphere's box is a cube, a cylinder stands upright on a square.
        box: axis-aligned (x, y, z, dx, dy, dz), centre and full size, metres.
        colour: RGB in [0, 1].
        owner: index of the object it is a part of.
    """

    shape: Literal["box", "sphere", "cylinder"]
    box: Box
    colour: RGB
    owner: int = 0


def _solid(x: float, y: float, low: float, dx: float, dy: float, high: float) -> Box:
    """A box from its middle on the ground, its width and depth, and its lowest and highest z."""
    return (x, y, (low + high) / 2, dx, dy, high - low)


def _shade(colour: RGB, factor: float) -> RGB:
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def _box(rng: Random, colour: RGB) -> list[Primitive]:
    size = [rng.uniform(0.45, 0.9) for _ in range(3)]
    return [Primitive("box", _solid(0, 0, 0, size[0], size[1], size[2]), colour)]


def _sphere(rng: Random, colour: RGB) -> list[Primitive]:
    size = rng.uniform(0.45, 0.9)
    return [Primitive("sphere", _solid(0, 0, 0, size, size, size), colour)]


def _cylinder(rng: Random, colour: RGB) -> list[Primitive]:
    size = rng.uniform(0.4, 0.7)
    return [Primitive("cylinder", _solid(0, 0, 0, size, size, rng.uniform(0.6, 1.2)), colour)]


def _table(rng: Random, colour: RGB) -> list[Primitive]:
    dx, dy, height, leg = rng.uniform(0.9, 1.4), rng.uniform(0.6, 0.9), rng.uniform(0.6, 0.8), 0.08
    corners = [(sx * (dx - leg) / 2, sy * (dy - leg) / 2) for sx in (-1, 1) for sy in (-1, 1)]
    legs = [_solid(x, y, 0, leg, leg, height - 0.08) for x, y in corners]
    top = Primitive("box", _solid(0, 0, height - 0.08, dx, dy, height), colour)
    return [top, *(Primitive("box", box, _shade(colour, 0.75)) for box in legs)]


def _chair(rng: Random, colour: RGB) -> list[Primitive]:
    size, seat, height, leg = rng.uniform(0.45, 0.6), 0.48, rng.uniform(0.95, 1.1), 0.06
    ends = (-(size - leg) / 2, (size - leg) / 2)
    legs = [_solid(x, y, 0, leg, leg, seat - 0.08) for x in ends for y in ends]
    back = _solid(0, (size - 0.07) / 2, seat, size, 0.07, height)
    solids = [_solid(0, 0, seat - 0.08, size, size, seat), back]
    return [
        *(Primitive("box", box, colour) for box in solids),
        *(Primitive("box", box, _shade(colour, 0.75)) for box in legs),
    ]


def _bed(rng: Random, colour: RGB) -> list[Primitive]:
    dx, dy, height = rng.uniform(0.85, 1.1), rng.uniform(1.3, 1.4), rng.uniform(0.35, 0.5)
    pillow = _solid(0, dy / 2 - 0.28, height, dx * 0.7, 0.3, height + 0.1)
    return [
        Primitive("box", _solid(0, 0, 0, dx, dy, height - 0.15), _shade(colour, 0.6)),
        Primitive("box", _solid(0, -0.03, height - 0.15, dx, dy - 0.06, height), colour),
        Primitive("box", _solid(0, (dy - 0.08) / 2, 0, dx, 0.08, 0.85), _shade(colour, 0.75)),
        Primitive("box", pillow, (0.93, 0.93, 0.90)),
    ]


def _shelf(rng: Random, colour: RGB) -> list[Primitive]:
    dx, dy, height, board = rng.uniform(0.7, 1.1), 0.36, rng.uniform(1.1, 1.4), 0.06
    sides = [_solid(s * (dx - board) / 2, 0, 0, board, dy, height) for s in (-1, 1)]
    steps = [i * (height - board) / 3 for i in range(4)]
    boards = [_solid(0, 0, low, dx - 2 * board, dy, low + board) for low in steps]
    back = _solid(0, (dy - 0.04) / 2, 0, dx - 2 * board, 0.04, height)
    return [
        Primitive("box", back, _shade(colour, 0.6)),
        *(Primitive("box", box, colour) for box in (*sides, *boards)),
    ]


def _lamp(rng: Random, colour: RGB) -> list[Primitive]:
    size, height = rng.uniform(0.42, 0.5), rng.uniform(1.2, 1.4)
    return [
        Primitive("sphere", _solid(0, 0, height - size, size, size, height), colour),
        Primitive("cylinder", _solid(0, 0, 0.06, 0.08, 0.08, height - size * 0.9), (0.6,) * 3),
        Primitive("cylinder", _solid(0, 0, 0, 0.4, 0.4, 0.06), _shade(colour, 0.75)),
    ]


_BUILDERS: dict[str, Callable[[Random, RGB], list[Primitive]]] = {
    "box": _box,
    "sphere": _sphere,
    "cylinder": _cylinder,
    "table": _table,
    "chair": _chair,
    "bed": _bed,
    "shelf": _shelf,
    "lamp": _lamp,
}
NOUNS: tuple[str, ...] = tuple(_BUILDERS)


def build(noun: str, colour: str, rng: Random) -> tuple[Primitive, ...]:
    """Build an object on the ground around the origin, turned by a random number of quarters.

    Args:
        noun: one of ``NOUNS``.
        colour: one of ``COLOURS``.
        rng: draws the sizes and the turn.

    Returns:
        Its primitives.

    Example:
        >>> len(build("table", "red", Random(0)))
        5
    """
    parts = _BUILDERS[noun](rng, COLOURS[colour])
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[rng.randrange(4)]
    return tuple(replace(part, box=_turned(part.box, cos, sin)) for part in parts)


def _turned(box: Box, cos: int, sin: int) -> Box:
    x, y, z, dx, dy, dz = box
    dx, dy = (dx, dy) if cos else (dy, dx)
    return (cos * x - sin * y, sin * x + cos * y, z, dx, dy, dz)


def bounds(parts: tuple[Primitive, ...]) -> Box:
    """The tight box around primitives: (x, y, z, dx, dy, dz), centre and full size, metres."""
    low = [min(p.box[a] - p.box[a + 3] / 2 for p in parts) for a in range(3)]
    high = [max(p.box[a] + p.box[a + 3] / 2 for p in parts) for a in range(3)]
    centre = [(near + far) / 2 for near, far in zip(low, high, strict=True)]
    size = [far - near for near, far in zip(low, high, strict=True)]
    return (centre[0], centre[1], centre[2], size[0], size[1], size[2])
