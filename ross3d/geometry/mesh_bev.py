"""Bird's-eye views of meshes, by casting rays straight down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ross3d.geometry.bounds import Histograms, ceiling_height, check_up, square_extent
from ross3d.geometry.filling import fill_holes
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.mesh import Mesh, load_open3d, read_mesh
from ross3d.geometry.topdown import BEV
from ross3d.geometry.tsdf import fuse_mesh

Extent = tuple[float, float, float, float]
MeshLike = Mesh | str | Path
_SAMPLE = 2**18  # points of a ready mesh that its bounds are found from
_ROWS = 256  # of the picture that rays are cast for at a time


class MeshBEVRenderer:
    """Render meshes from above: one ray straight down through the middle of every pixel.

    The same call and result as ``BEVRenderer``, from a surface in place of points: frames are
    fused into a mesh first. It has fewer holes and less noise than points have, costs more time,
    and shows nothing finer than its voxels. Ready meshes need no frames.

    Args:
        size: pixels s of the square picture (paper: 432).
        voxel_size: of the grid that frames are fused in, metres.
        truncation: how far from a surface distances are averaged, voxels.
        min_views: how many frames must have seen a place.
        max_depth: depths beyond this many metres are unknown.
        max_height: what is above this world z (metres) is cut off, so that ceilings do not hide
            the room; "auto" = just below the ceiling that the histogram of heights shows, or
            2.2 m above the floor where it shows none; None = keep all.
        extent: x_min, y_min, x_max, y_max of the picture in metres, a square; None = the bounds
            of each scene without ``quantile`` outliers, widened by ``margin``.
        margin: share of the automatic extent that is added to each side.
        quantile: share of the surface that the automatic extent may ignore on each side.
        fill: small holes, gaps of up to 2^fill pixels, take the colour and height around them and
            are marked as ``filled``; 0 = none.
        count_filled: whether filled pixels count as observed too.
        require_z_up: refuse cameras that are held level in a world whose up axis is not z.

    Raises:
        ValueError: if a number is out of range or the extent is not a square.

    Example:
        >>> renderer = MeshBEVRenderer(64, extent=(-2.0, -2.0, 2.0, 2.0))
        >>> renderer("scene0000_00_vh_clean_2.ply").image.shape  # doctest: +SKIP
        torch.Size([1, 3, 64, 64])
    """

    def __init__(
        self,
        size: int = 432,
        *,
        voxel_size: float = 0.02,
        truncation: float = 4.0,
        min_views: int = 1,
        max_depth: float = 50.0,
        max_height: float | Literal["auto"] | None = "auto",
        extent: Extent | None = None,
        margin: float = 0.02,
        quantile: float = 0.002,
        fill: int = 3,
        count_filled: bool = False,
        require_z_up: bool = True,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be positive; got {size}")
        if min(fill, margin) < 0:
            raise ValueError(f"fill and margin must not be negative; got {fill} and {margin}")
        if not 0 <= quantile < 0.5:
            raise ValueError(f"quantile must be in [0, 0.5); got {quantile}")
        if extent is not None:
            x, y = extent[2] - extent[0], extent[3] - extent[1]
            if not (x > 0 and abs(x - y) <= 1e-4 * x):
                raise ValueError(f"extent must be a square of positive size; got {extent}")
        self.config: dict[str, Any] = {"size": size, "voxel_size": voxel_size}
        self.config |= {"truncation": truncation, "min_views": min_views}
        self.config |= {"max_depth": max_depth, "max_height": max_height}
        self.config |= {"extent": extent, "margin": margin, "quantile": quantile, "fill": fill}
        self.config |= {"count_filled": count_filled, "require_z_up": require_z_up}
        self.size, self.voxel_size, self.truncation = size, voxel_size, truncation
        self.min_views, self.max_depth, self.max_height = min_views, max_depth, max_height
        self.extent, self.margin, self.quantile = extent, margin, quantile
        self.fill, self.count_filled, self.require_z_up = fill, count_filled, require_z_up

    @torch.no_grad()
    def __call__(self, frames: PosedFrames | MeshLike | Sequence[MeshLike]) -> BEV:
        """Render b scenes.

        Args:
            frames: posed views of b scenes, or one mesh or mesh file for each, or a single one.
                Meshes are z-up and in metres.

        Returns:
            The pictures, in the dtype of the images (float32 for meshes); heights in float32.

        Raises:
            ImportError: if Open3D or a system library it needs is not installed.
            FileNotFoundError: if there is no such mesh file.
            ValueError: if a mesh file is damaged, there are no meshes, a world is not z-up, or a
                number is out of range for :func:`fuse_mesh`.
        """
        if isinstance(frames, PosedFrames):
            meshes, device, dtype = self._fuse(frames), frames.images.device, frames.images.dtype
            bounds = [self._bounds(partial(Histograms, frames, self.max_depth))]
        else:
            meshes = [x if isinstance(x, Mesh) else read_mesh(x) for x in _listed(frames)]
            device, dtype = meshes[0].vertices.device, torch.float32
            bounds = [self._bounds(partial(_SurfaceHistograms, mesh)) for mesh in meshes]
        extent, ceiling = (torch.cat(x).to(device) for x in zip(*bounds, strict=True))
        open3d = load_open3d()
        seen = [
            _cast(open3d, mesh, extent[b].tolist(), float(ceiling[b]), self.size)
            for b, mesh in enumerate(meshes)
        ]
        planes, observed = (torch.stack(x).to(device) for x in zip(*seen, strict=True))
        image, height, filled = fill_holes(planes[:, :3], planes[:, 3], observed, self.fill)
        if self.count_filled:
            observed = observed | filled
        return BEV(image.to(dtype), observed, height, extent, filled)

    def _fuse(self, frames: PosedFrames) -> list[Mesh]:
        if self.require_z_up:
            check_up(frames.poses)
        return fuse_mesh(
            frames,
            voxel_size=self.voxel_size,
            truncation=self.truncation,
            min_views=self.min_views,
            max_depth=self.max_depth,
        )

    def _bounds(self, histograms: Callable[..., Histograms]) -> tuple[Tensor, Tensor]:
        """Extent (b, 4) and ceiling (b,) of scenes."""
        points = histograms()
        ceiling = points.low.new_full((len(points.low),), torch.inf)
        if self.max_height == "auto":
            ceiling = ceiling_height(points)
        elif self.max_height is not None:
            ceiling = torch.full_like(ceiling, self.max_height)
        if self.extent is not None:
            return ceiling.new_tensor(self.extent).repeat(len(ceiling), 1), ceiling
        points = histograms(ceiling=ceiling)
        return square_extent(points, quantile=self.quantile, margin=self.margin), ceiling


class _SurfaceHistograms(Histograms):
    """Counts along x, y and z of points spread evenly over a mesh, which stands for b = 1 scene."""

    def __init__(self, mesh: Mesh, ceiling: Tensor | None = None) -> None:
        points = mesh.sample(_SAMPLE).cpu()
        poses = torch.eye(4).repeat(1, 2, 1, 1)
        if len(points):
            poses[0, :, :3, 3] = torch.stack(points.aminmax(dim=0))
        # Two blind cameras at its corners: they say where the bins are, and count nothing.
        images, blind = torch.zeros(1, 2, 3, 1, 1), torch.zeros(1, 2, 1, 1)
        super().__init__(PosedFrames(images, blind, poses[..., :3, :3], poses), torch.inf)
        if ceiling is not None:
            points = points[points[:, 2] <= ceiling]
        place = ((points - self.low) / self.width).floor().long().T
        self.counts[0].scatter_add_(1, place, torch.ones_like(place))


def _listed(meshes: MeshLike | Sequence[MeshLike]) -> list[MeshLike]:
    """Meshes, or mesh files, of b scenes."""
    listed = [meshes] if isinstance(meshes, MeshLike) else list(meshes)
    if not listed:
        raise ValueError("meshes must be of at least one scene; got none")
    return listed


def _cast(
    open3d: ModuleType, mesh: Mesh, extent: list[float], ceiling: float, size: int
) -> tuple[Tensor, Tensor]:
    """RGB and height (4, s, s), and where there is a surface (s, s), on the CPU."""
    planes, observed = torch.zeros(4, size, size), torch.zeros(size, size, dtype=torch.bool)
    if not len(mesh.triangles):
        return planes, observed
    x_min, y_min, x_max, y_max = extent
    middle = torch.tensor([(x_min + x_max) / 2, (y_min + y_max) / 2, 0.0], dtype=torch.float64)
    vertices = (mesh.vertices.cpu().double() - middle).float().contiguous()
    triangles, colours = mesh.triangles.cpu(), mesh.colours.cpu().float()
    scene = open3d.t.geometry.RaycastingScene()
    indices = open3d.core.Tensor(triangles.int().numpy().astype(np.uint32))
    scene.add_triangles(open3d.core.Tensor(vertices.numpy()), indices)
    top = min(ceiling, float(vertices[:, 2].max()) + 1)
    half, cell = (x_max - x_min) / 2, (x_max - x_min) / size
    across = (torch.arange(size, dtype=torch.float64) + 0.5) * cell - half
    rays = torch.tensor([0.0, 0.0, top, 0.0, 0.0, -1.0]).repeat(size, 1)
    for rows in torch.split(torch.arange(size), _ROWS):
        part = rays.repeat(len(rows), 1, 1)
        part[..., 0], part[..., 1] = across.float(), -across[rows, None].float()
        hits = scene.cast_rays(open3d.core.Tensor(part.contiguous().numpy()))
        distance = torch.from_numpy(hits["t_hit"].numpy())
        seen = distance.isfinite()
        chosen = torch.from_numpy(hits["primitive_ids"].numpy().astype(np.int64))[seen]
        second, third = torch.from_numpy(hits["primitive_uvs"].numpy())[seen].unbind(-1)
        weights = torch.stack([1 - second - third, second, third], -1)
        colour = (colours[triangles[chosen]] * weights[..., None]).sum(1).clamp(0, 1)
        planes[:, rows] = _placed(torch.cat([colour, top - distance[seen][:, None]], -1), seen)
        observed[rows] = seen
    return planes, observed


def _placed(values: Tensor, seen: Tensor) -> Tensor:
    """Values (n, c) at the n places of (r, s) where a surface is seen, else 0, as (c, r, s)."""
    planes = values.new_zeros(values.shape[1], *seen.shape)
    planes[:, seen] = values.T
    return planes
