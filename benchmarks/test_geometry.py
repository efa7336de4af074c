"""World positions of pixels and of tokens against the straightforward way, on 32 views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from benchmarks.baselines_geometry import mean_coords, unproject_homogeneous
from benchmarks.in_turn import in_turn, seconds
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


CURVES: dict[str, Callable[..., object]] = {
    "mean point per token": lambda *cameras: depth_patch_coords(*cameras, GRID),
    "back-project": unproject,
}


@pytest.mark.parametrize("name", CURVES)
def test_scaling_with_views(benchmark: Any, frames: PosedFrames, name: str) -> None:
    """Time is linear in the views, up to 128 of 480 x 640."""
    work, points = CURVES[name], []
    for views in (8, 16, 32, 64, 128):
        some = frames.depths, frames.intrinsics, frames.poses
        cameras = [x[:, torch.arange(views) % frames.views] for x in some]
        work(*cameras)
        points.append([views, 1000 * min(seconds(lambda x=cameras: work(*x)) for _ in range(3))])
    benchmark.extra_info["curve"] = {
        "name": name,
        "against": "views",
        "points": points,
        "unit": "ms of CPU",
    }
    benchmark.pedantic(lambda: work(*cameras), rounds=1)
    # Linear, within a factor of two that a busy machine may add; from where maps are too large for
    # the allocator to keep, and every result pays for fresh memory.
    (few, less), (many, more) = points[2], points[-1]
    assert more / less < 2 * many / few
