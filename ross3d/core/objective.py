"""The two roles of the reconstruction loss: a denoiser, and the objective that trains it."""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.core.shapes import check_shape


class Denoiser(Protocol):
    """Recovers latents under a condition; :class:`~ross3d.core.dit.ConditionedDiT` is one."""

    def __call__(self, z_t: Tensor, t: Tensor, condition: Tensor, /) -> Tensor:
        """Predict what the objective asks for: the noise, a velocity or the clean latents.

        Args:
            z_t: (n*r, c, h, w) noisy latents: r draws in a row belong to one t and one condition. r
                is 1 for an objective of one draw, or of draws that do not share their timestep.
            t: (n,) timesteps on a scale of 0 (clean) to 1000 (noise), integer or not.
            condition: (n, h*w, d) one vector per latent cell, row by row.

        Returns:
            (n*r, c, h, w) the prediction.
        """
        ...


class Objective(Protocol):
    """How a denoiser learns to recover latents: Eq. 8 of the paper, or an alternative to it."""

    def __call__(
        self,
        denoiser: Denoiser,
        z0: Tensor,
        condition: Tensor,
        weight: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Give the loss of one batch of targets.

        Args:
            denoiser: the network that is trained.
            z0: (n, c, h, w) clean latents; n may be 0.
            condition: (n, h*w, d) one vector per latent cell, row by row.
            weight: (n, h, w) how much each cell counts, at least 0; None = all the same.
            generator: source of the random draws, on any device.

        Returns:
            () the loss: 0, with zero gradients, where nothing counts.
        """
        ...


def check_targets(z0: Tensor, condition: Tensor, weight: Tensor | None) -> None:
    """Check that latents, conditions and weights belong together.

    Args:
        z0: (n, c, h, w) clean latents.
        condition: (n, h*w, d) one vector per latent cell.
        weight: (n, h, w) how much each cell counts; None = all the same.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> check_targets(torch.zeros(2, 64, 14, 14), torch.zeros(2, 196, 8), None)
    """
    sizes = check_shape("z0", z0, "n c h w")
    check_shape("condition", condition, "n g d", n=sizes["n"], g=sizes["h"] * sizes["w"])
    if weight is not None:
        check_shape("weight", weight, "n h w", **sizes)


def draw(
    kind: str, shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None
) -> Tensor:
    """Draw numbers on the generator's device, then move them to the tensor's.

    Args:
        kind: ``"normal"``, or ``"uniform"`` in [0, 1).
        shape: what to draw.
        like: tensor whose device is used, and whose dtype if it is at least float32.
        generator: source of the draws; None = the global one of the tensor's device.

    Returns:
        (*shape) the numbers, float32 or wider.

    Raises:
        ValueError: if the kind is unknown.

    Example:
        >>> draw("normal", (2, 3), torch.zeros(1), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3])
    """
    if kind not in ("normal", "uniform"):
        raise ValueError(f"kind must be 'normal' or 'uniform'; got {kind!r}")
    function = torch.randn if kind == "normal" else torch.rand
    device = like.device if generator is None else generator.device
    dtype = torch.promote_types(like.dtype, torch.float32)
    return function(shape, generator=generator, device=device, dtype=dtype).to(like.device)


def repeat_draws(values: Tensor, draws: int) -> Tensor:
    """Repeat each target's values for its noise draws, the draws of a target in a row.

    Args:
        values: (n, ...) one entry per target.
        draws: noise draws per target.

    Returns:
        (n*draws, ...) the values; the tensor itself for a single draw.

    Example:
        >>> repeat_draws(torch.tensor([3, 5]), 2)
        tensor([3, 3, 5, 5])
    """
    return values if draws == 1 else values.repeat_interleave(draws, dim=0)


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each cell over its channels, with one buffer for the difference.

    Args:
        prediction: (n, c, h, w).
        target: (n, c, h, w).

    Returns:
        (n, h, w) the errors.

    Raises:
        ValueError: if the shapes differ.

    Example:
        >>> squared_error(torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)).sum()
        tensor(4.)
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"denoiser must predict {tuple(target.shape)}; got {tuple(prediction.shape)}"
        )
    return F.mse_loss(prediction, target, reduction="none").mean(dim=1)


def weighted_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """Average the errors of cells by their weights: sum(w * e) / sum(w), and 0 where sum(w) = 0.

    Args:
        error: (n*r, h, w) error of each cell, r draws in a row per target.
        weight: (n, h, w) how much each cell counts; None = all the same.

    Returns:
        () the mean, in the graph of ``error`` even where nothing counts.

    Example:
        >>> weighted_mean(torch.ones(0, 4, 4), None)
        tensor(0.)
    """
    if weight is None:
        return error.sum() / max(error.numel(), 1)
    weight = weight.to(error.dtype)
    weight = repeat_draws(weight, error.shape[0] // max(weight.shape[0], 1) or 1)
    total = weight.sum()
    return (weight * error).sum() / torch.where(total > 0, total, 1)
