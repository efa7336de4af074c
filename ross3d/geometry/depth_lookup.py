"""Look points of the world up in a depth map: how far in front of its surface they are."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.geometry.camera import full_precision
from ross3d.geometry.frames import PosedFrames

STEEPEST = 4.0  # slope against the image plane beyond which two neighbours are not one surface
_NEAREST = 1e-3  # metres in front of a camera where it sees nothing


class DepthView(NamedTuple):
    """One view, on the CPU.

    Attributes:
        colour: (3, h, w) RGB in [0, 1].
        depth: (h, w) along the optical axis in metres, 0 = unknown.
        intrinsics: (3, 3) in pixels, float64.
        pose: (4, 4) camera-to-world, float64.
    """

    colour: Tensor
    depth: Tensor
    intrinsics: Tensor
    pose: Tensor

    @classmethod
    def of(cls, frames: PosedFrames, scene: int, view: int, max_depth: float) -> DepthView:
        """One view of one scene; depths beyond ``max_depth`` metres are unknown."""
        colour, depth, intrinsics, pose = (
            x[scene, view].detach().cpu()
            for x in (frames.images, frames.depths, frames.intrinsics, frames.poses)
        )
        known = (depth > 0) & (depth <= max_depth) & depth.isfinite()
        return cls(
            full_precision(colour).float().nan_to_num(0.0).clamp(0, 1),
            torch.where(known, depth, 0).float(),
            intrinsics.double(),
            pose.double(),
        )

    def project(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Column * depth, row * depth and depth, each (n,), of world positions (n, 3) float64."""
        to_pixels = self.pose[:3, :3] @ self.intrinsics.T
        x, y, z = ((points - self.pose[:3, 3]) @ to_pixels).float().unbind(-1)
        return x, y, z


class Found(NamedTuple):
    """What one view says about those points whose surroundings it sees.

    Attributes:
        which: (k,) long, of the points.
        ahead: (k,) how far in front of the surface they are along the optical axis, metres.
        colour: (3, k) RGB of that surface.
    """

    which: Tensor
    ahead: Tensor
    colour: Tensor


def in_sight(view: DepthView, centres: Tensor, width: float) -> Tensor:
    """Which cubes may be in the picture, and not behind all that is seen.

    Args:
        view: the view.
        centres: (n, 3) of the cubes, metres, float64.
        width: of the cubes, metres.

    Returns:
        (k,) long.
    """
    h, w = view.depth.shape
    x, y, z = view.project(centres)
    reach = width * 3**0.5
    near = z.clamp(min=reach / 2)
    margin = reach * float(view.intrinsics[:2, :2].abs().amax()) / near
    column, row = x / near, y / near
    inside = (column > -margin) & (column < w + margin) & (row > -margin) & (row < h + margin)
    inside &= (z > -reach) & (z < view.depth.max() + reach)
    return inside.nonzero()[:, 0]


def look_up(view: DepthView, points: Tensor, band: float) -> Found:
    """Find the surface that is seen through each point.

    Between four pixels of one surface its depth is interpolated so that planes stay planes. At
    edges, at the border and beside unknown depth, the nearest pixel's surface goes on as it does
    towards its neighbours on that surface.

    Args:
        view: the view.
        points: (n, 3) world positions, metres, float64.
        band: points farther behind the surface are hidden, metres.

    Returns:
        The points that are not hidden, and whose pixel has a depth.
    """
    h, w = view.depth.shape
    focal = float(view.intrinsics[0, 0])
    x, y, z = view.project(points)
    column, row = x / z, y / z
    inside = (z > _NEAREST) & (column >= -0.5) & (column < w - 0.5) & (row >= -0.5)
    which = (inside & (row < h - 0.5)).nonzero()[:, 0]
    column, row, z = column[which], row[which], z[which]
    depth = view.depth.flatten()
    pixel = (row + 0.5).long() * w + (column + 0.5).long()
    there = depth[pixel]
    near = ((there > 0) & (there * (1 + STEEPEST / focal) - z >= -band)).nonzero()[:, 0]
    which, column, row, z = which[near], column[near], row[near], z[near]
    pixel = pixel[near]
    places, weights = _corners(column, row, h, w)
    nearest, farthest = depth[places].aminmax(dim=0)
    smooth = (nearest > 0) & (farthest - nearest <= STEEPEST / focal * nearest)
    smooth &= (column >= 0) & (column <= w - 1) & (row >= 0) & (row <= h - 1)
    single = F.one_hot((places == pixel).int().argmax(0), 4).T
    weights = torch.where(smooth, weights, single)
    # The inverse of depth is linear across the picture of a plane.
    inverse = torch.where(view.depth > 0, 1 / view.depth, 0)
    across, down = (_slope(inverse, view.depth, focal, dim).flatten()[pixel] for dim in (1, 0))
    plane = across * (column - pixel % w) + down * (row - pixel // w)
    inverse = inverse.flatten()
    inverse = torch.where(smooth, (weights * inverse[places]).sum(0), inverse[pixel] + plane)
    ahead = 1 / inverse - z
    kept = (ahead >= -band).nonzero()[:, 0]
    places, weights = places[:, kept], weights[:, kept]
    colours = [(plane.flatten()[places] * weights).sum(0) for plane in view.colour]
    return Found(which[kept], ahead[kept], torch.stack(colours))


def _slope(inverse: Tensor, depth: Tensor, focal: float, dim: int) -> Tensor:
    """(h, w) how inverse depth changes per pixel, from those neighbours that are of one surface."""
    near, far = (depth.narrow(dim, start, depth.shape[dim] - 1) for start in (0, 1))
    least = torch.minimum(near, far)
    joined = (least > 0) & ((near - far).abs() <= STEEPEST / focal * least)
    steps = torch.stack([inverse.diff(dim=dim) * joined, joined.to(inverse)])
    before, after = ((0, 0, 1, 0), (0, 0, 0, 1)) if dim == 0 else ((1, 0), (0, 1))
    total, count = F.pad(steps, before) + F.pad(steps, after)
    mean: Tensor = total / count.clamp(min=1)
    return mean


def _corners(column: Tensor, row: Tensor, h: int, w: int) -> tuple[Tensor, Tensor]:
    """The four pixels (4, n) around each place, row * w + column, and their bilinear weights."""
    left, top = column.floor().clamp(0, max(w - 2, 0)), row.floor().clamp(0, max(h - 2, 0))
    across, down = (column - left).clamp(0, 1), (row - top).clamp(0, 1)
    places = (top * w + left).long()
    right, below = min(w - 1, 1), w * min(h - 1, 1)
    places = torch.stack([places, places + right, places + below, places + right + below])
    weights = [(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down]
    return places, torch.stack(weights)
