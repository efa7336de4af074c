"""The view loss at paper size against the straightforward way, and what its cost grows with.

75.8 million parameters; 8 hidden views of 14 x 14 cells, 4 draws each; the hidden states of 24
visible views of 14 x 14 tokens of width 3584, out of a sequence of 6932 positions. A pass takes a
minute, so both ways are timed once, after a small pass to warm up, unless ``ROUNDS`` says more.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.bars import judge
from benchmarks.baselines_denoiser import row_starts, slice_rows, view_loss
from benchmarks.counted import teraflops
from benchmarks.growth import growth
from benchmarks.in_turn import seconds
from benchmarks.live import saved_bytes
from ross3d import (
    ConditionedDiT,
    Conditioner,
    DDPMLoss,
    QueryPooler,
    gather_tokens,
    token_positions,
)

ROUNDS = int(os.environ.get("ROUNDS", "1"))
VIEWS, HIDDEN, DRAWS, SIDE, CONTEXT_DIM, FIRST = 32, 8, 4, 14, 3584, 14
LENGTH = FIRST + VIEWS * SIDE * (SIDE + 1) + 198
EQUAL = 1e-5


class Case:
    """A scene's hidden states, targets and draws, and the two ways to the loss.

    Args:
        dim: width of the denoiser; the language model's is 3.5 times as much.
        hidden: number of hidden views; there are four views for each.
        draws: noise draws per target.
        depth: blocks.
    """

    def __init__(
        self, dim: int = 1024, hidden: int = HIDDEN, draws: int = DRAWS, depth: int = 3
    ) -> None:
        torch.manual_seed(0)
        self.net = ConditionedDiT(64, dim, depth, 16)
        for parameter in self.net.parameters():
            if not (
                parameter.is_meta or parameter.any()
            ):  # what starts at zero would hide everything behind it
                torch.nn.init.normal_(parameter, std=0.02)
        width = CONTEXT_DIM * dim // 1024
        self.pooler = QueryPooler(SIDE * SIDE, width, dim, 16, position_dim=0)
        self.context = torch.randn(3 * hidden * SIDE * SIDE, width, requires_grad=True)
        self.z0 = torch.randn(hidden, 64, SIDE, SIDE)
        self.noise = torch.randn(hidden * draws, 64, SIDE, SIDE)
        self.t = torch.randint(1000, (hidden,))
        self.objective, self.draws = DDPMLoss(draws=draws), draws
        self.learned = [self.context, *self.net.parameters(), *self.pooler.parameters()]

    def ours(self) -> Tensor:
        """The library's blocks; one condition for all targets, as released."""
        condition = self.pooler(self.context[None]).expand(len(self.z0), -1, -1)
        return self.objective(self.net, self.z0, condition, t=self.t, noise=self.noise)

    def slow(self) -> Tensor:
        """The same loss the straightforward way."""
        every_t = self.t.repeat_interleave(self.draws)
        parts = self.net, self.pooler, self.context, self.z0, every_t, self.noise
        return view_loss(*parts, self.objective.alphas_cumprod)

    def timed(self, loss: Callable[[], Tensor]) -> tuple[float, Tensor, list[Tensor]]:
        """Processor seconds of forward and backward pass, the loss, and the gradients."""
        out: list[Any] = []

        def run() -> None:
            value = loss()
            out.extend((value.detach(), list(torch.autograd.grad(value, self.learned))))

        return seconds(run), out[0], out[1]

    def saved(self, loss: Callable[[], Tensor]) -> int:
        """Bytes of activations."""
        return saved_bytes(loss, held=[*self.learned, self.z0, self.noise])


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Both ways at paper size: seconds per pass, the largest difference, saved bytes."""
    torch.set_num_threads(1)
    small = Case(dim=64, hidden=1)
    small.timed(small.slow), small.timed(small.ours)
    case, taken = Case(), {"slow": [], "ours": []}
    for _ in range(ROUNDS):
        slow, loss, gradients = case.timed(case.slow)
        ours, our_loss, our_gradients = case.timed(case.ours)
        taken["slow"].append(slow)
        taken["ours"].append(ours)
    pairs = zip([loss, *gradients], [our_loss, *our_gradients], strict=True)
    difference = max(float((a - b).abs().max()) for a, b in pairs)
    saved = {"slow": case.saved(case.slow), "ours": case.saved(case.ours)}
    return {
        "seconds": {way: min(times) for way, times in taken.items()},
        "difference": difference,
        "saved": saved,
    }


def test_step(benchmark: Any, measured: dict[str, Any]) -> None:
    """Pooler and denoiser, from the visible views' hidden states to all gradients."""
    took, kept = measured["seconds"], measured["saved"]
    case = Case(dim=64)
    benchmark.pedantic(case.timed, args=(case.ours,), rounds=3)
    judge(benchmark, "denoiser-equal", measured["difference"])
    beside = {"baseline": kept["slow"] / 1e6, "ours": kept["ours"] / 1e6, "measure": "MB"}
    judge(benchmark, "denoiser-saved", kept["ours"] / kept["slow"], **beside)
    beside = {"baseline": took["slow"], "ours": took["ours"], "measure": "s of CPU"}
    note = floor()
    judge(benchmark, "denoiser", took["ours"] / took["slow"], note=note, **beside)


