"""Choosing the frames that together see most of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision, unproject
from ross3d.geometry.sampling import uniform_frames

_BITS = 21  # of a key per axis: at 10 cm a voxel, 100 km to either side


def max_coverage_frames(
    depths: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    count: int = 32,
    *,
    voxel_size: float = 0.1,
    ratio: float = 1.0,
) -> list[list[int]]:
    """Choose the frames of each scene that together see the most voxels.

    Greedy maximum coverage: the next frame is the one that sees the most voxels that no chosen
    frame has seen, the earlier of two that see equally many. It stops at ``count`` frames, or as
    soon as a share ``ratio`` of what all frames see is covered; then scenes differ in number. For
    a recording that does not fit into memory, collect :func:`view_voxels` frame by frame, and pass
    them to :func:`greedy_cover`.

    Args:
        depths: (b, m, h, w) depth along the optical axis, metres, 0 = unknown; a quarter of the
            recording's resolution is enough.
        intrinsics: (b, m, 3, 3) in pixels of these depth maps.
        poses: (b, m, 4, 4) camera-to-world.
        count: largest number of frames (paper: 32).
        voxel_size: side of a voxel in metres.
        ratio: share of the voxels at which to stop, in (0, 1]; 0.95 and 0.9 are usual.

    Returns:
        Indices of each scene in ascending order, without repeats. A scene of which no depth is
        known gives :func:`uniform_frames`.

    Raises:
        ValueError: if a shape does not fit, or a number is out of range.

    Example:
        >>> pose = torch.eye(4).expand(1, 3, 4, 4)
        >>> depths = torch.tensor([0.0, 2.0, 2.0])[None, :, None, None].expand(1, 3, 8, 8)
        >>> max_coverage_frames(depths, pose[..., :3, :3], pose, 2)
        [[1]]
    """
    scenes = view_voxels(depths, intrinsics, poses, voxel_size)
    chosen = [sorted(greedy_cover(sets, count, ratio=ratio)) for sets in scenes]
    return [indices or uniform_frames(depths.shape[1], count) for indices in chosen]


def view_voxels(
    depths: Tensor, intrinsics: Tensor, poses: Tensor, voxel_size: float = 0.1
) -> list[list[Tensor]]:
    """List the voxels that each view sees: those around round(x / voxel_size) voxel_size.

    World positions are computed view by view: no more than one view's are ever in memory.

    Args:
        depths: (b, m, h, w) depth along the optical axis, metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these depth maps.
        poses: (b, m, 4, 4) camera-to-world.
        voxel_size: side of a voxel in metres.

    Returns:
        For each scene and view the ascending keys (n,) of its voxels, long. The same place has the
        same key in every view and every call; a view of unknown depth has none.

    Raises:
        ValueError: if a shape does not fit, or ``voxel_size`` is not positive.

    Example:
        >>> pose = torch.eye(4).expand(1, 2, 4, 4)
        >>> keys = view_voxels(torch.full((1, 2, 8, 8), 0.2), pose[..., :3, :3], pose, 1.0)
        >>> [len(key) for key in keys[0]]
        [4, 4]
    """
    sizes = check_shape("depths", depths, "b m h w")
    check_shape("intrinsics", intrinsics, "b m 3 3", **sizes)
    check_shape("poses", poses, "b m 4 4", **sizes)
    if voxel_size <= 0:
        raise ValueError(f"voxel_size must be positive; got {voxel_size}")
    scenes: list[list[Tensor]] = [[] for _ in range(sizes["b"])]
    for b, m in product(range(sizes["b"]), range(sizes["m"])):
        view = (slice(b, b + 1), slice(m, m + 1))
        scenes[b].append(_keys(depths[view], intrinsics[view], poses[view], voxel_size))
    return scenes


@torch.no_grad()
def greedy_cover(sets: Sequence[Tensor], count: int = 32, *, ratio: float = 1.0) -> list[int]:
    """Choose sets, one after the other, each of which adds the most keys.

    Each key is counted off once, when it is first covered: m sets of v keys take m v steps in all,
    however many are chosen. Among equals the first is chosen.

    Args:
        sets: m tensors of keys (n,), integer, such as one scene of :func:`view_voxels`.
        count: largest number of sets.
        ratio: share of all keys at which to stop, in (0, 1].

    Returns:
        Indices in the order of choice; none if there are no keys.

    Raises:
        ValueError: if ``count`` is not positive or ``ratio`` is outside (0, 1].

    Example:
        >>> greedy_cover([torch.tensor([1, 2]), torch.tensor([2, 3, 4]), torch.tensor([4])])
        [1, 0]
    """
    if count < 1:
        raise ValueError(f"count must be positive; got {count}")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio must be in (0, 1]; got {ratio}")
    if not any(len(keys) for keys in sets):
        return []
    found, voxel = torch.unique(torch.cat(list(sets)), return_inverse=True)
    seen = torch.zeros(len(found), len(sets), dtype=torch.bool, device=found.device)
    ends = [0]
    for view, keys in enumerate(sets):
        ends.append(ends[-1] + len(keys))
        seen[voxel[ends[-2] : ends[-1]], view] = True
    gains, missing = seen.sum(0), torch.ones_like(seen[:, 0])
    chosen: list[int] = []
    covered, wanted = 0, ratio * len(found) - 1e-9
    while len(chosen) < count and covered < wanted:
        best = int(gains.argmax())
        chosen.append(best)
        covered += int(gains[best])
        fresh = missing & seen[:, best]
        gains = gains - seen[fresh].sum(0)
        missing &= ~fresh
    return chosen


@torch.no_grad()
def _keys(depths: Tensor, intrinsics: Tensor, poses: Tensor, voxel_size: float) -> Tensor:
    """Ascending keys of the voxels that one view sees."""
    world = full_precision(unproject(depths, intrinsics, poses))
    most = 2 ** (_BITS - 1) - 1
    places = (world / voxel_size).round_().clamp_(-most, most).long() + most
    x, y, z = places[depths > 0].unbind(-1)
    # Neighbours in a row mostly share their voxel: without them there is little left to sort.
    keys = torch.unique_consecutive((x << 2 * _BITS) | (y << _BITS) | z)
    unique: Tensor = torch.unique(keys)
    return unique
