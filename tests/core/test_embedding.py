"""sincos, sincos_points and grid_sincos."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d.core.embedding import grid_sincos, sincos, sincos_points


def slow_sincos(number: float, dim: int, temperature: float) -> list[float]:
    code = []
    for i in range(dim):
        angle = number / temperature ** (2 * (i // 2) / dim)
        code.append(math.cos(angle) if i % 2 else math.sin(angle))
    return code


@given(
    st.floats(-300, 300), st.integers(0, 17), st.sampled_from([10.0, 250.0, 10000.0]), st.booleans()
)
def test_equals_the_formula(number: float, dim: int, temperature: float, double: bool) -> None:
    dtype = torch.float64 if double else torch.float32
    x = torch.tensor([number, 1.0], dtype=dtype)
    code = sincos(x, dim, temperature=temperature)
    slow = torch.tensor([slow_sincos(n, dim, temperature) for n in x.tolist()], dtype=dtype)
    torch.testing.assert_close(code, slow.reshape(2, dim), rtol=0, atol=1e-12 if double else 6e-5)


def test_points_equal_the_golden_numbers() -> None:
    code = sincos_points(torch.tensor([150.0, 10.0, 50.0]), 3584)
    golden = {
        0: -0.714876,
        1: 0.699251,
        2: -0.048739,
        3: -0.998812,
        1193: 0.999884,
        1194: -0.544021,
        1195: -0.839072,
        2388: -0.262375,
        2389: 0.964966,
        3580: 0.005078,
        3581: 0.999987,
        3582: 0.0,
        3583: 0.0,
    }
    torch.testing.assert_close(
        code[list(golden)], torch.tensor(list(golden.values())), rtol=0, atol=2e-5
    )


@pytest.mark.parametrize(("points", "channels"), [(1, 1194), (2, 597), (5, 238), (9, 132)])
def test_points_share_the_channels_and_pad(points: int, channels: int) -> None:
    coords = 20 * torch.randn(4, points, 3)
    code = sincos_points(coords.flatten(-2), 3584)
    blocks = [sincos(coords[:, i, axis], channels) for i in range(points) for axis in range(3)]
    used = 3 * points * channels
    torch.testing.assert_close(code[:, :used], torch.cat(blocks, dim=-1))
    assert not code[:, used:].any()
    assert code.shape == (4, 3584)


def test_grid_encodes_rows_then_columns() -> None:
    code = grid_sincos(3, 5, 8).unflatten(0, (3, 5))
    for row in range(3):
        for column in range(5):
            halves = slow_sincos(row, 4, 10000.0) + slow_sincos(column, 4, 10000.0)
            torch.testing.assert_close(code[row, column], torch.tensor(halves))


def test_grid_cells_differ() -> None:
    assert torch.pdist(grid_sincos(14, 14, 64)).min() > 0.1


@given(st.lists(st.integers(0, 3), max_size=3), st.integers(3, 8))
def test_shapes(front: list[int], dim: int) -> None:
    assert sincos(torch.zeros(front), dim).shape == (*front, dim)
    assert sincos_points(torch.zeros(*front, 3), dim).shape == (*front, dim)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.float32])
def test_angles_are_computed_in_float32(dtype: torch.dtype) -> None:
    x = torch.tensor([3, 128], dtype=dtype)
    assert sincos(x, 6).dtype == torch.float32
    torch.testing.assert_close(sincos(x, 6), sincos(x.float(), 6), rtol=0, atol=0)


def test_errors() -> None:
    with pytest.raises(ValueError, match="dim must be at least 0; got -1"):
        sincos(torch.zeros(2), -1)
    with pytest.raises(ValueError, match="temperature must be positive; got 0"):
        sincos(torch.zeros(2), 4, temperature=0)
    with pytest.raises(ValueError, match=r"points must be of shape .* got \(\)"):
        sincos_points(torch.zeros(()), 4)
    with pytest.raises(ValueError, match=r"points must be of shape .* got \(2, 0\)"):
        sincos_points(torch.zeros(2, 0), 4)
    with pytest.raises(ValueError, match="dim must be at least 3, one channel per axis; got 2"):
        sincos_points(torch.zeros(2, 3), 2)
    for dim in (0, 7):
        with pytest.raises(ValueError, match=f"dim must be a positive even number; got {dim}"):
            grid_sincos(2, 2, dim)


def test_gradients() -> None:
    points = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: sincos_points(p, 11, temperature=10.0), points)


def test_compiles() -> None:
    points = torch.randn(2, 4, 3)
    compiled = torch.compile(sincos_points, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(points, 13), sincos_points(points, 13))
    compiled_grid = torch.compile(grid_sincos, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled_grid(2, 3, 8), grid_sincos(2, 3, 8))
