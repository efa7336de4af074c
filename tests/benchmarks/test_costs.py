"""Costs that must not creep up: exact counts, which no busy machine moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from strategies import make_frames
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.bars import BARS
from benchmarks.counted import count_arithmetic, count_memory
from benchmarks.live import saved_bytes
from benchmarks.operators import operators
from benchmarks.peak import peak_bytes
from ross3d import (
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    DDPMLoss,
    PositionAwareEncoder,
    QueryPooler,
    ReconstructionLoss,
    ViewMasker,
    gather_tokens,
    join_tokens,
    pool_objects,
    scatter_tokens,
    token_positions,
    unproject,
)

DIM = 32


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def sequence(views: int, p: int = 9) -> tuple[Tensor, Tensor]:
    """Hidden states (1, t, d), and positions (1, views, p) with a gap after each view."""
    is_visual = torch.tensor([[False] * 3 + ([True] * p + [False]) * views])
    hidden = torch.randn(1, is_visual.shape[1], DIM, requires_grad=True)
    return hidden, token_positions(is_visual, views)


def test_both_tasks_at_paper_size() -> None:
    """The bars of arithmetic and memory of the paper's step, counted."""
    text, both = count_arithmetic("none"), count_arithmetic("both")
    assert BARS["flops"].met(both / text)
    assert both - text == pytest.approx(6.43, rel=0.03), "TFLOP of tasks, teacher and denoiser"
    kept = {tasks: count_memory(tasks, recompute=True) for tasks in ("none", "both")}
    assert BARS["saved"].met(kept["both"]["peak"] / kept["none"]["peak"])
    assert kept["both"]["saved"] - kept["none"]["saved"] < 0.42, "GB"


def view_step(draws: int, targets: int = 2, *, shared: bool = True) -> tuple[int, int]:
    """Arithmetic of a denoiser's step, and what its forward pass keeps."""
    net = ConditionedDiT(16, 64, 2, 4)
    z0, condition = torch.randn(targets, 16, 6, 6), torch.randn(targets, 36, 64, requires_grad=True)
    objective = DDPMLoss(draws=draws, shared_timestep=shared)

    def loss() -> Tensor:
        return objective(net, z0, condition)

    return flops(lambda: loss().backward()), saved_bytes(loss, held=[condition, *net.parameters()])


def test_draws_share_the_modulation() -> None:
    """Of 18 d^2 per cell, 6 are spent once per target instead of once per draw."""
    together, apart = view_step(4), view_step(4, shared=False)
    assert together[0] < 0.78 * apart[0]
    assert together[1] < 0.9 * apart[1]
    assert view_step(8)[0] < 2 * together[0]


def test_the_condition_reads_its_context_once() -> None:
    """Keys and values are those of one context, for any number of targets."""
    pooler = QueryPooler(4, 48, 32, 4)
    context = torch.randn(1, 400, 48)
    one, eight = (
        flops(lambda k=k: pooler(context, where=torch.zeros(1, 4 * k, 3))) for k in (1, 8)
    )
    projections = 2 * 400 * (48 * 32 + 2 * 32 * 32)
    assert one > projections
    assert eight < projections + 9 * (one - projections)


def test_the_pooler_keeps_keys_and_values_alone() -> None:
    pooler = QueryPooler(4, 256, 32, 4, position_dim=0)
    context = torch.randn(1, 400, 256, requires_grad=True)
    kept = saved_bytes(lambda: pooler(context), held=[context, *pooler.parameters()])
    projected = 4 * 400 * 32
    assert kept < 4 * projected, "not the context, normalised"


@pytest.mark.parametrize("keep", ["mask", "code", "scatter", "join"])
def test_tokens_keep_nothing_as_large_as_they(keep: str) -> None:
    visual = torch.randn(1, 8, 9, DIM, requires_grad=True)
    hidden, positions = sequence(8)
    masked = torch.arange(8)[None] < 2
    masker, encoder = ViewMasker(DIM), PositionAwareEncoder(DIM)
    coords = torch.rand(1, 8, 9, 3)
    gaps = torch.randn(1, hidden.shape[1] - 72, DIM, requires_grad=True)
    where = torch.ones(hidden.shape[1], dtype=torch.bool)
    where[positions.flatten()] = False
    others = where.nonzero().view(1, -1)
    work = {
        "mask": lambda: masker(visual, masked),
        "code": lambda: encoder(visual, coords),
        "scatter": lambda: scatter_tokens(hidden, positions, visual),
        "join": lambda: join_tokens((positions, visual), (others, gaps)),
    }[keep]
    held = [visual, hidden, positions, masked, coords, gaps, others, masker.mask_token]
    assert saved_bytes(work, held=held) <= 8 * hidden.shape[1], "an index per position at most"


def test_no_loop_over_views() -> None:
    """Twice the views: the same operators."""

    def counted(views: int) -> Counter[str]:
        hidden, positions = sequence(views)
        frames = make_frames(1, views)
        masked, coords = torch.arange(views)[None] < 1, torch.rand(1, views, 9, 3)

        def work() -> None:
            tokens = gather_tokens(hidden, positions)
            tokens = ViewMasker(DIM)(tokens, masked)
            tokens = PositionAwareEncoder(DIM)(tokens, coords)
            scatter_tokens(hidden, positions, tokens).sum().backward()
            unproject(frames.depths, frames.intrinsics, frames.poses)

        return operators(work)

    assert counted(4) == counted(8)


def test_objects_hold_a_few_views_at_a_time() -> None:
    boxes = torch.tensor([[[0.5 * i, 0.0, 1.0, 0.6, 0.6, 0.6] for i in range(20)]])

    def peak(views: int) -> int:
        frames = make_frames(1, views, (64, 64))
        visual, cloud, valid = torch.randn(1, views, 16, DIM), frames.world_coords(), frames.valid
        return peak_bytes(lambda: pool_objects(visual, cloud, valid, boxes, (4, 4)))

    assert peak(64) < 2 * peak(16)


def test_hidden_views_alone_are_denoised() -> None:
    tasks = {"cross_view": CrossViewTask(32)}
    net = ConditionedDiT(64, 32, 2, 4)
    loss = ReconstructionLoss(tasks, DCTTokenizer(), net, context_dim=DIM, heads=4)
    frames, hidden = make_frames(1, 4, (32, 32)), torch.randn(1, 4, 4, DIM)
    costs = [
        flops(lambda n=n: loss(hidden, frames, torch.arange(4)[None] < n)["cross_view"])
        for n in range(4)
    ]
    one = costs[2] - costs[1]
    assert costs[3] - costs[2] == one
    assert one > flops(lambda: net(torch.zeros(1, 64, 2, 2), torch.zeros(1), torch.zeros(1, 4, 32)))
    assert costs[1] - costs[0] == one
