from __future__ import annotations

import pytest
import torch
from strategies import make_frames, one_scene

from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.mesh import Mesh
from ross3d.geometry.tsdf import fuse_mesh

LOOKING_DOWN = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))


def from_above(depths: torch.Tensor, focal: float = 16.0, colour: float = 0.25) -> PosedFrames:
    """Views (b, m) of a camera 2 m above the origin."""
    b, m, h, w = depths.shape
    intrinsics = torch.tensor([[focal, 0, (w - 1) / 2], [0, focal, (h - 1) / 2], [0, 0, 1]])
    pose = LOOKING_DOWN.clone()
    pose[2, 3] = 2.0
    images = torch.full((b, m, 3, h, w), colour)
    return PosedFrames(images, depths, intrinsics.expand(b, m, 3, 3), pose.expand(b, m, 4, 4))


def area(mesh: Mesh) -> float:
    a, b, c = mesh.vertices[mesh.triangles].unbind(1)
    return (torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2).item()


def assert_equal(one: Mesh, other: Mesh) -> None:
    for name in ("vertices", "triangles", "colours"):
        assert getattr(one, name).equal(getattr(other, name))


@pytest.mark.usefixtures("open3d")
@pytest.mark.parametrize("voxel_size", [0.02, 0.05])
def test_a_floor_becomes_a_whole_flat_surface(voxel_size: float) -> None:
    frames = from_above(torch.full((1, 1, 16, 16), 2.0 - 0.013))
    mesh = fuse_mesh(frames, voxel_size=voxel_size)[0]
    assert (mesh.vertices[:, 2] - 0.013).abs().max() < 1e-4
    assert (mesh.colours - 0.25).abs().max() < 0.5 / 255 + 1e-5
    wide = 16 * (2.0 - 0.013) / 16
    assert (wide - 4 * voxel_size) ** 2 < area(mesh) <= (wide + voxel_size) ** 2


@pytest.mark.usefixtures("open3d")
def test_a_slanted_floor_of_few_pixels_has_no_holes() -> None:
    slope = torch.tensor([[1.0, 0, 0], [0, 0.5, -(0.75**0.5)], [0, 0.75**0.5, 0.5]])
    pose = LOOKING_DOWN.clone()
    pose[:3, :3] = slope @ pose[:3, :3]  # 60 degrees from straight down
    pose[2, 3] = 1.5
    k = torch.tensor([[24.0, 0, 15.5], [0, 24.0, 15.5], [0, 0, 1]])
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    rays = pose[:3, :3] @ k.inverse() @ torch.stack([column, row, torch.ones(32, 32)]).flatten(1)
    depths = torch.where(rays[2] < -0.3, -1.5 / rays[2], 0).view(1, 1, 32, 32)
    frames = PosedFrames(torch.ones(1, 1, 3, 32, 32), depths, k[None, None], pose[None, None])
    mesh = fuse_mesh(frames, truncation=6)[0]
    seen = frames.world_coords()[0, 0][depths[0, 0] > 0]
    inner = seen[(seen[:, 1].abs() < seen[:, 1].abs().max() * 0.8) & (seen[:, 0].abs() < 1)]
    distances, nearest = torch.cdist(inner[:, :2], mesh.vertices[:, :2]).min(1)
    assert len(inner) > 200
    assert distances.max() < 0.03
    assert mesh.vertices[nearest, 2].abs().max() < 2e-3


@pytest.mark.usefixtures("open3d")
def test_views_are_averaged() -> None:
    depths = torch.tensor([2.0, 1.98, 1.99, 1.99]).view(1, 4, 1, 1).expand(1, 4, 16, 16)
    mesh = fuse_mesh(from_above(depths))[0]
    assert (mesh.vertices[:, 2] - 0.01).abs().max() < 1e-4


@pytest.mark.usefixtures("open3d")
def test_neither_order_nor_threads_change_anything() -> None:
    frames = make_frames(1, 4, (24, 32))
    mesh = fuse_mesh(frames, voxel_size=0.1)[0]
    assert len(mesh.triangles) > 100
    assert_equal(mesh, fuse_mesh(frames, voxel_size=0.1)[0])
    assert_equal(mesh, fuse_mesh(frames.select(torch.arange(3, -1, -1)), voxel_size=0.1)[0])


@pytest.mark.usefixtures("open3d")
def test_a_batch_of_two_is_two_batches_of_one() -> None:
    frames = make_frames(2, 2)
    both = fuse_mesh(frames, voxel_size=0.1)
    for b, mesh in enumerate(both):
        assert_equal(mesh, fuse_mesh(one_scene(frames, b), voxel_size=0.1)[0])


@pytest.mark.usefixtures("open3d")
def test_far_from_the_origin_the_surface_is_the_same() -> None:
    frames = from_above(torch.full((1, 1, 16, 16), 1.987))
    shift = torch.eye(4)
    shift[:3, 3] = torch.tensor([3.2e3, -1.6e3, 8.0])
    far = PosedFrames(frames.images, frames.depths, frames.intrinsics, shift @ frames.poses)
    mesh = fuse_mesh(far, voxel_size=0.05)[0]
    assert abs(area(mesh) - area(fuse_mesh(frames, voxel_size=0.05)[0])) < 0.05
    assert (mesh.vertices[:, 2] - 8.013).abs().max() < 1e-3


@pytest.mark.usefixtures("open3d")
def test_each_vertex_is_there_once_and_no_triangle_is_empty() -> None:
    mesh = fuse_mesh(from_above(torch.full((1, 1, 16, 16), 2.0)))[0]  # on the grid's points
    assert len(mesh.vertices.unique(dim=0)) == len(mesh.vertices)
    assert all(len(set(corners)) == 3 for corners in mesh.triangles.tolist())


@pytest.mark.usefixtures("open3d")
def test_without_depth_there_is_no_surface() -> None:
    depths = torch.zeros(2, 1, 8, 8)
    depths[1] = 2.0
    empty, floor = fuse_mesh(from_above(depths))
    assert (len(empty.vertices), len(empty.triangles)) == (0, 0)
    assert len(floor.triangles)
    assert not len(fuse_mesh(from_above(depths[1:]), max_depth=1.9)[0].vertices)
    assert not len(fuse_mesh(from_above(depths[1:]), min_views=2)[0].vertices)


@pytest.mark.usefixtures("open3d")
def test_frames_of_a_single_pixel_are_fused() -> None:
    assert len(fuse_mesh(from_above(torch.full((1, 1, 1, 1), 2.0), focal=4.0))[0].triangles)


@pytest.mark.usefixtures("open3d")
def test_a_scene_too_large_for_its_voxels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ross3d.geometry.tsdf._MOST_BLOCKS", 20)
    with pytest.raises(ValueError, match=r"voxel_size must be larger .* got 0\.02 m, with more"):
        fuse_mesh(from_above(torch.full((1, 1, 16, 16), 2.0)))


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"voxel_size": 0.0}, "voxel_size and max_depth must be positive; got 0.0 and 50.0"),
        ({"voxel_size": float("nan")}, "voxel_size and max_depth must be positive; got nan"),
        ({"max_depth": -1.0}, "voxel_size and max_depth must be positive; got 0.02 and -1.0"),
        ({"truncation": 0.5}, "truncation and min_views must be at least 1; got 0.5 and 1"),
        ({"min_views": 0}, "truncation and min_views must be at least 1; got 4.0 and 0"),
    ],
)
def test_fusing_complains(arguments: dict[str, float], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fuse_mesh(make_frames(1, 1), **arguments)  # type: ignore[arg-type]
