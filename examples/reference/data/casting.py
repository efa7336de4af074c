"""What rays meet first in a room of boxes, spheres and upright cylinders, exactly."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from .furniture import Box
from .textures import SHAPES

if TYPE_CHECKING:
    from .rooms import Room

Axes = tuple[Tensor, ...]


class Hits(NamedTuple):
    """What rays meet first.

    Attributes:
        distance: (n,) in lengths of each ray's direction.
        surface: (n,) int16, index of a primitive, or -1 to -6 for the room's inside faces at lowest
            x, highest x, lowest y, highest y, the floor and the ceiling.
    """

    distance: Tensor
    surface: Tensor


def cast(room: Room, origins: Tensor, directions: Tensor) -> Hits:
    """Find what each ray meets first.

    Args:
        room: the room.
        origins: (3, m, 1) or (3, m, r) where rays start: in the room, outside of objects, metres.
        directions: (3, m, r) of any length, world frame.

    Returns:
        Hits of n = m * r rays.
    """
    directions = directions + 1e-9
    start, inverse = origins.unbind(0), directions.reciprocal().unbind(0)
    lines = [x.expand_as(directions).flatten(1) for x in (origins, directions)]
    distance, surface = _leave(room.size, start, inverse)
    by_owner: list[list[int]] = [[] for _ in room.objects]
    for index, part in enumerate(room.primitives):
        by_owner[part.owner].append(index)
    for owner, item in enumerate(room.objects):
        near, far = _slabs(item.box, start, inverse)
        rays = (near.clamp_(min=0) <= far).flatten().nonzero().squeeze(-1)
        o, d = (x.index_select(1, rays) for x in lines)
        best, which = distance.index_select(0, rays), surface.index_select(0, rays)
        for shape in SHAPES:
            indices = [i for i in by_owner[owner] if room.primitives[i].shape == shape]
            if indices and len(rays):
                boxes = torch.tensor([room.primitives[i].box for i in indices]).T[..., None]
                names = torch.tensor(indices, dtype=torch.int16)
                near, far = _interval(shape, boxes, o, d)
                near = torch.where((near <= far) & (near > 0), near, math.inf)
                reach, nearest = near.min(0)
                which = torch.where(reach < best, names[nearest], which)
                best = torch.minimum(best, reach)
        distance.index_copy_(0, rays, best)
        surface.index_copy_(0, rays, which)
    return Hits(distance, surface)


def _leave(size: tuple[float, float, float], start: Axes, inverse: Axes) -> tuple[Tensor, Tensor]:
    """Where rays that start in the room meet its inside."""
    width, depth, height = size
    faces = ((-width / 2, width / 2), (-depth / 2, depth / 2), (0.0, height))
    ahead = [
        torch.maximum((low - o) * inv, (high - o) * inv)
        for (low, high), o, inv in zip(faces, start, inverse, strict=True)
    ]
    distance = torch.minimum(torch.minimum(ahead[0], ahead[1]), ahead[2])
    surface = torch.zeros_like(distance, dtype=torch.int16)
    for axis, (reach, inv) in enumerate(zip(ahead, inverse, strict=True)):
        face = -1 - 2 * axis - (inv > 0).to(torch.int16)
        surface = torch.minimum(surface, face.mul_((reach == distance).to(torch.int16)))
    return distance.flatten(), surface.flatten()


def _slabs(box: Box | Tensor, start: Axes, inverse: Axes) -> tuple[Tensor, Tensor]:
    """Distances at which rays enter and leave boxes; entering after leaving means a miss."""
    nears, fars = [], []
    for axis, (o, inv) in enumerate(zip(start, inverse, strict=True)):
        low, high = box[axis] - box[axis + 3] / 2, box[axis] + box[axis + 3] / 2
        one, two = (low - o) * inv, (high - o) * inv
        nears.append(torch.minimum(one, two))
        fars.append(torch.maximum(one, two, out=one))
    near = torch.maximum(torch.maximum(nears[0], nears[1]), nears[2])
    return near, torch.minimum(torch.minimum(fars[0], fars[1]), fars[2])


def _interval(shape: str, boxes: Tensor, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (k, n) at which rays o, d (3, n) enter and leave solids in boxes (6, k, 1)."""
    if shape == "box":
        return _slabs(boxes, o.unbind(0), d.reciprocal().unbind(0))
    axes = 3 if shape == "sphere" else 2
    away = o[:axes, None] - boxes[:axes]  # (axes, k, n)
    along = d[:axes, None]
    length = along.square().sum(0)
    middle = -(away * along).sum(0) / length
    # Measuring from the closest point, and not from o, keeps float32 exact at grazing rays.
    aside = (away + middle * along).square().sum(0)
    inside = ((boxes[3] / 2).square() - aside) / length
    half = inside.clamp(min=0).sqrt_()
    near, far = torch.where(inside > 0, middle - half, math.inf), middle + half
    if shape == "cylinder":
        ends = [(boxes[2] + sign * boxes[5] / 2 - o[2]) / d[2] for sign in (-1, 1)]
        near = torch.maximum(near, torch.minimum(*ends))
        far = torch.minimum(far, torch.maximum(*ends))
    return near, far
