"""Fill what is between observed pixels, coarse to fine."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.geometry.splat import spread


def box_mean(planes: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Mean over the squares around each pixel.

    Args:
        planes: (b, c, s, s) any values.
        weight: (b, s, s) how much each pixel counts.
        radius: of the squares, pixels.

    Returns:
        (b, c, s, s) means; 0 where nothing counts.
    """
    stack = torch.cat([planes * weight[:, None], weight[:, None]], dim=1)
    stack = F.pad(stack, (radius,) * 4)
    for dim in (-1, -2):  # a sum of slices: several times as fast as pooling
        n = stack.shape[dim] - 2 * radius
        total = stack.narrow(dim, 0, n).clone()
        for start in range(1, 2 * radius + 1):
            total += stack.narrow(dim, start, n)
        stack = total
    return stack[:, :-1] / stack[:, -1:].clamp(min=1e-6)


def holes(observed: Tensor, radius: int) -> Tensor:
    """Unobserved pixels that squares of side 2 * radius + 1 cannot reach from outside.

    Args:
        observed: (b, s, s) bool.
        radius: half the width of the widest gaps, pixels.

    Returns:
        (b, s, s) bool.
    """
    closed = F.pad(observed, (2 * radius,) * 4)
    for _ in range(2):  # what is observed spreads, then, turned around by ~, what is not
        closed = ~spread(closed, radius)
    return closed & ~observed


def fill_holes(
    image: Tensor, height: Tensor, observed: Tensor, levels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Give small holes the colour and height around them.

    Each level halves the resolution by averaging what was observed; then, from coarse to fine,
    every pixel that knows nothing takes what the level above knows. So narrow gaps take their
    nearest neighbours, wider ones a smooth mean.

    Args:
        image: (b, 3, s, s) RGB.
        height: (b, s, s) metres.
        observed: (b, s, s) True where a surface was seen.
        levels: gaps of up to 2^levels pixels are filled.

    Returns:
        image and height, 0 where nothing is known, and filled (b, s, s).
    """
    planes = torch.cat([image, height[:, None]], dim=1)
    filled = holes(observed, 2 ** max(levels - 1, 0)) if levels else torch.zeros_like(observed)
    pyramid = [(planes, observed[:, None].to(planes))]
    for _ in range(levels):
        values, weight = pyramid[-1]
        odd = (0, values.shape[-1] % 2, 0, values.shape[-1] % 2)
        total = F.avg_pool2d(F.pad(values * weight, odd), 2)
        share = F.avg_pool2d(F.pad(weight, odd), 2)
        pyramid.append((total / share.clamp(min=1e-6), (share > 0).to(planes)))
    known, weight = pyramid[-1]
    for values, here in reversed(pyramid[:-1]):
        size = values.shape[-1]
        around = F.interpolate(known * weight, scale_factor=2.0, mode="bilinear")
        share = F.interpolate(weight, scale_factor=2.0, mode="bilinear")[..., :size, :size]
        around = around[..., :size, :size] / share.clamp(min=1e-6)
        known, weight = torch.where(here > 0, values, around), ((here > 0) | (share > 0)).to(here)
    filled = filled & (weight[:, 0] > 0)
    known = torch.where((observed | filled)[:, None], known, 0)
    return known[:, :3], known[:, 3], filled
