from __future__ import annotations

import pytest
import torch
from strategies import make_frames

from ross3d.geometry import bounds
from ross3d.geometry.bounds import floor_height, sample_points, square_extent


def test_few_pixels_are_all_taken() -> None:
    frames = make_frames()
    points = sample_points(frames)
    known = frames.valid.flatten(1)
    assert points.isnan().any(-1).equal(~known)
    torch.testing.assert_close(points[known], frames.world_coords().flatten(1, 3)[known])


def test_many_pixels_are_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "_SAMPLE", 2 * 12 * 16 // 4)
    frames = make_frames(2, 2, unknown=0.0)
    expected = frames.world_coords()[:, :, 1::2, 1::2].flatten(1, 3)
    torch.testing.assert_close(sample_points(frames), expected, atol=1e-5, rtol=1e-5)


def test_the_extent_is_a_square_around_the_points() -> None:
    points = torch.tensor([[0.0, 0, 0], [4, 2, 0], [torch.nan] * 3]).expand(1, 3, 3)
    assert square_extent(points, quantile=0, margin=0).tolist() == [[0, -1, 4, 3]]
    assert square_extent(points, quantile=0, margin=0.5).tolist() == [[-2, -3, 6, 5]]


def test_outliers_do_not_count() -> None:
    points = torch.rand(1, 1000, 3)
    points[0, 0] = 100.0
    points[0, 1] = -100.0
    assert square_extent(points, quantile=0.01, margin=0.0).abs().max() < 1.1
    assert 0 <= floor_height(points).item() < 0.05


def test_no_points_give_a_small_square_at_the_origin() -> None:
    nothing = torch.full((2, 5, 3), torch.nan)
    extent = square_extent(nothing, quantile=0.01, margin=0.0)
    torch.testing.assert_close(extent, torch.tensor([[-0.05, -0.05, 0.05, 0.05]]).expand(2, 4))
    assert floor_height(nothing).tolist() == [0, 0]
