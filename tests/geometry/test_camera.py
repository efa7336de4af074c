from __future__ import annotations

import pytest
import torch
from hypothesis import given
from kornia.geometry.camera import PinholeCamera
from kornia.geometry.depth import depth_to_3d_v2
from kornia.geometry.linalg import inverse_transformation, transform_points
from strategies import make_frames, pinholes, posed_frames, rigid
from torch import Tensor

from ross3d.geometry.camera import (
    camera_rays,
    crop_intrinsics,
    project,
    scale_intrinsics,
    unproject,
)
from ross3d.geometry.frames import PosedFrames


def pixel_grid(h: int, w: int) -> Tensor:
    return torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy"), -1).float()


@given(posed_frames())
def test_unproject_equals_kornia(frames: PosedFrames) -> None:
    flat = frames.intrinsics.flatten(0, 1)
    local = depth_to_3d_v2(frames.depths.flatten(0, 1), flat).flatten(1, 2)
    expected = transform_points(frames.poses.flatten(0, 1), local)
    world = unproject(frames.depths, frames.intrinsics, frames.poses)
    torch.testing.assert_close(world, expected.view_as(world), atol=1e-5, rtol=1e-5)


@given(posed_frames(unknown=0.0))
def test_project_of_unproject_is_the_pixel_grid_and_the_depth(frames: PosedFrames) -> None:
    world = unproject(frames.depths, frames.intrinsics, frames.poses)
    pixels, depth = project(world, frames.intrinsics, frames.poses)
    torch.testing.assert_close(depth, frames.depths, atol=1e-5, rtol=1e-5)
    expected = pixel_grid(*frames.size).expand_as(pixels)
    torch.testing.assert_close(pixels, expected, atol=1e-3, rtol=0)


def test_project_equals_kornia() -> None:
    intrinsics, poses = pinholes(2, 3, size=(12, 16)), rigid(2, 3)
    points = torch.randn(2, 3, 50, 3) * 3
    full = torch.eye(4).repeat(6, 1, 1)
    full[:, :3, :3] = intrinsics.flatten(0, 1)
    size = torch.ones(6)
    camera = PinholeCamera(full, inverse_transformation(poses.flatten(0, 1)), size, size)
    # Float noise near the camera's plane is divided by nearly nothing.
    pixels, depth = project(points, intrinsics, poses)
    expected = camera.project(points.flatten(0, 1)).view_as(pixels)
    front = depth > 0.5
    assert front.any()
    torch.testing.assert_close(pixels[front], expected[front], atol=1e-3, rtol=1e-4)


def test_unknown_depth_is_at_the_camera_centre() -> None:
    frames = make_frames()
    world = unproject(torch.zeros_like(frames.depths), frames.intrinsics, frames.poses)
    assert world.equal(frames.poses[:, :, None, None, :3, 3].expand_as(world))


def test_unproject_undoes_skew() -> None:
    frames = make_frames(unknown=0.0)
    intrinsics = frames.intrinsics.clone()
    intrinsics[..., 0, 1] = 0.3
    world = unproject(frames.depths, intrinsics, frames.poses)
    pixels, _ = project(world, intrinsics, frames.poses)
    torch.testing.assert_close(pixels, pixel_grid(12, 16).expand_as(pixels), atol=1e-3, rtol=0)


@pytest.mark.parametrize("wide", range(3))
def test_the_widest_of_the_inputs_decides_the_dtype(wide: int) -> None:
    frames = make_frames()
    inputs = [frames.depths, frames.intrinsics, frames.poses]
    expected = unproject(*inputs)
    inputs[wide] = inputs[wide].double()
    result = unproject(*inputs)
    assert result.dtype == torch.float64
    torch.testing.assert_close(result.float(), expected, rtol=0, atol=1e-5)


