from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import scenes, seeds
from torch import Tensor

from ross3d.geometry.zbuffer import (
    EMPTY,
    PointChunk,
    fill_holes,
    highest,
    pack_colours,
    slab_mean,
    unpack,
)

SIZE = 6


def random_points(b: int, seed: int, max_radius: int, n: int = 40) -> PointChunk:
    generator = torch.Generator().manual_seed(seed)
    return PointChunk(
        torch.randint(SIZE**2 + 1, (b, n), generator=generator),
        torch.randint(max_radius + 1, (b, n), generator=generator),
        torch.randn(b, n, generator=generator).round(decimals=1),
        torch.randint(2**24, (b, n), generator=generator),
    )


def covers(points: PointChunk, b: int, n: int, row: int, column: int) -> bool:
    pixel, radius = int(points.pixel[b, n]), int(points.radius[b, n])
    if pixel == SIZE**2:
        return False
    return max(abs(pixel // SIZE - row), abs(pixel % SIZE - column)) <= radius


def rgb(colour: Tensor) -> Tensor:
    return torch.stack([colour >> 16, colour >> 8 & 255, colour & 255], -1) / 255


def split(points: PointChunk) -> list[PointChunk]:
    """The points in two chunks, the last ones first."""
    parts = [part.split(25, dim=1) for part in points]
    return [PointChunk(*(part[i] for part in parts)) for i in (1, 0)]


@given(scenes, seeds, st.integers(0, 2))
def test_the_highest_point_of_each_pixel_wins(b: int, seed: int, max_radius: int) -> None:
    points = random_points(b, seed, max_radius)
    keys = highest([points], b, SIZE, max_radius)
    image, height = unpack(keys)
    for i, row, column in torch.cartesian_prod(*map(torch.arange, keys.shape)).tolist():
        found = [n for n in range(40) if covers(points, i, n, row, column)]
        assert (keys[i, row, column] != EMPTY) == bool(found)
        if found:  # of equally high points the one of the larger colour
            top = max(found, key=lambda n: (points.height[i, n].item(), points.colour[i, n].item()))
            assert height[i, row, column] == points.height[i, top]
            assert image[i, :, row, column].equal(rgb(points.colour[i, top]))
        else:
            assert height[i, row, column] == 0


@given(scenes, seeds, st.sampled_from([0.2, 1.0]))
def test_slab_mean_averages_what_is_near_the_top(b: int, seed: int, slab: float) -> None:
    points = random_points(b, seed, 0)
    keys = highest([points], b, SIZE, 0)
    image, height = slab_mean([points], keys, slab)
    _, top = unpack(keys)
    for i, row, column in torch.cartesian_prod(*map(torch.arange, keys.shape)).tolist():
        below = top[i, row, column] - points.height[i]
        near = (points.pixel[i] == row * SIZE + column) & (below <= slab)
        if near.any():
            mean, level = rgb(points.colour[i, near]).mean(0), points.height[i, near].mean()
            torch.testing.assert_close(image[i, :, row, column], mean)
            torch.testing.assert_close(height[i, row, column], level, atol=slab / 1000, rtol=0)


def test_a_pixel_that_only_footprints_cover_keeps_their_colour() -> None:
    here = torch.zeros(1, 2, dtype=torch.long)
    points = PointChunk(here, here + 1, torch.tensor([[1.0, 0.9]]), torch.tensor([[255, 0]]))
    image, height = slab_mean([points], highest([points], 1, SIZE, 1), 0.5)
    assert image[0, 2, 0, 0].item() == 0.5
    assert image[0, 2, 1, 1].item() == 1.0
    assert (height[0, 1, 1].item(), height[0, 2, 2].item()) == (1.0, 0.0)


@given(seeds)
def test_order_and_chunks_change_nothing(seed: int) -> None:
    points = random_points(2, seed, 2)
    keys = highest([points], 2, SIZE, 2)
    assert keys.equal(highest(split(points), 2, SIZE, 2))
    for one, other in zip(
        slab_mean([points], keys, 0.5), slab_mean(split(points), keys, 0.5), strict=True
    ):
        assert one.equal(other)


def test_colours_have_eight_bits() -> None:
    images = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 3, 1, 1)
    assert pack_colours(images).item() == (0 << 16) + (255 << 8) + 128
    assert pack_colours(images * 9 - 1).item() == (0 << 16) + (255 << 8) + 255


def test_fill_holes_needs_five_neighbours() -> None:
    observed = torch.ones(1, 5, 5, dtype=torch.bool)
    observed[0, 2, 2] = False  # eight neighbours
    observed[0, 0, 0] = False  # three
    height = torch.arange(25.0).view(1, 5, 5) * observed
    image = height[:, None].expand(-1, 3, -1, -1) / 25
    filled, level, known = fill_holes(image, height, observed)
    assert known[0, 2, 2]
    assert not known[0, 0, 0]
    assert known.sum() == 24
    torch.testing.assert_close(level[0, 2, 2], torch.tensor(12.0))
    torch.testing.assert_close(filled[0, :, 2, 2], torch.full((3,), 12 / 25))
    assert level[observed].equal(height[observed])
