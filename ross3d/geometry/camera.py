"""Pinhole cameras: pixels with depth to world positions, and back.

OpenCV axes (x right, y down, z forward), poses camera-to-world, depth along the optical axis,
pixel centres at integers. Everything is computed in float32 (or float64, for float64 inputs)
whatever autocast says: bfloat16 errs by millimetres at arm's length.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from ross3d.core.shapes import check_shape


def unproject(
    depths: Tensor, intrinsics: Tensor, poses: Tensor, *, out: Tensor | None = None
) -> Tensor:
    """Lift every pixel to the world: x_world = depth * (R K^-1 [u, v, 1]) + t.

    The rays are rotated once and then scaled by depth. A pixel of unknown depth (0) lands on the
    camera centre t; mask it with ``depths > 0``.
    Values are not checked, which would wait for the device: ``PosedFrames`` does that once.
    Singular intrinsics have no finite rays.

    Args:
        depths: (b, m, h, w) depth along the optical axis, metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these depth maps; skew is allowed.
        poses: (b, m, 4, 4) camera-to-world.
        out: (b, m, h, w, 3) optional buffer to write into, frame by frame, without gradients.
            Fastest if it is a result of this function, or has its memory order (b, m, 3, h, w).

    Returns:
        (b, m, h, w, 3) world position of each pixel, metres; the three coordinates are planes in
        memory.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> depths, pose = torch.full((1, 2, 6, 8), 2.0), torch.eye(4).expand(1, 2, 4, 4)
        >>> unproject(depths, torch.eye(3).expand(1, 2, 3, 3), pose).shape
        torch.Size([1, 2, 6, 8, 3])
    """
    sizes = _check_cameras(intrinsics, poses, **check_shape("depths", depths, "b m h w"))
    depths = full_precision(depths)[:, :, None]
    centre = _centre(poses)[..., None, None]  # (b, m, 3, 1, 1)
    ray_map = ray_matrix(intrinsics, poses)
    if out is None:
        ray_map = ray_map.to(torch.promote_types(ray_map.dtype, depths.dtype))
        rays = _ray_planes(ray_map, sizes["h"], sizes["w"])
        # In place: a second map of this size would take longer to allocate than to compute.
        return rearrange(rays.mul_(depths).add_(centre), "b m c h w -> b m h w c")
    check_shape("out", out, "b m h w 3", **sizes)
    planes = rearrange(out, "b m h w c -> b m c h w")
    with torch.no_grad():
        for b, m in ((b, m) for b in range(sizes["b"]) for m in range(sizes["m"])):
            rays = _ray_planes(ray_map[b, m], sizes["h"], sizes["w"])
            torch.addcmul(centre[b, m], rays, depths[b, m], out=planes[b, m])
    return out


def project(points: Tensor, intrinsics: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
    """See world positions through the cameras, the inverse of :func:`unproject`.

    Args:
        points: (b, m, ..., 3) world positions, metres; view (b, m) looks at its own points.
        intrinsics: (b, m, 3, 3) in pixels.
        poses: (b, m, 4, 4) camera-to-world.

    Returns:
        pixels (b, m, ..., 2) as (u, v), and depth (b, m, ...) along the optical axis, metres.
        Where the depth is not positive the point is behind the camera and its pixel means nothing
        (but is finite).

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> eye = torch.eye(4).expand(1, 2, 4, 4)
        >>> pixels, depth = project(torch.ones(1, 2, 5, 3), eye[..., :3, :3], eye)
        >>> pixels.shape, depth.shape
        (torch.Size([1, 2, 5, 2]), torch.Size([1, 2, 5]))
    """
    sizes = _check_cameras(intrinsics, poses)
    if points.ndim < 3 or points.shape[:2] != (sizes["b"], sizes["m"]) or points.shape[-1] != 3:
        wanted = f"({sizes['b']}, {sizes['m']}, ..., 3)"
        raise ValueError(f"points must be of shape {wanted}; got {tuple(points.shape)}")
    b, m, inner = sizes["b"], sizes["m"], (1,) * (points.ndim - 3)
    offsets = full_precision(points) - _centre(poses).view(b, m, *inner, 3)
    rotation = full_precision(poses)[..., :3, :3].mT
    local = _transform(rotation.view(b, m, *inner, 3, 3), offsets)
    depth = local[..., 2]
    tiny = torch.finfo(depth.dtype).eps
    divisor = torch.where(depth.abs() > tiny, depth, tiny)
    local = torch.cat([local[..., :2] / divisor[..., None], torch.ones_like(depth)[..., None]], -1)
    pixels = _transform(full_precision(intrinsics).view(b, m, *inner, 3, 3), local)[..., :2]
    return pixels, depth


def camera_rays(intrinsics: Tensor, poses: Tensor, size: tuple[int, int]) -> Tensor:
    """The viewing ray of every pixel: where the camera is, and where it looks.

    Args:
        intrinsics: (b, m, 3, 3) in pixels.
        poses: (b, m, 4, 4) camera-to-world.
        size: height and width of the pictures.

    Returns:
        (b, m, h, w, 6) camera centre in metres and unit direction, both in the world frame.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> eye = torch.eye(4).expand(1, 2, 4, 4)
        >>> camera_rays(eye[..., :3, :3], eye, (6, 8)).shape
        torch.Size([1, 2, 6, 8, 6])
    """
    _check_cameras(intrinsics, poses)
    rays = _ray_planes(ray_matrix(intrinsics, poses), *size)
    directions = torch.nn.functional.normalize(rays, dim=2)
    centres = _centre(poses)[..., None, None].expand_as(directions)
    return rearrange(torch.cat([centres, directions], dim=2), "b m c h w -> b m h w c")


def scale_intrinsics(intrinsics: Tensor, scale: tuple[float, float]) -> Tensor:
    """Intrinsics after a resize, pixel centres at integers: c' = (c + 0.5) * s - 0.5.

    Args:
        intrinsics: (..., 3, 3) in pixels.
        scale: new size / old size along x and y.

    Returns:
        (..., 3, 3) in pixels of the resized pictures.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> scale_intrinsics(torch.eye(3), (0.5, 0.5))[0].tolist()
        [0.5, 0.0, -0.25]
    """
    check_shape("intrinsics", intrinsics, "... 3 3")
    x, y = scale
    change = intrinsics.new_tensor([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2], [0, 0, 1]])
    return _compose(change, intrinsics)


def crop_intrinsics(intrinsics: Tensor, top: int, left: int) -> Tensor:
    """Intrinsics after a crop: the principal point moves.

    Args:
        intrinsics: (..., 3, 3) in pixels.
        top: first row that is kept.
        left: first column that is kept.

    Returns:
        (..., 3, 3) in pixels of the cropped pictures.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> crop_intrinsics(torch.eye(3), top=2, left=1)[:, 2].tolist()
        [-1.0, -2.0, 1.0]
    """
    check_shape("intrinsics", intrinsics, "... 3 3")
    return _compose(intrinsics.new_tensor([[1, 0, -left], [0, 1, -top], [0, 0, 1]]), intrinsics)


def full_precision(values: Tensor) -> Tensor:
    """Float64 stays; every other dtype becomes float32, the least that metres need."""
    return values if values.dtype == torch.float64 else values.float()


def ray_matrix(intrinsics: Tensor, poses: Tensor) -> Tensor:
    """(b, m, 3, 3) R K^-1: takes (u, v, 1) to the ray of depth 1 in the world frame."""
    k = full_precision(intrinsics)
    fx, fy, skew, cx, cy = k[..., 0, 0], k[..., 1, 1], k[..., 0, 1], k[..., 0, 2], k[..., 1, 2]
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = [1 / fx, -skew / (fx * fy), skew * cy / (fx * fy) - cx / fx, zero, 1 / fy, -cy / fy]
    inverse = rearrange(torch.stack([*rows, zero, zero, one], -1), "... (i j) -> ... i j", i=3)
    return _compose(full_precision(poses)[..., :3, :3], inverse)


def _centre(poses: Tensor) -> Tensor:
    return full_precision(poses)[..., :3, 3]


def _check_cameras(intrinsics: Tensor, poses: Tensor, **sizes: int) -> dict[str, int]:
    sizes = check_shape("intrinsics", intrinsics, "b m 3 3", **sizes)
    return check_shape("poses", poses, "b m 4 4", **sizes)


def _compose(left: Tensor, right: Tensor) -> Tensor:
    """A matrix product that autocast leaves alone."""
    return (left[..., :, :, None] * right[..., None, :, :]).sum(-2)


def _transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Matrix (..., 3, 3) times points (..., 3), as a product that autocast leaves alone."""
    x, y, z = (points[..., i : i + 1] for i in range(3))
    return matrix[..., 0] * x + matrix[..., 1] * y + matrix[..., 2] * z


def _ray_planes(ray_map: Tensor, h: int, w: int) -> Tensor:
    """(..., 3, h, w) rays of depth 1 in the world frame."""
    u = torch.arange(w, device=ray_map.device, dtype=ray_map.dtype)
    v = torch.arange(h, device=ray_map.device, dtype=ray_map.dtype)
    rows = ray_map[..., 1, None] * v + ray_map[..., 2, None]
    return rows[..., :, None] + (ray_map[..., 0, None] * u)[..., None, :]
