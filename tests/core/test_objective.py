from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ross3d.core.objective import check_targets, draw, repeat_draws, squared_error, weighted_mean


@given(n=st.integers(1, 3), draws=st.integers(1, 3), size=st.integers(1, 4))
def test_weighted_mean_equals_a_loop_over_cells(n: int, draws: int, size: int) -> None:
    error, weight = torch.rand(n * draws, size, size), torch.rand(n, size, size) + 0.1
    total, norm = 0.0, 0.0
    for row in range(n * draws):
        for y in range(size):
            for x in range(size):
                w = weight[row // draws, y, x].item()
                total, norm = total + w * error[row, y, x].item(), norm + w
    assert weighted_mean(error, weight).item() == pytest.approx(total / norm, rel=1e-5)


def test_weighted_mean_without_weights_is_the_mean() -> None:
    error = torch.rand(4, 3, 5)
    torch.testing.assert_close(weighted_mean(error, None), error.mean())
    torch.testing.assert_close(weighted_mean(error, torch.full((2, 3, 5), 7.0)), error.mean())


@pytest.mark.parametrize("n", [0, 2])
def test_weighted_mean_of_nothing_is_zero_in_the_graph(n: int) -> None:
    error = torch.rand(n, 3, 3, requires_grad=True)
    loss = weighted_mean(error, torch.zeros(n, 3, 3))
    loss.backward()
    assert loss.item() == 0
    assert error.grad is not None
    assert torch.count_nonzero(error.grad) == 0


def test_draw_follows_the_generator_and_the_dtype() -> None:
    def generator() -> torch.Generator:
        return torch.Generator().manual_seed(3)

    half = torch.zeros(1, dtype=torch.bfloat16)
    first = draw("normal", (500,), half, generator())
    assert first.dtype == torch.float32
    torch.testing.assert_close(first, draw("normal", (500,), half, generator()), rtol=0, atol=0)
    assert first.min() < -1
    uniform = draw("uniform", (500,), half.double(), generator())
    assert uniform.dtype == torch.float64
    assert 0 <= uniform.min() < 0.1 < 0.9 < uniform.max() < 1


def test_draw_refuses_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match="kind must be 'normal' or 'uniform'; got 'cauchy'"):
        draw("cauchy", (2,), torch.zeros(1), None)


@pytest.mark.parametrize(
    ("name", "z0", "condition", "weight"),
    [
        ("z0", (2, 4, 3), (2, 9, 8), None),
        ("condition", (2, 4, 3, 3), (2, 8, 8), None),
        ("condition", (2, 4, 3, 3), (1, 9, 8), None),
        ("weight", (2, 4, 3, 3), (2, 9, 8), (2, 3, 4)),
    ],
)
def test_check_targets_names_what_does_not_fit(name, z0, condition, weight) -> None:
    weight = None if weight is None else torch.zeros(weight)
    with pytest.raises(ValueError, match=f"{name} must be of shape"):
        check_targets(torch.zeros(z0), torch.zeros(condition), weight)


@pytest.mark.parametrize("draws", [1, 3])
def test_draws_of_a_target_stand_in_a_row(draws: int) -> None:
    values = torch.tensor([[1.0], [2.0]])
    expected = torch.tensor([[x] for x in (1.0, 2.0) for _ in range(draws)])
    assert torch.equal(repeat_draws(values, draws), expected)


def test_squared_error_is_the_mean_over_channels() -> None:
    prediction, target = torch.randn(2, 2, 4, 3, 3, dtype=torch.float64)
    expected = sum((prediction[:, c] - target[:, c]) ** 2 for c in range(4)) / 4
    torch.testing.assert_close(squared_error(prediction, target), expected)
    with pytest.raises(
        ValueError, match=r"denoiser must predict \(2, 4, 3, 3\); got \(2, 1, 3, 3\)"
    ):
        squared_error(prediction[:, :1], target)
