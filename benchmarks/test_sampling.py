"""Frame sampling against the straightforward way, on real depth where it is at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from reference.data.open_scan import open_scan
from torch import Tensor

from benchmarks.baselines_sampling import cover_sets, overlap_by_pairs, voxel_sets, world_points
from ross3d import max_coverage_frames, view_overlap

ROOT = Path(__file__).resolve().parents[1]
REAL, SHIPPED = ROOT.parent / "shared/data/red_kitchen", ROOT / "examples/data/furnished_room"
Cameras = tuple[Tensor, Tensor, Tensor]


@pytest.fixture(scope="module")
def cameras() -> Cameras:
    """Depths (1, 16, 480, 640), intrinsics and poses."""
    torch.set_num_threads(1)
    scan = open_scan(REAL if REAL.is_dir() else SHIPPED)
    frames = scan.read_views(range(0, len(scan), 2))
    return frames.depths, frames.intrinsics, frames.poses


def in_turn(benchmark: Any, ours: Callable[[], Any], slow: Callable[[], Any], rounds: int) -> float:
    """Run both in turn: how many times as much processor time the slow way takes."""
    ratios: list[float] = []

    def both() -> None:
        start = time.process_time()
        slow()
        middle = time.process_time()
        ours()
        ratios.append((middle - start) / (time.process_time() - middle))

    ours()
    both()
    del ratios[:]
    for _ in range(rounds):
        both()
    benchmark.pedantic(ours, rounds=rounds)
    benchmark.extra_info.update(
        ratio=median(ratios),
        ratios=ratios,
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return median(ratios)


def slow_coverage(cameras: Cameras) -> list[int]:
    depths, intrinsics, poses = (x[0] for x in cameras)
    points = world_points(depths, intrinsics, poses)
    return sorted(cover_sets(voxel_sets(points, depths.flatten(1) > 0, 0.1), 32, ratio=0.95))


def test_max_coverage(benchmark: Any, cameras: Cameras) -> None:
    def ours() -> list[int]:
        return max_coverage_frames(*cameras, 32, ratio=0.95)[0]

    assert ours() == slow_coverage(cameras)
    assert in_turn(benchmark, ours, lambda: slow_coverage(cameras), 3) >= 10


@pytest.mark.parametrize(("stride", "error", "bar"), [(1, 1e-4, 2.0), (4, 1e-2, 12.0)])
def test_view_overlap(
    benchmark: Any, cameras: Cameras, stride: int, error: float, bar: float
) -> None:
    def ours() -> Tensor:
        return view_overlap(*cameras, stride=stride)

    def slow() -> Tensor:
        return overlap_by_pairs(*(x[0] for x in cameras))

    difference = float((ours()[0] - slow()).abs().max())
    benchmark.extra_info["largest difference"] = difference
    assert difference <= error
    assert in_turn(benchmark, ours, slow, 3) >= bar


@pytest.mark.parametrize("views", [4, 8, 16])
def test_scaling_with_views(benchmark: Any, cameras: Cameras, views: int) -> None:
    """Coverage grows with the number of views, overlap with its square."""
    some = [x[:, :views] for x in cameras]
    benchmark.extra_info["views"] = views
    benchmark.pedantic(lambda: max_coverage_frames(*some), rounds=3, warmup_rounds=1)
