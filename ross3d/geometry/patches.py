"""World positions of patch tokens: what each cell of a grid over the picture sees."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ross3d.core.autocast import without_autocast
from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import (
    camera_rays,
    full_precision,
    ray_matrix,
    scale_intrinsics,
)

PointPool = Literal["centre", "five", "nine", "minmax"]
_SAMPLES: dict[str, tuple[int, ...]] = {
    "centre": (4,),
    "five": (0, 2, 4, 6, 8),
    "nine": tuple(range(9)),
}


def patch_coords(
    world_coords: Tensor, valid: Tensor, grid: tuple[int, int], *, count_unknown: bool = False
) -> tuple[Tensor, Tensor]:
    """Average the world coordinates that each visual token covers, over known pixels only.

    Cells are those of adaptive average pooling: any grid fits any picture.

    Args:
        world_coords: (b, m, h, w, 3) world position of each pixel, metres.
        valid: (b, m, h, w) True where the depth is known.
        grid: rows and columns of tokens per view; p = rows * columns.
        count_unknown: average pixels of unknown depth in as well, wherever ``world_coords`` has
            them (at the camera centre), and call every token valid: what the released ROSS3D
            weights were trained with.

    Returns:
        coords (b, m, p, 3) in metres, zero where not valid, and valid (b, m, p): True where at
        least one pixel was known.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> known = torch.ones(1, 2, 8, 8, dtype=torch.bool)
        >>> coords, valid = patch_coords(torch.rand(1, 2, 8, 8, 3), known, (2, 2))
        >>> coords.shape, valid.shape
        (torch.Size([1, 2, 4, 3]), torch.Size([1, 2, 4]))
    """
    sizes = check_shape("world_coords", world_coords, "b m h w 3")
    check_shape("valid", valid, "b m h w", **sizes)
    known = torch.ones_like(valid) if count_unknown else valid
    planes = rearrange(full_precision(world_coords), "b m h w c -> b m c h w")
    planes = torch.where(known[:, :, None], planes, 0)
    planes = torch.cat([planes, known[:, :, None].to(planes)], dim=2).flatten(0, 1)
    means = F.adaptive_avg_pool2d(planes, grid)
    means = rearrange(means, "(b m) c h w -> b m (h w) c", b=sizes["b"])
    return _mean(means[..., :3], means[..., 3])


def depth_patch_coords(
    depths: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    grid: tuple[int, int],
    *,
    count_unknown: bool = False,
) -> tuple[Tensor, Tensor]:
    """Compute :func:`patch_coords` straight from depth maps, without a world position per pixel.

    A world position is linear in (u d, v d, d), so its mean over a cell is that of the means: four
    sums per cell and one transform, no full-size map. Resized, cropped or padded frames carry
    their own intrinsics.

    Args:
        depths: (b, m, h, w) depth along the optical axis, metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these depth maps.
        poses: (b, m, 4, 4) camera-to-world.
        grid: rows and columns of tokens per view; p = rows * columns.
        count_unknown: as in :func:`patch_coords`.

    Returns:
        coords (b, m, p, 3) in metres, zero where not valid, and valid (b, m, p), equal to those
        of ``patch_coords``.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> pose = torch.eye(4).expand(1, 2, 4, 4)
        >>> depth_patch_coords(torch.ones(1, 2, 8, 8), pose[..., :3, :3], pose, (2, 2))[0].shape
        torch.Size([1, 2, 4, 3])
    """
    sizes = check_shape("depths", depths, "b m h w")
    check_shape("intrinsics", intrinsics, "b m 3 3", **sizes)
    check_shape("poses", poses, "b m 4 4", **sizes)
    depths = full_precision(depths)
    rows, columns = (
        _cell_means(n, cells, depths) for n, cells in zip(depths.shape[2:], grid, strict=True)
    )
    u, v = (torch.arange(n).to(depths) - (n - 1) / 2 for n in (sizes["w"], sizes["h"]))
    with without_autocast(depths.device):
        partial = torch.cat([rows, rows * v]) @ depths  # (b, m, 2 rows, w)
        of_d, of_vd = partial[..., : grid[0], :], partial[..., grid[0] :, :]
        d, ud, vd = of_d @ columns.mT, of_d @ (columns * u).mT, of_vd @ columns.mT
        known = torch.ones_like(d)
        if not count_unknown:  # view by view, in cache; comparisons take twice as long
            counts = [rows @ x.clamp(min=0).sign() for x in depths.detach().flatten(0, 1)]
            known = (torch.stack(counts) @ columns.mT).view_as(d)
    matrix = ray_matrix(intrinsics, poses)
    # u and v count from the middle of the picture: small products, hence exact sums.
    middle = matrix.new_tensor([(sizes["w"] - 1) / 2, (sizes["h"] - 1) / 2, 1.0])
    matrix = torch.stack([matrix[..., 0], matrix[..., 1], (matrix * middle).sum(-1)], -1)
    sums, share = torch.stack([ud, vd, d], -1).flatten(2, 3), known.flatten(2, 3)
    rotated = (matrix[:, :, None] * sums[..., None, :]).sum(-1)
    centre = full_precision(poses)[:, :, None, :3, 3]
    return _mean(rotated + centre * share[..., None], share)


def patch_points(
    world_coords: Tensor, valid: Tensor, grid: tuple[int, int], pool: PointPool = "nine"
) -> tuple[Tensor, Tensor]:
    """Take a few world points per visual token instead of one mean.

    Each cell is cut into 3 x 3 parts whose centre pixels are sampled. A sample of unknown depth
    is replaced by the nearest pixel of its cell whose depth is known.

    Args:
        world_coords: (b, m, h, w, 3) world position of each pixel, metres.
        valid: (b, m, h, w) True where the depth is known.
        grid: rows and columns of tokens per view; p = rows * columns.
        pool: "centre" (n = 1), "five" (the corners and the centre of the nine), "nine", or
            "minmax" (n = 2: the smallest and the largest value of each coordinate over known
            pixels).

    Returns:
        points (b, m, p, n, 3) in metres, zero where not valid, and valid (b, m, p): True where at
        least one pixel was known.

    Raises:
        ValueError: if a shape does not fit, or the pool is none of the four.

    Example:
        >>> known = torch.ones(1, 2, 8, 8, dtype=torch.bool)
        >>> points, _ = patch_points(torch.rand(1, 2, 8, 8, 3), known, (2, 2), "five")
        >>> points.shape
        torch.Size([1, 2, 4, 5, 3])
    """
    sizes = check_shape("world_coords", world_coords, "b m h w 3")
    check_shape("valid", valid, "b m h w", **sizes)
    if pool not in (*_SAMPLES, "minmax"):
        raise ValueError(f"pool must be 'centre', 'five', 'nine' or 'minmax'; got {pool!r}")
    height, width = sizes["h"], sizes["w"]
    device = valid.device
    cell_v, cell_u = _cell_pixels(height, grid[0], device), _cell_pixels(width, grid[1], device)
    pixels = cell_v[:, None, :, None] * width + cell_u[None, :, None, :]  # (rows, columns, s, s)
    pixels = rearrange(pixels, "r c y x -> (r c) (y x)")
    coords, flags = full_precision(world_coords).flatten(2, 3), valid.flatten(2, 3)
    known = flags[:, :, pixels]  # (b, m, p, s)
    some = known.any(-1)
    if pool == "minmax":
        cells = coords[:, :, pixels]
        low = torch.where(known[..., None], cells, torch.inf).amin(-2)
        high = torch.where(known[..., None], cells, -torch.inf).amax(-2)
        points = torch.stack([low, high], dim=-2)
    else:
        aims = _aims((height, width), grid, pool, device)
        nearest = [_nearest(known, pixels, aim, width) for aim in aims]
        index = rearrange(torch.stack(nearest, -1), "b m p n -> b m (p n) 1").expand(-1, -1, -1, 3)
        points = rearrange(coords.gather(2, index), "b m (p n) c -> b m p n c", p=some.shape[-1])
    return torch.where(some[..., None, None], points, 0), some


def patch_rays(
    intrinsics: Tensor, poses: Tensor, image_size: tuple[int, int], grid: tuple[int, int]
) -> Tensor:
    """The viewing ray through the centre of each visual token.

    Args:
        intrinsics: (b, m, 3, 3) in pixels.
        poses: (b, m, 4, 4) camera-to-world.
        image_size: height and width of the pictures.
        grid: rows and columns of tokens per view; p = rows * columns.

    Returns:
        (b, m, p, 6) camera centre in metres and unit direction, both in the world frame.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> pose = torch.eye(4).expand(1, 2, 4, 4)
        >>> patch_rays(pose[..., :3, :3], pose, (8, 8), (2, 2)).shape
        torch.Size([1, 2, 4, 6])
    """
    check_shape("intrinsics", intrinsics, "b m 3 3")
    scale = (grid[1] / image_size[1], grid[0] / image_size[0])
    return camera_rays(scale_intrinsics(full_precision(intrinsics), scale), poses, grid).flatten(
        2, 3
    )


def _mean(sums: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Divide by the share of known pixels; zero where there is none."""
    some = share > 0
    return torch.where(some[..., None], sums / torch.where(some, share, 1)[..., None], 0), some


