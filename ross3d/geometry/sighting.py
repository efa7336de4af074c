"""Look at points of the world in every view: which views see a surface there, and of what colour.

Sums are sums of integers, so that the order of the views changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ross3d.geometry.camera import ray_matrix

_STEPS = 1000  # of the tolerance, in which distances are summed
_NEAREST = 0.05  # metres in front of a camera where it sees nothing


class Views(NamedTuple):
    """The m views of one scene.

    Attributes:
        images: (m, 3, h, w) RGB in [0, 1].
        depths: (m, h, w) depth along the optical axis in metres, 0 = unknown.
        intrinsics: (m, 3, 3) in pixels.
        poses: (m, 4, 4) camera-to-world.
    """

    images: Tensor
    depths: Tensor
    intrinsics: Tensor
    poses: Tensor


class Sighting(NamedTuple):
    """What the views see at n points.

    Attributes:
        colour: (3, n) mean RGB over the views that agree that a surface is there.
        gap: (n,) how far in front of a surface the point is, between -1 and 1 tolerance, mean over
            the views that do not see it hidden; 1 if there are none.
        agreeing: (n,) number of views that agree.
        noise: scalar, mean distance to the surface over all agreeing views, metres.
    """

    colour: Tensor
    gap: Tensor
    agreeing: Tensor
    noise: Tensor


def settle(views: Views, points: Tensor, tolerance: float, max_depth: float) -> Tensor:
    """Move points along z to the mean height of what the agreeing views see there.

    Args:
        views: of one scene.
        points: (3, n) world positions, metres.
        tolerance: a view agrees if its depth there differs by at most this, metres.
        max_depth: depths beyond this many metres are unknown.

    Returns:
        (3, n) points; where no view agrees, as they were.
    """
    agreeing, heights = points.new_zeros(2, points.shape[1], dtype=torch.int32)
    slopes, bases, w = _slopes(views), views.poses[:, 2, 3].tolist(), views.depths.shape[-1]
    for view, index, pixel, depth, ahead in _visits(views, points, tolerance, max_depth):
        near = ahead <= tolerance
        across, down, forward = slopes[view]
        row = pixel // w
        rise = (pixel - row * w).float().mul_(across).add_(row, alpha=down).add_(forward)
        above = rise.mul_(depth).add_(bases[view]).sub_(points[2].index_select(0, index))
        above = torch.where(near, above * (_STEPS / tolerance), 0).round()
        heights.index_add_(0, index, above.int())
        agreeing.index_add_(0, index, near.int())
    height = points[2] + heights / agreeing.clamp(min=1) * (tolerance / _STEPS)
    return torch.cat([points[:2], height[None]])


def look(views: Views, points: Tensor, tolerance: float, max_depth: float) -> Sighting:
    """Look at points in every view.

    Args:
        views: of one scene.
        points: (3, n) world positions, metres.
        tolerance: a view agrees if its depth there differs by at most this, metres.
        max_depth: depths beyond this many metres are unknown.

    Returns:
        What they see.
    """
    colours, levels = points.new_zeros(2, 3, points.shape[1], dtype=torch.int32)
    seen, agreeing, gaps = levels
    red, green, blue = colours
    distances = seen.new_zeros((), dtype=torch.int64)
    for view, index, pixel, _, ahead in _visits(views, points, tolerance, max_depth):
        steps = (ahead * (_STEPS / tolerance)).clamp(max=_STEPS).round().int()
        near = ahead <= tolerance
        gaps.index_add_(0, index, steps)
        seen.index_add_(0, index, torch.ones_like(steps))
        agreeing.index_add_(0, index, near.int())
        distances += torch.where(near, steps.abs(), 0).sum()
        picture = views.images[view].flatten(1)
        for total, channel in zip((red, green, blue), picture, strict=True):
            level = channel.index_select(0, pixel).float().nan_to_num(0.0).clamp(0, 1) * 255
            total.index_add_(0, index, torch.where(near, level.round(), 0).int())
    count = agreeing.clamp(min=1)
    gap = torch.where(seen > 0, gaps / (seen.clamp(min=1) * _STEPS), 1.0)
    return Sighting(
        colours / (count * 255.0),
        gap,
        agreeing,
        distances / agreeing.sum().clamp(min=1) * (tolerance / _STEPS),
    )


def vote(
    views: Views, labels: Tensor, points: Tensor, tolerance: float, max_depth: float
) -> Tensor:
    """Find the label that most views see at points.

    Args:
        views: of one scene.
        labels: (m, h, w) long, negative = none.
        points: (3, n) world positions, metres.
        tolerance: a view votes if its depth there differs by at most this, metres.
        max_depth: depths beyond this many metres are unknown.

    Returns:
        (n,) the label with most votes, of several the smallest; -1 where no view votes.
    """
    n, kinds = points.shape[1], int(labels.max()) + 2
    votes = labels.new_zeros(kinds * n, dtype=torch.int32)  # the first n: views that see no label
    for view, index, pixel, _, ahead in _visits(views, points, tolerance, max_depth):
        seen = labels[view].flatten().index_select(0, pixel).clamp(min=-1) + 1
        votes.index_add_(0, seen * n + index, (ahead <= tolerance).int())
    most = votes.view(kinds, n)
    return torch.where(most.amax(0) > 0, most.argmax(0) - 1, -1)


def _visits(
    views: Views, points: Tensor, tolerance: float, max_depth: float
) -> Iterator[tuple[int, Tensor, Tensor, Tensor, Tensor]]:
    """Each view with the points it may see.

    Yields:
        The view; and of its points, except those hidden behind a surface by more than the
        tolerance: index, pixel it falls on (row * w + column), depth known there, metres, and how
        far that is behind the point.
    """
    h, w = views.depths.shape[1:]
    poses, k = views.poses.double(), views.intrinsics.double()
    # Not matmul: its rounding would depend on how many points there are.
    to_pixels = (k[:, :, :, None] * poses[:, None, :3, :3].mT).sum(2).tolist()
    for view, (rows, centre) in enumerate(zip(to_pixels, poses[:, :3, 3].tolist(), strict=True)):
        x, y, z = (line - at for line, at in zip(points, centre, strict=True))
        u, v, depth = ((x * a).add_(y, alpha=b).add_(z, alpha=c) for a, b, c in rows)
        column, row = (line.div_(depth).add_(0.5).floor_() for line in (u, v))
        inside = (depth > _NEAREST) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
        index = inside.nonzero()[:, 0]
        column, row = (line.index_select(0, index).long() for line in (column, row))
        pixel = row.mul_(w).add_(column)
        there = views.depths[view].flatten().index_select(0, pixel).float()
        ahead = there - depth.index_select(0, index)
        kept = ((there > 0) & (there <= max_depth) & (ahead >= -tolerance)).nonzero()[:, 0]
        index, pixel = index.index_select(0, kept), pixel.index_select(0, kept)
        yield view, index, pixel, there.index_select(0, kept), ahead.index_select(0, kept)


def _slopes(views: Views) -> list[list[float]]:
    """World z per metre of depth of each view's pixels: a * column + b * row + c."""
    rays = ray_matrix(views.intrinsics.double(), views.poses.double())[:, 2]
    slopes: list[list[float]] = rays.tolist()
    return slopes
