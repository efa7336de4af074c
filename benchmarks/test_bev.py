"""Bird's-eye views against sorting the whole cloud, on a real scan where it is at hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from benchmarks.baselines_bev import fused_bev, sorted_bev
from benchmarks.in_turn import in_turn, seconds
from ross3d import BEVRenderer, PosedFrames

SIZE, EXTENT, MAX_HEIGHT = 432, (-3.2, -3.2, 3.2, 3.2), 1.85
BOUNDS: dict[str, Any] = {"extent": EXTENT, "max_height": MAX_HEIGHT}
BARE = BEVRenderer(SIZE, splat=0, tolerance=0.0, fill=0, **BOUNDS)  # a z-buffer, no more
DEFAULT = BEVRenderer(SIZE, **BOUNDS)


def test_sorting(benchmark: Any, frames: PosedFrames) -> None:
    """The z-buffer alone, and everything: at least 12 and 6 times as fast as sorting."""
    scene = [x[0] for x in (frames.images, frames.depths, frames.intrinsics, frames.poses)]

    def slow() -> Any:
        return sorted_bev(*scene, SIZE, EXTENT, MAX_HEIGHT)

    _, height, observed = slow()
    bev = BARE(frames)
    differ = ((bev.height[0] - height).abs() > 1e-4) | (bev.observed[0] != observed)
    benchmark.extra_info["pixels that differ"] = float(differ.float().mean())
    assert differ.float().mean() < 0.01  # points on the borders of pixels
    in_turn(benchmark, lambda: BARE(frames), slow, rounds=2, bar="bev-sort")


def test_everything_against_sorting(benchmark: Any, frames: PosedFrames) -> None:
    scene = [x[0] for x in (frames.images, frames.depths, frames.intrinsics, frames.poses)]

    def slow() -> Any:
        return sorted_bev(*scene, SIZE, EXTENT, MAX_HEIGHT)

    in_turn(benchmark, lambda: DEFAULT(frames), slow, rounds=1, bar="bev-all")


def test_everything_against_the_z_buffer(benchmark: Any, frames: PosedFrames) -> None:
    """Footprints, averaging over the views and filling: at most twice the z-buffer's time."""
    in_turn(benchmark, lambda: DEFAULT(frames), lambda: BARE(frames), rounds=9, bar="bev-filling")


def test_z_buffer_against_fusion(benchmark: Any, frames: PosedFrames) -> None:
    """At least 6 times as fast as Open3D's way: fuse a volume, cast rays from above."""
    pytest.importorskip("open3d")
    fused = fused_bev(frames, SIZE, EXTENT)
    both = BARE(frames).observed[0] & fused[1]
    assert both.sum() > 0.8 * fused[1].sum()
    in_turn(
        benchmark,
        lambda: BARE(frames),
        lambda: fused_bev(frames, SIZE, EXTENT),
        bar="bev-fusion",
    )


def test_scaling_with_views(benchmark: Any, frames: PosedFrames) -> None:
    """Time is linear in the views."""
    points = []
    for views in (4, 8, 16, 32):
        some = frames.select(torch.arange(views))
        DEFAULT(some)
        points.append([views, 1000 * min(seconds(lambda x=some: DEFAULT(x)) for _ in range(3))])
    benchmark.extra_info["curve"] = {
        "name": "bird's-eye view, all steps",
        "against": "views",
        "points": points,
        "unit": "ms of CPU",
    }
    benchmark.pedantic(lambda: DEFAULT(some), rounds=1)
    assert points[-1][1] / points[0][1] < 2 * points[-1][0] / points[0][0]
