"""Fuse posed RGB-D frames into one surface: truncated signed distances in a sparse voxel grid.

Open3D keeps the grid and extracts the surface. Distances are integrated here, which interpolates
between depth pixels and knows where their centres are. Sums are sums of integers, so that the order
of the views changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.geometry.camera import scale_intrinsics, unproject
from ross3d.geometry.depth_lookup import STEEPEST, DepthView, in_sight, look_up
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.mesh import Mesh, load_open3d

_BLOCK = 8  # voxels along each side of a block
_MOST_BLOCKS = 2**19  # of 10 kB each
_CHUNK = 2**11  # blocks that are looked at together
_STEPS = 1000  # of the truncation, in which distances are summed
_FINEST = 2**21  # samples of a view where blocks are looked for


def fuse_mesh(
    frames: PosedFrames,
    *,
    voxel_size: float = 0.02,
    truncation: float = 4.0,
    min_views: int = 1,
    max_depth: float = 50.0,
) -> list[Mesh]:
    """Fuse the views of each scene into a mesh, by averaging truncated signed distances.

    Curless and Levoy (1996), in blocks of voxels around the surface only. Two passes read one view
    at a time, so their number costs no memory. Unknown, infinite and NaN depths are left out.

    Args:
        frames: b scenes of m posed views.
        voxel_size: distance of the grid's points, metres.
        truncation: how far from a surface distances are averaged, voxels.
        min_views: how many views must have seen a place.
        max_depth: depths beyond this many metres are unknown.

    Returns:
        b meshes, on the device of the frames; without vertices where there is no depth.

    Raises:
        ImportError: if Open3D or a system library it needs is not installed.
        ValueError: if a number is out of range, or a scene too large for this voxel size.

    Example:
        >>> fuse_mesh(frames, voxel_size=0.05)[0].vertices.shape  # doctest: +SKIP
        torch.Size([10532, 3])
    """
    if not (voxel_size > 0 and max_depth > 0):
        got = f"{voxel_size} and {max_depth}"
        raise ValueError(f"voxel_size and max_depth must be positive; got {got}")
    if not truncation >= 1 or min_views < 1:
        got = f"{truncation} and {min_views}"
        raise ValueError(f"truncation and min_views must be at least 1; got {got}")
    open3d = load_open3d()
    scenes = []
    for scene in range(len(frames)):
        views = _Scene(frames, scene, voxel_size, truncation * voxel_size, max_depth)
        scenes.append(views.fuse(open3d, min_views).to(frames.images.device))
    return scenes


class _Scene:
    """The views of one scene, and the grid they are fused in."""

    def __init__(
        self, frames: PosedFrames, scene: int, voxel: float, band: float, max_depth: float
    ) -> None:
        self.frames, self.scene, self.max_depth = frames, scene, max_depth
        self.voxel, self.band, self.block = voxel, band, voxel * _BLOCK

    def _views(self) -> Iterator[DepthView]:
        """The views, one at a time."""
        for view in range(self.frames.views):
            yield DepthView.of(self.frames, self.scene, view, self.max_depth)

    @torch.no_grad()
    def fuse(self, open3d: ModuleType, min_views: int) -> Mesh:
        """Average the distances of all views, and extract where they are 0."""
        blocks = self._blocks()
        if not len(blocks):
            return Mesh(torch.zeros(0, 3), torch.zeros(0, 3).long(), torch.zeros(0, 3))
        core = open3d.core
        grid = open3d.t.geometry.VoxelBlockGrid(
            ("tsdf", "weight", "color"),
            (core.float32,) * 3,
            ((1), (1), (3)),
            self.voxel,
            _BLOCK,
            len(blocks),
            core.Device("CPU:0"),
        )
        rows, _ = grid.hashmap().activate(core.Tensor(blocks.int().numpy()))
        first, _ = grid.voxel_coordinates_and_flattened_indices(rows[:1])
        inside = (torch.from_numpy(first.numpy()) / self.voxel).round().long() - blocks[0] * _BLOCK
        sums = [
            torch.utils.dlpack.from_dlpack(grid.attribute(name).to_dlpack()).flatten(0, 3).zero_()
            for name in ("tsdf", "weight", "color")
        ]
        self._integrate(blocks, torch.from_numpy(rows.numpy()).long(), inside, *sums)
        # Open3D keeps what is above the threshold, and takes colours from 0 to 255.
        return _tidy(grid.extract_triangle_mesh(min_views - 0.5))

    def _blocks(self) -> Tensor:
        """(n, 3) long, the blocks near any surface, in a fixed order."""
        found = torch.zeros(0, dtype=torch.long)
        centre = self.frames.poses[self.scene, 0, :3, 3].detach().cpu().double()
        middle = (centre / self.block).floor().long()
        for view in self._views():
            near = self._near(view) - middle + 2**20
            keys = (near[:, 0] << 42) | (near[:, 1] << 21) | near[:, 2]
            found = torch.cat([found, keys]).sort().values
            found = found[torch.cat([found[:1] >= 0, found[1:] != found[:-1]])]
            if len(found) > _MOST_BLOCKS:
                got = f"{self.voxel} m, with more than {_MOST_BLOCKS} blocks of {_BLOCK}^3 voxels"
                raise ValueError(f"voxel_size must be larger for so large a scene; got {got}")
        parts = [(found >> shift) & (2**21 - 1) for shift in (42, 21, 0)]
        return torch.stack(parts, -1) - 2**20 + middle

    def _near(self, view: DepthView) -> Tensor:
        """(n, 3) long, blocks along the rays of one view, around their surfaces."""
        depth, intrinsics = view.depth, view.intrinsics
        gap = float(depth.max()) / float(intrinsics[0, 0]) * STEEPEST
        finest = int((_FINEST / depth.numel()) ** 0.5)
        times = max(1, min(math.ceil(gap / self.block * 2), finest))
        if times > 1:  # between the pixels of small pictures there are further blocks
            both = torch.stack([depth, (depth > 0).float()])[None]
            both = F.interpolate(both, scale_factor=times, mode="bilinear")[0]
            depth = torch.where(both[1] > 0, both[0] / both[1], 0)
            intrinsics = scale_intrinsics(intrinsics, (times, times))
        known = depth > 0
        found = []
        for step in torch.linspace(
            -self.band, self.band, math.ceil(4 * self.band / self.block) + 1
        ):
            shifted = (depth + step).clamp(min=1e-3)[None, None].double()
            points = unproject(shifted, intrinsics[None, None], view.pose[None, None])[0, 0]
            found.append((points[known] / self.block).floor().long())
        return torch.cat(found)

    def _integrate(self, blocks: Tensor, rows: Tensor, inside: Tensor, *sums: Tensor) -> None:
        """Average what the views say about the voxels that they see.

        Args:
            blocks: (n, 3) long.
            rows: (n,) their places in the sums.
            inside: (512, 3) long, the voxels of a block.
            sums: distance (share of the band), number of views and colour (0 to 255), each
                (voxels, c), to be written into.
        """
        tsdf, weight, colour = sums
        for view in self._views():
            shown = in_sight(view, (blocks + 0.5) * self.block, self.block)
            for part in torch.split(shown, _CHUNK):
                points = (blocks[part, None] * _BLOCK + inside).flatten(0, 1) * self.voxel
                voxels = (rows[part, None] * _BLOCK**3 + torch.arange(_BLOCK**3)).flatten()
                found = look_up(view, points, self.band)
                voxels, share = voxels[found.which], (found.ahead / self.band).clamp(max=1)
                tsdf.index_add_(0, voxels, (share * _STEPS).round()[:, None])
                weight.index_add_(0, voxels, torch.ones_like(share)[:, None])
                colour.index_add_(0, voxels, (found.colour.T * 255).round())
        tsdf /= weight.clamp(min=1) * _STEPS
        colour /= weight.clamp(min=1)


def _tidy(extracted: Any) -> Mesh:
    """A mesh whose vertices are in a fixed order, and each there once."""
    vertices, triangles, colours = (
        x.numpy()
        for x in (extracted.vertex.positions, extracted.triangle.indices, extracted.vertex.colors)
    )
    order = np.lexsort(vertices.T)
    vertices, colours = vertices[order], colours[order]
    new = np.ones(len(order), dtype=bool)
    new[1:] = (vertices[1:] != vertices[:-1]).any(-1)
    renamed = np.empty(len(order), dtype=np.int64)
    renamed[order] = new.cumsum() - 1
    corners = renamed[triangles]
    a, b, c = corners.T
    corners = corners[(a != b) & (b != c) & (c != a)]
    corners = corners[np.lexsort(corners.T)]
    return Mesh(*(torch.from_numpy(x) for x in (vertices[new], corners, colours[new])))
