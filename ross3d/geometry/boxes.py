"""Axis-aligned boxes (x, y, z, dx, dy, dz): centre and full size in metres, world frame."""

from __future__ import annotations

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision


def points_in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Which points lie in which boxes, faces included.

    Args:
        points: (b, n, 3) world positions, metres.
        boxes: (b, o, 6) centre and full size, metres.

    Returns:
        (b, o, n) bool: True where point n is inside box o.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> points_in_boxes(torch.zeros(1, 5, 3), torch.ones(1, 2, 6)).shape
        torch.Size([1, 2, 5])
    """
    sizes = check_shape("points", points, "b n 3")
    check_shape("boxes", boxes, "b o 6", **sizes)
    low, high = _faces(boxes)
    axes = (
        (points[:, None, :, i] >= low[:, :, None, i])
        & (points[:, None, :, i] <= high[:, :, None, i])
        for i in range(3)
    )
    inside = next(axes)
    for axis in axes:
        inside &= axis
    return inside


def box_iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every box of one set with every box of another.

    Args:
        boxes: (..., n, 6) centre and full size, metres; sizes must not be negative.
        others: (..., m, 6) the same, with leading axes that broadcast.

    Returns:
        (..., n, m) between 0 and 1; 0 where both boxes are empty.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> box_iou(torch.ones(2, 6), torch.ones(3, 6)).shape
        torch.Size([2, 3])
    """
    check_shape("boxes", boxes, "... n 6")
    check_shape("others", others, "... m 6")
    low, high = _faces(boxes)
    other_low, other_high = _faces(others)
    overlap = torch.minimum(high[..., :, None, :], other_high[..., None, :, :])
    overlap = overlap - torch.maximum(low[..., :, None, :], other_low[..., None, :, :])
    shared = overlap.clamp(min=0).prod(-1)
    # From the rounded faces, as the overlap is: a box and itself then give exactly 1.
    volume, other_volume = (high - low).prod(-1), (other_high - other_low).prod(-1)
    union = volume[..., :, None] + other_volume[..., None, :] - shared
    return torch.where(union > 0, shared / torch.where(union > 0, union, 1), 0)


def box_corners(boxes: Tensor) -> Tensor:
    """The eight corners of boxes, x slowest and z fastest, low before high.

    Args:
        boxes: (..., 6) centre and full size, metres.

    Returns:
        (..., 8, 3) world positions, metres.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> box_corners(torch.ones(4, 6)).shape
        torch.Size([4, 8, 3])
    """
    check_shape("boxes", boxes, "... 6")
    halves = torch.tensor([-0.5, 0.5], device=boxes.device)
    signs = torch.cartesian_prod(halves, halves, halves)
    centre, size = full_precision(boxes)[..., None, :3], full_precision(boxes)[..., None, 3:]
    return centre + signs.to(centre) * size


def _faces(boxes: Tensor) -> tuple[Tensor, Tensor]:
    boxes = full_precision(boxes)
    return boxes[..., :3] - boxes[..., 3:] / 2, boxes[..., :3] + boxes[..., 3:] / 2
