from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import make_frames, posed_frames
from torch import Tensor

from ross3d.geometry import bounds
from ross3d.geometry.bounds import Histograms, ceiling_height, check_up, square_extent
from ross3d.geometry.frames import PosedFrames


def known_points(frames: PosedFrames, b: int) -> Tensor:
    return frames.world_coords()[b][frames.valid[b]]


@given(posed_frames(), st.sampled_from([0.0, 0.01, 0.25, 0.5, 0.9, 1.0]))
def test_quantiles_are_those_of_the_points(frames: PosedFrames, share: float) -> None:
    found = Histograms(frames, 50.0).quantile(share)
    for b in range(len(frames)):
        points = known_points(frames, b).sort(dim=0).values
        index = max(math.ceil(len(points) * share), 1) - 1
        assert (found[b] - points[index]).abs().max() < 0.02


@given(posed_frames())
def test_histograms_move_with_the_world(frames: PosedFrames) -> None:
    poses = frames.poses.clone()
    poses[..., :3, 3] += torch.tensor([30.0, -70.0, 5.0])
    moved = PosedFrames(frames.images, frames.depths, frames.intrinsics, poses)
    one, other = (Histograms(x, 50.0).quantile(0.5) for x in (frames, moved))
    assert (other - one - torch.tensor([30.0, -70.0, 5.0])).abs().max() < 0.02


def test_large_views_are_sampled_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(1, 2, (48, 64), unknown=0.0)
    monkeypatch.setattr("ross3d.geometry.bounds._SAMPLE", 48 * 64 // 16)
    sampled = Histograms(frames, 50.0)
    points = frames.world_coords()[0, :, 2::4, 2::4].flatten(0, 2).sort(dim=0).values
    assert sampled.counts.sum() == 3 * len(points)
    assert (sampled.quantile(0.5)[0] - points[len(points) // 2 - 1]).abs().max() < 0.02


def test_points_too_far_or_too_high_do_not_count() -> None:
    frames = make_frames(1, 3)
    everything = Histograms(frames, 50.0).counts[0, 0].sum()
    assert everything == frames.valid.sum()
    near = Histograms(frames, 2.0).counts[0, 0].sum()
    assert near == (frames.valid & (frames.depths <= 2)).sum()
    low = Histograms(frames, 50.0, torch.zeros(1)).counts[0, 0].sum()
    assert low == (known_points(frames, 0)[:, 2] <= 0).sum()


def a_column(*parts: tuple[float, float, int]) -> Histograms:
    """Histograms of heights: so many points, spread evenly from a lowest to a highest height."""
    frames = make_frames(1, 1)
    column = Histograms(frames, 50.0)
    column.counts.zero_()
    for low, high, count in parts:
        z = torch.linspace(low, high, count)
        place = ((z - column.low[0, 2]) / column.width[0]).floor().long()
        column.counts[0, 2].scatter_add_(0, place, torch.ones_like(place))
    return column


@pytest.mark.parametrize(
    ("parts", "ceiling"),
    [
        ([(0, 0.01, 5000), (0, 2.5, 5000)], 2.2),  # a floor and walls: no ceiling seen
        ([(0, 0.01, 5000), (0, 2.5, 5000), (2.48, 2.5, 500)], 2.38),
        ([(0, 0.01, 5000), (0, 2.7, 5000), (2.38, 2.4, 500), (2.69, 2.7, 2000)], 2.28),
        ([(1, 1.01, 5000), (1.7, 1.72, 5000), (1, 2.0, 900)], 3.2),  # a table is no ceiling
        ([], 2.2),
    ],
)
def test_ceilings_are_found_in_the_histogram(
    parts: list[tuple[float, float, int]], ceiling: float
) -> None:
    assert ceiling_height(a_column(*parts)).item() == pytest.approx(ceiling, abs=0.04)


def test_the_extent_is_a_square_around_all_but_outliers() -> None:
    column = a_column()
    for axis, (low, high) in enumerate([(0.0, 4.0), (0.0, 2.0)]):
        place = ((torch.linspace(low, high, 1000) - column.low[0, axis]) / column.width[0]).long()
        column.counts[0, axis].scatter_add_(0, place, torch.ones_like(place))
        column.counts[0, axis, :5] += 1
    extent = square_extent(column, quantile=0.01, margin=0.0)
    torch.testing.assert_close(extent, torch.tensor([[0.0, -1, 4, 3]]), atol=0.05, rtol=0)
    extent = square_extent(column, quantile=0.01, margin=0.5)
    torch.testing.assert_close(extent, torch.tensor([[-2.0, -3, 6, 5]]), atol=0.09, rtol=0)


def test_no_points_give_a_small_square_at_the_origin() -> None:
    frames = make_frames(2, 1, unknown=1.0)
    nothing = Histograms(frames, 50.0)
    extent = square_extent(nothing, quantile=0.01, margin=0.0)
    torch.testing.assert_close(extent, torch.tensor([[-0.05, -0.05, 0.05, 0.05]]).expand(2, 4))


def level_cameras(up: Tensor, count: int = 12) -> Tensor:
    """(1, m, 4, 4) cameras that turn around an up axis, held level and tilted down a little."""
    poses = torch.eye(4).repeat(count, 1, 1)
    side = torch.tensor([1.0, 0, 0]) if up[0].abs() < 0.5 else torch.tensor([0, 1.0, 0])
    x_axis = torch.linalg.cross(up, side)
    y_axis = torch.linalg.cross(up, x_axis)
    for i in range(count):
        angle = 2 * math.pi * i / count
        ahead = math.cos(angle) * x_axis + math.sin(angle) * y_axis - 0.4 * up
        ahead = ahead / ahead.norm()
        right = torch.linalg.cross(ahead, up)
        right = right / right.norm()
        poses[i, :3, :3] = torch.stack([right, torch.linalg.cross(ahead, right), ahead], -1)
    return poses[None]


@pytest.mark.parametrize("axis", [(0, 1, 0), (0, -1, 0), (1, 0, 0), (0, 0, -1), (0, 0.9, 0.3)])
def test_worlds_whose_up_is_not_z_are_refused(axis: tuple[float, float, float]) -> None:
    up = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float32), dim=0)
    match = r"poses must be of a world whose z axis is up; got cameras that hold \(-?\d.\d\d, "
    with pytest.raises(ValueError, match=match):
        check_up(level_cameras(up))
    check_up(level_cameras(torch.tensor([0.0, 0, 1])))
    check_up(level_cameras(up, 4))  # too few to tell


def test_free_cameras_and_cameras_that_look_down_are_not_refused() -> None:
    for seed in range(20):
        check_up(make_frames(2, 9, (2, 2), seed=seed).poses)
    down = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0])).expand(1, 12, 4, 4)
    check_up(down)
    check_up(torch.full((1, 12, 4, 4), torch.nan))


def test_views_are_sampled_together_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = make_frames(2, 11, (6, 8))
    together = Histograms(frames, 50.0).counts
    monkeypatch.setattr(bounds, "_CHUNK", 1)
    one_by_one = Histograms(frames, 50.0).counts
    assert together.equal(one_by_one)
    assert together[:, 2].sum(-1).equal(frames.valid.flatten(1).sum(-1))
