"""Object features: the visual tokens whose cells show an object, averaged."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.heads.cells import cell_axis, count_inside

# Rows that are read at a time stay in a processor's cache.
NUMBERS_AT_ONCE = 2**21


def pool_objects(
    visual: Tensor,
    world_coords: Tensor,
    valid: Tensor,
    boxes: Tensor,
    grid: tuple[int, int],
    *,
    min_fraction: float | None = 0.5,
) -> Tensor:
    """Average, for each object, the visual tokens whose cells lie in the object's box.

    A view is cut into the cells of ``torch.nn.functional.adaptive_avg_pool2d``, one for each token.
    A cell belongs to an object when at least ``min_fraction`` of *all* its pixels have a known
    depth and a world position inside the box, in whole pixels rounded down and never fewer than
    one. The released model takes 0.5 on its 27 x 27 grid of tokens before pooling, or 0.25 on the
    14 x 14 grid after it.

    Args:
        visual: (b, m, p, d) visual tokens.
        world_coords: (b, m, h, w, 3) world position of each pixel, metres.
        valid: (b, m, h, w) True where the depth is known.
        boxes: (b, o, 6) axis-aligned (x, y, z, dx, dy, dz), centre and full size, metres, world
            frame. A box without volume, such as padding of size 0, holds nothing.
        grid: rows and columns of tokens per view; p = rows * columns.
        min_fraction: the part of a cell that must be inside, in (0, 1]. None averages all cells by
            their number of inside pixels instead, so that a small object never vanishes.

    Returns:
        (b, o, d) one feature per object, and zeros for an object that no cell shows.

    Raises:
        ValueError: if the shapes disagree, the grid does not give p or ``min_fraction`` is out of
            range.

    Example:
        >>> coords, valid = torch.zeros(2, 4, 28, 28, 3), torch.ones(2, 4, 28, 28, dtype=torch.bool)
        >>> pool_objects(torch.randn(2, 4, 49, 8), coords, valid, torch.ones(2, 5, 6), (7, 7)).shape
        torch.Size([2, 5, 8])
    """
    rows, columns = grid
    sizes = check_shape("visual", visual, "b m p d")
    sizes = check_shape("world_coords", world_coords, "b m h w 3", **sizes)
    sizes = check_shape("valid", valid, "b m h w", **sizes)
    check_shape("boxes", boxes, "b o 6", **sizes)
    if min(rows, columns) < 1 or rows * columns != sizes["p"]:
        raise ValueError(f"grid must be of {sizes['p']} cells; got {rows} x {columns}")
    if min_fraction is not None and not 0 < min_fraction <= 1:
        raise ValueError(f"min_fraction must be in (0, 1] or None; got {min_fraction}")
    weights = count_inside(world_coords.detach(), valid.bool(), boxes.detach(), rows, columns)
    if min_fraction is not None:
        axes = (sizes["h"], rows), (sizes["w"], columns)
        high, wide = (cell_axis(*axis, visual.device)[1].sum(1) for axis in axes)
        needed = (torch.outer(high, wide).flatten() * min_fraction).floor().clamp(min=1)
        weights = weights >= needed
    weights = rearrange(weights, "b o m p -> b o (m p)")
    features: Tensor = average_rows(rearrange(visual, "b m p d -> b (m p) d"), weights)
    return features


@torch.library.custom_op(
    "ross3d::average_rows", mutates_args=(), schema="(Tensor rows, Tensor weights) -> Tensor"
)
def average_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """Average rows by weights that are mostly zero, reading no others.

    Gradients reach the rows alone.

    Args:
        rows: (b, s, d).
        weights: (b, o, s) boolean, or whole numbers.

    Returns:
        (b, o, d) means, zeros where all weights are.

    Example:
        >>> average_rows(torch.tensor([[[1.0], [2.0], [6.0]]]), torch.tensor([[[3, 0, 1]]]))
        tensor([[[2.2500]]])
    """
    b, o = weights.shape[:2]
    total = weights.sum(-1)
    means = rows.new_zeros(
        b * o, rows.shape[2], dtype=torch.promote_types(rows.dtype, torch.float32)
    )
    at_once = max(NUMBERS_AT_ONCE // max(b * o, b * rows.shape[2], 1), 1)
    parts = (torch.split(rows, at_once, 1), torch.split(weights, at_once, 2))
    for part, weight in zip(*parts, strict=True):
        scene, bag, row = weight.nonzero().unbind(-1)
        size = weight.count_nonzero(-1).flatten()
        means += F.embedding_bag(
            scene * part.shape[1] + row,
            part.flatten(0, 1),
            size.cumsum(0) - size,
            mode="sum",
            per_sample_weights=(weight[scene, bag, row] / total[scene, bag]).to(rows.dtype),
        )
    return means.view(b, o, rows.shape[2]).to(rows.dtype)


@average_rows.register_fake
def _(rows: Tensor, weights: Tensor) -> Tensor:
    return rows.new_empty((*weights.shape[:2], rows.shape[2]))


def _keep_weights(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _to_rows(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    (weights,) = ctx.saved_tensors
    shares = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    return shares.to(grad.dtype).mT @ grad, None


average_rows.register_autograd(_to_rows, setup_context=_keep_weights)
