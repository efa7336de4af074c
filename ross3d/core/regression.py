"""Plain regression of latents: the denoiser answers in one pass, from the condition alone."""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ross3d.core.objective import Denoiser, check_targets, weighted_mean

Norm = Literal["l2", "l1", "cosine"]


class RegressionLoss(nn.Module):
    """Predict clean latents from the condition, without noise: an ablation of the paper's Eq. 8.

    L = sum_i w_i d(z_0, denoiser(0, 0, c))_i / sum_i w_i over latent cells i.

    Args:
        norm: the distance d of a cell: ``"l2"`` is the mean squared difference over channels,
            ``"l1"`` the mean absolute one, ``"cosine"`` 1 - cosine similarity, for features.

    Raises:
        ValueError: if ``norm`` is unknown.

    Example:
        >>> from ross3d.core.dit import ConditionedDiT
        >>> denoiser = ConditionedDiT(channels=16, dim=32, depth=1, heads=2)
        >>> z0, condition = torch.randn(2, 16, 4, 4), torch.randn(2, 16, 32)
        >>> RegressionLoss("cosine")(denoiser, z0, condition).shape
        torch.Size([])
    """

    def __init__(self, norm: Norm = "l2") -> None:
        super().__init__()
        if norm not in get_args(Norm):
            raise ValueError(f"norm must be one of {get_args(Norm)}; got {norm!r}")
        self.config = {"norm": norm}
        self.norm = norm

    def forward(
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
            generator: accepted as other objectives do; nothing is drawn.

        Returns:
            () the loss: 0, with zero gradients, where nothing counts.

        Raises:
            ValueError: if a shape does not fit.
        """
        check_targets(z0, condition, weight)
        z0 = z0.to(torch.promote_types(z0.dtype, torch.float32))
        prediction = denoiser(torch.zeros_like(z0), z0.new_zeros(z0.shape[0]), condition)
        return weighted_mean(self._distance(prediction, z0), weight)

    def _distance(self, prediction: Tensor, z0: Tensor) -> Tensor:
        if self.norm == "cosine":
            # A zero-initialised denoiser starts where the cosine's gradient is unbounded.
            length = (prediction.square().mean(dim=1, keepdim=True) + 1e-4).sqrt()
            direction = prediction / length / prediction.shape[1] ** 0.5
            similarity = (direction * F.normalize(z0, dim=1)).sum(dim=1)
            return torch.rsub(similarity, 1)
        difference = prediction - z0
        cost = difference.square() if self.norm == "l2" else difference.abs()
        return cost.mean(dim=1)
