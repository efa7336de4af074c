from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import scenes, seeds
from torch import Tensor

from ross3d.geometry.filling import box_mean, fill_holes, holes


def picture(b: int, size: int, seed: int, share: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    observed = torch.rand(b, size, size, generator=generator) < share
    image = torch.rand(b, 3, size, size, generator=generator) * observed[:, None]
    return image, torch.randn(b, size, size, generator=generator) * observed, observed


@given(scenes, seeds, st.integers(0, 3))
def test_holes_are_what_a_closing_adds(b: int, seed: int, radius: int) -> None:
    _, _, observed = picture(b, 13, seed, 0.3)
    found = holes(observed, radius)
    side, inner = 2 * radius + 1, slice(2 * radius, 2 * radius + 13)
    wide = torch.nn.functional.pad(observed, (4 * radius,) * 4)
    spread = wide.unfold(1, side, 1).unfold(2, side, 1).any(-1).any(-1)
    closed = spread.unfold(1, side, 1).unfold(2, side, 1).all(-1).all(-1)
    assert found.equal(closed[:, inner, inner] & ~observed)


@given(scenes, seeds, st.integers(1, 17), st.integers(0, 4))
def test_filling_keeps_what_was_observed(b: int, seed: int, size: int, levels: int) -> None:
    image, height, observed = picture(b, size, seed, 0.5)
    full, level, filled = fill_holes(image, height, observed, levels)
    assert not (filled & observed).any()
    kept = observed[:, None].expand_as(image)
    assert full[kept].equal(image[kept])
    assert level[observed].equal(height[observed])
    empty = ~(observed | filled)
    assert (full[empty[:, None].expand_as(full)] == 0).all()
    assert (level[empty] == 0).all()
    if levels == 0:
        assert not filled.any()
    for b_ in range(b):
        if filled[b_].any():
            assert full[b_].max() <= image[b_].max() + 1e-5
            assert level[b_][filled[b_]].min() >= height[b_][observed[b_]].min() - 1e-4
            assert level[b_][filled[b_]].max() <= height[b_][observed[b_]].max() + 1e-4


@pytest.mark.parametrize(("width", "levels"), [(1, 1), (2, 1), (4, 2), (8, 3)])
def test_gaps_as_wide_as_two_to_the_levels_are_filled(width: int, levels: int) -> None:
    ramp = (torch.arange(40.0) / 40).expand(1, 40, 40)
    observed = torch.ones(1, 40, 40, dtype=torch.bool)
    observed[:, :, 10 : 10 + width] = False
    image = ramp[:, None].expand(-1, 3, -1, -1) * observed[:, None]
    full, level, filled = fill_holes(image, ramp * observed, observed, levels)
    assert filled.equal(~observed)
    assert (full - ramp[:, None]).abs().max() < width / 40
    assert (level - ramp).abs().max() < width / 40


def test_outlines_stay_where_they_were() -> None:
    observed = torch.zeros(1, 40, 40, dtype=torch.bool)
    observed[:, 8:20, 10:30] = True
    plane = observed.float()
    filled = fill_holes(plane[:, None].expand(-1, 3, -1, -1), plane, observed, 3)[2]
    assert not filled.any()


@given(scenes, seeds, st.integers(0, 2))
def test_box_mean_is_a_weighted_mean(b: int, seed: int, radius: int) -> None:
    image, _, observed = picture(b, 9, seed, 0.5)
    found = box_mean(image, observed.float(), radius)
    for i, row, column in torch.cartesian_prod(*(torch.arange(n) for n in (b, 9, 9))).tolist():
        rows, columns = (slice(max(x - radius, 0), x + radius + 1) for x in (row, column))
        seen = observed[i, rows, columns]
        expected = image[i, :, rows, columns][:, seen].mean(-1) if seen.any() else torch.zeros(3)
        torch.testing.assert_close(found[i, :, row, column], expected)
