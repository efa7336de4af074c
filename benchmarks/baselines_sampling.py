"""Frame sampling the straightforward way: full clouds, Python sets, one pair of views at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def world_points(depths: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
    """(m, h*w, 3) world position of each pixel, by homogeneous coordinates.

    Args:
        depths: (m, h, w) metres.
        intrinsics: (m, 3, 3).
        poses: (m, 4, 4) camera-to-world.
    """
    m, h, w = depths.shape
    v, u = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    pixels = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1).to(depths)
    points = []
    for i in range(m):
        local = pixels @ torch.linalg.inv(intrinsics[i]).T * depths[i].reshape(-1, 1)
        homogeneous = torch.cat([local, torch.ones_like(local[:, :1])], -1)
        points.append((homogeneous @ poses[i].T)[:, :3])
    return torch.stack(points)


def voxel_sets(points: Tensor, valid: Tensor, voxel_size: float) -> list[set[tuple[int, ...]]]:
    """Voxels of each view as a set of three whole numbers.

    Args:
        points: (m, n, 3) metres.
        valid: (m, n) True where the depth is known.
        voxel_size: metres.
    """
    sets = []
    for cloud, known in zip(points, valid, strict=True):
        voxels = torch.unique((cloud[known] / voxel_size).round().long(), dim=0)
        sets.append({tuple(voxel) for voxel in voxels.tolist()})
    return sets


def cover_sets(sets: list[set[tuple[int, ...]]], count: int, ratio: float = 1.0) -> list[int]:
    """Greedy maximum coverage in the order of choice; every gain is counted anew at every step."""
    total = len(set().union(*sets))
    covered: set[tuple[int, ...]] = set()
    chosen: list[int] = []
    while len(chosen) < count and len(covered) < ratio * total - 1e-9:
        gains = [len(voxels - covered) for voxels in sets]
        best = gains.index(max(gains))
        chosen.append(best)
        covered |= sets[best]
    return chosen


def overlap_by_pairs(
    depths: Tensor, intrinsics: Tensor, poses: Tensor, tolerance: float = 0.05
) -> Tensor:
    """(m, m) share of view i's known pixels that view j sees, pair by pair.

    Args:
        depths: (m, h, w) metres.
        intrinsics: (m, 3, 3).
        poses: (m, 4, 4) camera-to-world.
        tolerance: largest difference of depths, as a share of the depth.
    """
    m, h, w = depths.shape
    points = world_points(depths, intrinsics, poses)
    overlap = depths.new_zeros(m, m)
    for i in range(m):
        cloud = points[i][depths[i].flatten() > 0]
        if not len(cloud):
            continue
        homogeneous = torch.cat([cloud, torch.ones_like(cloud[:, :1])], -1)
        for j in range(m):
            local = (homogeneous @ torch.linalg.inv(poses[j]).T)[:, :3]
            front = local[:, 2] > 0
            local = local[front]
            pixels = local @ intrinsics[j].T
            column = (pixels[:, 0] / pixels[:, 2]).round().long()
            row = (pixels[:, 1] / pixels[:, 2]).round().long()
            inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
            found, z = depths[j][row[inside], column[inside]], local[inside, 2]
            seen = (found > 0) & ((found - z).abs() <= tolerance * z)
            overlap[i, j] = seen.sum() / len(cloud)
    return overlap
