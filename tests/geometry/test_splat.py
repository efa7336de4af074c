from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds
from torch import Tensor

from ross3d.geometry.splat import close_gaps, footprint_radius

EMPTY = torch.iinfo(torch.int64).min


def closing(keys: Tensor, radius: int) -> Tensor:
    """The same by definition: the minimum, over a square, of the maximum over a square."""
    side = 2 * radius + 1
    spread = F.pad(keys, (2 * radius,) * 4, value=EMPTY)
    spread = spread.unfold(1, side, 1).unfold(2, side, 1).amax((-1, -2))
    return spread.unfold(1, side, 1).unfold(2, side, 1).amin((-1, -2))


@given(seeds, st.integers(0, 5))
def test_closing_is_a_minimum_of_maxima(seed: int, radius: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randint(-(2**60), 2**60, (2, 9, 9), generator=generator)
    keys[torch.rand(2, 9, 9, generator=generator) < 0.6] = EMPTY
    closed = close_gaps(keys, radius)
    assert closed.equal(closing(keys, radius))
    assert (closed >= keys).all()
    assert close_gaps(closed, radius).equal(closed)


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_gaps_close_and_outlines_stay(radius: int) -> None:
    keys = torch.full((1, 30, 30), EMPTY)
    keys[:, 5:22:2, 8:20:2] = 7
    closed = close_gaps(keys, radius)
    inside = torch.zeros(1, 30, 30, dtype=torch.bool)
    inside[:, 5:22, 8:19] = True
    assert (closed == 7).equal(inside)
    assert (closed == EMPTY).equal(~inside)


def test_footprints_grow_with_depth_and_slant() -> None:
    depths = torch.tensor([1.0, 2.0, 4.0, 4.0]).view(1, 1, 1, 4)
    drop = torch.tensor([1.0, 2.0, 4.0, 2.0]).view(1, 1, 1, 4)
    focal, cell = torch.tensor([[100.0]]), torch.tensor([0.01])
    # One and a half times 1, 2, 4 and 8 pixels wide.
    assert footprint_radius(depths, (depths > 0).float(), focal, drop, cell).flatten().tolist() == [
        1,
        1,
        3,
        6,
    ]
    level = footprint_radius(depths, (depths > 0).float(), focal, torch.zeros_like(drop), cell)
    assert level.flatten().tolist() == [2, 4, 9, 9]
    assert (footprint_radius(depths, (depths > 0).float(), focal * 100, drop, cell) <= 0).all()


def test_pixels_beside_unknown_depth_reach_beyond_it() -> None:
    depths = torch.full((1, 1, 5, 5), 4.0)
    depths[..., 1, 0] = 0
    focal, cell = torch.tensor([[100.0]]), torch.tensor([0.01])
    radius = footprint_radius(depths, (depths > 0).float(), focal, depths.clone(), cell)[0, 0]
    beside = torch.zeros(5, 5, dtype=torch.bool)
    beside[:3, :2] = True
    beside[1, 0] = False
    assert (radius[beside] == 6).all()  # three times 4 pixels wide
    assert (radius[~beside & (depths[0, 0] > 0)] == 3).all()
