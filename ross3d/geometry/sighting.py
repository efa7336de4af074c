"""Look at points of the world in every view: which views see a surface there, and of what colour.

Sums are sums of integers, so that the order of the views changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ross3d.geometry.camera import ray_matrix
from ross3d.geometry.flags import flag

_STEPS = 1000  # of the tolerance, in which distances are summed
_CHUNK = 2**18  # points that are looked at at a time: of few points, in several views together
_WIDE = 2**31  # numbers in memory beyond which their places do not fit 32 bits
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
    coefficients = _slopes(views)
    for part, visits in _visits(views, points, tolerance, max_depth):
        across, down, forward, base = coefficients[:, part].index_select(1, visits.view)
        rise = across.mul_(visits.column).addcmul_(visits.row, down).add_(forward)
        above = rise.mul_(visits.depth).add_(base).sub_(points[2].index_select(0, visits.point))
        above.mul_(_STEPS / tolerance).round_().mul_(visits.near).nan_to_num_(0.0)
        heights.scatter_add_(0, visits.point, above.int())
        agreeing.scatter_add_(0, visits.point, visits.near.int())
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
    distances = seen.new_zeros((), dtype=torch.int64)
    for part, visits in _visits(views, points, tolerance, max_depth):
        steps = visits.ahead.mul(_STEPS / tolerance).clamp_(max=_STEPS).round_()
        steps.mul_(visits.seen).nan_to_num_(0.0)
        gaps.scatter_add_(0, visits.point, steps.int())
        seen.scatter_add_(0, visits.point, visits.seen.int())
        agreeing.scatter_add_(0, visits.point, visits.near.int())
        distances += steps.abs_().mul_(visits.near).int().sum()
        level = visits.read(views.images[part]).float()
        level.clamp_(0, 1).mul_(255).round_().mul_(visits.near).nan_to_num_(0.0)
        colours.scatter_add_(1, visits.point.expand(3, -1), level.int())
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
    for part, visits in _visits(views, points, tolerance, max_depth):
        seen = visits.read(labels[part, None])[0].clamp(min=-1) + 1
        votes.scatter_add_(0, seen * n + visits.point, visits.near.int())
    most = votes.view(kinds, n)
    return torch.where(most.amax(0) > 0, most.argmax(0) - 1, -1)


class _Visits(NamedTuple):
    """Which points are in the pictures of a few views: n pairs of a view and a point.

    Attributes:
        view: (n,) which of the views.
        point: (n,) which point.
        column: (n,) of the pixel that the point falls on, a whole number.
        row: (n,) of the same pixel.
        depth: (n,) what the view knows there, metres.
        ahead: (n,) how far that is behind the point, metres.
        seen: (n,) 1 where that is known, and the point not hidden behind it by more than the
            tolerance; else 0.
        near: (n,) 1 where the view agrees that a surface is at the point, else 0.
    """

    view: Tensor
    point: Tensor
    column: Tensor
    row: Tensor
    depth: Tensor
    ahead: Tensor
    seen: Tensor
    near: Tensor

    def read(self, planes: Tensor) -> Tensor:
        """Values (c, n) of planes (m, c, h, w) of these views."""
        return _read(planes, self.view, self.row, self.column)


def _visits(
    views: Views, points: Tensor, tolerance: float, max_depth: float
) -> Iterator[tuple[slice, _Visits]]:
    """Which points are in which pictures, a few views at a time.

    Yields:
        The views, and the visits to them.
    """
    n, (m, h, w) = points.shape[1], views.depths.shape
    step = min(m, max(1, _CHUNK // max(1, n)))
    to_pixels, centres = _to_pixels(views)
    owner = torch.arange(step, dtype=torch.int32, device=points.device).repeat_interleave(n)
    for part in (slice(start, start + step) for start in range(0, m, step) if n):
        x, y, z = points[:, None] - centres[:, part]
        lines = (x * to_pixels[0][:, part]).addcmul_(y, to_pixels[1][:, part])
        lines.addcmul_(z, to_pixels[2][:, part])
        lines[:2].div_(lines[2]).add_(0.5).floor_()
        at = _inside(lines, h, w).flatten().nonzero()[:, 0]
        column, row, depth = (line.flatten().index_select(0, at) for line in lines)
        view = owner.index_select(0, at)
        there = _read(views.depths[part, None], view, row, column)[0].float()
        ahead = there - depth
        seen = flag(torch.gt, there, 0).mul_(flag(torch.le, there, max_depth))
        seen.mul_(flag(torch.ge, ahead, -tolerance))
        near = flag(torch.le, ahead, tolerance).mul_(seen)
        point = at.sub_(view, alpha=n)
        yield part, _Visits(view, point, column, row, there, ahead, seen, near)


def _inside(lines: Tensor, h: int, w: int) -> Tensor:
    """(m, n) True where column, row and depth (3, m, n) are those of something in the picture."""
    inside = flag(torch.gt, lines[2], _NEAREST)
    for line, size in ((lines[0], w), (lines[1], h)):
        inside.mul_(line.clamp(0, size - 1).eq_(line))
    return inside.bool()


def _read(planes: Tensor, view: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Values (c, n) of planes (m, c, h, w) at rows and columns (n,) of views (n,)."""
    (m, c, h, w), (apart, across, down, along) = planes.shape, planes.stride()
    reach = 1 + (m - 1) * apart + (c - 1) * across + (h - 1) * down + (w - 1) * along
    kind = torch.int32 if reach < _WIDE else torch.int64
    place = (view.to(kind) * apart).add_(row.to(kind), alpha=down)
    place.add_(column.to(kind), alpha=along)
    first = torch.arange(c, dtype=kind, device=place.device).mul_(across)
    # Not flatten: it would copy views that do not lie one after the other.
    numbers = planes.as_strided((reach,), (1,))
    return numbers.index_select(0, (place + first[:, None]).flatten()).view(c, -1)


def _to_pixels(views: Views) -> tuple[Tensor, Tensor]:
    """From the world to column * depth, row * depth and depth: matrix and cameras' centres.

    Returns:
        (3 axes, 3 rows, m, 1), and (3 axes, m, 1) in metres.
    """
    poses, k = views.poses.double(), views.intrinsics.double()
    # Not matmul: its rounding would depend on how many points there are.
    matrix = (k[:, :, :, None] * poses[:, None, :3, :3].mT).sum(2)
    return matrix.permute(2, 1, 0)[..., None].float(), poses[:, :3, 3].T[..., None].float()


def _slopes(views: Views) -> Tensor:
    """(4, m) a, b, c, d: world z of the views' pixels is (a * column + b * row + c) * depth + d."""
    rays = ray_matrix(views.intrinsics.double(), views.poses.double())[:, 2]
    return torch.cat([rays.float().T, views.poses[None, :, 2, 3].float()])
