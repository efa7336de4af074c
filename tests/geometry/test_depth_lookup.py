from __future__ import annotations

import pytest
import torch
from hypothesis import given
from strategies import make_frames, posed_frames, rigid
from torch import Tensor

from ross3d.geometry.camera import project
from ross3d.geometry.depth_lookup import DepthView, in_sight, look_up
from ross3d.geometry.frames import PosedFrames

INTRINSICS = torch.tensor([[20.0, 0.5, 7.2], [0.0, 21.0, 5.1], [0.0, 0.0, 1.0]]).double()


def view_of(depth: Tensor, colour: Tensor | None = None, pose: Tensor | None = None) -> DepthView:
    colour = torch.zeros(3, *depth.shape) if colour is None else colour
    return DepthView(colour, depth, INTRINSICS, torch.eye(4).double() if pose is None else pose)


def through(columns: Tensor, rows: Tensor, depths: Tensor) -> Tensor:
    """Points (n, 3) of a camera at the origin, seen at these pixels and depths."""
    pixels = torch.stack([columns, rows, torch.ones_like(rows)]).double()
    return (INTRINSICS.inverse() @ pixels * depths).T


def slanted(h: int = 12, w: int = 16) -> tuple[Tensor, Tensor]:
    """A plane's depth map, and what its inverse depth is: a + b * column + c * row."""
    inverse = torch.tensor([0.4, 0.01, -0.005])
    row, column = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    return 1 / (inverse[0] + inverse[1] * column + inverse[2] * row), inverse


def test_a_slanted_plane_is_interpolated_exactly() -> None:
    depth, (a, b, c) = slanted()
    columns, rows = torch.rand(200) * 15, torch.rand(200) * 11
    there = 1 / (a + b * columns + c * rows)
    offsets = torch.rand(200) * 0.5 - 0.1
    found = look_up(view_of(depth), through(columns, rows, there - offsets), band=0.2)
    assert found.which.equal(torch.arange(200))
    torch.testing.assert_close(found.ahead, offsets, atol=2e-5, rtol=0)


def test_colours_are_interpolated_on_a_surface() -> None:
    depth, (a, b, c) = slanted()
    row, column = torch.meshgrid(torch.arange(12), torch.arange(16), indexing="ij")
    colour = torch.stack([column / 16, row / 12, torch.full((12, 16), 0.5)])
    columns, rows = torch.rand(50) * 15, torch.rand(50) * 11
    points = through(columns, rows, 1 / (a + b * columns + c * rows))
    found = look_up(view_of(depth, colour), points, band=0.2)
    expected = torch.stack([columns / 16, rows / 12, torch.full((50,), 0.5)])
    torch.testing.assert_close(found.colour, expected, atol=1e-4, rtol=0)


def test_planes_go_on_to_edges_borders_and_unknown_pixels() -> None:
    depth, (a, b, c) = slanted()
    depth[:, 9:] += 2.0
    depth[7, 3] = 0
    columns, rows = torch.tensor([-0.4, 8.4, 3.4, 2.6]), torch.tensor([-0.3, 4.6, 6.3, 11.4])
    there = 1 / (a + b * columns + c * rows)
    found = look_up(view_of(depth), through(columns, rows, there - 0.1), band=0.2)
    torch.testing.assert_close(found.ahead, torch.full((4,), 0.1), atol=2e-5, rtol=0)


