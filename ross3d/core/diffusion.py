"""Denoising diffusion: the noise schedule, and the loss of the paper's Eq. 8."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ross3d.core.objective import (
    Denoiser,
    check_targets,
    draw,
    repeat_draws,
    squared_error,
    weighted_mean,
)
from ross3d.core.shapes import check_shape

Prediction = Literal["eps", "v", "x0"]


def alphas_cumprod(num_steps: int = 1000) -> Tensor:
    """Give the cosine schedule: how much of the clean latents' variance is left at each step.

    a(t) = prod_s (1 - beta_s) with beta_s = min(1 - f(s + 1) / f(s), 0.999) and
    f(s) = cos^2((s / num_steps + 0.008) / 1.008 * pi / 2) (Nichol and Dhariwal, 2021).

    Args:
        num_steps: number of diffusion steps.

    Returns:
        (num_steps,) float32 on the CPU, computed in float64.

    Raises:
        ValueError: if ``num_steps`` is less than 1.

    Example:
        >>> alphas_cumprod(1000)[[0, 500]]
        tensor([1.0000, 0.4923])
    """
    if num_steps < 1:
        raise ValueError(f"num_steps must be at least 1; got {num_steps}")
    time = torch.arange(num_steps + 1, dtype=torch.float64, device="cpu") / num_steps
    f = ((time + 0.008) / 1.008 * math.pi / 2).cos().square()
    return (f[1:] / f[:-1]).clamp_min(0.001).cumprod(0).float()


def add_noise(z0: Tensor, noise: Tensor, t: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Mix latents with noise: z_t = sqrt(a_t) z_0 + sqrt(1 - a_t) eps.

    Args:
        z0: (n, ...) clean latents.
        noise: (n, ...) standard normal noise eps.
        t: (n,) long timesteps.
        alphas_cumprod: (num_steps,) a; kept in float32, as 16 bits are too few for it.

    Returns:
        (n, ...) noisy latents, in float32 or wider.

    Raises:
        ValueError: if the noise is not of the latents' shape, or ``t`` not one per latent.

    Example:
        >>> z0, t = torch.ones(2, 64), torch.tensor([0, 999])
        >>> add_noise(z0, torch.zeros_like(z0), t, alphas_cumprod())[:, 0]
        tensor([9.9998e-01, 4.9283e-05])
    """
    if noise.shape != z0.shape:
        raise ValueError(f"noise must be of shape {tuple(z0.shape)}; got {tuple(noise.shape)}")
    check_shape("t", t, "n", n=z0.shape[0])
    signal, sigma = _levels(t, alphas_cumprod, z0.ndim)
    return torch.addcmul(sigma * noise, signal, z0)


def _levels(t: Tensor, alphas_cumprod: Tensor, ndim: int) -> tuple[Tensor, Tensor]:
    kept = alphas_cumprod.to(t.device)[t].view(-1, *(1,) * (ndim - 1))
    return kept.sqrt(), (1 - kept).sqrt()