def test_out_gets_the_same_values() -> None:
    frames = make_frames()
    expected = unproject(frames.depths, frames.intrinsics, frames.poses)
    for buffer in (torch.empty(2, 3, 12, 16, 3), torch.empty_like(expected)):
        result = unproject(frames.depths, frames.intrinsics, frames.poses, out=buffer)
        assert result is buffer
        torch.testing.assert_close(result, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
def test_geometry_stays_in_float32_under_autocast(low: torch.dtype) -> None:
    frames = make_frames()
    expected = unproject(frames.depths, frames.intrinsics, frames.poses)
    with torch.autocast("cpu", low):
        world = unproject(frames.depths, frames.intrinsics, frames.poses)
        pixels, _ = project(world, frames.intrinsics, frames.poses)
    assert world.equal(expected)
    assert pixels.dtype == torch.float32
    assert unproject(frames.depths.to(low), frames.intrinsics, frames.poses).dtype == torch.float32


def test_points_behind_or_in_the_plane_of_the_camera_have_finite_pixels() -> None:
    points = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, -2.0]]).expand(1, 1, 2, 3)
    pixels, depth = project(points, torch.eye(3)[None, None], torch.eye(4)[None, None])
    assert pixels.isfinite().all()
    assert depth.tolist() == [[[0.0, -2.0]]]


def test_camera_rays_are_centre_and_unit_direction_to_the_point() -> None:
    frames = make_frames(unknown=0.0)
    rays = camera_rays(frames.intrinsics, frames.poses, frames.size)
    centre, direction = rays[..., :3], rays[..., 3:]
    world = frames.world_coords()
    distance = (world - centre).norm(dim=-1, keepdim=True)
    torch.testing.assert_close(direction.norm(dim=-1), torch.ones(2, 3, 12, 16))
    torch.testing.assert_close(centre + distance * direction, world, atol=1e-5, rtol=1e-5)


def test_scaled_intrinsics_keep_the_outer_borders() -> None:
    intrinsics = pinholes(size=(12, 16))
    scaled = scale_intrinsics(intrinsics, (0.5, 2.0))
    border = torch.tensor([-0.5, -0.5, 1.0])
    assert torch.linalg.solve(scaled, border).allclose(torch.linalg.solve(intrinsics, border))
    far, new = torch.tensor([15.5, 11.5, 1.0]), torch.tensor([7.5, 23.5, 1.0])
    assert torch.linalg.solve(scaled, new).allclose(torch.linalg.solve(intrinsics, far))


def test_cropped_intrinsics_move_the_principal_point() -> None:
    intrinsics = pinholes(2, 3, size=(12, 16))
    moved = intrinsics - crop_intrinsics(intrinsics, top=2, left=5)
    expected = torch.zeros(3, 3)
    expected[:2, 2] = torch.tensor([5.0, 2.0])
    torch.testing.assert_close(moved, expected.expand_as(moved), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d, k, t: unproject(d[0], k, t), "depths must be of shape"),
        (lambda d, k, t: unproject(d, k[:, :1], t), "intrinsics must be of shape"),
        (lambda d, k, t: unproject(d, k, t[..., :3, :]), "poses must be of shape"),
        (lambda d, k, t: unproject(d, k, t, out=d), "out must be of shape"),
        (lambda d, k, t: project(torch.zeros(3, 3), k, t), r"points must be of shape \(2, 3, "),
        (lambda d, k, t: project(torch.zeros(2, 3, 4), k, t), r"points must .* got \(2, 3, 4\)"),
        (lambda d, k, t: camera_rays(k, t[:1], (4, 4)), "poses must be of shape"),
        (lambda d, k, t: scale_intrinsics(t, (1, 1)), "intrinsics must be of shape"),
        (lambda d, k, t: crop_intrinsics(t, 1, 1), "intrinsics must be of shape"),
    ],
)
def test_complains(call: object, match: str) -> None:
    frames = make_frames()
    with pytest.raises(ValueError, match=match):
        call(frames.depths, frames.intrinsics, frames.poses)  # type: ignore[operator]


def test_gradients() -> None:
    frames = make_frames(1, 2, (3, 4))
    inputs = [x.double().requires_grad_() for x in (frames.depths, frames.intrinsics, frames.poses)]
    assert torch.autograd.gradcheck(unproject, inputs)
    points = (frames.world_coords() + 0.1).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: project(p, *inputs[1:]), (points,))
    assert torch.autograd.gradcheck(lambda k, t: camera_rays(k, t, (3, 4)), inputs[1:])


def test_compiles() -> None:
    frames = make_frames()

    def there_and_back(depths: Tensor, intrinsics: Tensor, poses: Tensor) -> tuple[Tensor, Tensor]:
        return project(unproject(depths, intrinsics, poses), intrinsics, poses)

    arguments = frames.depths, frames.intrinsics, frames.poses
    compiled = torch.compile(there_and_back, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*arguments), there_and_back(*arguments))
