"""Where a scene is: its floor and its extent, robust against stray points."""

from __future__ import annotations

import torch
from torch import Tensor

from ross3d.geometry.camera import unproject
from ross3d.geometry.frames import PosedFrames

_SAMPLE = 2**18  # pixels per scene that quantiles are estimated from


def sample_points(frames: PosedFrames) -> Tensor:
    """(b, n, 3) evenly taken world points in metres, NaN where the depth is unknown."""
    h, w = frames.size
    stride = max(1, -int(-((frames.views * h * w / _SAMPLE) ** 0.5) // 1))
    first = stride // 2
    depths = frames.depths[..., first::stride, first::stride]
    intrinsics = frames.intrinsics.clone()
    intrinsics[..., :2, 2] -= first
    intrinsics[..., :2, :] /= stride
    points = unproject(depths, intrinsics, frames.poses).float()
    return torch.where(depths[..., None] > 0, points, torch.nan).flatten(1, 3)


def floor_height(points: Tensor) -> Tensor:
    """(b,) the 1 % quantile of the heights of points (b, n, 3); 0 where there are none."""
    return torch.nanquantile(points[..., 2], 0.01, dim=1).nan_to_num()


def square_extent(points: Tensor, *, quantile: float, margin: float) -> Tensor:
    """The smallest square that holds all points but outliers.

    Args:
        points: (b, n, 3) world points in metres, NaN where there is none.
        quantile: share of points that may be outside on each side.
        margin: share of the square's side that is added on each side.

    Returns:
        (b, 4) x_min, y_min, x_max, y_max in metres.
    """
    levels = points.new_tensor([quantile, 1 - quantile])
    low, high = torch.nanquantile(points[..., :2], levels, dim=1).nan_to_num()
    half = (high - low).amax(-1, keepdim=True).clamp(min=0.1) * (0.5 + margin)
    middle = (low + high) / 2
    return torch.cat([middle - half, middle + half], dim=-1)
