from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from strategies import grids, posed_frames

from ross3d.core.embedding import sincos_points
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.patches import depth_patch_coords, patch_rays
from ross3d.geometry.position import PositionAwareEncoder
from ross3d.geometry.rays import RayAwareEncoder


@given(posed_frames(unknown=1.1), grids)
def test_pictures_without_depth_get_a_code(frames: PosedFrames, grid: tuple[int, int]) -> None:
    rays = patch_rays(frames.intrinsics, frames.poses, frames.size, grid)
    visual = torch.randn(*rays.shape[:3], 38)
    result = RayAwareEncoder(38)(visual, rays)
    assert result.isfinite().all()
    angles = rays * (2 * math.pi / 0.2)
    expected = visual + sincos_points(angles, 38, temperature=250.0)
    torch.testing.assert_close(result, expected)


def test_positions_where_they_are_known_and_rays_elsewhere() -> None:
    visual, rays = torch.randn(2, 3, 4, 24), torch.randn(2, 3, 4, 6)
    coords, valid = torch.randn(2, 3, 4, 3), torch.rand(2, 3, 4) < 0.5
    places, directions = PositionAwareEncoder(24), RayAwareEncoder(24)
    both = directions(places(visual, coords, valid), rays, valid)
    assert both[valid].equal(places(visual, coords)[valid])
    assert both[~valid].equal(directions(visual, rays)[~valid])


def test_a_frame_without_depth_keeps_its_place_through_a_crop() -> None:
    intrinsics = torch.tensor([[8.0, 0, 7.5], [0, 8, 7.5], [0, 0, 1]])[None, None]
    frames = PosedFrames(
        torch.rand(1, 1, 3, 16, 16), torch.zeros(1, 1, 16, 16), intrinsics, torch.eye(4)[None, None]
    )
    part = frames.crop(0, 8, 8, 8)
    whole = patch_rays(frames.intrinsics, frames.poses, frames.size, (4, 4)).view(1, 1, 4, 4, 6)
    rays = patch_rays(part.intrinsics, part.poses, part.size, (2, 2)).view(1, 1, 2, 2, 6)
    torch.testing.assert_close(rays, whole[:, :, :2, 2:])
    assert not depth_patch_coords(part.depths, part.intrinsics, part.poses, (2, 2))[1].any()


def test_neighbouring_rays_and_cameras_are_told_apart() -> None:
    rays = torch.tensor([0.0, 0, 0, 0, 0, 1]).repeat(1, 1, 3, 1)
    rays[0, 0, 1, 3:] = torch.tensor([math.sin(0.05), 0.0, math.cos(0.05)])  # 3 degrees
    rays[0, 0, 2, 0] = 0.05  # 5 cm
    code = RayAwareEncoder(96)(torch.zeros(1, 1, 3, 96), rays)[0, 0]
    apart = (code[0] - code[1:]).norm(dim=-1) / code[0].norm()
    assert (apart > 0.2).all()


def test_mlp_takes_the_six_numbers() -> None:
    encoder, rays = RayAwareEncoder(16, kind="mlp", hidden_dim=8), torch.randn(1, 2, 3, 6)
    inner = encoder.points
    expected = inner.rest(inner.first(rays))
    torch.testing.assert_close(encoder(torch.zeros(1, 2, 3, 16), rays), expected)
    assert sum(p.numel() for p in RayAwareEncoder(16).parameters()) == 0


@pytest.mark.parametrize("kind", ["sincos", "mlp"])
def test_low_precision_compile_and_gradients(kind: str) -> None:
    encoder = RayAwareEncoder(12, kind=kind, hidden_dim=8)  # type: ignore[arg-type]
    visual, rays = torch.randn(1, 2, 3, 12), torch.randn(1, 2, 3, 6)
    placed = torch.rand(1, 2, 3) < 0.5
    expected = encoder(visual, rays, placed)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(visual, rays, placed), expected)
    with torch.autocast("cpu", torch.bfloat16):
        low = encoder(visual.bfloat16(), rays, placed)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), expected, atol=5e-2, rtol=5e-2)
    inputs = [x.double().requires_grad_() for x in (visual, rays)]
    assert torch.autograd.gradcheck(encoder.double(), inputs)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"kind": "fourier"}, "kind must be 'sincos' or 'mlp'; got 'fourier'"),
        ({"shortest": 0.0}, "must be 0 < shortest < longest; got 0.0 and 50.0"),
        ({"longest": 0.1}, "must be 0 < shortest < longest; got 0.2 and 0.1"),
        ({"dim": 11}, "dim must be at least 6 channels per point; got 11 for 2"),
    ],
)
def test_construction_complains(options: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        RayAwareEncoder(**{"dim": 24, **options})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shapes", "match"),
    [
        (((2, 3, 5, 23), (2, 3, 5, 6), (2, 3, 5)), "visual must be of shape"),
        (((2, 3, 5, 24), (2, 3, 5, 3), (2, 3, 5)), "rays must be of shape"),
        (((2, 3, 5, 24), (2, 3, 5, 6), (2, 3, 4)), "placed must be of shape"),
    ],
)
def test_forward_complains(shapes: tuple[tuple[int, ...], ...], match: str) -> None:
    visual, rays, placed = (torch.ones(shape) for shape in shapes)
    with pytest.raises(ValueError, match=match):
        RayAwareEncoder(24)(visual, rays, placed > 0)
