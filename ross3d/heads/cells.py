"""The cells that a view is cut into, and how many of their pixels lie in boxes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

# Pixels that are looked at at a time stay in a processor's cache.
PIXELS_AT_ONCE = 2**16


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
    real = _outer(y[1], x[1], torch.logical_and)
    dtype = torch.promote_types(world_coords.dtype, boxes.dtype)
    low, high = _corners(boxes.to(torch.promote_types(dtype, torch.float32)))
    counts = boxes.new_zeros((b, boxes.shape[1], m, rows * columns), dtype=torch.int32)
    views = max(PIXELS_AT_ONCE // max(h * w, 1), 1)
    for scene, first in ((i, j) for i in range(b) for j in range(0, m, views)):
        part = slice(first, first + views)
        planes = rearrange(world_coords[scene, part], "m h w a -> (a m) h w")
        points = rearrange(_cut(planes, y[0], x[0]), "(a m) p n -> a (m p) n", a=3)
        seen = (_cut(valid[scene, part], y[0], x[0]) & real).flatten(0, 1)
        inside = _count_views(points.to(low.dtype), seen, low[scene], high[scene])
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
    at_once = max(PIXELS_AT_ONCE // seen.shape[1], 1)
    for pairs in torch.split((touches & ~inside).nonzero(), at_once):
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


def _cut(pictures: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Cut (k, h, w) pictures into their cells' pixels (k, cells, n)."""
    (k, h, w), rows, columns = pictures.shape, len(y), len(x)
    if h % rows == 0 and w % columns == 0:  # a copy is faster than to look up each pixel
        return rearrange(pictures, "k (r i) (c j) -> k (r c) (i j)", r=rows, c=columns)
    pixels = _outer(y * w, x, torch.add)
    return pictures.flatten(1).index_select(1, pixels.flatten()).view(k, *pixels.shape)


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
