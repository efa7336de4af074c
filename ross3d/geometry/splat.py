"""Points as large as what their camera pixel covers, without bleeding over edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_DIAGONAL = 1.5  # pixels are further apart across their corners
_BESIDE_UNKNOWN = 3.0  # sensors lose pixels one by one: those next to them stand for them, too
_STEEPEST = 3.0  # beyond this, a floor is seen too flatly for its pixels to be trusted that far


def footprint_radius(
    depths: Tensor, known: Tensor, focal: Tensor, drop: Tensor, cell: Tensor
) -> Tensor:
    """How many pixels of the picture a camera pixel reaches around its point on level ground.

    A camera pixel is depth / focal metres wide; seen at a slant, depth / drop times as long. One
    beside unknown depth reaches beyond its neighbour.

    Args:
        depths: (b, m, h, w) along the optical axis, metres.
        known: (b, m, h, w) 1 where the depth is, else 0.
        focal: (b, m) focal length in pixels.
        drop: (b, m, h, w) height of the camera above the point, metres.
        cell: (b,) width of the picture's pixels, metres.

    Returns:
        (b, m, h, w) radius of the square footprint in pixels, whole numbers; below 0 where pixels
        are finer than the picture's.
    """
    half = 0.5 / (focal * cell[:, None])[..., None, None]
    slant = (depths / drop).abs_().clamp_(1, _STEEPEST)
    reach = _surrounded(known).mul_(_DIAGONAL - _BESIDE_UNKNOWN).add_(_BESIDE_UNKNOWN)
    return slant.mul_(depths).mul_(reach).mul_(half).sub_(0.5).ceil_()


def close_gaps(keys: Tensor, radius: int) -> Tensor:
    """Close gaps of up to 2 * radius pixels between points that have this radius.

    Each point spreads over its footprint, then the covered area shrinks by as much (a closing of
    grey-scale morphology): gaps inside a surface stay closed, and its outline stays where it was.

    Args:
        keys: (b, s, s) larger = in front, the smallest number = no point.
        radius: of the footprints, pixels.

    Returns:
        (b, s, s) keys.
    """
    if not radius:
        return keys
    empty = torch.iinfo(keys.dtype).min
    wide = spread(F.pad(keys, (2 * radius,) * 4, value=empty), radius)
    return ~spread(~wide, radius)  # ~ turns integers around: the minimum


def spread(keys: Tensor, radius: int) -> Tensor:
    """Take the maximum of the square around each pixel; the outermost pixels are lost.

    Args:
        keys: (b, s, s) integers, or flags.
        radius: of the squares, pixels.

    Returns:
        (b, s - 2 * radius, s - 2 * radius) maxima.
    """
    side = 2 * radius + 1
    for dim in (-1, -2):
        reach = 1
        while reach < side:  # maxima of so many pixels in a row give those of up to twice as many
            step = min(reach, side - reach)
            n = keys.shape[dim] - step
            keys = torch.maximum(keys.narrow(dim, 0, n), keys.narrow(dim, step, n))
            reach += step
    return keys


def _surrounded(known: Tensor) -> Tensor:
    """1 where the whole 3 x 3 square is, as far as it lies in the picture, else 0."""
    for dim in (-1, -2):
        n, whole = known.shape[dim] - 1, known.clone()
        for mine, other in ((0, 1), (1, 0)):
            whole.narrow(dim, mine, n).mul_(known.narrow(dim, other, n))
        known = whole
    return known
