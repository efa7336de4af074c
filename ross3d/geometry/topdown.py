"""Pictures from above: what they hold, and where in the world their pixels are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ross3d.core.shapes import check_shape
from ross3d.geometry.patches import patch_coords


@dataclass(frozen=True, eq=False)
class BEV:
    """Orthographic pictures of b scenes from above: +x to the right, +y up (row 0 = largest y).

    Attributes:
        image: (b, 3, s, s) RGB in [0, 1], 0 where neither observed nor filled.
        observed: (b, s, s) True where a surface was seen.
        height: (b, s, s) world z of that surface in metres, 0 where neither observed nor filled.
        extent: (b, 4) x_min, y_min, x_max, y_max of the pictures' outer borders, metres.
        filled: (b, s, s) True where nothing was seen and the neighbours' colour and height stand
            in; None = nowhere.
        labels: (b, s, s) long, label of that surface, -1 where there is none; None = not asked for.

    Raises:
        ValueError: if the shapes do not fit.
    """

    image: Tensor
    observed: Tensor
    height: Tensor
    extent: Tensor
    filled: Tensor | None = None
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = check_shape("image", self.image, "b 3 s s")
        check_shape("observed", self.observed, "b s s", **sizes)
        check_shape("height", self.height, "b s s", **sizes)
        check_shape("extent", self.extent, "b 4", **sizes)
        for name, plane in (("filled", self.filled), ("labels", self.labels)):
            if plane is not None:
                check_shape(name, plane, "b s s", **sizes)


def world_to_bev(points: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where world positions are in the picture.

    Args:
        points: (b, n, 3) world positions, metres (only x and y count).
        extent: (b, 4) x_min, y_min, x_max, y_max of the picture, metres.
        size: pixels s of the square picture.

    Returns:
        (b, n, 2) column and row, pixel centres at integers.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> world_to_bev(torch.zeros(1, 1, 3), torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), 4).tolist()
        [[[1.5, 1.5]]]
    """
    check_shape("extent", extent, "b 4", **check_shape("points", points, "b n 3"))
    x_min, y_min, x_max, y_max = extent[:, None].unbind(-1)
    column = (points[..., 0] - x_min) / (x_max - x_min) * size - 0.5
    row = (y_max - points[..., 1]) / (y_max - y_min) * size - 0.5
    return torch.stack([column, row], dim=-1)


def bev_to_world(pixels: Tensor, extent: Tensor, size: int) -> Tensor:
    """Where pixels of the picture are on the ground plane, the inverse of :func:`world_to_bev`.

    Args:
        pixels: (b, n, 2) column and row, pixel centres at integers.
        extent: (b, 4) x_min, y_min, x_max, y_max of the picture, metres.
        size: pixels s of the square picture.

    Returns:
        (b, n, 2) world x and y, metres.

    Raises:
        ValueError: if a shape does not fit.

    Example:
        >>> bev_to_world(torch.zeros(1, 1, 2), torch.tensor([[-1.0, -1.0, 1.0, 1.0]]), 4).tolist()
        [[[-0.75, 0.75]]]
    """
    check_shape("extent", extent, "b 4", **check_shape("pixels", pixels, "b n 2"))
    x_min, y_min, x_max, y_max = extent[:, None].unbind(-1)
    x = x_min + (pixels[..., 0] + 0.5) * (x_max - x_min) / size
    y = y_max - (pixels[..., 1] + 0.5) * (y_max - y_min) / size
    return torch.stack([x, y], dim=-1)


def cell_coords(bev: BEV, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """World position of each cell of a grid over the picture, for example of its latents.

    Args:
        bev: pictures of b scenes.
        grid: rows and columns; g = rows * columns.

    Returns:
        coords (b, g, 3) in metres: x and y of the cell's centre, z the mean height of its observed
        pixels (the scene's lowest such cell if there is none); and valid (b, g): True where at
        least one pixel is observed.

    Example:
        >>> bev = BEV(torch.zeros(2, 3, 8, 8), torch.ones(2, 8, 8) > 0, torch.zeros(2, 8, 8),
        ...           torch.tensor([[-1.0, -1.0, 1.0, 1.0]]).repeat(2, 1))
        >>> cell_coords(bev, (4, 4))[0].shape
        torch.Size([2, 16, 3])
    """
    rows, columns = grid
    heights = bev.height[:, None, ..., None].expand(-1, -1, -1, -1, 3)
    means, valid = patch_coords(heights, bev.observed[:, None], grid)
    z, valid = means[:, 0, :, 0], valid[:, 0]
    floor = torch.where(valid, z, torch.inf).amin(-1, keepdim=True)
    z = torch.where(valid, z, torch.where(floor.isfinite(), floor, 0))
    column = (torch.arange(columns, device=z.device) + 0.5) / columns
    row = (torch.arange(rows, device=z.device) + 0.5) / rows
    x_min, y_min, x_max, y_max = bev.extent[:, :, None].unbind(1)
    x = (x_min + column * (x_max - x_min))[:, None, :].expand(-1, rows, -1).flatten(1)
    y = (y_max - row * (y_max - y_min))[:, :, None].expand(-1, -1, columns).flatten(1)
    return torch.stack([x, y, z], dim=-1), valid
