from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.core.dit import ConditionedDiT
from ross3d.core.regression import RegressionLoss


def read_condition(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """A denoiser that answers with its condition, and checks that it is given no noise."""
    assert not z_t.any()
    assert not t.any()
    return condition.mT.reshape(z_t.shape)


def inputs(dtype: torch.dtype = torch.float32):
    z0, said = torch.randn(2, 8, 3, 2, dtype=dtype), torch.randn(2, 8, 3, 2, dtype=dtype)
    return z0, said, said.flatten(2).mT, torch.rand(2, 3, 2, dtype=dtype)


@pytest.mark.parametrize("norm", ["l2", "l1", "cosine"])
def test_equals_torch(norm) -> None:
    z0, said, condition, weight = inputs()
    cells = {
        "l2": F.mse_loss(said, z0, reduction="none").mean(1),
        "l1": F.l1_loss(said, z0, reduction="none").mean(1),
        "cosine": 1 - F.cosine_similarity(said, z0, dim=1),
    }[norm]
    expected = (cells * weight).sum() / weight.sum()
    loss = RegressionLoss(norm)(read_condition, z0, condition, weight)
    torch.testing.assert_close(loss, expected, rtol=1e-3, atol=1e-3)
    unweighted = RegressionLoss(norm)(read_condition, z0, condition)
    torch.testing.assert_close(unweighted, cells.mean(), rtol=1e-3, atol=1e-3)


def test_cosine_ignores_lengths_and_has_bounded_gradients_at_zero() -> None:
    z0, _, condition, _ = inputs()
    loss = RegressionLoss("cosine")
    torch.testing.assert_close(
        loss(read_condition, 5 * z0, 10 * condition),
        loss(read_condition, z0, condition),
        rtol=1e-3,
        atol=1e-3,
    )
    zero = torch.zeros_like(condition, requires_grad=True)
    at_zero = loss(read_condition, z0, zero)
    at_zero.backward()
    assert at_zero.item() == pytest.approx(1)
    assert zero.grad is not None
    assert 0 < zero.grad.abs().max() < 100


@pytest.mark.parametrize("norm", ["l2", "l1", "cosine"])
@pytest.mark.parametrize("n", [0, 2])
def test_nothing_to_recover_is_zero_in_the_graph(norm, n: int) -> None:
    net = ConditionedDiT(channels=8, dim=16, depth=1, heads=2)
    z0, condition = torch.randn(n, 8, 3, 2), torch.randn(n, 6, 16, requires_grad=True)
    loss = RegressionLoss(norm)(net, z0, condition, torch.zeros(n, 3, 2))
    loss.backward()
    assert loss.item() == 0
    for tensor in (condition, *net.parameters()):
        assert tensor.grad is not None
        assert torch.count_nonzero(tensor.grad) == 0


@pytest.mark.parametrize("norm", ["l2", "l1", "cosine"])
def test_gradcheck(norm) -> None:
    z0, _, condition, weight = inputs(torch.float64)
    condition = condition.detach().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda c: RegressionLoss(norm)(read_condition, z0, c, weight), (condition,)
    )


def test_compiles() -> None:
    net = ConditionedDiT(channels=8, dim=16, depth=1, heads=2)
    z0, condition = torch.randn(2, 8, 3, 2), torch.randn(2, 6, 16)
    objective = RegressionLoss("cosine")
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(net, z0, condition), objective(net, z0, condition))


def test_names_what_does_not_fit() -> None:
    z0, _, condition, _ = inputs()
    with pytest.raises(ValueError, match=r"norm must be one of .*; got 'l3'"):
        RegressionLoss("l3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="condition must be of shape"):
        RegressionLoss()(read_condition, z0, condition[:, :5])
