"""Rasterise a stream of coloured points, seen from above, with an exact z-buffer.

Height and colour of a point form one 64-bit key, so that one maximum per pixel decides, and sums
are sums of integers: the order of the points changes nothing, on any device.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.geometry.camera import full_precision

EMPTY = torch.iinfo(torch.int64).min
_STEPS = 1023  # a height within the slab is summed in this many steps


class PointChunk(NamedTuple):
    """Some points of b scenes, in picture coordinates.

    Attributes:
        pixel: (b, n) row * s + column of the pixel that it falls into; s * s = not in the picture.
        radius: (b, n) radius of its square footprint, pixels.
        height: (b, n) float32 world z, metres.
        colour: (b, n) red * 65536 + green * 256 + blue.
    """

    pixel: Tensor
    radius: Tensor
    height: Tensor
    colour: Tensor


def pack_colours(images: Tensor) -> Tensor:
    """(b, m, h, w) integer colours of images (b, m, 3, h, w) in [0, 1]."""
    red, green, blue = (full_precision(images).clamp(0, 1) * 255).round().unbind(2)
    return ((red * 256 + green) * 256 + blue).long()


def highest(chunks: Iterable[PointChunk], scenes: int, size: int, max_radius: int) -> Tensor:
    """Find the highest point of every pixel.

    Args:
        chunks: the points; at least one chunk.
        scenes: number b of scenes.
        size: pixels s of the square picture.
        max_radius: the largest radius among the points.

    Returns:
        (b, s, s) key of that point (see :func:`unpack`), EMPTY where there is none.
    """
    area, planes = size**2, max_radius + 1
    keys = torch.empty(0)
    for chunk in chunks:
        if not keys.numel():  # one plane per radius, and a last place for points outside
            keys = chunk.pixel.new_full((scenes, planes * area + 1), EMPTY)
        place = torch.where(chunk.pixel < area, chunk.radius * area + chunk.pixel, planes * area)
        bits = chunk.height.contiguous().view(torch.int32)
        ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)  # negative floats sort backwards
        keys.scatter_reduce_(1, place, (ordered.long() << 24) | chunk.colour, "amax")
    maps = keys[:, :-1].view(scenes, planes, size, size)
    return torch.stack([_dilate(maps[:, radius], radius) for radius in range(planes)]).amax(0)


def unpack(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Image (b, 3, s, s) in [0, 1] and height (b, s, s) of keys; both 0 where they are EMPTY."""
    ordered = torch.where(keys == EMPTY, 0, keys >> 24).int()
    height = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).view(torch.float32)
    image = torch.stack([(keys >> shift) & 0xFF for shift in (16, 8, 0)], dim=1) / 255
    return image, height


def slab_mean(chunks: Iterable[PointChunk], keys: Tensor, slab: float) -> tuple[Tensor, Tensor]:
    """Average colour and height over the points of a pixel that are near the highest one.

    Args:
        chunks: the points that ``keys`` come from, once more.
        keys: (b, s, s) result of :func:`highest`.
        slab: how far below the highest a point may be, metres.

    Returns:
        image (b, 3, s, s) in [0, 1] and height (b, s, s) in metres. A pixel that only footprints
        of other pixels' points cover keeps the colour and height of its key.
    """
    image, height = unpack(keys)
    top = F.pad(height.flatten(1), (0, 1), value=torch.inf)
    sums = keys.new_zeros(3, *top.shape)
    for pixel, _, heights, colour in chunks:
        below = top.gather(1, pixel) - heights
        place = torch.where(below <= slab, pixel, top.shape[1] - 1)
        depth = (below.clamp(max=slab) * (_STEPS / slab)).round().long()
        # Two sums share 64 bits: 16 million points per pixel fit.
        sums[0].scatter_add_(1, place, (colour >> 16 << 32) | (colour >> 8 & 0xFF))
        sums[1].scatter_add_(1, place, ((colour & 0xFF) << 32) | 1)
        sums[2].scatter_add_(1, place, depth)
    first, second, depth = sums[:, :, :-1].view(3, *keys.shape)
    count = second & 0xFFFFFFFF
    colours = torch.stack([first >> 32, first & 0xFFFFFFFF, second >> 32], dim=1)
    some, share = count > 0, count.clamp(min=1)
    mean = torch.where(some[:, None], colours / share[:, None] / 255, image)
    return mean, torch.where(some, height - depth / share * (slab / _STEPS), height)


def fill_holes(image: Tensor, height: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give unobserved pixels among at least five observed neighbours the mean of those.

    Args:
        image: (b, 3, s, s) RGB, 0 where not observed.
        height: (b, s, s) metres, 0 where not observed.
        observed: (b, s, s) True where a surface was seen.

    Returns:
        The three, filled.
    """
    planes = torch.cat([image, height[:, None], observed[:, None].to(image)], dim=1)
    sums = F.avg_pool2d(planes, 3, stride=1, padding=1) * 9
    count = sums[:, 4:]
    holes = ~observed & (count[:, 0] > 4.5)
    filled = torch.where(holes[:, None], sums[:, :4] / count.clamp(min=1), planes[:, :4])
    return filled[:, :3], filled[:, 3], observed | holes


def _dilate(keys: Tensor, radius: int) -> Tensor:
    """Maximum over squares of side 2 * radius + 1."""
    if not radius:
        return keys
    padded = F.pad(keys, (radius,) * 4, value=EMPTY)
    return padded.unfold(2, 2 * radius + 1, 1).amax(-1).unfold(1, 2 * radius + 1, 1).amax(-1)
