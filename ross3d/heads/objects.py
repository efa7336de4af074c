"""Object features: the visual tokens whose cells show an object, averaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ross3d.core.shapes import check_shape

PIXELS_AT_ONCE = 2**18


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
    counts = count_inside(world_coords.detach(), valid.bool(), boxes.detach(), rows, columns)
    weights = counts  # (b, o, m, p)
    if min_fraction is not None:
        axes = (sizes["h"], rows), (sizes["w"], columns)
        high, wide = (cell_axis(*axis, visual.device)[1].sum(1) for axis in axes)
        needed = (torch.outer(high, wide).flatten() * min_fraction).floor().clamp(min=1)
        weights = weights >= needed
    weights = rearrange(weights, "b o m p -> b o (m p)").float()
    weights = weights.div_(weights.sum(-1, keepdim=True).clamp(min=1)).to(visual.dtype)
    features: Tensor = sum_rows(rearrange(visual, "b m p d -> b (m p) d"), weights)
    return features


@torch.library.custom_op(
    "ross3d::count_inside",
    mutates_args=(),
    schema="(Tensor world_coords, Tensor valid, Tensor boxes, int rows, int columns) -> Tensor",
)
def count_inside(
    world_coords: Tensor, valid: Tensor, boxes: Tensor, rows: int, columns: int
) -> Tensor:
    """Count the known pixels of each cell that lie in each box.

    Most cells are wholly inside or wholly outside a box, which their extent tells; only the pixels
    of the few that straddle a face are looked at, so nothing grows with boxes times pixels. A few
    views are worked on at a time, so nothing is as large as the cloud. How many cells straddle
    depends on the data, which is why compilers see one opaque operator.

    Args:
        world_coords: (b, m, h, w, 3) world position of each pixel, metres.
        valid: (b, m, h, w) True where the depth is known.
        boxes: (b, o, 6) axis-aligned (x, y, z, dx, dy, dz), centre and full size, metres, world
            frame.
        rows: rows of cells per view.
        columns: columns of cells per view.

    Returns:
        (b, o, m, rows * columns) number of pixels.

    Example:
        >>> coords, known = torch.zeros(1, 1, 4, 4, 3), torch.ones(1, 1, 4, 4, dtype=torch.bool)
        >>> count_inside(coords, known, torch.tensor([[[0.0, 0, 0, 1, 1, 1]]]), 2, 2).tolist()
        [[[[4, 4, 4, 4]]]]
    """
    b, m, h, w = valid.shape
    y, x = cell_axis(h, rows, valid.device), cell_axis(w, columns, valid.device)
    pixels, real = _outer(y[0] * w, x[0], torch.add), _outer(y[1], x[1], torch.logical_and)
    dtype = torch.promote_types(world_coords.dtype, boxes.dtype)
    low, high = _corners(boxes.to(torch.promote_types(dtype, torch.float32)))
    counts = boxes.new_zeros((b, boxes.shape[1], m, rows * columns), dtype=torch.int32)
    views = max(PIXELS_AT_ONCE // max(h * w, 1), 1)
    for scene, first in ((i, j) for i in range(b) for j in range(0, m, views)):
        part = slice(first, first + views)
        planes = rearrange(world_coords[scene, part], "m h w a -> (a m) (h w)")
        points = planes.index_select(1, pixels.flatten()).view(3, -1, *real.shape)
        seen = valid[scene, part].flatten(1).index_select(1, pixels.flatten())
        seen = seen.view(-1, *real.shape) & real
        inside = _count_views(
            points.flatten(1, 2).to(low.dtype), seen.flatten(0, 1), low[scene], high[scene]
        )
        counts[scene, :, part] = rearrange(inside, "o (m p) -> o m p", p=rows * columns)
    return counts


@count_inside.register_fake
def _(world_coords: Tensor, valid: Tensor, boxes: Tensor, rows: int, columns: int) -> Tensor:
    b, m = valid.shape[:2]
    return boxes.new_empty((b, boxes.shape[1], m, rows * columns), dtype=torch.int32)


def _count_views(points: Tensor, seen: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Count (o, cells) the seen (cells, n) pixels of points (3, cells, n) within corners (3, o)."""
    points = points.nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)
    unseen = torch.where(seen, -torch.inf, torch.inf).to(points.dtype)
    # Unseen pixels are beyond every box on either side.
    below, above = torch.minimum(points, -unseen), points.clamp_(min=unseen)
    least, most, known = above.amin(-1)[:, None], below.amax(-1)[:, None], seen.sum(-1).int()
    counts = known.new_zeros(low.shape[1], len(known))
    near = ((least.amin(-1) <= high) & (most.amax(-1) >= low)).all(0).nonzero()[:, 0]
    low, high = low[:, near, None], high[:, near, None]
    # Differences, as torch does not vectorise comparisons that give booleans.
    inside = torch.minimum(least - low, high - most).amin(0) >= 0  # (near, cells)
    touches = torch.minimum(most - low, high - least).amin(0) >= 0
    counts[near] = torch.where(inside, known, 0)
    for pairs in (touches & ~inside).nonzero().split(max(PIXELS_AT_ONCE // seen.shape[1], 1)):
        box, cell = pairs.unbind(-1)
        # In place, so in floating point: see above.
        within = above.index_select(1, cell).le_(high[:, box])  # (3, pairs, n)
        within *= below.index_select(1, cell).ge_(low[:, box])
        counts[near[box], cell] = within.prod(0).sum(-1).int()
    return counts


def _corners(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Give the lowest and highest corners, (b, 3, o) each, finite where the box has a volume."""
    centre, size = boxes.mT[:, :3], boxes.mT[:, 3:]
    most = torch.finfo(boxes.dtype).max
    low = torch.where(
        (size > 0).all(1, keepdim=True), (centre - size / 2).clamp(min=-most), torch.inf
    )
    return low, (centre + size / 2).clamp(max=most)


@torch.library.custom_op(
    "ross3d::sum_rows", mutates_args=(), schema="(Tensor rows, Tensor weights) -> Tensor"
)
def sum_rows(rows: Tensor, weights: Tensor) -> Tensor:
    """Sum rows by weights that are mostly zero, reading no others: the product of both.

    Gradients reach the rows alone.

    Args:
        rows: (b, s, d).
        weights: (b, o, s), of the same dtype.

    Returns:
        (b, o, d) sums.

    Example:
        >>> sum_rows(torch.tensor([[[1.0], [2.0], [4.0]]]), torch.tensor([[[0.5, 0, 2]]]))
        tensor([[[8.5000]]])
    """
    scene, bag, row = weights.nonzero().unbind(-1)
    size = weights.count_nonzero(-1).flatten()
    sums = F.embedding_bag(
        scene * rows.shape[1] + row,
        rows.flatten(0, 1),
        size.cumsum(0) - size,
        mode="sum",
        per_sample_weights=weights[scene, bag, row],
    )
    return sums.view(*weights.shape[:2], rows.shape[2])


@sum_rows.register_fake
def _(rows: Tensor, weights: Tensor) -> Tensor:
    return rows.new_empty((*weights.shape[:2], rows.shape[2]))


def _keep_weights(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[1])


def _to_rows(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    return ctx.saved_tensors[0].mT @ grad, None


sum_rows.register_autograd(_to_rows, setup_context=_keep_weights)


def _outer(rows: Tensor, columns: Tensor, combine: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Combine tables (r, i) of rows and (c, j) of columns into one (r * c, i * j) of cells."""
    table = combine(rows[:, None, :, None], columns[None, :, None, :])
    return rearrange(table, "r c i j -> (r c) (i j)")


def cell_axis(size: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """List the pixels of each cell along one axis, cut as ``adaptive_avg_pool2d`` does.

    Its cells differ in size and overlap where ``size`` is not divisible; the shorter ones repeat
    their last pixel.

    Args:
        size: pixels along the axis.
        cells: cells along the axis.
        device: where the tables live.

    Returns:
        Pixel indices (cells, n), and (cells, n): False where a pixel is a repeat.

    Example:
        >>> cell_axis(5, 2, torch.device("cpu"))[0]
        tensor([[0, 1, 2, 2],
                [2, 3, 4, 4]])
    """
    cell = torch.arange(cells, device=device)[:, None]
    start, stop = cell * size // cells, -((cell + 1) * -size // cells)
    longest = size // cells + (2 if size % cells else 0)
    index = start + torch.arange(longest, device=device)
    return torch.minimum(index, stop - 1), index < stop
