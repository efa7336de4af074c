"""Pictures of generated rooms, from standing height and from above."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING

import torch
from einops import rearrange
from torch import Tensor

from ross3d import PosedFrames

from .casting import cast
from .furniture import Box
from .textures import shade

if TYPE_CHECKING:
    from .rooms import Room


def place_cameras(room: Room, views: int, rng: Random) -> Tensor:
    """Stand cameras around the room, each looking across it, clear of objects.

    Args:
        room: the room.
        views: m.
        rng: draws angles, heights and aims.

    Returns:
        (m, 4, 4) camera-to-world poses, OpenCV axes, metres.
    """
    turn = rng.random()
    angles = [2 * math.pi * (view + turn) / views for view in range(views)]
    return torch.tensor([_look(_stand(room, angle, rng), rng) for angle in angles])


def _stand(room: Room, angle: float, rng: Random) -> tuple[float, float, float]:
    """A place near the walls in about that direction, as clear of objects as a few draws allow."""
    best, eye = -math.inf, (0.0, 0.0)
    for attempt in range(16):
        around = angle + rng.uniform(-0.2, 0.2) * (1 + attempt / 4)
        x, y = math.cos(around), math.sin(around)
        edge = min(room.size[0] / 2 / max(abs(x), 1e-9), room.size[1] / 2 / max(abs(y), 1e-9))
        reach = (edge - 0.3) * rng.uniform(0.85, 1.0)
        clear = min((_gap(item.box, x * reach, y * reach) for item in room.objects), default=1.0)
        if clear > best:
            best, eye = clear, (x * reach, y * reach)
        if clear > 0.5:
            break
    return (*eye, rng.uniform(1.45, 1.7))


def _look(eye: tuple[float, float, float], rng: Random) -> list[list[float]]:
    """The pose of a level camera that looks at about the room's middle."""
    aim = (rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5), rng.uniform(0.5, 0.8))
    x, y, z = (to - start for to, start in zip(aim, eye, strict=True))
    length, flat = math.hypot(x, y, z), math.hypot(x, y)
    right, forward = (y / flat, -x / flat, 0.0), (x / length, y / length, z / length)
    down = (x * z / flat / length, y * z / flat / length, -flat / length)
    rows = zip(right, down, forward, eye, strict=True)
    return [*(list(row) for row in rows), [0.0, 0.0, 0.0, 1.0]]


def _gap(box: Box, x: float, y: float) -> float:
    across, along = abs(x - box[0]) - box[3] / 2, abs(y - box[1]) - box[4] / 2
    return math.hypot(max(across, 0.0), max(along, 0.0))


def render_room(
    room: Room, *, views: int = 8, size: int = 96, seed: int | None = None
) -> tuple[PosedFrames, Tensor]:
    """Picture a room from standing height.

    Args:
        room: the room.
        views: m.
        size: h = w, pixels.
        seed: draws the cameras; None = the room's own.

    Returns:
        Frames of b = 1, and instances (m, h, w): index of the object each pixel shows, -1 = none.

    Example:
        >>> from .rooms import generate_room
        >>> frames, instances = render_room(generate_room(0), views=2, size=16)
        >>> frames.depths.shape
        torch.Size([1, 2, 16, 16])
    """
    rng = Random(f"cameras/{room.seed if seed is None else seed}")
    poses = place_cameras(room, views, rng)
    focal = size / 2 / math.tan(math.radians(rng.uniform(75.0, 80.0)) / 2)
    middle = (size - 1) / 2
    intrinsics = torch.tensor([[focal, 0.0, middle], [0.0, focal, middle], [0.0, 0.0, 1.0]])
    axis = (torch.arange(size) - middle) / focal
    rows, columns = torch.meshgrid(axis, axis, indexing="ij")
    rays = torch.stack([columns, rows]).flatten(1)
    right, down, forward = rearrange(poses[:, :3, :3], "m i j -> j i m 1")
    directions = right * rays[0] + down * rays[1] + forward
    origins = rearrange(poses[:, :3, 3], "m d -> d m 1")
    hits = cast(room, origins, directions)
    points = origins + hits.distance.view(views, -1) * directions
    colours = shade(room, points.flatten(1), hits.surface)
    owners = torch.tensor([*(part.owner for part in room.primitives), *[-1] * 6])
    instances = owners.index_select(0, hits.surface.int() % len(owners))
    shape = {"m": views, "h": size, "w": size}
    frames = PosedFrames(
        images=rearrange(colours, "c (m h w) -> 1 m c h w", **shape),
        depths=rearrange(hits.distance, "(m h w) -> 1 m h w", **shape),
        intrinsics=intrinsics.expand(1, views, 3, 3).contiguous(),
        poses=poses[None],
    )
    return frames, rearrange(instances, "(m h w) -> m h w", **shape)


def render_top(
    room: Room, size: int, extent: tuple[float, float, float, float] | None = None
) -> tuple[Tensor, Tensor]:
    """Picture a room straight from above, without perspective and without its ceiling.

    Args:
        room: the room.
        size: h = w, pixels.
        extent: lowest x, lowest y, highest x, highest y that the picture spans, metres; None = the
            smallest square around the room.

    Returns:
        The picture (3, size, size), its first row at highest y, and the height (size, size) of what
        it shows, metres; both 0 outside of the room.
    """
    half = max(room.size[:2]) / 2
    low_x, low_y, high_x, high_y = extent or (-half, -half, half, half)
    steps = (torch.arange(size) + 0.5) / size
    y, x = torch.meshgrid(
        high_y - steps * (high_y - low_y), low_x + steps * (high_x - low_x), indexing="ij"
    )
    top = room.size[2]
    origins = torch.stack([x, y, torch.full_like(x, top)]).flatten(1)
    directions = torch.tensor([[0.0], [0.0], [-1.0]]).expand_as(origins)
    hits = cast(room, origins[:, None], directions[:, None])
    points = origins + hits.distance * directions
    inside = (2 * origins[:2].abs() < torch.tensor(room.size[:2])[:, None]).all(0)
    colours = torch.where(inside, shade(room, points, hits.surface), 0.0)
    height = torch.where(inside, points[2], 0.0)
    return colours.view(3, size, size), height.view(size, size)
