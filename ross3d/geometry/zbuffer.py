"""Rasterise posed depth maps, seen from above, with an exact z-buffer.

Height and payload (a colour or a label) of a point form one 64-bit key, so that one maximum per
pixel decides: the order of the points changes nothing, on any device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ross3d.geometry.camera import unproject
from ross3d.geometry.flags import flag
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.splat import close_gaps, footprint_radius

EMPTY = torch.iinfo(torch.int64).min
PAYLOADS = 2**24
_SEE_THROUGH = 0.05  # metres below a closed gap from which points are seen through it
_CHUNK = 2**18  # pixels lifted at a time: small frames go together, large ones one by one
Payload = Callable[[slice], Tensor]


class Window(NamedTuple):
    """What the picture shows, and which points it is made of.

    Attributes:
        extent: (b, 4) x_min, y_min, x_max, y_max, metres.
        ceiling: (b,) points above are dropped, metres.
        size: pixels s of the square picture.
        max_depth: depths beyond this many metres are unknown.
        splat: largest radius of a point's footprint, pixels.
    """

    extent: Tensor
    ceiling: Tensor
    size: int
    max_depth: float
    splat: int

    @property
    def cell(self) -> Tensor:
        """(b,) width of a pixel, metres."""
        return (self.extent[:, 2] - self.extent[:, 0]) / self.size


class Layers(NamedTuple):
    """The surfaces of b pictures.

    Attributes:
        keys: (b, s, s) key of the highest point, EMPTY where there is none.
        lowest: (b, s, s) height of the lowest point, metres; inf where there is none.
    """

    keys: Tensor
    lowest: Tensor


def pack_colours(images: Tensor) -> Tensor:
    """(b, m, h, w) int32 colours of images (b, m, 3, h, w) in [0, 1], 8 bits each."""
    shape = images.shape[:2] + images.shape[3:]
    colours = torch.zeros(shape, dtype=torch.int32, device=images.device)
    for channel in images.unbind(2):
        level = channel.float().clamp(0, 1).nan_to_num_(0.0).mul_(255).round_()
        colours.bitwise_left_shift_(8).bitwise_or_(level.int())
    return colours


def rasterise(frames: PosedFrames, window: Window, payload: Payload) -> Layers:
    """Find the highest and the lowest point of every pixel, a few views at a time.

    Args:
        frames: b scenes of m posed views.
        window: what the picture shows.
        payload: views -> (b, views, h, w) integers from 0 to 2^24 - 1 that points carry.

    Returns:
        The surfaces. A pixel without points, or whose points are seen through a gap between far
        ones above, takes the point whose footprint closes the gap. Of equally high points the one
        of the larger payload wins.
    """
    planes, size = window.splat + 1, window.size
    # One plane per radius, and a last place for points that are not in the picture.
    keys = frames.poses.new_full((len(frames), planes * size**2 + 1), EMPTY, dtype=torch.int64)
    lowest = keys.new_full(keys.shape, torch.inf, dtype=torch.float32)
    for views, place, height in _points(frames, window):
        bits = height.view(torch.int32)
        # Negative floats sort backwards.
        ordered = (bits >> 31).bitwise_and_(0x7FFFFFFF).bitwise_xor_(bits)
        key = ordered.long().bitwise_left_shift_(24).bitwise_or_(payload(views).flatten(1))
        keys.scatter_reduce_(1, place, key, "amax")
        lowest.scatter_reduce_(1, place, height, "amin")
    maps, lows = (x[:, :-1].view(-1, planes, size, size) for x in (keys, lowest))
    top = maps.amax(1)
    closed = [close_gaps(maps[:, radius], radius) for radius in range(1, planes)]
    if closed:
        cover = torch.stack(closed).amax(0)
        gap = (top == EMPTY) | (unpack(cover)[1] > unpack(top)[1] + _SEE_THROUGH)
        top = torch.where(gap & (cover != EMPTY), cover, top)
    return Layers(top, lows.amin(1))


def unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Payload and height (metres), both (b, s, s), of keys; both 0 where they are EMPTY."""
    known = keys != EMPTY
    ordered = torch.where(known, keys >> 24, 0).int()
    height = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    return torch.where(known, keys & (PAYLOADS - 1), 0), height


def unpack_colours(colours: Tensor) -> Tensor:
    """(b, 3, s, s) RGB in [0, 1] of integer colours (b, s, s)."""
    return torch.stack([(colours >> shift) & 0xFF for shift in (16, 8, 0)], dim=1) / 255


def _points(frames: PosedFrames, window: Window) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Views; and of their points place (radius * s * s + row * s + column) and height, (b, n)."""
    size, nowhere = window.size, (window.splat + 1) * window.size**2
    middle = (size - 1) / 2  # of the picture; no pixel is farther from it
    step = max(1, _CHUNK // (frames.size[0] * frames.size[1]))
    to_pixels = _to_pixels(window)
    ceiling = window.ceiling[:, None, None, None]
    for start in range(0, frames.views, step):
        views = slice(start, start + step)
        depths, intrinsics = frames.depths[:, views].float(), frames.intrinsics[:, views].float()
        poses = frames.poses[:, views].double()
        moved = (to_pixels[:, None, :, :, None] * poses[..., None, :, :]).sum(-2).float()
        points = unproject(depths, intrinsics, moved)
        at, height = points[..., :2].floor_(), points[..., 2]
        # In place as far as possible: new memory takes longer than arithmetic.
        place, number = at[..., 1].int(), at[..., 0].int()
        place.mul_(size).add_(number)
        known = flag(torch.gt, depths, 0).mul_(flag(torch.le, depths, window.max_depth))
        kept = flag(torch.le, height, ceiling).mul_(known)
        for inside in at.sub_(middle).abs_().le_(middle).unbind(-1):
            kept.mul_(inside)
        if window.splat:
            drop = poses[..., 2, 3, None, None].float() - height
            radius = footprint_radius(depths, known, intrinsics[..., 0, 0], drop, window.cell)
            place.add_(number.copy_(radius.clamp_(0, window.splat)), alpha=size**2)
        place = place.sub_(nowhere).mul_(number.copy_(kept)).add_(nowhere).long()
        yield views, place.flatten(1), height.contiguous().flatten(1)


def _to_pixels(window: Window) -> Tensor:
    """(b, 4, 4) from the world to column, row and height; pixel i is between i and i + 1."""
    x_min, _, _, y_max = window.extent.double().unbind(-1)
    scale = 1 / window.cell.double()
    matrix = torch.eye(4, dtype=torch.float64, device=scale.device).repeat(len(scale), 1, 1)
    matrix[:, 0, 0], matrix[:, 0, 3] = scale, -x_min * scale
    matrix[:, 1, 1], matrix[:, 1, 3] = -scale, y_max * scale
    return matrix
