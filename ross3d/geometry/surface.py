"""The surface that all views agree on, in place of the highest point of each pixel alone."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ross3d.geometry.filling import box_mean
from ross3d.geometry.sighting import Views, look, settle
from ross3d.geometry.zbuffer import Window

_DOUBTFUL = 0.4  # tolerances in front of the surface that the views see
_RADIUS = 2  # pixels around a rough one that its colour is blended with


class Surface(NamedTuple):
    """What one picture shows.

    Attributes:
        image: (3, s, s) RGB in [0, 1].
        height: (s, s) metres.
    """

    image: Tensor
    height: Tensor


def agree(views: Views, top: Surface, lowest: Tensor, window: Window, tolerance: float) -> Surface:
    """Average height and colour over the views, and drop points that most of them look through.

    A highest point is often the noisiest one. So each is looked at in every view: its height
    becomes the mean of what the agreeing views see there, and is looked at once more. Where it then
    hangs in front of what they see, the lowest point of the pixel stands in, if they agree on that.
    Where heights are rough and the views disagree by more than half a pixel, nobody knows which
    pixel a colour belongs to, and it is blended with its neighbours'. Exact depths stay as they
    are: both steps fade in with the disagreement, from half a pixel to one and a half.

    Args:
        views: of one scene.
        top: colour and height of the highest points.
        lowest: (s, s) height of the lowest point, inf where there is none, metres.
        window: what the picture shows, of one scene.
        tolerance: how far views may disagree about a depth, metres.

    Returns:
        The surface, where ``lowest`` is finite or ``top`` has a height that some view confirms;
        elsewhere what ``top`` holds.
    """
    observed = top.height.isfinite()
    cells = observed.flatten().nonzero()[:, 0]
    image, height = top.image.flatten(1).clone(), top.height.flatten().clone()
    how = tolerance, window.max_depth
    points = settle(views, centres(cells, height, window), *how)
    seen = look(views, points, *how)
    low = lowest.flatten().index_select(0, cells)
    disagreement = (seen.noise / window.cell[0] - 0.5).clamp(0, 1)
    doubtful = (seen.gap > 1 - (1 - _DOUBTFUL) * disagreement) & (low < points[2] - tolerance / 2)
    colour, level, sure = seen.colour, points[2], seen.agreeing > 0
    index = doubtful.nonzero()[:, 0]
    below = settle(views, torch.cat([points[:2], low[None]])[:, index], *how)
    other = look(views, below, *how)
    better = (other.agreeing > 0) & (other.gap.abs() < _DOUBTFUL)
    index = index[better]
    colour[:, index], level[index], sure[index] = other.colour[:, better], below[2, better], True
    image[:, cells[sure]], height[cells[sure]] = colour[:, sure], level[sure]
    image, height = image.view_as(top.image), height.view_as(top.height)
    return Surface(_blend(image, height, observed, disagreement, tolerance / 2), height)


def centres(cells: Tensor, height: Tensor, window: Window) -> Tensor:
    """World positions (3, n) of pixels' middles (n,), row * s + column, at heights (s * s)."""
    row, column = cells // window.size, cells % window.size
    x = window.extent[0, 0] + (column + 0.5) * window.cell[0]
    y = window.extent[0, 3] - (row + 0.5) * window.cell[0]
    return torch.stack([x, y, height.index_select(0, cells)])


def _blend(image: Tensor, height: Tensor, observed: Tensor, share: Tensor, step: float) -> Tensor:
    """Mix rough pixels, whose height differs by more than a step from the mean around, with it."""
    planes = torch.cat([image, torch.where(observed, height, 0)[None]])[None]
    around = box_mean(planes, observed[None].to(image), _RADIUS)[0]
    rough = observed & ((around[3] - height).abs() > step)
    return torch.where(rough, image + share * (around[:3] - image), image)
