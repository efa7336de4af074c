"""Time and memory of both pretext tasks, and of the picture from above, against their inputs.

No term may grow faster than its input. Frames beyond those of the scan are the same ones again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.growth import growth
from benchmarks.in_turn import seconds
from benchmarks.live import saved_bytes
from benchmarks.peak import peak_bytes
from ross3d import (
    BEVRenderer,
    ConditionedDiT,
    CrossViewTask,
    DCTTokenizer,
    GlobalViewTask,
    PosedFrames,
    ReconstructionLoss,
    sample_view_mask,
)

SIZE, DIM, CONTEXT_DIM = 112, 64, 224
TOLERANCE = 1.15


def many(frames: PosedFrames, views: int, scenes: int = 1) -> PosedFrames:
    """So many views of so many scenes, of 120 x 160 pixels."""
    some = frames.select(torch.arange(views) % frames.views)
    return PosedFrames.cat([some] * scenes)


class Both:
    """Both pretext tasks on a scan, from hidden states to all gradients.

    Args:
        frames: of the scenes.
        side: rows and columns of tokens per view.
    """

    def __init__(self, frames: PosedFrames, side: int = 14) -> None:
        torch.manual_seed(0)
        tasks = {
            "cross_view": CrossViewTask(SIZE),
            "global_view": GlobalViewTask(BEVRenderer(SIZE), SIZE),
        }
        denoiser = ConditionedDiT(64, DIM, 2, 4)
        sizes = {"context_dim": CONTEXT_DIM, "heads": 4}
        self.loss = ReconstructionLoss(tasks, DCTTokenizer(), denoiser, **sizes)
        self.frames, (b, m) = frames, frames.images.shape[:2]
        self.hidden = torch.randn(b, m, side * side, CONTEXT_DIM, requires_grad=True)
        generator = torch.Generator().manual_seed(0)
        self.masked = sample_view_mask(b, m, generator=generator)

    def losses(self) -> Tensor:
        """Sum of the losses."""
        return torch.stack([*self.loss(self.hidden, self.frames, self.masked).values()]).sum()

    def step(self) -> None:
        """Forward and backward pass."""
        self.losses().backward()

    def saved(self) -> int:
        """Bytes that are kept for the backward pass."""
        images, depths = self.frames.images, self.frames.depths
        return saved_bytes(self.losses, held=[self.hidden, images, depths, *self.loss.parameters()])


@pytest.fixture(scope="module")
def small(frames: PosedFrames) -> PosedFrames:
    """The scan at a quarter of its size."""
    torch.set_num_threads(1)
    return frames.resize((120, 160))


def curves(
    name: str, against: str, sizes: list[int], make: Callable[[int], Both]
) -> list[dict[str, Any]]:
    """Time and kept activations against one size."""
    took, kept = [], []
    for size in sizes:
        both = make(size)
        both.step()
        took.append([size, 1000 * min(seconds(both.step) for _ in range(3))])
        kept.append([size, both.saved() / 1e6])
    return [
        {"name": name, "against": against, "points": took, "unit": "ms of CPU"},
        {"name": name, "against": against, "points": kept, "unit": "MB saved"},
    ]


SWEEPS: dict[str, tuple[list[int], Callable[[PosedFrames, int], Both]]] = {
    "views": ([8, 16, 32, 64, 128], lambda frames, n: Both(many(frames, n))),
    "tokens per view": (
        [49, 100, 196, 400, 784],
        lambda frames, n: Both(many(frames, 8), round(n**0.5)),
    ),
    "scenes per batch": ([1, 2, 4, 8], lambda frames, n: Both(many(frames, 8, n))),
}
# Each hidden view's cells read the tokens of all views: with views, pairs grow with their square.
PAIRS = {"views": 2.0}


@pytest.mark.parametrize("against", SWEEPS)
def test_both_tasks(benchmark: Any, small: PosedFrames, against: str) -> None:
    sizes, make = SWEEPS[against]
    both = make(small, sizes[0])
    benchmark.pedantic(both.step, rounds=1, warmup_rounds=1)
    drawn = curves("both pretext tasks", against, sizes, lambda size: make(small, size))
    benchmark.extra_info["curve"] = drawn
    time, memory = (curve["points"] for curve in drawn)
    assert growth(time) <= PAIRS.get(against, 1.0) * TOLERANCE
    assert growth(memory) <= 1.05


def test_frames_from_above(benchmark: Any, small: PosedFrames) -> None:
    """Time is linear in the frames; memory above the frames is that of one of them."""
    render = BEVRenderer(432, extent=(-3.2, -3.2, 3.2, 3.2), max_height=1.85)
    took, held = [], []
    for views in (32, 100, 320, 1000):
        scene = many(small, views)
        render(scene)
        took.append([views, 1000 * min(seconds(lambda: render(scene)) for _ in range(2))])  # noqa: B023
        held.append([views, peak_bytes(lambda: render(scene)) / 1e6])  # noqa: B023
    benchmark.pedantic(render, args=(many(small, 32),), rounds=2)
    benchmark.extra_info["curve"] = [
        {"name": "BEVRenderer", "against": "frames", "points": took, "unit": "ms of CPU"},
        {"name": "BEVRenderer", "against": "frames", "points": held, "unit": "MB held"},
    ]
    assert growth(took) <= TOLERANCE
    assert held[-1][1] <= 1.5 * held[0][1]
