"""Cells of views, and their pixels in boxes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.heads.cells import cell_axis, count_inside


def scene(b: int = 2, m: int = 3, h: int = 12, w: int = 12, o: int = 6) -> tuple[Tensor, ...]:
    """Surfaces with unknown pixels that are not even numbers, and boxes around parts of them."""
    coords = torch.rand(b, m, h, w, 3) * 0.3 + torch.rand(b, m, 1, 1, 3)
    coords[..., 0] += torch.linspace(0, 3, w)
    coords[..., 1] += torch.linspace(0, 3, h)[:, None]
    valid = torch.rand(b, m, h, w) > 0.1
    coords = torch.where(valid[..., None], coords, torch.nan)
    boxes = torch.cat([torch.rand(b, o, 3) * 3, torch.rand(b, o, 3) * 3 + 0.1], dim=-1)
    return coords, valid, boxes


def by_pixels(coords: Tensor, valid: Tensor, boxes: Tensor, rows: int, columns: int) -> Tensor:
    """Test every pixel against every box, then add up cell by cell."""
    h, w = valid.shape[-2:]
    low, high = (boxes[..., :3] + sign * boxes[..., 3:] / 2 for sign in (-1, 1))
    low, high = (rearrange(x, "b o a -> b o 1 1 1 a") for x in (low, high))
    inside = ((coords[:, None] >= low) & (coords[:, None] <= high)).all(-1) & valid[:, None]
    inside &= (boxes[..., 3:] > 0).all(-1)[..., None, None, None]
    counts = [
        inside[..., i * h // rows : -((i + 1) * -h // rows), :][
            ..., j * w // columns : -((j + 1) * -w // columns)
        ].sum((-2, -1))
        for i in range(rows)
        for j in range(columns)
    ]
    return torch.stack(counts, dim=-1)


@pytest.mark.parametrize("layout", ["b m h w a", "b m a h w"])
@pytest.mark.parametrize("size", [(12, 12), (13, 17)])
def test_counts_each_pixel(size: tuple[int, int], layout: str) -> None:
    coords, valid, boxes = scene(2, 3, *size, o=20)
    boxes[0, :3] = torch.tensor([[0.0] * 6, [9.0] * 3 + [torch.inf] * 3, [1.0] * 3 + [9.0] * 3])
    coords = rearrange(coords, f"b m h w a -> {layout}").contiguous()
    coords = rearrange(coords, f"{layout} -> b m h w a")
    coords[1, 0, :2, 3] = torch.nan  # known to be nowhere
    valid[1, 0, :2, 3] = True
    coords[1, 1, 4, 4] = torch.tensor([torch.inf, 1.0, -torch.inf])
    counts = count_inside(coords, valid, boxes, 3, 4)
    expected = by_pixels(coords, valid, boxes, 3, 4)
    assert expected.any()
    assert (expected[0, 1] > 0).any()
    torch.testing.assert_close(counts, expected.int(), rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("which", ["coords", "boxes", "both"])
def test_compares_at_full_precision(dtype: torch.dtype, which: str) -> None:
    coords, valid, boxes = scene(1, 2, o=20)
    coords = coords if which == "boxes" else coords.to(dtype)
    boxes = boxes if which == "coords" else boxes.to(dtype)
    full = torch.promote_types(boxes.dtype, torch.float32)
    expected = by_pixels(coords, valid, boxes.to(full), 3, 3)
    torch.testing.assert_close(count_inside(coords, valid, boxes, 3, 3), expected.int())


def test_faces_belong_to_a_box() -> None:
    coords = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 1, 1, 4, 1).expand(1, 1, 1, 4, 3)
    box = torch.tensor([[[0.25, 0.25, 0.25, 0.1, 0.1, 0.1]]])
    counts = count_inside(coords, torch.ones(1, 1, 1, 4, dtype=torch.bool), box, 1, 1)
    low, high = 0.25 - torch.tensor(0.1) / 2, 0.25 + torch.tensor(0.1) / 2
    assert counts.item() == ((coords[..., 0] >= low) & (coords[..., 0] <= high)).sum()


@given(
    b=st.integers(1, 2),
    m=st.integers(1, 3),
    o=st.integers(0, 3),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    grid=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_counts_sum_to_the_known_pixels_of_a_box_around_everything(
    b: int, m: int, o: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    coords, valid, _ = scene(b, m, *size)
    everything = torch.tensor([0.0, 0, 0, 99, 99, 99]).expand(b, o, 6)
    counts = count_inside(coords, valid, everything, *grid)
    assert counts.shape == (b, o, m, grid[0] * grid[1])
    spans = [
        cell_axis(length, cells, valid.device)[1].sum(1)
        for length, cells in zip(size, grid, strict=True)
    ]
    known = F.adaptive_avg_pool2d(valid.double(), grid) * torch.outer(*spans)
    torch.testing.assert_close(
        counts.double(), known.flatten(2)[:, None].expand_as(counts), atol=1e-6, rtol=0
    )


def test_is_an_operator() -> None:
    torch.library.opcheck(count_inside, (*scene(), 3, 3))


def test_cells_are_those_of_adaptive_pooling() -> None:
    for size, cells in ((12, 3), (13, 5), (5, 6), (1, 1)):
        index, real = cell_axis(size, cells, torch.device("cpu"))
        values = torch.randn(size)
        means = torch.where(real, values[index], 0).sum(1) / real.sum(1)
        torch.testing.assert_close(means, F.adaptive_avg_pool1d(values[None], cells)[0])
