from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ross3d.core.dit import ConditionedDiT
from ross3d.core.flow import FlowMatchingLoss


def build(*, random: bool = True, dtype: torch.dtype = torch.float32) -> ConditionedDiT:
    torch.manual_seed(0)
    denoiser = ConditionedDiT(channels=4, dim=16, depth=1, heads=2)
    if random:
        for parameter in denoiser.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    return denoiser.to(dtype)


def inputs(n: int = 2, draws: int = 1, dtype: torch.dtype = torch.float32):
    z0 = torch.randn(n, 4, 3, 2, dtype=dtype)
    condition = torch.randn(n, 6, 16, dtype=dtype)
    weight = torch.rand(n, 3, 2, dtype=dtype)
    t = torch.rand(n * draws, dtype=dtype)
    return z0, condition, weight, t, torch.randn(n * draws, 4, 3, 2, dtype=dtype)


@pytest.mark.parametrize("draws", [1, 3])
def test_equals_a_loop_over_draws_and_cells(draws: int) -> None:
    net = build(dtype=torch.float64)
    z0, condition, weight, t, noise = inputs(draws=draws, dtype=torch.float64)
    total, norm = 0.0, 0.0
    for row in range(2 * draws):
        i = row // draws
        z_t = (1 - t[row]) * z0[i] + t[row] * noise[row]
        said = net(z_t[None], 1000 * t[row : row + 1], condition[i : i + 1])[0]
        for y in range(3):
            for x in range(2):
                error = said[:, y, x] - noise[row, :, y, x] + z0[i, :, y, x]
                total += (weight[i, y, x] * error.square().mean()).item()
                norm += float(weight[i, y, x])
    loss = FlowMatchingLoss(draws, shared_timestep=False)(
        net, z0, condition, weight, t=t, noise=noise
    )
    assert loss.item() == pytest.approx(total / norm, rel=1e-6)


def test_shared_timestep_equals_the_same_timesteps_repeated() -> None:
    net = build()
    z0, condition, weight, _, noise = inputs(draws=3)
    t = torch.tensor([0.2, 0.9])
    every = FlowMatchingLoss(3, shared_timestep=False)
    torch.testing.assert_close(
        FlowMatchingLoss(3)(net, z0, condition, weight, t=t, noise=noise),
        every(net, z0, condition, weight, t=t.repeat_interleave(3), noise=noise),
    )


def test_first_loss_is_the_mean_of_the_squared_velocity() -> None:
    z0, condition, _, t, noise = inputs()
    loss = FlowMatchingLoss()(build(random=False), z0, condition, t=t, noise=noise)
    torch.testing.assert_close(loss, (noise - z0).square().mean())


@pytest.mark.parametrize("n", [0, 2])
def test_nothing_to_recover_is_zero_in_the_graph(n: int) -> None:
    net = build()
    z0, condition, weight, _, _ = inputs(n=n)
    condition.requires_grad_()
    loss = FlowMatchingLoss()(net, z0, condition, torch.zeros_like(weight))
    loss.backward()
    assert loss.item() == 0
    for tensor in (condition, *net.parameters()):
        assert tensor.grad is not None
        assert torch.count_nonzero(tensor.grad) == 0


@pytest.mark.parametrize(("density", "middle"), [("uniform", 0.5), ("logit_normal", 0.728)])
def test_times_have_the_chosen_density(density, middle: float) -> None:
    seen: list[Tensor] = []

    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append(t / 1000)
        return z_t

    z0, condition = torch.zeros(4000, 1, 1, 1), torch.zeros(4000, 1, 1)
    objective = FlowMatchingLoss(density=density)
    objective(denoiser, z0, condition, generator=torch.Generator().manual_seed(5))
    assert 0 <= seen[0].min() < seen[0].max() <= 1
    # P(0.25 < t < 0.75) = 2 Phi(log 3) - 1 = 0.728 for the logit-normal density.
    share = ((seen[0] > 0.25) & (seen[0] < 0.75)).float().mean()
    assert share.item() == pytest.approx(middle, abs=0.03)


def test_gradcheck() -> None:
    net = build(dtype=torch.float64)
    z0, condition, weight, t, noise = inputs(n=1, dtype=torch.float64)
    condition.requires_grad_()

    def loss(c: Tensor) -> Tensor:
        return FlowMatchingLoss()(net, z0, c, weight, t=t, noise=noise)

    assert torch.autograd.gradcheck(loss, (condition,))


def test_compiles() -> None:
    net, objective = build(), FlowMatchingLoss(2, shared_timestep=False)
    z0, condition, weight, t, noise = inputs(draws=2)
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(net, z0, condition, weight, t=t, noise=noise),
        objective(net, z0, condition, weight, t=t, noise=noise),
    )


def test_refuses_bad_options() -> None:
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        FlowMatchingLoss(0)
    with pytest.raises(ValueError, match=r"density must be one of .*; got 'beta'"):
        FlowMatchingLoss(density="beta")  # type: ignore[arg-type]


def test_names_what_does_not_fit() -> None:
    z0, condition, _, t, noise = inputs()
    with pytest.raises(ValueError, match="t must be of shape"):
        FlowMatchingLoss(2)(build(), z0, condition, t=t[:1])
    with pytest.raises(ValueError, match=r"noise must be of shape \(2, 4, 3, 2\)"):
        FlowMatchingLoss()(build(), z0, condition, t=t, noise=noise[:1])
    with pytest.raises(ValueError, match="condition must be of shape"):
        FlowMatchingLoss()(build(), z0, condition[:, :5])