class DDPMLoss(nn.Module):
    """Predict the noise in latents (Ho et al., 2020): Eq. 8 of the paper.

    L = sum_i w_i |eps_i - denoiser(z_t, t, c)_i|^2 / C / sum_i w_i over latent cells i, with
    t uniform. The condition comes pooled, so that several draws never repeat the context.

    Args:
        num_steps: number of diffusion steps (paper: 1000).
        target: what is predicted: ``"eps"`` (paper), ``"v"`` = sqrt(a) eps - sqrt(1 - a) z_0, or
            ``"x0"``, the clean latents.
        draws: noise draws per target (paper: 4 for views, 1 for the bird's-eye view).
        shared_timestep: True = the draws of a target share their t, so that the denoiser computes
            its modulation once per target: the same loss in expectation, for less time and memory.
            False = every draw has its own t, as released.

    Raises:
        ValueError: if ``target`` is unknown, or a count is less than 1.

    Example:
        >>> from ross3d.core.dit import ConditionedDiT
        >>> denoiser = ConditionedDiT(channels=16, dim=32, depth=1, heads=2)
        >>> z0, condition = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 32)
        >>> DDPMLoss(draws=4)(denoiser, z0, condition, weight=torch.ones(2, 4, 4)).shape
        torch.Size([])
    """

    def __init__(
        self,
        num_steps: int = 1000,
        target: Prediction = "eps",
        draws: int = 1,
        *,
        shared_timestep: bool = True,
    ) -> None:
        super().__init__()
        if target not in get_args(Prediction):
            raise ValueError(f"target must be one of {get_args(Prediction)}; got {target!r}")
        if draws < 1:
            raise ValueError(f"draws must be at least 1; got {draws}")
        self.config = {"num_steps": num_steps, "target": target, "draws": draws}
        self.config |= {"shared_timestep": shared_timestep}
        self.num_steps, self.target = num_steps, target
        self.draws, self.shared_timestep = draws, shared_timestep
        # Not a buffer: model.bfloat16() would round it, and meta initialisation would lose it.
        self.alphas_cumprod = alphas_cumprod(num_steps)

    def forward(
        self,
        denoiser: Denoiser,
        z0: Tensor,
        condition: Tensor,
        weight: Tensor | None = None,
        *,
        t: Tensor | None = None,
        noise: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Give the loss of one batch of targets.

        Args:
            denoiser: the network that is trained.
            z0: (n, c, h, w) clean latents; n may be 0.
            condition: (n, h*w, d) one vector per latent cell, row by row.
            weight: (n, h, w) how much each cell counts, at least 0; None = all the same.
            t: (n*draws,) long timesteps, the draws of a target in a row; (n,) if they are shared;
                None = drawn.
            noise: (n*draws, c, h, w) standard normal; None = drawn.
            generator: source of the draws, on any device.

        Returns:
            () the loss: 0, with zero gradients, where nothing counts.

        Raises:
            ValueError: if a shape does not fit.
        """
        check_targets(z0, condition, weight)
        z0 = z0.to(torch.promote_types(z0.dtype, torch.float32))
        z0 = repeat_draws(z0, self.draws)
        times = z0.shape[0] // self.draws if self.shared_timestep else z0.shape[0]
        if t is None:
            t = (draw("uniform", (times,), z0, generator) * self.num_steps).long()
        check_shape("t", t, "n", n=times)
        if noise is None:
            noise = draw("normal", tuple(z0.shape), z0, generator)
        if self.shared_timestep:
            every_t = repeat_draws(t, self.draws)
        else:
            every_t, condition = t, repeat_draws(condition, self.draws)
        z_t = add_noise(z0, noise, every_t, self.alphas_cumprod)
        prediction = denoiser(z_t, t, condition)
        error = squared_error(prediction, self.target_of(z0, noise, every_t))
        return weighted_mean(error, weight)

    def target_of(self, z0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Give what the denoiser must predict.

        Args:
            z0: (n, c, h, w) clean latents.
            noise: (n, c, h, w) the noise added to them.
            t: (n,) long timesteps.

        Returns:
            (n, c, h, w) the noise, the velocity or the clean latents.
        """
        if self.target == "v":
            signal, sigma = _levels(t, self.alphas_cumprod, z0.ndim)
            return signal * noise - sigma * z0
        return noise if self.target == "eps" else z0

    def split(self, prediction: Tensor, z_t: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Turn a prediction into the clean latents and the noise that it stands for.

        Args:
            prediction: (n, c, h, w) what the denoiser said.
            z_t: (n, c, h, w) noisy latents.
            t: (n,) long timesteps.

        Returns:
            z0 and noise, (n, c, h, w) each; never clamped, as latents leave [-1, 1].
        """
        signal, sigma = _levels(t, self.alphas_cumprod, z_t.ndim)
        if self.target == "eps":
            return (z_t - sigma * prediction) / signal, prediction
        if self.target == "x0":
            return prediction, (z_t - signal * prediction) / sigma
        return signal * z_t - sigma * prediction, sigma * z_t + signal * prediction
