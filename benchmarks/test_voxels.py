"""Voxel pooling at paper size: 32 views of 14 x 14 tokens of width 3584."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.baselines_voxels import pool_by_points, pool_by_unique
from benchmarks.in_turn import in_turn, seconds
from benchmarks.live import saved_bytes
from ross3d import voxel_pool

Pool = Callable[..., Any]
VOXEL, ROUNDS = 0.2, 3


def room(dim: int, views: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens on the floor and the walls of a room of 6 x 5 x 2.5 m; every tenth has no depth."""
    g = torch.Generator().manual_seed(0)
    n = views * 196
    size = torch.tensor([6.0, 5.0, 2.5])
    points = torch.rand(n, 3, generator=g) * size
    axis = torch.randint(0, 3, (n,), generator=g)
    points[torch.arange(n), axis] = torch.where(axis == 2, 0.0, size[axis] - 0.05)
    valid = torch.rand(1, views, 196, generator=g) > 0.1
    visual = torch.randn(1, views, 196, dim, generator=g)
    return visual, points.view(1, views, 196, 3), valid


@pytest.mark.parametrize(
    ("slow", "dim", "bar"),
    [
        (pool_by_points, 64, "voxels-points"),
        (pool_by_points, 3584, "voxels-points-wide"),
        (pool_by_unique, 64, "voxels-unique"),
        (pool_by_unique, 3584, "voxels-unique-wide"),
    ],
)
def test_voxel_pool(benchmark: Any, slow: Pool, dim: int, bar: str) -> None:
    torch.set_num_threads(1)
    inputs = room(dim)
    ours = voxel_pool(*inputs, VOXEL)
    for row, (tokens, coords) in enumerate(slow(*inputs, VOXEL)):
        count = int(ours.occupied[row].sum())
        torch.testing.assert_close(ours.tokens[row, :count], tokens, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.coords[row, :count], coords, rtol=0, atol=1e-5)
    benchmark.extra_info |= {"baseline": slow.__name__, "voxels": ours.tokens.shape[1]}
    in_turn(
        benchmark,
        lambda: voxel_pool(*inputs, VOXEL),
        lambda: slow(*inputs, VOXEL),
        rounds=ROUNDS,
        bar=bar,
    )


def test_time_grows_with_the_tokens_and_memory_with_the_voxels(benchmark: Any) -> None:
    """Four times the views: at most about four times the time; nothing is kept but indices."""
    torch.set_num_threads(1)
    few, many = room(512, views=16), room(512, views=64)
    for inputs in (few, many):
        voxel_pool(*inputs, VOXEL)
    growth = statistics.median(
        seconds(lambda: voxel_pool(*many, VOXEL)) / seconds(lambda: voxel_pool(*few, VOXEL))
        for _ in range(ROUNDS)
    )
    visual = many[0].requires_grad_()
    share = saved_bytes(lambda: voxel_pool(visual, *many[1:], VOXEL).tokens, held=many)
    share /= visual.nbytes
    benchmark.extra_info |= {"growth_16_to_64_views": growth, "saved_over_input": share}
    benchmark.pedantic(voxel_pool, args=(*many, VOXEL), rounds=ROUNDS, warmup_rounds=1)
    assert growth <= 6
    assert share <= 0.05
