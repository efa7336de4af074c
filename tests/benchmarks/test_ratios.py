"""No fast path may lose most of its lead: half of each bar, on inputs of a few milliseconds.

Both ways run in turn, and the best of five rounds counts: a busy machine slows both. The bars
themselves are judged by ``make bench``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from reference.data.open_scan import open_scan
from torch import Tensor

from benchmarks.bars import BARS
from benchmarks.baselines_bev import sorted_bev
from benchmarks.baselines_geometry import mean_coords, unproject_homogeneous
from benchmarks.baselines_objects import pool_by_boxes
from benchmarks.baselines_sampling import overlap_by_pairs
from benchmarks.baselines_tokens import add_sines, gather_by_rows, hide_by_arithmetic
from benchmarks.baselines_voxels import pool_by_unique
from benchmarks.conftest import SHIPPED
from benchmarks.in_turn import seconds
from ross3d import (
    BEVRenderer,
    PosedFrames,
    PositionAwareEncoder,
    ViewMasker,
    depth_patch_coords,
    gather_tokens,
    pool_objects,
    token_positions,
    unproject,
    view_overlap,
    voxel_pool,
)

Work = Callable[[], object]
ROUNDS, MARGIN = 5, 0.5
VIEWS, DIM, SIDE = 16, 1024, 14


@pytest.fixture(scope="module")
def frames() -> PosedFrames:
    scan = open_scan(SHIPPED)
    return scan.read_views(range(8))


@pytest.fixture(scope="module")
def cameras(frames: PosedFrames) -> tuple[Tensor, ...]:
    return frames.depths, frames.intrinsics, frames.poses


def lead(ours: Work, slow: Work) -> float:
    ours(), slow()
    return max(seconds(slow) / seconds(ours) for _ in range(ROUNDS))


def keeps_its_lead(bar: str, ours: Work, slow: Work) -> None:
    assert lead(ours, slow) >= MARGIN * BARS[bar].bar


def test_unproject(cameras: tuple[Tensor, ...]) -> None:
    out = unproject(*cameras)
    slow = lambda: unproject_homogeneous(*cameras)  # noqa: E731
    keeps_its_lead("unproject", lambda: unproject(*cameras), slow)
    keeps_its_lead("unproject-buffer", lambda: unproject(*cameras, out=out), slow)


def test_patch_coords(cameras: tuple[Tensor, ...]) -> None:
    grid = (SIDE, SIDE)
    keeps_its_lead(
        "patch-coords",
        lambda: depth_patch_coords(*cameras, grid),
        lambda: mean_coords(*cameras, (384, 512), grid),
    )


def test_z_buffer(frames: PosedFrames, cameras: tuple[Tensor, ...]) -> None:
    extent, height = (-4.0, -4.0, 4.0, 4.0), 1.85
    bare = BEVRenderer(432, splat=0, tolerance=0.0, fill=0, extent=extent, max_height=height)
    scene = [x[0] for x in (frames.images, *cameras)]
    keeps_its_lead(
        "bev-sort", lambda: bare(frames), lambda: sorted_bev(*scene, 432, extent, height)
    )


def test_overlap(frames: PosedFrames, cameras: tuple[Tensor, ...]) -> None:
    keeps_its_lead(
        "overlap-stride",
        lambda: view_overlap(*cameras, stride=4),
        lambda: overlap_by_pairs(*(x[0] for x in cameras)),
    )


def test_objects(frames: PosedFrames) -> None:
    square = frames.square(378)
    cloud, valid = square.world_coords(), square.valid
    visual = torch.randn(1, frames.views, 27 * 27, 64)
    centres = cloud[valid][torch.randint(int(valid.sum()), (60,))]
    boxes = torch.cat([centres, 0.1 + 1.1 * torch.rand(60, 3)], dim=-1)[None]
    given = visual, cloud, valid, boxes, (27, 27)
    keeps_its_lead("objects", lambda: pool_objects(*given), lambda: pool_by_boxes(*given, 98))


def gradients(forward: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> Work:
    return lambda: torch.autograd.grad(forward().sum(), leaves)


def test_masking() -> None:
    visual = torch.randn(1, VIEWS, SIDE * SIDE, DIM, requires_grad=True)
    masker, masked = ViewMasker(DIM), torch.arange(VIEWS)[None] % 4 == 0
    leaves = visual, masker.mask_token
    keeps_its_lead(
        "masking",
        gradients(lambda: masker(visual, masked), leaves),
        gradients(lambda: hide_by_arithmetic(visual, masker.mask_token, masked), leaves),
    )


@torch.no_grad()
def test_position_code() -> None:
    visual, encoder = torch.randn(1, VIEWS, SIDE * SIDE, DIM), PositionAwareEncoder(DIM)
    coords = 3 * torch.randn(1, VIEWS, SIDE * SIDE, 3)
    valid = torch.ones(1, VIEWS, SIDE * SIDE, dtype=torch.bool)
    keeps_its_lead(
        "position-code",
        lambda: encoder(visual, coords, valid),
        lambda: add_sines(visual, coords, valid),
    )


def test_gather() -> None:
    length, first = 8 + VIEWS * SIDE * (SIDE + 1), 8
    hidden = torch.randn(1, length, 128, requires_grad=True)
    place = torch.arange(length - first) % (SIDE + 1) < SIDE
    is_visual = torch.cat([torch.zeros(first, dtype=torch.bool), place])[None]
    positions = token_positions(is_visual, VIEWS)
    keeps_its_lead(
        "gather",
        gradients(lambda: gather_tokens(hidden, positions), (hidden,)),
        gradients(lambda: gather_by_rows(hidden, first, VIEWS, SIDE, SIDE), (hidden,)),
    )


def test_voxels() -> None:
    coords = 3 * torch.rand(1, VIEWS, SIDE * SIDE, 3)
    given = (
        torch.randn(1, VIEWS, SIDE * SIDE, 512),
        coords,
        torch.ones(coords.shape[:3]).bool(),
        0.2,
    )
    keeps_its_lead("voxels-unique", lambda: voxel_pool(*given), lambda: pool_by_unique(*given))


def test_a_slow_way_is_noticed() -> None:
    """The same work twice has no lead: each of these bars would fail."""
    values = torch.randn(500_000)
    same = lead(values.sort, values.sort)
    assert all(same < MARGIN * BARS[bar].bar for bar in ("objects", "gather", "unproject-buffer"))
