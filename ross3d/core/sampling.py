"""Draw latents from a trained denoiser."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ross3d.core.diffusion import DDPMLoss
from ross3d.core.flow import TIME_SCALE, FlowMatchingLoss
from ross3d.core.objective import Denoiser, Objective, draw
from ross3d.core.regression import RegressionLoss
from ross3d.core.shapes import check_shape

Method = Literal["ddim", "ddpm", "euler"]


@torch.no_grad()
def sample(
    objective: Objective,
    denoiser: Denoiser,
    condition: Tensor,
    shape: tuple[int, int, int, int],
    *,
    method: Method | None = None,
    steps: int = 50,
    scheduler: Any = None,
    noise: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Recover latents from noise under a condition, the way the denoiser was trained.

    Nothing is clamped on the way: latents leave [-1, 1]. DDIM and DDPM begin at the last timestep
    (spacing "trailing"), as noise is all there is to begin with; few steps then give the mean of
    what is possible, many a sharp sample. Where eps is predicted they count from timestep 0 up
    ("leading"): at the last ones the cosine schedule has no signal left, and any error is blown up.

    Args:
        objective: what the denoiser was trained with: DDPMLoss, FlowMatchingLoss or RegressionLoss.
        denoiser: the trained network.
        condition: (n, h*w, d) one vector per latent cell, row by row.
        shape: (n, c, h, w) of the latents.
        method: ``"ddim"`` (Song et al., 2021, without added noise) or ``"ddpm"`` (Ho et al., 2020,
            ancestral) for DDPMLoss; ``"euler"`` for FlowMatchingLoss; None = the first that fits.
            RegressionLoss takes none: it is one pass.
        steps: number of calls of the denoiser.
        scheduler: any scheduler of diffusers that agrees with the objective, instead of a method;
            used as it is configured, so mind that many clip by default (``clip_sample``).
        noise: (n, c, h, w) standard normal to begin with; None = drawn.
        generator: source of the draws, on any device.

    Returns:
        (n, c, h, w) clean latents, float32 or wider.

    Raises:
        ValueError: if a shape does not fit, ``steps`` is out of range, or the method or scheduler
            does not belong to the objective.

    Example:
        >>> from ross3d.core.dit import ConditionedDiT
        >>> denoiser = ConditionedDiT(channels=16, dim=32, depth=1, heads=2)
        >>> condition = torch.zeros(2, 20, 32)
        >>> sample(FlowMatchingLoss(), denoiser, condition, (2, 16, 4, 5), steps=2).shape
        torch.Size([2, 16, 4, 5])
    """
    check_shape("condition", condition, "n g d", n=shape[0], g=shape[2] * shape[3])
    if noise is None:
        noise = draw("normal", shape, condition, generator)
    check_shape("noise", noise, "n c h w", **dict(zip("nchw", shape, strict=True)))
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    if method is not None and (method not in get_args(Method) or scheduler is not None):
        known = f"one of {get_args(Method)}"
        expected = "None with a scheduler" if scheduler is not None else known
        raise ValueError(f"method must be {expected}; got {method!r}")
    if isinstance(objective, RegressionLoss) and method is None and scheduler is None:
        return denoiser(torch.zeros_like(noise), noise.new_zeros(shape[0]), condition)
    predict = _predictor(denoiser, condition)
    if scheduler is not None:
        _check_scheduler(objective, scheduler)
        return _with_scheduler(scheduler, predict, noise, steps, generator)
    if isinstance(objective, DDPMLoss) and method != "euler":
        return _diffuse(objective, predict, noise, steps, method == "ddpm", generator)
    if isinstance(objective, FlowMatchingLoss) and method in (None, "euler"):
        return _euler(predict, noise, steps)
    raise ValueError(f"method must belong to {type(objective).__name__}; got {method!r}")


Predict = Callable[[Tensor, float], Tensor]


def _predictor(denoiser: Denoiser, condition: Tensor) -> Predict:
    def predict(z_t: Tensor, t: float) -> Tensor:
        times = torch.full(z_t.shape[:1], t, device=z_t.device)
        return denoiser(z_t, times, condition)

    return predict


def _diffuse(
    objective: DDPMLoss,
    predict: Predict,
    z_t: Tensor,
    steps: int,
    ancestral: bool,
    generator: torch.Generator | None,
) -> Tensor:
    if steps > objective.num_steps:
        raise ValueError(f"steps must be at most {objective.num_steps}; got {steps}")
    stride = objective.num_steps / steps
    if objective.target == "eps":
        schedule = [step * int(stride) for step in range(steps - 1, -1, -1)]
    else:
        schedule = [round(step * stride) - 1 for step in range(steps, 0, -1)]
    kept = objective.alphas_cumprod.double().tolist()
    for t, next_t in zip(schedule, [*schedule[1:], None], strict=True):
        times = torch.full(z_t.shape[:1], t, device=z_t.device)
        z0, eps = objective.split(predict(z_t, t), z_t, times)
        before = 1.0 if next_t is None else kept[next_t]
        # Variance of q(z_{t-1} | z_t, z_0); 0 for DDIM, and at the last step.
        variance = (1 - before) / (1 - kept[t]) * (1 - kept[t] / before) if ancestral else 0.0
        z_t = before**0.5 * z0 + (1 - before - variance) ** 0.5 * eps
        if variance > 0:
            z_t = z_t + variance**0.5 * draw("normal", tuple(z_t.shape), z_t, generator)
    return z_t


def _euler(predict: Predict, z_t: Tensor, steps: int) -> Tensor:
    for step in range(steps, 0, -1):
        z_t = z_t - predict(z_t, step / steps * TIME_SCALE) / steps
    return z_t


def _check_scheduler(objective: Objective, scheduler: Any) -> None:
    name, config = type(scheduler).__name__, scheduler.config
    is_flow = "FlowMatch" in name or config.get("prediction_type") == "flow_prediction"
    if isinstance(objective, FlowMatchingLoss):
        fits = is_flow and config.get("num_train_timesteps") == TIME_SCALE
    elif isinstance(objective, DDPMLoss) and not is_flow:
        wanted = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}[objective.target]
        ours, theirs = objective.alphas_cumprod, torch.as_tensor(scheduler.alphas_cumprod).cpu()
        fits = config.get("prediction_type") == wanted and theirs.shape == ours.shape
        fits = fits and torch.allclose(theirs.to(ours.dtype), ours, atol=1e-3)
    else:
        fits = False
    if not fits:
        raise ValueError(
            f"scheduler must have the prediction type and noise schedule of "
            f"{type(objective).__name__} (beta_schedule='squaredcos_cap_v2' for diffusion); "
            f"got {name} with {dict(config)}"
        )


def _with_scheduler(
    scheduler: Any,
    predict: Predict,
    noise: Tensor,
    steps: int,
    generator: torch.Generator | None,
) -> Tensor:
    scheduler.set_timesteps(steps, device=noise.device)
    draws = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if draws else {}
    z_t = noise * getattr(scheduler, "init_noise_sigma", 1.0)
    for t in scheduler.timesteps:
        scaled = (
            scheduler.scale_model_input(z_t, t) if hasattr(scheduler, "scale_model_input") else z_t
        )
        z_t = scheduler.step(predict(scaled, t.item()), t, z_t, **options).prev_sample
    return z_t
