"""Bird's-eye views the straightforward way: the whole cloud at once, sorted by pixel and height."""

from __future__ import annotations

import torch
from torch import Tensor

from ross3d import PosedFrames, require

Extent = tuple[float, float, float, float]


def cloud(depths: Tensor, intrinsics: Tensor, poses: Tensor) -> Tensor:
    """(m*h*w, 3) world position of each pixel, by homogeneous coordinates.

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
    return torch.cat(points)


def sorted_bev(
    images: Tensor,
    depths: Tensor,
    intrinsics: Tensor,
    poses: Tensor,
    size: int,
    extent: Extent,
    max_height: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Sort all points by pixel and height, and take the last of each pixel.

    Args:
        images: (m, 3, h, w).
        depths: (m, h, w) metres.
        intrinsics: (m, 3, 3).
        poses: (m, 4, 4) camera-to-world.
        size: pixels s of the picture.
        extent: x_min, y_min, x_max, y_max, metres.
        max_height: metres.

    Returns:
        image (3, s, s), height (s, s), observed (s, s).
    """
    points = cloud(depths, intrinsics, poses)
    colours = images.permute(0, 2, 3, 1).reshape(-1, 3)
    kept = (depths.flatten() > 0) & (points[:, 2] <= max_height)
    points, colours = points[kept], colours[kept]
    cell = (extent[2] - extent[0]) / size
    column = ((points[:, 0] - extent[0]) / cell).floor().long()
    row = ((extent[3] - points[:, 1]) / cell).floor().long()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    pixel, points, colours = (row * size + column)[inside], points[inside], colours[inside]
    order = torch.argsort(points[:, 2])
    order = order[torch.argsort(pixel[order], stable=True)]
    pixel = pixel[order]
    last = torch.ones_like(pixel, dtype=torch.bool)
    last[:-1] = pixel[1:] != pixel[:-1]
    image, height = torch.zeros(size**2, 3), torch.zeros(size**2)
    observed = torch.zeros(size**2, dtype=torch.bool)
    image[pixel[last]] = colours[order][last]
    height[pixel[last]] = points[order, 2][last]
    observed[pixel[last]] = True
    return image.T.view(3, size, size), height.view(size, size), observed.view(size, size)


def fused_bev(frames: PosedFrames, size: int, extent: Extent) -> tuple[Tensor, Tensor]:
    """Open3D's way: fuse a truncated distance field of 2 cm, extract its mesh, cast rays down.

    Args:
        frames: views of b = 1 scene.
        size: pixels s of the picture.
        extent: x_min, y_min, x_max, y_max, metres.

    Returns:
        height (s, s) in metres and observed (s, s).
    """
    o3d = require("open3d", "mesh")
    core, geometry = o3d.core, o3d.t.geometry
    grid = geometry.VoxelBlockGrid(
        ("tsdf", "weight", "color"),
        (core.float32, core.float32, core.float32),
        ((1,), (1,), (3,)),
        voxel_size=0.02,
        block_resolution=16,
        block_count=20_000,
    )
    for image, depth, intrinsics, pose in zip(
        frames.images[0], frames.depths[0], frames.intrinsics[0], frames.poses[0], strict=True
    ):
        picture = geometry.Image(core.Tensor(image.movedim(0, -1).contiguous().numpy()))
        metres = geometry.Image(core.Tensor(depth[..., None].contiguous().numpy()))
        camera = core.Tensor(intrinsics.double().numpy())
        view = core.Tensor(torch.linalg.inv(pose.double()).numpy())
        blocks = grid.compute_unique_block_coordinates(metres, camera, view, 1.0, 10.0)
        grid.integrate(blocks, metres, picture, camera, camera, view, 1.0, 10.0)
    scene = geometry.RaycastingScene()
    scene.add_triangles(grid.extract_triangle_mesh(weight_threshold=1.0))
    cell, top = (extent[2] - extent[0]) / size, 1.85
    steps = (torch.arange(size) + 0.5) * cell
    y, x = torch.meshgrid(extent[3] - steps, extent[0] + steps, indexing="ij")
    down = torch.tensor([0.0, 0.0, -1.0]).expand(size, size, 3)
    rays = torch.cat([torch.stack([x, y, torch.full_like(x, top)], -1), down], -1)
    distance = torch.from_numpy(scene.cast_rays(core.Tensor(rays.numpy()))["t_hit"].numpy())
    return top - distance, distance.isfinite()
