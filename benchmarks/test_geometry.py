"""World positions of pixels and of tokens against the straightforward way, on 32 views."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.baselines_geometry import mean_coords, unproject_homogeneous
from benchmarks.in_turn import in_turn
from ross3d import PosedFrames, depth_patch_coords, unproject

GRID, SIZE = (14, 14), (384, 512)  # of the paper: 480 x 640 becomes 384 x 512, of which the middle


def test_unproject(benchmark: Any, frames: PosedFrames) -> None:
    cameras = frames.depths, frames.intrinsics, frames.poses
    torch.testing.assert_close(
        unproject(*cameras), unproject_homogeneous(*cameras), rtol=0, atol=1e-5
    )
    in_turn(
        benchmark,
        lambda: unproject(*cameras),
        lambda: unproject_homogeneous(*cameras),
        rounds=9,
        bar="unproject",
    )


def test_unproject_into_a_buffer(benchmark: Any, frames: PosedFrames) -> None:
    cameras = frames.depths, frames.intrinsics, frames.poses
    out = unproject(*cameras)
    in_turn(
        benchmark,
        lambda: unproject(*cameras, out=out),
        lambda: unproject_homogeneous(*cameras),
        bar="unproject-buffer",
    )


def test_patch_coords(benchmark: Any, frames: PosedFrames) -> None:
    """As the paper's code pools, but straight from the depths of the middle square.

    Both average the same pixels: the map is taken at its own size for the comparison of values.
    """
    h, w = frames.size
    middle = frames.crop(0, (w - h) // 2, h, h)
    cameras = middle.depths, middle.intrinsics, middle.poses
    grid = (16, 16)  # divides 480: cells of equal size
    ours, _ = depth_patch_coords(*cameras, grid, count_unknown=True)
    whole = frames.depths, frames.intrinsics, frames.poses
    torch.testing.assert_close(
        ours, mean_coords(*whole, (h, w), grid), rtol=0, atol=1e-4
    )  # float32 sums of 900 pixels in another order
    in_turn(
        benchmark,
        lambda: depth_patch_coords(*cameras, GRID),
        lambda: mean_coords(*whole, SIZE, GRID),
        rounds=9,
        bar="patch-coords",
    )


@pytest.mark.parametrize("views", [8, 16, 32])
def test_scaling_with_views(benchmark: Any, frames: PosedFrames, views: int) -> None:
    """Time is linear in the views."""
    some = frames.select(torch.arange(views))
    cameras = some.depths, some.intrinsics, some.poses
    benchmark.extra_info["views"] = views
    benchmark.pedantic(lambda: depth_patch_coords(*cameras, GRID), rounds=3, warmup_rounds=1)
