"""Furnished rooms drawn from a seed: the same room for the same seed, on every machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch.utils.data import Dataset

from .furniture import COLOURS, NOUNS, RGB, Box, Primitive, bounds, build
from .render import render_room
from .scene import Kind, Scene, SceneObject
from .text import KINDS, object_turns
from .textures import PATTERNS, Floor

WALLS: tuple[RGB, ...] = (
    (0.86, 0.82, 0.74),
    (0.74, 0.82, 0.86),
    (0.78, 0.85, 0.76),
    (0.88, 0.78, 0.76),
    (0.82, 0.80, 0.88),
    (0.84, 0.84, 0.82),
)
FLOORS: tuple[tuple[RGB, RGB], ...] = (
    ((0.62, 0.48, 0.36), (0.50, 0.38, 0.28)),
    ((0.66, 0.64, 0.60), (0.46, 0.45, 0.44)),
    ((0.56, 0.60, 0.64), (0.44, 0.48, 0.54)),
    ((0.70, 0.62, 0.50), (0.60, 0.51, 0.40)),
    ((0.58, 0.60, 0.50), (0.46, 0.49, 0.40)),
)
WALL_GAP, OBJECT_GAP = 0.12, 0.28
Item = tuple[str, str, tuple[Primitive, ...]]


@dataclass(frozen=True)
class Room:
    """A furnished room around the origin, its floor at z = 0.

    Attributes:
        seed: what it was drawn from.
        size: width along x, depth along y, height, metres.
        objects: what stands in it, with names, colours and tight boxes.
        primitives: the solids of all objects; ``owner`` indexes ``objects``.
        walls: RGB of the walls at lowest x, highest x, lowest y and highest y.
        floor: the floor's pattern.
    """

    seed: int
    size: tuple[float, float, float]
    objects: tuple[SceneObject, ...]
    primitives: tuple[Primitive, ...]
    walls: tuple[RGB, ...]
    floor: Floor


def generate_room(seed: int, *, fewest: int = 4, most: int = 10) -> Room:
    """Draw a room: its size, colours, and objects that neither touch one another nor the walls.

    Args:
        seed: the only source of randomness.
        fewest: smallest number of objects.
        most: largest number of objects; crowded rooms hold fewer, but at least ``fewest``.

    Returns:
        The room.

    Raises:
        ValueError: if the two numbers of objects are out of order.

    Example:
        >>> generate_room(3) == generate_room(3)
        True
    """
    if not 0 <= fewest <= most <= 10:
        raise ValueError(f"fewest and most must be 0 <= fewest <= most <= 10; got {fewest}, {most}")
    rng = Random(f"room/{seed}")
    size = (rng.uniform(4.0, 6.0), rng.uniform(4.0, 6.0), 2.5)
    base = rng.choice(WALLS)
    walls = tuple(_jitter(base, 0.09, rng) for _ in range(4))
    first, second = rng.choice(FLOORS)
    kind = rng.choice(PATTERNS)
    cell = rng.uniform(0.14, 0.2) if kind == "planks" else rng.uniform(0.4, 0.7)
    wanted = rng.randint(fewest, most)
    placed = _furnish(size, wanted, rng)
    while len(placed) < fewest:
        placed = _furnish(size, wanted, rng)
    objects = tuple(SceneObject(noun, bounds(parts), colour) for noun, colour, parts in placed)
    primitives = tuple(
        replace(part, owner=owner) for owner, (_, _, parts) in enumerate(placed) for part in parts
    )
    return Room(seed, size, objects, primitives, walls, Floor(kind, first, second, cell))


def _furnish(size: tuple[float, float, float], wanted: int, rng: Random) -> tuple[Item, ...]:
    """Place objects of few kinds, so that rooms hold several of one, the widest first."""
    nouns, colours = rng.sample(NOUNS, 5), rng.sample(list(COLOURS), 5)
    drawn = [(rng.choice(nouns), rng.choice(colours)) for _ in range(wanted)]
    items = [(noun, colour, build(noun, colour, rng)) for noun, colour in drawn]
    items.sort(key=lambda item: -bounds(item[2])[3] * bounds(item[2])[4])
    placed: list[Item] = []
    for noun, colour, parts in items:
        moved = _place(parts, [bounds(other[2]) for other in placed], size, rng)
        if moved is not None:
            placed.append((noun, colour, moved))
    rng.shuffle(placed)
    return tuple(placed)


def _place(
    parts: tuple[Primitive, ...], taken: list[Box], size: tuple[float, float, float], rng: Random
) -> tuple[Primitive, ...] | None:
    _, _, _, dx, dy, _ = bounds(parts)
    reach = ((size[0] - dx) / 2 - WALL_GAP, (size[1] - dy) / 2 - WALL_GAP)
    for _ in range(60):
        x, y = rng.uniform(-reach[0], reach[0]), rng.uniform(-reach[1], reach[1])
        if all(
            abs(x - other[0]) > (dx + other[3]) / 2 + OBJECT_GAP
            or abs(y - other[1]) > (dy + other[4]) / 2 + OBJECT_GAP
            for other in taken
        ):
            return tuple(replace(p, box=(p.box[0] + x, p.box[1] + y, *p.box[2:])) for p in parts)
    return None


def _jitter(colour: RGB, amount: float, rng: Random) -> RGB:
    red, green, blue = (min(max(c + rng.uniform(-amount, amount), 0.0), 0.95) for c in colour)
    return (red, green, blue)


def room_scene(
    seed: int,
    *,
    views: int = 8,
    size: int = 96,
    turns: int = 8,
    kinds: Sequence[Kind] = KINDS,
) -> Scene:
    """Generate, render and describe a room.

    Args:
        seed: the only source of randomness.
        views: m, number of cameras.
        size: h = w of a view, pixels.
        turns: number of questions.
        kinds: what to ask (see ``object_turns``).

    Returns:
        The scene, with frames of b = 1.

    Example:
        >>> room_scene(0, views=2, size=16).frames.images.shape
        torch.Size([1, 2, 3, 16, 16])
    """
    room = generate_room(seed)
    frames, instances = render_room(room, views=views, size=size)
    return Scene(
        name=f"room/{seed:06d}",
        frames=frames,
        boxes=torch.tensor([item.box for item in room.objects]).reshape(-1, 6),
        objects=room.objects,
        turns=object_turns(room.objects, seed=seed, count=turns, kinds=kinds),
        instances=instances,
    )


class Rooms(Dataset[Scene]):
    """An endless house as a map-style data set: item i is the room of seed ``first_seed + i``.

    Args:
        first_seed: seed of the first room; disjoint ranges of seeds are disjoint data sets.
        count: number of rooms.
        views: m, number of cameras in each.
        size: h = w of a view, pixels.
        turns: number of questions about each.

    Example:
        >>> Rooms(100, 5, views=2, size=16)[1].name
        'room/000101'
    """

    def __init__(
        self, first_seed: int, count: int, *, views: int = 8, size: int = 96, turns: int = 8
    ) -> None:
        self.first_seed, self.count = first_seed, count
        self.views, self.size, self.turns = views, size, turns

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Scene:
        """Render the room.

        Raises:
            IndexError: if there is no such room.
        """
        if not 0 <= index < self.count:
            raise IndexError(f"index must be in [0, {self.count}); got {index}")
        seed = self.first_seed + index
        return room_scene(seed, views=self.views, size=self.size, turns=self.turns)
