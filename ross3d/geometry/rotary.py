"""Rotary position streams: world coordinates in place of a token's running index."""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.position import BOUNDS, Bounds, discretise


def rotary_positions(
    coords: Tensor,
    positions: Tensor,
    length: int,
    *,
    valid: Tensor | None = None,
    voxel_size: float = 0.1,
    bounds: Bounds = BOUNDS,
) -> Tensor:
    """Three rotary position streams for a language model with multimodal RoPE: x, y, z.

    A visual token's three positions are the bins of its world coordinates; every other token has
    its running index three times, which is ordinary RoPE.

    Args:
        coords: (b, m, p, 3) world position of each visual token, metres.
        positions: (b, m, p) long index of each visual token in the sequence.
        length: sequence length t.
        valid: (b, m, p) True where the position is known; elsewhere the running index stays. None
            = everywhere.
        voxel_size: width of a bin in metres.
        bounds: lowest and highest (x, y, z) of the bins, metres.

    Returns:
        (3, b, t) long.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> rotary_positions(torch.zeros(1, 1, 2, 3), torch.tensor([[[1, 2]]]), 4)[2].tolist()
        [[0, 50, 50, 3]]
    """
    sizes = check_shape("coords", coords, "b m p 3")
    check_shape("positions", positions, "b m p", **sizes)
    bins = discretise(coords, voxel_size, bounds=bounds)
    if valid is not None:
        check_shape("valid", valid, "b m p", **sizes)
        bins = torch.where(valid[..., None], bins, positions[..., None])
    running = torch.arange(length, device=coords.device).repeat(3, sizes["b"], 1)
    where = repeat(positions, "b m p -> c b (m p)", c=3)
    return running.scatter(2, where, rearrange(bins, "b m p c -> c b (m p)"))
