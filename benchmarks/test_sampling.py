"""Frame sampling against the straightforward way, on real depth where it is at hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.baselines_sampling import cover_sets, overlap_by_pairs, voxel_sets, world_points
from benchmarks.in_turn import in_turn
from ross3d import PosedFrames, max_coverage_frames, view_overlap

Cameras = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def cameras(frames: PosedFrames) -> Cameras:
    """Depths (1, 16, 480, 640), intrinsics and poses."""
    some = frames.select(torch.arange(0, frames.views, 2))
    return some.depths, some.intrinsics, some.poses


def slow_coverage(cameras: Cameras) -> list[int]:
    depths, intrinsics, poses = (x[0] for x in cameras)
    points = world_points(depths, intrinsics, poses)
    return sorted(cover_sets(voxel_sets(points, depths.flatten(1) > 0, 0.1), 32, ratio=0.95))


def test_max_coverage(benchmark: Any, cameras: Cameras) -> None:
    def ours() -> list[int]:
        return max_coverage_frames(*cameras, 32, ratio=0.95)[0]

    assert ours() == slow_coverage(cameras)
    in_turn(benchmark, ours, lambda: slow_coverage(cameras), rounds=1, bar="coverage")


@pytest.mark.parametrize(
    ("stride", "error", "bar"), [(1, 1e-4, "overlap"), (4, 1e-2, "overlap-stride")]
)
def test_view_overlap(
    benchmark: Any, cameras: Cameras, stride: int, error: float, bar: str
) -> None:
    def ours() -> Tensor:
        return view_overlap(*cameras, stride=stride)

    def slow() -> Tensor:
        return overlap_by_pairs(*(x[0] for x in cameras))

    difference = float((ours()[0] - slow()).abs().max())
    benchmark.extra_info["largest difference"] = difference
    assert difference <= error
    in_turn(benchmark, ours, slow, rounds=1, bar=bar)


@pytest.mark.parametrize("views", [4, 8, 16])
def test_scaling_with_views(benchmark: Any, cameras: Cameras, views: int) -> None:
    """Coverage grows with the number of views, overlap with its square."""
    some = [x[:, :views] for x in cameras]
    benchmark.extra_info["views"] = views
    benchmark.pedantic(lambda: max_coverage_frames(*some), rounds=3, warmup_rounds=1)
