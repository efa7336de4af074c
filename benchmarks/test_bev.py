"""Bird's-eye views against sorting the whole cloud, on a real scan where it is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from reference.data.open_scan import open_scan

from benchmarks.baselines_bev import sorted_bev
from ross3d import BEVRenderer, PosedFrames

ROOT = Path(__file__).resolve().parents[1]
REAL, SHIPPED = ROOT.parent / "shared/data/red_kitchen", ROOT / "examples/data/furnished_room"
SIZE, EXTENT, MAX_HEIGHT = 432, (-3.2, -3.2, 3.2, 3.2), 1.85
BOUNDS: dict[str, Any] = {"extent": EXTENT, "max_height": MAX_HEIGHT}
BARE = BEVRenderer(SIZE, splat=0, tolerance=0.0, fill=0, **BOUNDS)  # a z-buffer, no more
DEFAULT = BEVRenderer(SIZE, **BOUNDS)


@pytest.fixture(scope="module")
def frames() -> PosedFrames:
    """32 views of 480 x 640."""
    torch.set_num_threads(1)
    scan = open_scan(REAL if REAL.is_dir() else SHIPPED)
    return scan.read_views(range(len(scan))[:32])


def in_turn(benchmark: Any, ours: Callable[[], Any], slow: Callable[[], Any], rounds: int) -> float:
    """Run both in turn: how many times as much processor time the slow way takes."""
    ratios: list[float] = []
    ours()
    slow()
    for _ in range(rounds):
        start = time.process_time()
        slow()
        middle = time.process_time()
        ours()
        ratios.append((middle - start) / (time.process_time() - middle))
    benchmark.pedantic(ours, rounds=rounds)
    benchmark.extra_info.update(
        ratio=median(ratios),
        ratios=ratios,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return median(ratios)


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
    assert in_turn(benchmark, lambda: BARE(frames), slow, 3) >= 12


def test_everything_against_sorting(benchmark: Any, frames: PosedFrames) -> None:
    scene = [x[0] for x in (frames.images, frames.depths, frames.intrinsics, frames.poses)]

    def slow() -> Any:
        return sorted_bev(*scene, SIZE, EXTENT, MAX_HEIGHT)

    assert in_turn(benchmark, lambda: DEFAULT(frames), slow, 3) >= 6


def test_everything_against_the_z_buffer(benchmark: Any, frames: PosedFrames) -> None:
    """Footprints, averaging over the views and filling: at most twice the z-buffer's time."""
    ratio = in_turn(benchmark, lambda: DEFAULT(frames), lambda: BARE(frames), 9)
    benchmark.extra_info["times the z-buffer"] = 1 / ratio
    assert ratio >= 0.5


@pytest.mark.parametrize("views", [4, 8, 16, 32])
def test_scaling_with_views(benchmark: Any, frames: PosedFrames, views: int) -> None:
    """Time is linear in the views."""
    some = frames.select(torch.arange(views))
    benchmark.extra_info["views"] = views
    benchmark.pedantic(lambda: DEFAULT(some), rounds=3, warmup_rounds=1)
