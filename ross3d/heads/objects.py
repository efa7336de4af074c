"""Object features: the visual tokens whose cells show an object, averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor

from ross3d.core.shapes import check_shape

PAIRS_AT_ONCE = 4096


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
    weights = counts.float()  # (b, o, m, p)
    if min_fraction is not None:
        axes = (sizes["h"], rows), (sizes["w"], columns)
        high, wide = (cell_axis(*axis, visual.device)[1].sum(1) for axis in axes)
        needed = (torch.outer(high, wide).flatten() * min_fraction).floor().clamp(min=1)
        weights = (weights >= needed).float()
    weights = rearrange(weights, "b o m p -> b o (m p)")
    weights = weights / weights.sum(-1, keepdim=True).clamp(min=1)
    features: Tensor = weights.to(visual.dtype) @ rearrange(visual, "b m p d -> b (m p) d")
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
    of the few that straddle a face are looked at, so nothing grows with boxes times pixels. How
    many straddle depends on the data, which is why compilers see one opaque operator.

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
        >>> count_inside(coords, known, torch.tensor([[[0.0, 0, 0, 1, 1, 1]]]), 2, 2)
        tensor([[[[4, 4, 4, 4]]]])
    """
    m, h, w = valid.shape[1:]
    y, x = cell_axis(h, rows, valid.device), cell_axis(w, columns, valid.device)
    boxes = boxes.to(torch.promote_types(boxes.dtype, torch.float32))
    centre, size = boxes[..., :3], boxes[..., 3:]
    low = torch.where((size > 0).all(-1, keepdim=True), centre - size / 2, torch.inf)
    high = centre + size / 2
    known, least, most = _cell_extents(world_coords, valid, y, x)
    lows, highs = rearrange(low, "b o a -> a b o 1"), rearrange(high, "b o a -> a b o 1")
    inside = ((least >= lows) & (most <= highs)).all(0)  # (b, o, m * cells)
    straddles = ((most >= lows) & (least <= highs)).all(0) & ~inside
    counts = torch.where(inside, known, 0)

    pixels, real = _outer(y[0] * w, x[0], torch.add), _outer(y[1], x[1], torch.logical_and)
    flat_coords, flat_valid = world_coords.reshape(-1, 3), valid.reshape(-1)
    for pairs in torch.split(straddles.nonzero(), PAIRS_AT_ONCE):
        scene, box, cell = pairs.unbind(-1)
        view, cell_of_view = cell // len(pixels), cell % len(pixels)
        index = ((scene * m + view) * (h * w))[:, None] + pixels[cell_of_view]
        points = flat_coords[index]  # (pairs, n, 3)
        within = (points >= low[scene, box, None]) & (points <= high[scene, box, None])
        counts[scene, box, cell] = (within.all(-1) & flat_valid[index] & real[cell_of_view]).sum(-1)
    return rearrange(counts, "b o (m p) -> b o m p", m=m)


@count_inside.register_fake
def _(world_coords: Tensor, valid: Tensor, boxes: Tensor, rows: int, columns: int) -> Tensor:
    b, m = valid.shape[:2]
    return boxes.new_empty((b, boxes.shape[1], m, rows * columns), dtype=torch.long)


def _cell_extents(
    world_coords: Tensor, valid: Tensor, y: tuple[Tensor, Tensor], x: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Count the known pixels (b, 1, m * cells), with their least and greatest x, y, z.

    The latter two are (3, b, 1, m * cells).
    """
    known, least, most = [], [], []
    # One view at a time: a masked copy of all views would be as large as the cloud.
    for points, seen in zip(world_coords.flatten(0, 1), valid.flatten(0, 1), strict=True):
        planes = rearrange(points, "h w a -> a h w").contiguous()
        lows, highs = torch.where(seen, planes, torch.inf), torch.where(seen, planes, -torch.inf)
        least.append(lows[:, y[0]].amin(2)[..., x[0]].amin(-1))
        most.append(highs[:, y[0]].amax(2)[..., x[0]].amax(-1))
        seen_in_column = (seen[y[0]] & y[1][..., None]).sum(1)
        known.append((seen_in_column[:, x[0]] * x[1]).sum(-1))
    b = len(valid)
    return (
        rearrange(known, "(b m) r c -> b 1 (m r c)", b=b),
        rearrange(least, "(b m) a r c -> a b 1 (m r c)", b=b),
        rearrange(most, "(b m) a r c -> a b 1 (m r c)", b=b),
    )


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
