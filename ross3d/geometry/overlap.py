"""How much of what one view sees is seen from the others."""

from __future__ import annotations

import torch
from torch import Tensor

from ross3d.core.autocast import without_autocast
from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision, ray_matrix


@torch.no_grad()
def view_overlap(
    depths: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    *,
    tolerance: float = 0.05,
    stride: int = 4,
) -> Tensor:
    """Measure which share of each view's known pixels each other view sees.

    A pixel of view i is seen by view j if its world position projects into j's picture, onto a
    pixel whose depth is known and differs by no more than ``tolerance``: what is occluded in j, or
    lies in front of what j saw, is not seen. Memory grows with m, time with m squared.

    Args:
        depths: (b, m, h, w) depth along the optical axis, metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these depth maps.
        poses: (b, m, 4, 4) camera-to-world.
        tolerance: largest difference of the two depths, as a share of the depth.
        stride: ask every so many rows and columns of view i only; 1 = every pixel.

    Returns:
        (b, m, m) float in [0, 1]; [:, i, j] is the share of view i that view j sees, which is not
        symmetric. 1 on the diagonal; a view whose depth is not known sees nothing and is not seen.

    Raises:
        ValueError: if a shape does not fit, ``tolerance`` is negative or ``stride`` not positive.

    Example:
        >>> pose = torch.eye(4).expand(1, 2, 4, 4)
        >>> view_overlap(torch.ones(1, 2, 8, 8), pose[..., :3, :3], pose).tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """
    sizes = check_shape("depths", depths, "b m h w")
    check_shape("intrinsics", intrinsics, "b m 3 3", **sizes)
    check_shape("poses", poses, "b m 4 4", **sizes)
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0; got {tolerance}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1; got {stride}")
    depths, poses = full_precision(depths), full_precision(poses)
    v, u = (_every(n, stride, depths.device) for n in (sizes["h"], sizes["w"]))
    asked = depths[:, :, v[:, None], u]  # (b, m, h', w')
    known = asked > 0
    rays, centre = ray_matrix(intrinsics, poses), poses[..., :3, 3]
    pixels = (u.to(rays), v.to(rays))
    with without_autocast(depths.device):
        # World to pixels, homogeneous; then from each view's pixels straight to another's.
        lens = full_precision(intrinsics).to(rays) @ poses[..., :3, :3].mT.to(rays)
        rows = []
        step = _views_at_once(asked)
        for part in (slice(i, i + step) for i in range(0, sizes["m"], step)):
            columns = []
            for j in range(sizes["m"]):
                turn = lens[:, j, None] @ rays[:, part]
                shift = lens[:, j, None] @ (centre[:, part] - centre[:, j, None])[..., None].to(
                    rays
                )
                seen = _sees(depths[:, j], turn, shift, asked[:, part], pixels, tolerance)
                columns.append((seen & known[:, part]).sum((-1, -2)))
            rows.append(torch.stack(columns, dim=-1))
    if not rows:
        return depths.new_zeros(sizes["b"], 0, 0)
    return torch.cat(rows, dim=1).to(depths) / known.sum((-1, -2)).clamp(min=1)[..., None]


def _sees(
    depths: Tensor,
    turn: Tensor,
    shift: Tensor,
    asked: Tensor,
    pixels: tuple[Tensor, Tensor],
    tolerance: float,
) -> Tensor:
    """(b, m, h', w') True where a view of depths (b, h, w) sees the asked pixels of all views."""
    (b, h, w), (u, v) = depths.shape, pixels
    rows = turn[..., 1, None] * v + turn[..., 2, None]
    planes = rows[..., :, None] + (turn[..., 0, None] * u)[..., None, :]  # (b, m, 3, h', w')
    x, y, z = torch.addcmul(shift[..., None], planes, asked[:, :, None]).unbind(2)
    column, row = (x / z).round_(), (y / z).round_()
    inside = (z > 0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    index = torch.where(inside, row * w + column, 0).long()
    found = depths.reshape(b, h * w).gather(1, index.flatten(1)).view_as(z)
    return inside & (found > 0) & ((found - z).abs() <= tolerance * z)


def _views_at_once(asked: Tensor) -> int:
    """How many views' pixels a processor's cache holds."""
    return max(1, 2**16 // max(1, asked.shape[0] * asked.shape[2] * asked.shape[3]))


def _every(pixels: int, stride: int, device: torch.device) -> Tensor:
    """The middle of each run of ``stride`` pixels; at least one."""
    return torch.arange(min(stride - 1, pixels - 1) // 2, pixels, stride, device=device)
