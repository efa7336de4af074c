"""Object features the straightforward way: box by box, every point tested."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def pool_by_boxes(
    visual: Tensor,
    world_coords: Tensor,
    valid: Tensor,
    boxes: Tensor,
    grid: tuple[int, int],
    needed: int,
) -> Tensor:
    """Test every point against a box, count per cell, average the tokens of the cells it fills.

    Args:
        visual: (b, m, p, d) visual tokens.
        world_coords: (b, m, h, w, 3) world position of each pixel, metres.
        valid: (b, m, h, w) True where the depth is known.
        boxes: (b, o, 6) axis-aligned centre and full size, metres.
        grid: rows and columns of tokens per view, which divide h and w.
        needed: pixels that must be inside for a cell to count.

    Returns:
        (b, o, d) one feature per object, zeros for one that no cell shows.
    """
    area = (valid.shape[2] // grid[0]) * (valid.shape[3] // grid[1])
    features = visual.new_zeros(*boxes.shape[:2], visual.shape[-1])
    for scene, (tokens, points, known) in enumerate(zip(visual, world_coords, valid, strict=True)):
        for number, box in enumerate(boxes[scene]):
            low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
            inside = ((points >= low) & (points <= high)).all(-1) & known
            counts = F.adaptive_avg_pool2d(inside.float(), grid).flatten(1) * area
            cells = counts.round() >= needed
            if cells.any():
                features[scene, number] = tokens[cells].mean(0)
    return features
