from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from ross3d.core.diffusion import DDPMLoss
from ross3d.core.dit import ConditionedDiT
from ross3d.core.flow import FlowMatchingLoss
from ross3d.core.regression import RegressionLoss
from ross3d.core.sampling import sample

SHAPE = (2, 4, 3, 2)
CONDITION = torch.zeros(2, 6, 8)


def scheduler(name: str, **options: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(diffusers, name)(**options)


def diffusion_scheduler(name: str, target: str = "epsilon", **options: Any) -> Any:
    options = {"beta_schedule": "squaredcos_cap_v2", "prediction_type": target, **options}
    return scheduler(name, **options)


class Oracle:
    """A denoiser that knows the answer."""

    def __init__(self, objective: Any) -> None:
        self.z0 = 3 * torch.randn(SHAPE)
        self.objective, self.times = objective, []

    def __call__(self, z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        self.times.append(t[0].item())
        if isinstance(self.objective, RegressionLoss):
            return self.z0
        if isinstance(self.objective, FlowMatchingLoss):
            return (z_t - self.z0) / (t / 1000)[:, None, None, None]
        kept = self.objective.alphas_cumprod[t.long()][:, None, None, None]
        noise = (z_t - kept.sqrt() * self.z0) / (1 - kept).sqrt()
        return self.objective.target_of(self.z0, noise, t.long())


@pytest.mark.parametrize("steps", [1, 7, 50])
@pytest.mark.parametrize(
    ("objective", "method"),
    [
        *((DDPMLoss(target=target), m) for target in ("eps", "v", "x0") for m in ("ddim", "ddpm")),
        (FlowMatchingLoss(), "euler"),
        (RegressionLoss(), None),
        (DDPMLoss(), None),
        (FlowMatchingLoss(), None),
    ],
)
def test_recovers_what_an_oracle_knows(objective, method, steps: int) -> None:
    oracle = Oracle(objective)
    z0 = sample(objective, oracle, CONDITION, SHAPE, method=method, steps=steps)
    torch.testing.assert_close(z0, oracle.z0, atol=1e-4, rtol=1e-4)
    assert len(oracle.times) == (1 if isinstance(objective, RegressionLoss) else steps)
    assert oracle.times == sorted(oracle.times, reverse=True)


@pytest.mark.parametrize("target", ["eps", "v", "x0"])
def test_all_thousand_steps_recover_it_too(target) -> None:
    objective = DDPMLoss(target=target)
    oracle = Oracle(objective)
    z0 = sample(objective, oracle, CONDITION, SHAPE, method="ddpm", steps=1000)
    torch.testing.assert_close(z0, oracle.z0, atol=1e-3, rtol=1e-3)
    assert oracle.times == list(range(999, -1, -1))


def denoise(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """A made-up network, mild enough that twenty steps stay finite."""
    return z_t * (0.2 + t[:, None, None, None] / 2000) + 0.1


@pytest.mark.parametrize(
    ("target", "theirs"), [("eps", "epsilon"), ("v", "v_prediction"), ("x0", "sample")]
)
def test_ddim_equals_diffusers_step_by_step(target, theirs: str) -> None:
    calls: list[list[tuple[int, Tensor]]] = [[], []]

    def watch(log: list[tuple[int, Tensor]]):
        def denoiser(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
            log.append((int(t[0]), z_t))
            return denoise(z_t, t, condition)

        return denoiser

    noise, objective = torch.randn(SHAPE), DDPMLoss(target=target)
    spacing = "leading" if target == "eps" else "trailing"
    ddim = diffusion_scheduler("DDIMScheduler", theirs, clip_sample=False, timestep_spacing=spacing)
    options = {"steps": 20, "noise": noise}
    ours = sample(objective, watch(calls[0]), CONDITION, SHAPE, method="ddim", **options)
    their = sample(objective, watch(calls[1]), CONDITION, SHAPE, scheduler=ddim, **options)
    torch.testing.assert_close(ours, their, atol=1e-4, rtol=1e-4)
    assert len(calls[0]) == len(calls[1]) == 20
    for (t, z_t), (their_t, their_z_t) in zip(*calls, strict=True):
        assert t == their_t
        torch.testing.assert_close(z_t, their_z_t, atol=1e-4, rtol=1e-4)


def test_ddpm_equals_diffusers_given_the_same_noise() -> None:
    noise, objective = torch.randn(SHAPE), DDPMLoss(target="v")
    ddpm = diffusion_scheduler(
        "DDPMScheduler", "v_prediction", clip_sample=False, timestep_spacing="trailing"
    )
    ours, theirs = (
        sample(
            objective,
            denoise,
            CONDITION,
            SHAPE,
            steps=25,
            noise=noise,
            generator=torch.Generator().manual_seed(1),
            **options,
        )
        for options in ({"method": "ddpm"}, {"scheduler": ddpm})
    )
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_euler_equals_diffusers() -> None:
    noise, objective = torch.randn(SHAPE), FlowMatchingLoss()
    euler = scheduler("FlowMatchEulerDiscreteScheduler")
    oracles = [Oracle(objective), Oracle(objective)]
    oracles[1].z0 = oracles[0].z0
    ours = sample(objective, oracles[0], CONDITION, SHAPE, noise=noise, steps=10)
    theirs = sample(objective, oracles[1], CONDITION, SHAPE, noise=noise, steps=10, scheduler=euler)
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDIMScheduler", {"clip_sample": False}),
        ("EulerDiscreteScheduler", {}),
        ("DPMSolverMultistepScheduler", {}),
        ("UniPCMultistepScheduler", {}),
    ],
)
def test_any_scheduler_of_diffusers_recovers_what_an_oracle_knows(name: str, options) -> None:
    theirs = diffusion_scheduler(name, **options)
    objective = DDPMLoss()

    z0 = torch.randn(SHAPE)

    def oracle(z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        kept = objective.alphas_cumprod[t.round().long()][:, None, None, None]
        return (z_t - kept.sqrt() * z0) / (1 - kept).sqrt()

    got = sample(objective, oracle, CONDITION, SHAPE, scheduler=theirs, steps=30)
    torch.testing.assert_close(got, z0, atol=0.1, rtol=0.1)


def test_scheduler_clips_if_it_is_configured_to() -> None:
    objective = DDPMLoss()
    oracle = Oracle(objective)
    clipping = diffusion_scheduler("DDIMScheduler")
    z0 = sample(objective, oracle, CONDITION, SHAPE, scheduler=clipping, steps=10)
    torch.testing.assert_close(z0, oracle.z0.clamp(-1, 1), atol=1e-3, rtol=1e-3)


def test_follows_the_generator() -> None:
    def run(seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        options = {"method": "ddpm", "steps": 5, "generator": generator}
        return sample(DDPMLoss(target="v"), denoise, CONDITION, SHAPE, **options)

    torch.testing.assert_close(run(1), run(1), rtol=0, atol=0)
    assert not torch.allclose(run(1), run(2))


@pytest.mark.parametrize("objective", [DDPMLoss(), FlowMatchingLoss(), RegressionLoss()])
def test_takes_empty_batches_and_keeps_no_history(objective) -> None:
    net = ConditionedDiT(channels=4, dim=8, depth=1, heads=2)
    for n in (0, 2):
        z0 = sample(objective, net, CONDITION[:n], (n, 4, 3, 2), steps=2)
        assert z0.shape == (n, 4, 3, 2)
        assert not z0.requires_grad


@pytest.mark.parametrize(
    ("objective", "method"),
    [
        (DDPMLoss(), "euler"),
        (FlowMatchingLoss(), "ddim"),
        (FlowMatchingLoss(), "ddpm"),
        (RegressionLoss(), "euler"),
    ],
)
def test_refuses_a_method_of_another_objective(objective, method) -> None:
    wanted = f"method must belong to {type(objective).__name__}; got '{method}'"
    with pytest.raises(ValueError, match=wanted):
        sample(objective, denoise, CONDITION, SHAPE, method=method)


def test_refuses_a_scheduler_that_does_not_agree() -> None:
    ddim = diffusion_scheduler("DDIMScheduler")
    flow = scheduler("FlowMatchEulerDiscreteScheduler")
    pairs = [
        (DDPMLoss(target="v"), ddim),
        (DDPMLoss(500), ddim),
        (DDPMLoss(), scheduler("DDIMScheduler")),
        (DDPMLoss(), flow),
        (FlowMatchingLoss(), ddim),
        (RegressionLoss(), ddim),
    ]
    for objective, theirs in pairs:
        with pytest.raises(ValueError, match="scheduler must have the prediction type and noise"):
            sample(objective, denoise, CONDITION, SHAPE, scheduler=theirs)


def test_names_what_does_not_fit() -> None:
    run = (DDPMLoss(), denoise, CONDITION, SHAPE)
    with pytest.raises(ValueError, match="condition must be of shape"):
        sample(DDPMLoss(), denoise, CONDITION, (2, 4, 3, 3))
    with pytest.raises(ValueError, match="noise must be of shape"):
        sample(*run, noise=torch.zeros(1, 4, 3, 2))
    with pytest.raises(ValueError, match="steps must be at least 1; got 0"):
        sample(*run, steps=0)
    with pytest.raises(ValueError, match="steps must be at most 1000; got 1001"):
        sample(*run, steps=1001)
    with pytest.raises(ValueError, match=r"method must be one of .*; got 'heun'"):
        sample(*run, method="heun")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be None with a scheduler; got 'ddim'"):
        sample(*run, method="ddim", scheduler=diffusion_scheduler("DDIMScheduler"))
