"""Colours of the floor, the walls and the objects of a generated room, as functions of position."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from .furniture import RGB, Box

if TYPE_CHECKING:
    from .rooms import Room

SHAPES = ("box", "sphere", "cylinder")
CEILING = (0.93, 0.93, 0.92)
FLOOR_FACE = -5
AMBIENT, DIRECT = 0.66, 0.38
LIGHT = (0.32, 0.48, 0.82)


Pattern = Literal["checker", "planks", "noise", "halves"]
PATTERNS: tuple[Pattern, ...] = ("checker", "planks", "noise", "halves")


@dataclass(frozen=True)
class Floor:
    """A floor's pattern.

    Attributes:
        kind: the pattern.
        first: RGB in [0, 1].
        second: RGB of every other tile, plank or half.
        cell: size of a tile or plank, metres.
    """

    kind: Pattern
    first: RGB
    second: RGB
    cell: float


def lambert(normals: Tensor) -> Tensor:
    """Brightness of a surface under one distant light, wrapped around so that all sides differ.

    Args:
        normals: (3, n) unit normals, world frame.

    Returns:
        (n,) factor for the surface's colour.
    """
    x, y, z = normals
    return AMBIENT + DIRECT * (LIGHT[0] * x + LIGHT[1] * y + LIGHT[2] * z)


def checker(points: Tensor, cell: float, contrast: float) -> Tensor:
    """A soft checker: 1 and 1 - contrast by turns.

    Args:
        points: (d, n) positions, metres.
        cell: size of a cell, metres.
        contrast: how much darker every other cell is.

    Returns:
        (n,) factor for the surface's colour.
    """
    halves = torch.floor(points / cell).sum(0) / 2
    return 1 - (halves - halves.floor()) * (2 * contrast)


def floor_colours(points: Tensor, floor: Floor, seed: int) -> Tensor:
    """The floor's colour before shading.

    Args:
        points: (d, n) positions; only x and y count, metres.
        floor: the pattern.
        seed: of the room; draws the grain.

    Returns:
        (3, n) RGB.
    """
    x, y = points[:2]
    if floor.kind == "checker":
        share = 1 - checker(points[:2], floor.cell, 1.0)
    elif floor.kind == "planks":
        columns = torch.floor(x / floor.cell)
        share = _hash(columns, torch.floor(y / 1.2 + _hash(columns, columns, 0)), seed)
    elif floor.kind == "noise":
        share = _hash(torch.floor(x / 0.12), torch.floor(y / 0.12), seed)
    else:
        share = (x + 0.5 * y > 0).float()
    first, second = (torch.tensor(colour)[:, None] for colour in (floor.first, floor.second))
    return first + (second - first) * share


def _hash(columns: Tensor, rows: Tensor, seed: int) -> Tensor:
    """A value in [0, 1) for every pair of integers, the same on every machine."""
    mixed = (columns.long() * 73856093) ^ (rows.long() * 19349663) ^ (seed * 83492791)
    return ((mixed ^ (mixed >> 13)) * 1274126177 & 0xFFFF).float() / 0x10000


def contact_shadow(points: Tensor, boxes: list[Box]) -> Tensor:
    """Darken the floor under and around what stands on it.

    Args:
        points: (d, n) positions; only x and y count, metres.
        boxes: (x, y, z, dx, dy, dz) of each object, metres.

    Returns:
        (n,) factor for the floor's colour.
    """
    x, y = points[:2]
    nearest = torch.full_like(x, 1.0)
    for cx, cy, _, dx, dy, _ in boxes:
        across = (x - cx).abs_().sub_(dx / 2).clamp_(min=0)
        along = (y - cy).abs_().sub_(dy / 2).clamp_(min=0)
        nearest = torch.minimum(nearest, across.square_().add_(along.square_()), out=nearest)
    return nearest.mul_(-25).exp_().mul_(-0.4).add_(1)


def shade(room: Room, points: Tensor, surface: Tensor) -> Tensor:
    """Colour the points that rays have met.

    Args:
        room: the room.
        points: (3, n) world positions, metres.
        surface: (n,) as in ``Hits``.

    Returns:
        (3, n) RGB in [0, 1].
    """
    colours = torch.empty_like(points)
    solid, ground = surface >= 0, surface == FLOOR_FACE
    for chosen, paint in ((solid, _solids), (ground, _ground), (~(solid | ground), _walls)):
        index = chosen.nonzero().squeeze(-1)
        if len(index):
            met = surface.index_select(0, index).int()
            painted = paint(room, points.index_select(1, index), met)
            colours.index_copy_(1, index, painted)
    return colours.clamp_(0, 1)


def _ground(room: Room, points: Tensor, surface: Tensor) -> Tensor:
    shadow = contact_shadow(points, [item.box for item in room.objects])
    return floor_colours(points, room.floor, room.seed) * shadow


def _walls(room: Room, points: Tensor, surface: Tensor) -> Tensor:
    face = -1 - surface
    inwards = torch.cat([torch.eye(3), -torch.eye(3)], dim=1)[:, [0, 3, 1, 4, 2, 5]]
    light = 0.5 + 0.5 * lambert(inwards)
    light[5] = 0.92
    palette = torch.tensor([*room.walls, CEILING, CEILING]).T * light
    # Textures are read just behind the face, where rounding cannot flip a cell.
    inset = points + 1e-3 * inwards.index_select(1, face)
    skirting = torch.where(inset[2] < 0.1, 0.7, 1.0)
    return palette.index_select(1, face) * (checker(inset, 0.5, 0.07) * skirting)


def _solids(room: Room, points: Tensor, surface: Tensor) -> Tensor:
    rows = [(*p.box, *p.colour, SHAPES.index(p.shape)) for p in room.primitives]
    table = torch.tensor(rows).T.index_select(1, surface)
    local = (points - table[:3]) / table[3:6]
    size, kind = local.abs(), table[9]
    radius = (local[0].square() + local[1].square()).sqrt_()
    face = local.sign() * (size >= size.amax(0))
    upright = torch.tensor([0.0, 0.0, 1.0])[:, None]
    tube = torch.where(size[2] > radius, local.sign() * upright, local * (1 - upright))
    normals = torch.where(kind == 0, face, torch.where(kind == 1, local, tube))
    normals = normals / normals.square().sum(0).sqrt_()
    return table[6:9] * (lambert(normals) * checker(points - 1e-3 * normals, 0.16, 0.12))
