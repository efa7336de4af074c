"""World positions the straightforward way: one homogeneous coordinate per pixel, then pooling."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def unproject_homogeneous(depths: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
    """Back-project pixel by pixel: (b, m, h, w, 3) world positions.

    Args:
        depths: (b, m, h, w) metres.
        intrinsics: (b, m, 3, 3).
        poses: (b, m, 4, 4) camera-to-world.
    """
    h, w = depths.shape[-2:]
    v, u = torch.meshgrid(torch.arange(h).to(depths), torch.arange(w).to(depths), indexing="ij")
    k = intrinsics[..., None, None, :, :]
    x = (u - k[..., 0, 2]) * depths / k[..., 0, 0]
    y = (v - k[..., 1, 2]) * depths / k[..., 1, 1]
    points = torch.stack([x, y, depths, torch.ones_like(depths)], dim=-1)
    return (points.flatten(2, 3) @ poses.mT).unflatten(2, (h, w))[..., :3]


def mean_coords(
    depths: Tensor, intrinsics: Tensor, poses: Tensor, size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """Mean world position per token (b, m, p, 3): unproject, resize, crop to a square, average.

    Args:
        depths: (b, m, h, w) metres.
        intrinsics: (b, m, 3, 3).
        poses: (b, m, 4, 4) camera-to-world.
        size: height and width that the map is resized to; its middle square is used.
        grid: rows and columns of tokens.
    """
    world = unproject_homogeneous(depths, intrinsics, poses).movedim(-1, 2).flatten(0, 1)
    world = F.interpolate(world, size, mode="nearest")
    left = (size[1] - size[0]) // 2
    means = F.adaptive_avg_pool2d(world[..., left : left + size[0]], grid)
    return means.flatten(2).mT.unflatten(0, depths.shape[:2])
