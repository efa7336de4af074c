"""Object features against a loop over boxes, on 32 real views; the grounding head's cost."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.bars import judge
from benchmarks.baselines_objects import pool_by_boxes
from benchmarks.in_turn import in_turn, seconds
from benchmarks.peak import peak_bytes
from ross3d import GroundingHead, PosedFrames, grounding_loss, pool_objects

SIZE, BOXES, CURVE = 378, 60, (10, 30, 60, 120, 250, 500)
# The released model's two choices: patches before pooling, or tokens after it.
CELLS = {27: (0.5, 98), 14: (0.25, 182)}  # cells per side: part of a cell, the same in pixels


@pytest.fixture(scope="module")
def scan(frames: PosedFrames) -> PosedFrames:
    return frames.square(SIZE)


def boxes_around(points: Tensor, number: int) -> Tensor:
    """Boxes of 0.1 to 1.2 m around points that were seen."""
    g = torch.Generator().manual_seed(0)
    centres = points[torch.randint(len(points), (number,), generator=g)]
    return torch.cat([centres, 0.1 + 1.1 * torch.rand(number, 3, generator=g)], dim=-1)[None]


def inputs(scan: PosedFrames, number: int, cells: int, dim: int) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(1)
    coords, valid = scan.world_coords(), scan.valid
    visual = torch.randn(1, scan.views, cells**2, dim, generator=g)
    return visual, coords, valid, boxes_around(coords[valid], number)


@pytest.mark.parametrize(
    ("cells", "dim", "bar"), [(27, 3584, "objects"), (27, 64, None), (14, 3584, None)]
)
def test_pool_objects(
    benchmark: Any, scan: PosedFrames, cells: int, dim: int, bar: str | None
) -> None:
    """Both read the same cloud, its coordinates planes in memory as ``unproject`` leaves them."""
    given = inputs(scan, BOXES, cells, dim)
    fraction, needed = CELLS[cells]
    ours = functools.partial(pool_objects, *given, (cells, cells), min_fraction=fraction)
    slow = functools.partial(pool_by_boxes, *given, (cells, cells), needed)
    expected = slow()
    assert (expected != 0).any(-1).sum() > BOXES / 2
    torch.testing.assert_close(ours(), expected, rtol=0, atol=1e-5)
    benchmark.extra_info |= {"cells": cells, "dim": dim, "boxes": BOXES}
    assert in_turn(benchmark, ours, slow, rounds=3 if bar else 1, bar=bar) >= 8


def test_memory(benchmark: Any, scan: PosedFrames) -> None:
    given = inputs(scan, BOXES, 27, 64)
    cloud = given[1].nbytes
    ours = functools.partial(pool_objects, *given, (27, 27))
    peak, theirs = peak_bytes(ours), peak_bytes(lambda: pool_by_boxes(*given, (27, 27), 98))
    benchmark.pedantic(ours, rounds=1)
    note = f"the loop over boxes: {theirs / cloud:.2f} x the cloud"
    megabytes = {"baseline": cloud / 1e6, "ours": peak / 1e6, "measure": "MB"}
    judge(benchmark, "objects-memory", peak / cloud, **megabytes, note=note)


def curve(benchmark: Any, name: str, against: str, points: list[list[float]], unit: str) -> None:
    benchmark.extra_info["curve"] = {
        "name": name,
        "against": against,
        "points": points,
        "unit": unit,
    }


@pytest.mark.parametrize("unit", ["ms of CPU", "MB"])
@pytest.mark.parametrize("against", ["boxes", "views"])
def test_scaling(benchmark: Any, scan: PosedFrames, against: str, unit: str) -> None:
    """Against boxes and views nothing grows faster than they do."""
    visual, coords, valid, boxes = inputs(scan, max(CURVE), 14, 64)
    points = []
    for number in CURVE if against == "boxes" else (8, 16, 32, 64):
        if against == "boxes":
            given = visual, coords, valid, boxes[:, :number]
        else:
            views = torch.arange(number) % scan.views
            given = visual[:, views], coords[:, views], valid[:, views], boxes[:, :BOXES]
        work = functools.partial(pool_objects, *given, (14, 14), min_fraction=0.25)
        points.append([number, measure(work) if unit == "ms of CPU" else peak_bytes(work) / 1e6])
    benchmark.pedantic(work, rounds=1)
    curve(benchmark, "object features", against, points, unit)
    (least, cheap), (most, dear) = points[0], points[-1]
    assert dear / cheap <= 1.3 * most / least


@pytest.mark.parametrize("against", ["boxes", "queries"])
def test_grounding_head(benchmark: Any, against: str) -> None:
    """Head and loss of 16 queries and 60 boxes of width 896, forward and backward."""
    torch.set_num_threads(1)
    head, points = GroundingHead(896), []
    for number in CURVE if against == "boxes" else (1, 4, 16, 64):
        queries, boxes = (16, number) if against == "boxes" else (number, BOXES)
        query, objects = torch.randn(1, queries, 896), torch.randn(1, boxes, 896)
        targets = (
            torch.arange(boxes).expand(1, queries, -1) % queries == torch.arange(queries)[:, None]
        )

        def work(
            query: Tensor = query, objects: Tensor = objects, targets: Tensor = targets
        ) -> None:
            grounding_loss(head(query, objects), targets).backward()

        points.append([number, measure(work)])
    benchmark.pedantic(work, rounds=3)
    curve(benchmark, "grounding head and loss", against, points, "ms of CPU")
    (least, cheap), (most, dear) = points[0], points[-1]
    assert dear / cheap <= 1.3 * most / least


def measure(work: functools.partial[Tensor] | Any) -> float:
    """Milliseconds of processor time: the least of two, after one to warm up."""
    work()
    return 1000 * min(seconds(work) for _ in range(2))