def floor() -> str:
    """What arithmetic alone would give, counted, and how much of our time it is, profiled."""
    with torch.device("meta"):
        case = Case()
    slow, ours = (teraflops(lambda way=way: way().backward()) for way in (case.slow, case.ours))
    return (
        f"{ours:.2f} of {slow:.2f} TFLOP, {ours / slow:.2f} x, counted: modulation (6 d^2 of 18 "
        "per cell) once per target, the context once. Matrix products are "
        f"{share_of_products(Case(hidden=1)):.0%} of our time, profiled with one hidden view"
    )


def share_of_products(case: Case) -> float:
    """Part of the processor time of a pass that is spent in matrix products."""
    case.timed(case.ours)
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        case.timed(case.ours)
    taken = {event.key: event.self_cpu_time_total for event in profiler.key_averages()}
    products = sum(taken.get(f"aten::{name}", 0.0) for name in ("mm", "addmm", "bmm", "baddbmm"))
    return products / sum(taken.values())


def test_view_loss(benchmark: Any, measured: dict[str, Any]) -> None:
    """The same from the whole sequence on: the visible tokens have to be taken out of it first.

    Taking out and what follows are timed apart; the loss is their sum.
    """
    torch.set_num_threads(1)
    hidden = torch.randn(1, LENGTH, CONTEXT_DIM, requires_grad=True)
    starts = row_starts(range(VIEWS), SIDE, SIDE, FIRST)
    is_visual = torch.zeros(1, LENGTH, dtype=torch.bool)
    for start in starts:
        is_visual[:, start : start + SIDE] = True
    positions = token_positions(is_visual, VIEWS)
    wanted = torch.randn(VIEWS * SIDE * SIDE, CONTEXT_DIM)

    def row_by_row() -> Tensor:
        taken = slice_rows(hidden, starts, SIDE)
        return torch.autograd.grad(taken, hidden, wanted)[0]

    def gathered() -> Tensor:
        taken = gather_tokens(hidden, positions).flatten(0, 2)
        return torch.autograd.grad(taken, hidden, wanted)[0]

    gathered()
    ours, slow = seconds(gathered), seconds(row_by_row)
    benchmark.pedantic(gathered, rounds=3)
    took = measured["seconds"]
    note = (
        f"taking out: {ours:.2f} s of {slow:.1f} s, {slow / ours:.0f} times as fast; what follows "
        "is the step above, of which little but matrix products is left"
    )
    ours, slow = ours + took["ours"], slow + took["slow"]
    beside = {"baseline": slow, "ours": ours, "measure": "s of CPU", "note": note}
    judge(benchmark, "view-loss", ours / slow, **beside)


SWEEPS = {
    "width": {"dim": [64, 128, 256, 384]},
    "blocks": {"depth": [1, 2, 4, 8]},
    "hidden views": {"hidden": [1, 2, 4, 8, 16]},
    "draws": {"draws": [1, 2, 4, 8]},
}


@pytest.mark.parametrize("against", SWEEPS)
def test_growth(benchmark: Any, against: str) -> None:
    """Time and activations of a narrow denoiser against one size at a time."""
    torch.set_num_threads(1)
    ((name, values),) = SWEEPS[against].items()
    base = {"dim": 128, "hidden": 4, "draws": 4, "depth": 2}
    points, kept = [], []
    for value in values:
        case = Case(**{**base, name: value})
        case.timed(case.ours)
        points.append([value, 1000 * min(case.timed(case.ours)[0] for _ in range(3))])
        kept.append([value, case.saved(case.ours) / 1e6])
    benchmark.pedantic(case.timed, args=(case.ours,), rounds=3)
    benchmark.extra_info["curve"] = [
        {"name": "denoiser", "against": against, "points": points, "unit": "ms of CPU"},
        {"name": "denoiser", "against": against, "points": kept, "unit": "MB saved"},
    ]
    limit = 2 if against == "width" else 1  # matrix products grow with the square of the width
    assert growth(kept) <= 1.05
    assert growth(points) <= limit + 0.3


def test_condition_grows_with_the_context_alone(benchmark: Any) -> None:
    """Keys and values are computed once: neither draws nor targets repeat the context."""
    torch.set_num_threads(1)
    points = []
    for views in (6, 12, 24, 48):
        pooler = Conditioner(SIDE * SIDE, 448, 128, 16).pooler
        context = torch.randn(1, views * SIDE * SIDE, 448, requires_grad=True)
        kept = saved_bytes(lambda: pooler(context), held=[context, *pooler.parameters()])  # noqa: B023
        points.append([views, kept / 1e6])
    where = torch.rand(1, 4 * SIDE * SIDE, 3)
    four = saved_bytes(lambda: pooler(context, where), held=[context, *pooler.parameters()])
    benchmark.pedantic(pooler, args=(context,), rounds=3)
    curve = {"name": "condition", "against": "views read", "points": points, "unit": "MB saved"}
    benchmark.extra_info["curve"] = [curve]
    assert growth(points) <= 1.05
    assert four < 1.5 * kept
