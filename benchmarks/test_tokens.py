"""From visual tokens to the language model's input and back, at paper size: 32 x 196 x 3584.

A page of fresh memory costs more here than arithmetic on it, so what counts is how often 90 MB are
written: ``leanest`` in ``extra_info`` is the ratio to the baseline that writes least.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.bars import compare, judge
from benchmarks.baselines_tokens import (
    add_sines,
    end_rows,
    gather_by_rows,
    hide_by_arithmetic,
    hide_by_broadcast,
    noise_loss,
    write_over,
)
from benchmarks.in_turn import in_turn, seconds
from benchmarks.live import saved_bytes
from ross3d import (
    DDPMLoss,
    PosedFrames,
    PositionAwareEncoder,
    ViewMasker,
    depth_patch_coords,
    gather_tokens,
    join_tokens,
    sample_view_mask,
    token_positions,
)

VIEWS, SIDE, DIM = 32, 14, 3584
BEFORE, AFTER, WORDS, PLACEHOLDER = 14, 200, 1000, 0
Forward = Callable[[], Tensor]


@pytest.fixture(scope="module")
def places(frames: PosedFrames) -> tuple[Tensor, Tensor]:
    """Where the tokens of 32 real views are, and whether that is known."""
    return depth_patch_coords(frames.depths, frames.intrinsics, frames.poses, (SIDE, SIDE))


@pytest.fixture(scope="module")
def visual() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(1, VIEWS, SIDE**2, DIM, requires_grad=True)


@pytest.fixture(scope="module")
def masked() -> Tensor:
    return sample_view_mask(1, VIEWS, generator=torch.Generator().manual_seed(0))


def step(forward: Forward, leaves: tuple[Tensor, ...]) -> Callable[[], tuple[Tensor, ...]]:
    """Forward and backward: the result, and the gradients of the leaves."""
    with torch.no_grad():
        grad = torch.randn_like(forward())

    def both() -> tuple[Tensor, ...]:
        result = forward()
        return (result.detach(), *torch.autograd.grad(result, leaves, grad))

    return both


def agree(ours: Forward, slow: Forward, leaves: tuple[Tensor, ...]) -> None:
    """Both give the same values and the same gradients."""
    seed = torch.random.get_rng_state()
    found = step(ours, leaves)()
    torch.random.set_rng_state(seed)  # for the same incoming gradient
    torch.testing.assert_close(found, step(slow, leaves)(), rtol=1e-4, atol=1e-3)


def compare_with_leanest(
    benchmark: Any, work: str, ours: Callable[[], object], lean: Callable[[], object]
) -> None:
    """Keep the ratio to the baseline that writes least."""
    ratio = median(seconds(lean) / seconds(ours) for _ in range(3))
    compare(benchmark, work, "the same, broadcasting the mask", ratio)


def keeps(
    benchmark: Any, key: str, ours: Forward, slow: Forward, there: tuple[Tensor, ...]
) -> None:
    """Judge the bytes that a forward pass keeps, beyond its inputs."""
    kept, baseline = (saved_bytes(work, held=there) for work in (ours, slow))
    judge(benchmark, key, kept, baseline=baseline / 1e6, ours=kept / 1e6, measure="MB")


def test_masking(benchmark: Any, visual: Tensor, masked: Tensor) -> None:
    masker = ViewMasker(DIM)
    token = masker.mask_token
    leaves = visual, token

    def ours() -> Tensor:
        return masker(visual, masked)

    def slow() -> Tensor:
        return hide_by_arithmetic(visual, token, masked)

    agree(ours, slow, leaves)

    def lean() -> Tensor:
        return hide_by_broadcast(visual, token, masked)

    compare_with_leanest(benchmark, "hide views", step(ours, leaves), step(lean, leaves))
    in_turn(benchmark, step(ours, leaves), step(slow, leaves), bar="masking")
    keeps(benchmark, "masking-saved", ours, slow, (*leaves, masked))


@torch.no_grad()
def test_position_code(benchmark: Any, visual: Tensor, places: tuple[Tensor, Tensor]) -> None:
    encoder = PositionAwareEncoder(DIM)
    torch.testing.assert_close(
        encoder(visual, *places), add_sines(visual, *places), rtol=0, atol=1e-4
    )
    in_turn(
        benchmark,
        lambda: encoder(visual, *places),
        lambda: add_sines(visual, *places),
        bar="position-code",
    )


def test_assembly(
    benchmark: Any, visual: Tensor, masked: Tensor, places: tuple[Tensor, Tensor]
) -> None:
    """Masked, placed, a newline after every row, and text around: from ids to embeddings."""
    masker, encoder = ViewMasker(DIM), PositionAwareEncoder(DIM)
    words = torch.nn.Embedding(WORDS, DIM)
    newline = torch.randn(DIM, requires_grad=True)
    ids = torch.randint(1, WORDS, (1, BEFORE + VIEWS * SIDE * (SIDE + 1) + AFTER))
    ids[:, BEFORE:-AFTER] = PLACEHOLDER
    placeholder = ids == PLACEHOLDER
    is_newline = torch.zeros_like(placeholder)
    is_newline[:, BEFORE:-AFTER] = (torch.arange(SIDE + 1) == SIDE).repeat(VIEWS * SIDE)
    text, ends = token_positions(~placeholder, 1)[:, 0], token_positions(is_newline, 1)
    spoken = ids.gather(1, text)
    positions = token_positions(placeholder & ~is_newline, VIEWS)
    leaves = visual, masker.mask_token, newline, words.weight

    def ours() -> Tensor:
        tokens = encoder(masker(visual, masked), *places)
        return join_tokens((text, words(spoken)), (positions, tokens), (ends, newline))

    def slow() -> Tensor:
        tokens = add_sines(hide_by_arithmetic(visual, masker.mask_token, masked), *places)
        return write_over(words(ids), placeholder, end_rows(tokens, newline, SIDE))

    def lean() -> Tensor:
        tokens = add_sines(hide_by_broadcast(visual, masker.mask_token, masked), *places)
        lines = end_rows(tokens, newline, SIDE)
        return torch.cat([words(ids[:, :BEFORE]), lines, words(ids[:, -AFTER:])], dim=1)

    agree(ours, slow, leaves)
    compare_with_leanest(
        benchmark, "mask + code + newlines", step(ours, leaves), step(lean, leaves)
    )
    in_turn(benchmark, step(ours, leaves), step(slow, leaves), bar="assembly")
    there = (*leaves, masked, *places, ids, spoken, text, ends, positions)
    keeps(benchmark, "assembly-saved", ours, slow, there)


def test_gather(benchmark: Any) -> None:
    """An eighth of the width: the loop's backward writes a sequence per row, which takes long."""
    hidden = torch.randn(1, BEFORE + VIEWS * SIDE * (SIDE + 1) + AFTER, DIM // 8)
    hidden.requires_grad_()
    is_visual = torch.zeros(hidden.shape[:2], dtype=torch.bool)
    is_visual[:, BEFORE:-AFTER] = (torch.arange(SIDE + 1) < SIDE).repeat(VIEWS * SIDE)
    positions = token_positions(is_visual, VIEWS)
    ours = step(lambda: gather_tokens(hidden, positions), (hidden,))
    slow = step(lambda: gather_by_rows(hidden, BEFORE, VIEWS, SIDE, SIDE), (hidden,))
    assert gather_tokens(hidden, positions).equal(gather_by_rows(hidden, BEFORE, VIEWS, SIDE, SIDE))
    in_turn(benchmark, ours, slow, rounds=1, bar="gather")


def test_noise(benchmark: Any) -> None:
    """Eight masked views, four draws, of 64 x 14 x 14 latents; a denoiser that costs nothing."""
    torch.set_num_threads(1)
    objective, draws = DDPMLoss(), 32 * 8
    z0, noise = torch.randn(2, draws, 64, 14, 14)
    timesteps, condition = torch.randint(1000, (draws,)), torch.zeros(draws, 14 * 14, 1)
    scale = torch.nn.Parameter(torch.ones(()))

    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return z_t * scale

    def ours() -> tuple[Tensor, ...]:
        loss = objective(denoiser, z0, condition, t=timesteps, noise=noise)
        return loss.detach(), *torch.autograd.grad(loss, scale)

    def slow() -> tuple[Tensor, ...]:
        kept = objective.alphas_cumprod
        loss = noise_loss(denoiser, z0, condition, timesteps, noise, kept)
        return loss.detach(), *torch.autograd.grad(loss, scale)

    torch.testing.assert_close(ours(), slow())
    in_turn(benchmark, ours, slow, rounds=9, bar="noise")


@torch.no_grad()
def test_scaling_with_tokens(benchmark: Any, frames: PosedFrames) -> None:
    """Time of the position code is linear in the tokens per view."""
    encoder, points = PositionAwareEncoder(DIM), []
    for side in (7, 14, 20, 28):
        cameras = frames.depths, frames.intrinsics, frames.poses
        coords, known = depth_patch_coords(*cameras, (side, side))
        tokens = torch.zeros(1, VIEWS, side**2, DIM)

        def place(tokens: Tensor = tokens, coords: Tensor = coords, known: Tensor = known) -> None:
            encoder(tokens, coords, known)

        place()
        points.append([side**2, 1000 * min(seconds(place) for _ in range(3))])
    benchmark.extra_info["curve"] = {
        "name": "position code, 32 views",
        "against": "tokens per view",
        "points": points,
        "unit": "ms of CPU",
    }
    benchmark.pedantic(place, rounds=1)
    # Linear, within a factor of two that a busy machine may add.
    assert points[-1][1] / points[1][1] < 2 * points[-1][0] / points[1][0]
