from __future__ import annotations

from functools import partial
from math import ceil, floor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import grids, make_frames, posed_frames
from torch import Tensor

from ross3d.geometry.camera import camera_rays
from ross3d.geometry.frames import PosedFrames
from ross3d.geometry.patches import depth_patch_coords, patch_coords, patch_points, patch_rays

POOLS = ("centre", "five", "nine", "minmax")


def cells(size: tuple[int, int], grid: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The windows of adaptive pooling, row by row."""
    (h, w), (rows, columns) = size, grid
    return [
        (
            slice(floor(i * h / rows), ceil((i + 1) * h / rows)),
            slice(floor(j * w / columns), ceil((j + 1) * w / columns)),
        )
        for i in range(rows)
        for j in range(columns)
    ]


@given(posed_frames(unknown=0.7), grids)
def test_patch_coords_average_known_pixels(frames: PosedFrames, grid: tuple[int, int]) -> None:
    world, known = frames.world_coords(), frames.valid
    coords, valid = patch_coords(world, known, grid)
    for p, (rows, columns) in enumerate(cells(frames.size, grid)):
        for b in range(len(frames)):
            for m in range(frames.views):
                inside = world[b, m, rows, columns][known[b, m, rows, columns]]
                assert valid[b, m, p] == (len(inside) > 0)
                expected = inside.mean(0) if len(inside) else torch.zeros(3)
                torch.testing.assert_close(coords[b, m, p], expected, atol=1e-5, rtol=1e-5)


@given(posed_frames(unknown=0.7), grids, st.booleans())
def test_depth_patch_coords_equal_patch_coords(
    frames: PosedFrames, grid: tuple[int, int], count_unknown: bool
) -> None:
    expected = patch_coords(frames.world_coords(), frames.valid, grid, count_unknown=count_unknown)
    cameras = frames.depths, frames.intrinsics, frames.poses
    coords, valid = depth_patch_coords(*cameras, grid, count_unknown=count_unknown)
    torch.testing.assert_close(coords, expected[0], atol=1e-5, rtol=0)
    assert valid.equal(expected[1])


def test_depth_patch_coords_are_exact_at_full_size() -> None:
    frames = make_frames(1, 2, (378, 378))
    expected, _ = patch_coords(frames.world_coords().double(), frames.valid, (14, 14))
    coords, _ = depth_patch_coords(frames.depths, frames.intrinsics, frames.poses, (14, 14))
    torch.testing.assert_close(coords.double(), expected, atol=1e-5, rtol=0)


@given(posed_frames(unknown=0.5), grids)
def test_depth_patch_coords_follow_crop_resize_and_pad(
    frames: PosedFrames, grid: tuple[int, int]
) -> None:
    h, w = frames.size
    for part in (
        frames.crop(1, 2, h - 2, w - 3),
        frames.resize((h + 3, w // 2)),
        frames.square(6),
        frames.pad(top=2, right=1),
        frames.resize((2 * h, 2 * w)).centre_crop(h, w),
    ):
        expected = patch_coords(part.world_coords(), part.valid, grid)
        coords, valid = depth_patch_coords(part.depths, part.intrinsics, part.poses, grid)
        torch.testing.assert_close(coords, expected[0], atol=2e-5, rtol=0)
        assert valid.equal(expected[1])


def test_depth_patch_coords_of_a_wall_stay_where_they_are() -> None:
    frames = make_frames(1, 2, (24, 32), unknown=0.0)
    wall = PosedFrames(
        frames.images, torch.full_like(frames.depths, 2.0), frames.intrinsics, frames.poses
    )

    def coords_of(part: PosedFrames, grid: tuple[int, int]) -> Tensor:
        coords, _ = depth_patch_coords(part.depths, part.intrinsics, part.poses, grid)
        return coords.unflatten(2, grid)

    whole = coords_of(wall, (6, 8))
    near = {"atol": 1e-5, "rtol": 0.0}
    torch.testing.assert_close(coords_of(wall.resize((12, 16)), (6, 8)), whole, **near)
    torch.testing.assert_close(coords_of(wall.resize((36, 40)), (6, 8)), whole, **near)
    torch.testing.assert_close(coords_of(wall.crop(4, 8, 12, 16), (3, 4)), whole[:, :, 1:4, 2:6])
    padded = coords_of(wall.pad(top=4, left=8), (7, 10))
    torch.testing.assert_close(padded[:, :, 1:, 2:], whole, **near)


def test_unknown_depth_never_moves_a_patch_coordinate() -> None:
    frames = make_frames(unknown=0.5)
    for anywhere in (frames.world_coords(), frames.world_coords() + 100.0):
        world = torch.where(frames.valid[..., None], frames.world_coords(), anywhere)
        coords, _ = patch_coords(world, frames.valid, (3, 4))
        assert coords.equal(patch_coords(frames.world_coords(), frames.valid, (3, 4))[0])


def test_count_unknown_averages_the_camera_centre_in() -> None:
    frames = make_frames(unknown=0.5)
    coords, valid = patch_coords(frames.world_coords(), frames.valid, (3, 4), count_unknown=True)
    plain = frames.world_coords().flatten(0, 1).movedim(-1, 1)
    expected = torch.nn.functional.avg_pool2d(plain, 4).flatten(2).mT
    assert valid.all()
    torch.testing.assert_close(coords.flatten(0, 1), expected)


@given(posed_frames(unknown=0.6), grids, st.sampled_from(POOLS))
def test_patch_points_are_the_nearest_known_pixels(
    frames: PosedFrames, grid: tuple[int, int], pool: str
) -> None:
    world, known = frames.world_coords(), frames.valid
    points, valid = patch_points(world, known, grid, pool)  # type: ignore[arg-type]
    assert valid.equal(patch_coords(world, known, grid)[1])
    assert (points[~valid] == 0).all()
    (h, w), (rows, columns) = frames.size, grid
    aims = {"centre": [4], "five": [0, 2, 4, 6, 8], "nine": range(9), "minmax": []}[pool]
    for p, window in enumerate(cells(frames.size, grid)):
        if not valid[0, 0, p]:
            continue
        v, u = torch.meshgrid(torch.arange(h)[window[0]], torch.arange(w)[window[1]], indexing="ij")
        inside, flags = world[0, 0][window], known[0, 0][window]
        if pool == "minmax":
            known_points = inside[flags]
            expected = torch.stack([known_points.amin(0), known_points.amax(0)])
            assert points[0, 0, p].equal(expected)
        for n, aim in enumerate(aims):
            row = floor((p // columns + (aim // 3 + 0.5) / 3) * h / rows)
            column = floor((p % columns + (aim % 3 + 0.5) / 3) * w / columns)
            distance = (v - row) ** 2 + (u - column) ** 2
            nearest = distance[flags].min()
            taken = (inside == points[0, 0, p, n]).all(-1) & flags
            assert distance[taken].min() == nearest


def test_nine_points_of_a_27_pixel_cell_are_at_4_13_22() -> None:
    v, u = torch.meshgrid(torch.arange(54.0), torch.arange(54.0), indexing="ij")
    world = torch.stack([u, v, torch.zeros_like(u)], -1)[None, None]
    known = torch.ones(1, 1, 54, 54, dtype=torch.bool)
    points, _ = patch_points(world, known, (2, 2), "nine")
    assert points[0, 0, 0, :, 0].tolist() == [4, 13, 22] * 3
    assert points[0, 0, 3, :, 1].tolist() == [31] * 3 + [40] * 3 + [49] * 3
    five, _ = patch_points(world, known, (2, 2), "five")
    assert five.equal(points[..., [0, 2, 4, 6, 8], :])
    assert patch_points(world, known, (2, 2), "centre")[0].equal(points[..., 4:5, :])


def test_patch_rays_pass_through_the_cells_centres() -> None:
    frames = make_frames()
    coarse = patch_rays(frames.intrinsics, frames.poses, frames.size, (4, 4))
    fine = camera_rays(frames.intrinsics, frames.poses, frames.size)
    # Cells of 3 x 4 pixels: the centre is on a row, between two columns.
    pair = fine[:, :, 1::3, 1::4, 3:] + fine[:, :, 1::3, 2::4, 3:]
    middle = torch.nn.functional.normalize(pair, dim=-1).flatten(2, 3)
    torch.testing.assert_close(coarse[..., 3:], middle, atol=2e-3, rtol=0)
    assert coarse[..., :3].equal(frames.poses[:, :, None, :3, 3].expand(-1, -1, 16, -1))


@given(posed_frames(), grids)
def test_shapes(frames: PosedFrames, grid: tuple[int, int]) -> None:
    b, m, p = len(frames), frames.views, grid[0] * grid[1]
    rays = patch_rays(frames.intrinsics, frames.poses, frames.size, grid)
    assert rays.shape == (b, m, p, 6)
    for pool, n in zip(POOLS, (1, 5, 9, 2), strict=True):
        points, valid = patch_points(frames.world_coords(), frames.valid, grid, pool)  # type: ignore[arg-type]
        assert (points.shape, valid.shape) == ((b, m, p, n, 3), (b, m, p))


def test_a_batch_of_two_is_two_batches_of_one() -> None:
    frames = make_frames()
    cameras = frames.depths, frames.intrinsics, frames.poses
    both, _ = depth_patch_coords(*cameras, (3, 4))
    for b in range(2):
        alone, _ = depth_patch_coords(*(x[b : b + 1] for x in cameras), (3, 4))
        torch.testing.assert_close(both[b : b + 1], alone, atol=1e-6, rtol=1e-6)


def test_autocast_does_not_matter() -> None:
    frames = make_frames()
    cameras = frames.depths, frames.intrinsics, frames.poses
    expected = depth_patch_coords(*cameras, (3, 4))[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert depth_patch_coords(*cameras, (3, 4))[0].equal(expected)
    meta = frames.to("meta")
    lifted = depth_patch_coords(meta.depths, meta.intrinsics, meta.poses, (3, 4))[0]
    assert lifted.shape == expected.shape


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda f: patch_coords(f.depths, f.valid, (2, 2)), "world_coords must be of shape"),
        (lambda f: patch_coords(f.world_coords(), f.valid[:1], (2, 2)), "valid must be of shape"),
        (lambda f: patch_points(f.depths, f.valid, (2, 2)), "world_coords must be of shape"),
        (lambda f: patch_points(f.world_coords(), f.valid[:1], (2, 2)), "valid must be of shape"),
        (lambda f: patch_points(f.world_coords(), f.valid, (2, 2), "ten"), "got 'ten'"),
        (
            lambda f: depth_patch_coords(f.images, f.intrinsics, f.poses, (2, 2)),
            "depths must be of shape",
        ),
        (
            lambda f: depth_patch_coords(f.depths, f.poses, f.poses, (2, 2)),
            "intrinsics must be of shape",
        ),
        (
            lambda f: depth_patch_coords(f.depths, f.intrinsics, f.intrinsics, (2, 2)),
            "poses must be of shape",
        ),
        (lambda f: patch_rays(f.poses, f.poses, (8, 8), (2, 2)), "intrinsics must be of shape"),
        (lambda f: patch_rays(f.intrinsics, f.depths, (8, 8), (2, 2)), "poses must be of shape"),
    ],
)
def test_complains(call: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        call(make_frames())  # type: ignore[operator]


def test_gradients() -> None:
    frames = make_frames(1, 2, (4, 6), unknown=0.0)
    world = frames.world_coords().double().requires_grad_()
    valid = torch.rand(1, 2, 4, 6) < 0.7
    for pool in POOLS:
        taken = partial(patch_points, valid=valid, grid=(2, 2), pool=pool)
        assert torch.autograd.gradcheck(lambda x, f=taken: f(x)[0], world)
    assert torch.autograd.gradcheck(lambda x: patch_coords(x, valid, (3, 4))[0], world)
    inputs = [x.double().requires_grad_() for x in (frames.depths, frames.intrinsics, frames.poses)]
    assert torch.autograd.gradcheck(lambda *x: depth_patch_coords(*x, (2, 2))[0], inputs)


def test_compiles() -> None:
    frames = make_frames()

    def everything(
        depths: Tensor, intrinsics: Tensor, poses: Tensor, world: Tensor
    ) -> list[Tensor]:
        return [
            *patch_coords(world, depths > 0, (3, 4)),
            *depth_patch_coords(depths, intrinsics, poses, (3, 4)),
            *patch_points(world, depths > 0, (3, 4), "nine"),
            patch_rays(intrinsics, poses, (12, 16), (3, 4)),
        ]

    inputs = frames.depths, frames.intrinsics, frames.poses, frames.world_coords()
    compiled = torch.compile(everything, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*inputs), everything(*inputs))
