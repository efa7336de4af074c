"""Voxel pooling the straightforward way: a dictionary of voxels, one point after the other."""

from __future__ import annotations

import torch
from torch import Tensor


def pool_by_points(
    visual: Tensor, coords: Tensor, valid: Tensor, voxel_size: float
) -> list[tuple[Tensor, Tensor]]:
    """Group the points of each scene in a dictionary, then average voxel by voxel.

    Args:
        visual: (b, m, p, d) visual tokens.
        coords: (b, m, p, 3) world position of each, metres.
        valid: (b, m, p) True where the position is known.
        voxel_size: metres.

    Returns:
        For each scene the means (v, d) and mean positions (v, 3), voxels in ascending order.
    """
    scenes = []
    for tokens, points, known in zip(
        visual.flatten(1, 2), coords.flatten(1, 2), valid.flatten(1), strict=True
    ):
        held: dict[tuple[int, ...], list[int]] = {}
        for i in known.nonzero()[:, 0].tolist():
            voxel = tuple((points[i] / voxel_size).floor().long().tolist())
            held.setdefault(voxel, []).append(i)
        members = [held[voxel] for voxel in sorted(held)]
        means = (torch.stack([x[m].mean(0) for m in members]) for x in (tokens, points))
        scenes.append(tuple(means))
    return scenes


def pool_by_unique(
    visual: Tensor, coords: Tensor, valid: Tensor, voxel_size: float
) -> list[tuple[Tensor, Tensor]]:
    """The usual way without extensions: ``torch.unique`` over rows, then a scatter per scene.

    Arguments and result are those of :func:`pool_by_points`.
    """
    scenes = []
    for tokens, points, known in zip(visual, coords, valid, strict=True):
        cells = (points[known] / voxel_size).floor().long()
        _, inverse, counts = torch.unique(cells, dim=0, return_inverse=True, return_counts=True)
        means = []
        for values in (tokens[known], points[known]):
            index = inverse[:, None].expand_as(values)
            sums = values.new_zeros(len(counts), values.shape[1]).scatter_add(0, index, values)
            means.append(sums / counts[:, None])
        scenes.append(tuple(means))
    return scenes
