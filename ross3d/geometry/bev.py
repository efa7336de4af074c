"""Bird's-eye views: the room from above, straight from posed RGB-D frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.bounds import floor_height, sample_points, square_extent
from ross3d.geometry.camera import full_precision, unproject
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.patches import patch_coords
from ross3d.geometry.zbuffer import (
    EMPTY,
    PointChunk,
    fill_holes,
    highest,
    pack_colours,
    slab_mean,
    unpack,
)

Extent = tuple[float, float, float, float]
_CEILING = 2.2  # metres above the floor
_CHUNK = 2**18  # pixels lifted at a time: small frames go together, large ones one by one


@dataclass(frozen=True, eq=False)
class BEV:
    """Orthographic pictures of b scenes from above: +x to the right, +y up (row 0 = largest y).

    Attributes:
        image: (b, 3, s, s) RGB in [0, 1], 0 where not observed.
        observed: (b, s, s) True where a surface was seen.
        height: (b, s, s) world z of that surface in metres, 0 where not observed.
        extent: (b, 4) x_min, y_min, x_max, y_max of the pictures' outer borders, metres.

    Raises:
        ValueError: if the shapes do not fit.
    """

    image: Tensor
    observed: Tensor
    height: Tensor
    extent: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape("image", self.image, "b 3 s s")
        check_shape("observed", self.observed, "b s s", **sizes)
        check_shape("height", self.height, "b s s", **sizes)
        check_shape("extent", self.extent, "b 4", **sizes)


class BEVRenderer:
    """Render frames from above with an exact z-buffer: in every pixel the highest point wins.

    Frames are read a few at a time, so their number costs no memory; their order changes nothing.
    Colours have 8 bits.

    Args:
        size: pixels s of the square picture (paper: 432).
        max_height: points whose world z (metres) is above are dropped, so that ceilings do not
            hide the room; "auto" = 2.2 m above the 1 % quantile of heights; None = keep all.
        extent: x_min, y_min, x_max, y_max of the picture in metres, a square; None = the bounds
            of each scene's points without ``quantile`` outliers, widened by ``margin``.
        margin: share of the automatic extent that is added to each side.
        quantile: share of points that the automatic extent may ignore on each side.
        splat: largest radius in pixels of a point's square footprint. The footprint is what one
            camera pixel covers at that depth, so only small frames need it; 0 = single pixels.
        slab: a pixel's colour and height are the mean over its points at most this many metres
            below its highest, which evens out noise; 0 = those of the highest point.
        fill: passes that fill an unobserved pixel, if at least five of its eight neighbours are
            observed, with their mean.

    Raises:
        ValueError: if a number is out of range or the extent is not a square.

    Example:
        >>> poses = torch.eye(4).expand(1, 2, 4, 4)
        >>> images, depths = torch.rand(1, 2, 3, 6, 8), torch.ones(1, 2, 6, 8)
        >>> BEVRenderer(32)(PosedFrames(images, depths, poses[..., :3, :3], poses)).image.shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        size: int = 432,
        *,
        max_height: float | Literal["auto"] | None = "auto",
        extent: Extent | None = None,
        margin: float = 0.02,
        quantile: float = 0.005,
        splat: int = 4,
        slab: float = 0.05,
        fill: int = 2,
    ) -> None:
        if size < 1:
            raise ValueError(f"size must be positive; got {size}")
        if min(splat, slab, fill, margin) < 0:
            got = f"{splat}, {slab}, {fill}, {margin}"
            raise ValueError(f"splat, slab, fill and margin must not be negative; got {got}")
        if not 0 <= quantile < 0.5:
            raise ValueError(f"quantile must be in [0, 0.5); got {quantile}")
        if extent is not None:
            x, y = extent[2] - extent[0], extent[3] - extent[1]
            if not (x > 0 and abs(x - y) <= 1e-4 * x):
                raise ValueError(f"extent must be a square of positive size; got {extent}")
        self.size, self.max_height, self.extent = size, max_height, extent
        self.margin, self.quantile = margin, quantile
        self.splat, self.slab, self.fill = splat, slab, fill

    @torch.no_grad()
    def __call__(self, frames: PosedFrames) -> BEV:
        """Render b scenes of posed views."""
        extent, ceiling = self._bounds(frames)
        keys = highest(self._points(frames, extent, ceiling), len(frames), self.size, self.splat)
        image, height = unpack(keys)
        if self.slab:
            image, height = slab_mean(self._points(frames, extent, ceiling), keys, self.slab)
        observed = keys != EMPTY
        image = image * observed[:, None]
        for _ in range(self.fill):
            image, height, observed = fill_holes(image, height, observed)
        return BEV(image.to(frames.images.dtype), observed, height, extent)

    def _bounds(self, frames: PosedFrames) -> tuple[Tensor, Tensor]:
        """Extent (b, 4) and ceiling (b,) of each scene."""
        automatic = self.extent is None or self.max_height == "auto"
        points = sample_points(frames) if automatic else frames.poses.new_zeros(len(frames), 1, 3)
        if self.max_height == "auto":
            ceiling = floor_height(points) + _CEILING
        else:
            highest = torch.inf if self.max_height is None else self.max_height
            ceiling = points.new_full((len(frames),), highest)
        if self.extent is not None:
            return points.new_tensor(self.extent).repeat(len(frames), 1), ceiling
        points = torch.where(points[..., 2:] <= ceiling[:, None, None], points, torch.nan)
        extent = square_extent(points, quantile=self.quantile, margin=self.margin)
        return extent, ceiling

    def _points(self, frames: PosedFrames, extent: Tensor, ceiling: Tensor) -> Iterator[PointChunk]:
        """The points of a few views at a time, with the pixels they belong to."""
        metres = ((extent[:, 2] - extent[:, 0]) / self.size)[:, None, None, None]
        step = max(1, _CHUNK // (frames.size[0] * frames.size[1]))
        for start in range(0, frames.views, step):
            views = slice(start, start + step)
            depths, images = full_precision(frames.depths[:, views]), frames.images[:, views]
            intrinsics = full_precision(frames.intrinsics[:, views])
            points = unproject(depths, intrinsics, frames.poses[:, views]).float()
            keep = (depths > 0) & (points[..., 2] <= ceiling[:, None, None, None])
            pixel = torch.where(keep, self._pixel(points, extent), self.size**2)
            width = depths / intrinsics[..., 0, 0, None, None] / metres
            radius = ((width - 1) / 2).ceil().clamp(0, self.splat).long()
            parts = pixel, radius, points[..., 2], pack_colours(images)
            yield PointChunk(*(part.flatten(1) for part in parts))

    def _pixel(self, points: Tensor, extent: Tensor) -> Tensor:
        """Row * s + column of the pixel that each point falls into; s * s = none."""
        x_min, y_min, x_max, y_max = extent[:, :, None, None, None].unbind(1)
        column = ((points[..., 0] - x_min) * (self.size / (x_max - x_min))).floor()
        row = ((y_max - points[..., 1]) * (self.size / (y_max - y_min))).floor()
        inside = (column >= 0) & (column < self.size) & (row >= 0) & (row < self.size)
        return torch.where(inside, row * self.size + column, self.size**2).long()


def world_to_bev(points: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where world positions are in the picture.

    Args:
        points: (b, n, 3) world positions, metres (only x and y count).
        extent: (b, 4) x_min, y_min, x_max, y_max of the picture, metres.
        size: pixels s of the square picture.

    Returns:
        (b, n, 2) column and row, pixel centres at integers.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> world_to_bev(torch.zeros(1, 1, 3), torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), 4).tolist()
        [[[1.5, 1.5]]]
    """
    check_shape("extent", extent, "b 4", **check_shape("points", points, "b n 3"))
    x_min, y_min, x_max, y_max = extent[:, None].unbind(-1)
    column = (points[..., 0] - x_min) / (x_max - x_min) * size - 0.5
    row = (y_max - points[..., 1]) / (y_max - y_min) * size - 0.5
    return torch.stack([column, row], dim=-1)


def bev_to_world(pixels: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where pixels of the picture are on the ground plane, the inverse of :func:`world_to_bev`.

    Args:
        pixels: (b, n, 2) column and row, pixel centres at integers.
        extent: (b, 4) x_min, y_min, x_max, y_max of the picture, metres.
        size: pixels s of the square picture.

    Returns:
        (b, n, 2) world x and y, metres.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> bev_to_world(torch.zeros(1, 1, 2), torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), 4).tolist()
        [[[-0.75, 0.75]]]
    """
    check_shape("extent", extent, "b 4", **check_shape("pixels", pixels, "b n 2"))
    x_min, y_min, x_max, y_max = extent[:, None].unbind(-1)
    x = x_min + (pixels[..., 0] + 0.5) * (x_max - x_min) / size
    y = y_max - (pixels[..., 1] + 0.5) * (y_max - y_min) / size
    return torch.stack([x, y], dim=-1)


def cell_coords(bev: BEV, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """World position of each cell of a grid over the picture, for example of its latents.

    Args:
        bev: pictures of b scenes.
        grid: rows and columns; g = rows * columns.

    Returns:
        coords (b, g, 3) in metres: x and y of the cell's centre, z the mean height of its observed
        pixels (the scene's lowest such cell if there is none); and valid (b, g): True where at
        least one pixel is observed.

    Example:
        >>> bev = BEV(torch.zeros(2, 3, 8, 8), torch.ones(2, 8, 8) > 0, torch.zeros(2, 8, 8),
        ...           torch.tensor([[-1.0, -1.0, 1.0, 1.0]]).repeat(2, 1))
        >>> cell_coords(bev, (4, 4))[0].shape
        torch.Size([2, 16, 3])
    """
    rows, columns = grid
    heights = bev.height[:, None, ..., None].expand(-1, -1, -1, -1, 3)
    means, valid = patch_coords(heights, bev.observed[:, None], grid)
    z, valid = means[:, 0, :, 0], valid[:, 0]
    floor = torch.where(valid, z, torch.inf).amin(-1, keepdim=True)
    z = torch.where(valid, z, torch.where(floor.isfinite(), floor, 0))
    column = (torch.arange(columns, device=z.device) + 0.5) / columns
    row = (torch.arange(rows, device=z.device) + 0.5) / rows
    x_min, y_min, x_max, y_max = bev.extent[:, :, None].unbind(1)
    x = (x_min + column * (x_max - x_min))[:, None, :].expand(-1, rows, -1).flatten(1)
    y = (y_max - row * (y_max - y_min))[:, :, None].expand(-1, -1, columns).flatten(1)
    return torch.stack([x, y, z], dim=-1), valid
