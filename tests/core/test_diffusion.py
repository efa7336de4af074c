from __future__ import annotations

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ross3d.core.diffusion import DDPMLoss, add_noise, alphas_cumprod
from ross3d.core.dit import ConditionedDiT


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
    t = torch.randint(1000, (n * draws,))
    return z0, condition, weight, t, torch.randn(n * draws, 4, 3, 2, dtype=dtype)


@torch.no_grad()
def slow_loss(net, target, z0, condition, weight, t, noise) -> float:
    """Eq. 8 in float64, one draw and one cell at a time, with the schedule from its definition."""
    draws = len(noise) // len(z0)
    kept, product = [], 1.0
    for s in range(1000):
        f = [math.cos((u / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (s, s + 1)]
        product *= 1 - min(1 - f[1] / f[0], 0.999)
        kept.append(product)
    total, norm = 0.0, 0.0
    for row in range(len(noise)):
        i, a = row // draws, kept[int(t[row])]
        z, eps = z0[i].double(), noise[row].double()
        z_t = math.sqrt(a) * z + math.sqrt(1 - a) * eps
        wanted = {"eps": eps, "x0": z, "v": math.sqrt(a) * eps - math.sqrt(1 - a) * z}[target]
        said = net(z_t[None], t[row : row + 1].double(), condition[i : i + 1].double())[0]
        for y in range(3):
            for x in range(2):
                w = float(weight[i, y, x])
                total += w * float((said - wanted)[:, y, x].square().mean())
                norm += w
    return total / norm


def test_schedule_has_the_known_values() -> None:
    known = {0: 0.99995872, 1: 0.99991258, 250: 0.84588799, 500: 0.49228517, 750: 0.14317865}
    known |= {998: 2.4288e-6, 999: 2.4288e-9}
    kept = alphas_cumprod()
    assert kept.dtype == torch.float32
    for t, value in known.items():
        assert kept[t].item() == pytest.approx(value, rel=2e-5 if t > 900 else 1e-7)


@given(num_steps=st.integers(1, 2000))
def test_schedule_falls_and_stays_positive(num_steps: int) -> None:
    kept = alphas_cumprod(num_steps)
    assert kept.shape == (num_steps,)
    assert (kept.diff() < 0).all()
    assert 0 < kept[-1] <= kept[0] <= 1


def test_add_noise_equals_diffusers_for_all_timesteps() -> None:
    diffusers = pytest.importorskip("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    t = torch.arange(1000)
    z0, noise = torch.randn(1000, 3, 2, 2), torch.randn(1000, 3, 2, 2)
    torch.testing.assert_close(
        add_noise(z0, noise, t, alphas_cumprod()), theirs.add_noise(z0, noise, t), atol=1e-4, rtol=0
    )


def test_add_noise_keeps_float32_for_half_latents() -> None:
    z0, noise, t = torch.ones(1, 2).bfloat16(), torch.zeros(1, 2), torch.tensor([250])
    z_t = add_noise(z0, noise, t, alphas_cumprod())
    assert z_t[0, 0].item() == pytest.approx(math.sqrt(0.84588799), abs=1e-7)


@pytest.mark.parametrize("target", ["eps", "v", "x0"])
@pytest.mark.parametrize("draws", [1, 3])
def test_loss_equals_the_slow_version(target, draws: int) -> None:
    net = build(dtype=torch.float64)
    z0, condition, weight, t, noise = inputs(draws=draws, dtype=torch.float64)

    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return net(z_t, t.double(), condition)

    objective = DDPMLoss(target=target, draws=draws, shared_timestep=False)
    loss = objective(denoiser, z0, condition, weight, t=t, noise=noise)
    expected = slow_loss(net, target, z0, condition, weight, t, noise)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("draws", [1, 4])
def test_shared_timestep_equals_the_same_timesteps_repeated(draws: int) -> None:
    net = build()
    z0, condition, weight, _, noise = inputs(draws=draws)
    t = torch.tensor([3, 700])
    shared = DDPMLoss(draws=draws)
    every = DDPMLoss(draws=draws, shared_timestep=False)
    torch.testing.assert_close(
        shared(net, z0, condition, weight, t=t, noise=noise),
        every(net, z0, condition, weight, t=t.repeat_interleave(draws), noise=noise),
    )


def test_first_loss_is_the_mean_of_the_squared_noise() -> None:
    z0, condition, _, t, noise = inputs()
    loss = DDPMLoss()(build(random=False), z0, condition, t=t, noise=noise)
    torch.testing.assert_close(loss, noise.square().mean())


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("nothing", ["targets", "weights"])
def test_nothing_to_recover_is_zero_in_the_graph(nothing: str, shared: bool) -> None:
    net = build()
    z0, condition, weight, _, _ = inputs(n=0 if nothing == "targets" else 2)
    condition.requires_grad_()
    objective = DDPMLoss(draws=2, shared_timestep=shared)
    loss = objective(net, z0, condition, torch.zeros_like(weight))
    loss.backward()
    assert loss.item() == 0
    for tensor in (condition, *net.parameters()):
        assert tensor.grad is not None
        assert torch.count_nonzero(tensor.grad) == 0


def test_gradient_is_zero_where_the_weight_is() -> None:
    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return condition.mT.reshape(2, 16, 3, 2)[:, :4]

    z0, condition, weight, _, _ = inputs()
    weight[0, 1, 1] = weight[1, 2, 0] = 0
    condition.requires_grad_()
    DDPMLoss()(denoiser, z0, condition, weight).backward()
    assert condition.grad is not None
    moved = condition.grad.any(dim=-1).reshape(2, 3, 2)
    assert torch.equal(moved, weight > 0)


@pytest.mark.parametrize(("shared", "targets"), [(False, 500), (True, 2000)])
def test_draws_are_uniform_and_follow_the_generator(shared: bool, targets: int) -> None:
    seen: list[Tensor] = []

    def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append(t)
        return z_t

    z0, condition = torch.zeros(targets, 1, 1, 1), torch.zeros(targets, 1, 1)
    objective = DDPMLoss(draws=4, shared_timestep=shared)
    losses = [
        objective(denoiser, z0, condition, generator=torch.Generator().manual_seed(5))
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert torch.equal(seen[0], seen[1])
    counts = seen[0].div(100, rounding_mode="floor").bincount(minlength=10)
    assert seen[0].dtype == torch.long
    assert counts.shape == (10,)
    assert counts.min() > 140


def test_schedule_survives_casting_and_meta_initialisation() -> None:
    with torch.device("meta"):
        objective = DDPMLoss()
    torch.testing.assert_close(objective.bfloat16().alphas_cumprod, alphas_cumprod())
    assert not objective.state_dict()


@pytest.mark.parametrize("target", ["eps", "v", "x0"])
def test_split_undoes_add_noise(target) -> None:
    objective = DDPMLoss(target=target)
    z0, _, _, _, noise = inputs(dtype=torch.float64)
    t = torch.tensor([5, 900])
    z_t = add_noise(z0, noise, t, objective.alphas_cumprod)
    clean, eps = objective.split(objective.target_of(z0, noise, t), z_t, t)
    torch.testing.assert_close(clean, z0, atol=1e-5, rtol=0)
    torch.testing.assert_close(eps, noise, atol=1e-5, rtol=0)


def test_takes_bfloat16_latents_and_conditions() -> None:
    z0, condition, weight, t, noise = inputs()
    net, objective = build(), DDPMLoss()
    half = objective(net, z0.bfloat16(), condition.bfloat16(), weight.bfloat16(), t=t, noise=noise)
    assert half.dtype == torch.float32
    full = objective(net, z0, condition, weight, t=t, noise=noise)
    torch.testing.assert_close(half, full, rtol=0.05, atol=0.05)


def test_gradcheck() -> None:
    net = build(dtype=torch.float64)
    z0, condition, weight, t, noise = inputs(n=1, dtype=torch.float64)
    condition.requires_grad_()

    def loss(c: Tensor) -> Tensor:
        return DDPMLoss()(net, z0, c, weight, t=t, noise=noise)

    assert torch.autograd.gradcheck(loss, (condition,))


def test_compiles() -> None:
    net, objective = build(), DDPMLoss(draws=2, shared_timestep=False)
    z0, condition, weight, t, noise = inputs(draws=2)
    compiled = torch.compile(objective, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(net, z0, condition, weight, t=t, noise=noise),
        objective(net, z0, condition, weight, t=t, noise=noise),
    )
    assert compiled(net, z0, condition).isfinite()


def test_refuses_bad_options() -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1; got 0"):
        DDPMLoss(0)
    with pytest.raises(ValueError, match=r"target must be one of \('eps', 'v', 'x0'\); got 'z'"):
        DDPMLoss(target="z")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="draws must be at least 1; got 0"):
        DDPMLoss(draws=0)


def test_names_what_does_not_fit() -> None:
    z0, condition, _, t, noise = inputs()
    with pytest.raises(ValueError, match="t must be of shape"):
        DDPMLoss(draws=2, shared_timestep=False)(build(), z0, condition, t=t)
    with pytest.raises(
        ValueError, match=r"noise must be of shape \(2, 4, 3, 2\); got \(1, 4, 3, 2\)"
    ):
        DDPMLoss()(build(), z0, condition, t=t, noise=noise[:1])
    with pytest.raises(ValueError, match="t must be of shape"):
        add_noise(z0, noise, t[:1], alphas_cumprod())
    with pytest.raises(ValueError, match="condition must be of shape"):
        DDPMLoss()(build(), z0, condition[:, :5])