def test_at_edges_the_nearest_pixel_counts() -> None:
    depth = torch.full((12, 16), 2.0)
    depth[:, 8:] = 3.0
    colour = (depth / 3).expand(3, -1, -1)
    columns = torch.tensor([7.4, 7.6])
    points = through(columns, torch.tensor([5.2, 5.2]), torch.tensor([1.9, 1.9]))
    found = look_up(view_of(depth, colour), points, band=0.2)
    torch.testing.assert_close(found.ahead, torch.tensor([0.1, 1.1]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.colour[0], torch.tensor([2 / 3, 1.0]))


def test_unknown_depth_says_nothing_and_spoils_no_neighbour() -> None:
    depth = torch.full((12, 16), 2.0)
    depth[5, 8] = 0
    points = through(torch.tensor([7.4, 7.6]), torch.tensor([5.2, 5.2]), torch.tensor([1.9, 1.9]))
    found = look_up(view_of(depth), points, band=0.2)
    assert found.which.tolist() == [0]
    torch.testing.assert_close(found.ahead, torch.tensor([0.1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("column", "row", "depth"),
    [
        (-0.6, 5.0, 1.0),
        (15.6, 5.0, 1.0),
        (8.0, -0.6, 1.0),
        (8.0, 11.6, 1.0),
        (8.0, 5.0, -1.0),
        (8.0, 5.0, 2.3),
    ],
)
def test_what_is_outside_or_hidden_is_not_found(column: float, row: float, depth: float) -> None:
    points = through(*(torch.tensor([x]) for x in (column, row, depth)))
    assert not len(look_up(view_of(torch.full((12, 16), 2.0)), points, band=0.2).which)


def test_borders_reach_to_the_pixels_ends() -> None:
    for h, w in ((12, 16), (1, 1)):
        columns, rows = torch.tensor([-0.49, w - 0.51]), torch.tensor([-0.49, h - 0.51])
        points = through(columns, rows, torch.tensor([1.9, 1.9]))
        found = look_up(view_of(torch.full((h, w), 2.0)), points, band=0.2)
        torch.testing.assert_close(found.ahead, torch.full((2,), 0.1), atol=1e-5, rtol=0)


def test_projecting_is_that_of_the_camera() -> None:
    pose = rigid()
    points = torch.randn(9, 3) * 2
    x, y, depth = view_of(torch.ones(12, 16), pose=pose.double()).project(points.double())
    pixels, expected = project(points[None, None], INTRINSICS[None, None].float(), pose[None, None])
    torch.testing.assert_close(depth, expected[0, 0], atol=1e-5, rtol=1e-5)
    front = depth > 0.1
    torch.testing.assert_close(
        torch.stack([x, y], -1)[front] / depth[front, None], pixels[0, 0, front], atol=1e-3, rtol=0
    )


@given(posed_frames())
def test_what_is_found_is_in_sight(frames: PosedFrames) -> None:
    view, width = DepthView.of(frames, 0, 0, 50.0), 1.0
    axis = torch.arange(-4.0, 5.0, width)
    centres = torch.cartesian_prod(axis, axis, axis).double() + view.pose[:3, 3]
    corners = torch.cartesian_prod(*(torch.tensor([-0.5, 0.0, 0.5]),) * 3).double() * width
    points = (centres[:, None] + corners).flatten(0, 1)
    found = look_up(view, points, band=0.2).which // len(corners)
    assert set(found.tolist()) <= set(in_sight(view, centres, width).tolist())


def test_views_are_read_whatever_their_dtype() -> None:
    frames = make_frames(2, 3)
    low = PosedFrames(frames.images.bfloat16(), frames.depths, frames.intrinsics, frames.poses)
    view = DepthView.of(low, 1, 2, max_depth=2.0)
    torch.testing.assert_close(view.colour, low.images[1, 2].float())
    assert view.depth.equal(frames.depths[1, 2] * (frames.depths[1, 2] <= 2))
    assert (view.intrinsics.dtype, view.pose.dtype) == (torch.float64, torch.float64)


def test_depths_that_are_no_numbers_are_unknown() -> None:
    frames = make_frames(1, 1)
    broken = frames.depths.clone()
    broken[0, 0, 0, :3] = torch.tensor([torch.nan, torch.inf, -1.0])
    object.__setattr__(frames, "depths", broken)
    depth = DepthView.of(frames, 0, 0, torch.inf).depth
    assert (depth[0, :3] == 0).all()
    assert depth.isfinite().all()