def _cell_means(pixels: int, cells: int, like: Tensor) -> Tensor:
    """(cells, pixels) weights of adaptive average pooling along one axis."""
    index = torch.arange(pixels, device=like.device)
    cell = torch.arange(cells, device=like.device)[:, None]
    inside = ((index >= cell * pixels // cells) & (index < -((cell + 1) * pixels // -cells))).to(
        like
    )
    return inside / inside.sum(-1, keepdim=True)


def _cell_pixels(pixels: int, cells: int, device: torch.device) -> Tensor:
    """(cells, s) pixels of each cell along one axis; short cells repeat their last."""
    cell = torch.arange(cells, device=device)[:, None]
    start, stop = cell * pixels // cells, -((cell + 1) * pixels // -cells)
    longest = max(-((i + 1) * pixels // -cells) - i * pixels // cells for i in range(cells))
    return torch.minimum(start + torch.arange(longest, device=device), stop - 1)


def _aims(size: tuple[int, int], grid: tuple[int, int], pool: str, device: torch.device) -> Tensor:
    """(n, p, 2) row and column that each sample of each cell aims at."""
    v, u = (
        (2 * torch.arange(3 * cells, device=device) + 1) * pixels // (6 * cells)
        for pixels, cells in zip(size, grid, strict=True)
    )
    centres = torch.cartesian_prod(v, u)
    aims = rearrange(centres, "(r i c j) y -> (i j) (r c) y", i=3, j=3, c=grid[1])
    return torch.stack([aims[i] for i in _SAMPLES[pool]])


def _nearest(known: Tensor, pixels: Tensor, aim: Tensor, width: int) -> Tensor:
    """(b, m, p) the known pixel of each cell that is nearest to the aim (p, 2)."""
    v, u = aim[:, None].unbind(-1)
    distance = (pixels // width - v) ** 2 + (pixels % width - u) ** 2  # (p, s)
    choice = torch.where(known, distance, distance.max() + 1).argmin(-1, keepdim=True)
    return pixels.expand(*known.shape).gather(-1, choice)[..., 0]
