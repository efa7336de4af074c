"""Several independent questions about one scene, in one pass that reads the scene once."""

from __future__ import annotations

import torch
from torch import Tensor


def segment_attention(segments: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Let every turn see the scene and itself, but no other turn.

    Each turn's tokens are placed as if they followed the scene at once, so the outputs equal those
    of one pass per question.

    Args:
        segments: (b, t) long: 0 = the shared scene in front, 1, 2, ... = the turn that a token
            belongs to, -1 = padding, which may lie within the scene, too.
        dtype: of the mask.

    Returns:
        An additive attention mask (b, 1, t, t), and position_ids (b, t).

    Example:
        >>> mask, positions = segment_attention(torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.float32)
        >>> positions.tolist()
        [[0, 1, 2, 3, 2, 3]]
    """
    t = segments.shape[1]
    index = torch.arange(t, device=segments.device)
    shared = segments == 0
    same = segments[:, :, None] == segments[:, None, :]
    allowed = (same | shared[:, None, :]) & (index <= index[:, None])
    mask = torch.where(allowed, 0.0, torch.finfo(dtype).min).to(dtype)[:, None]
    begins = torch.ones_like(shared)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    start = torch.where(begins, index, 0).cummax(dim=1).values
    own = shared.sum(dim=1, keepdim=True) + index - start
    positions = torch.where(shared, shared.cumsum(dim=1) - 1, own)
    return mask, positions
