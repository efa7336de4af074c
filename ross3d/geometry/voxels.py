"""Voxels: the visual tokens of all views that show one place, as one token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision

_BITS = 20  # a million voxels to either side of the origin, along each axis
_NONE = torch.iinfo(torch.int64).max


@dataclass(frozen=True, eq=False)
class Voxels:
    """The occupied voxels of b scenes, ordered by x, then y, then z.

    Attributes:
        tokens: (b, v, d) mean of the visual tokens in each voxel, 0 where not occupied.
        coords: (b, v, 3) mean world position of those tokens, metres, 0 where not occupied.
        occupied: (b, v) True = a voxel; False = padding up to the largest scene, at the end.
        index: (b, m, p) long, the voxel that each visual token lies in; -1 = in none.

    Raises:
        ValueError: if the shapes do not fit.
    """

    tokens: Tensor
    coords: Tensor
    occupied: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape("tokens", self.tokens, "b v d")
        check_shape("coords", self.coords, "b v 3", **sizes)
        check_shape("occupied", self.occupied, "b v", **sizes)
        check_shape("index", self.index, "b m p", **sizes)

    def pool(self, values: Tensor, valid: Tensor | None = None) -> Tensor:
        """Average other values over the same voxels.

        Args:
            values: (b, m, p, c) anything per visual token.
            valid: (b, m, p) True = counts; None = all that lie in a voxel.

        Returns:
            (b, v, c) in the dtype of ``values``, 0 where nothing counts.

        Raises:
            ValueError: if a shape does not fit.
        """
        sizes = dict(zip("bmp", self.index.shape, strict=True))
        check_shape("values", values, "b m p c", **sizes)
        index = self.index
        if valid is not None:
            check_shape("valid", valid, "b m p", **sizes)
            index = torch.where(valid, index, -1)
        return _means(values, index, self.tokens.shape[1])

    def spread(self, tokens: Tensor) -> Tensor:
        """Give each visual token what its voxel has: from voxels back to views.

        Args:
            tokens: (b, v, c) anything per voxel, for example hidden states.

        Returns:
            (b, m, p, c), 0 for visual tokens that lie in no voxel.

        Raises:
            ValueError: if the shape does not fit.
        """
        b, v = self.tokens.shape[:2]
        check_shape("tokens", tokens, "b v c", b=b, v=v)
        empty = tokens.new_zeros(b, 1, tokens.shape[-1])
        rows = torch.where(self.index < 0, v, self.index).flatten(1)
        scene = torch.arange(b, device=rows.device)[:, None]
        return torch.cat([tokens, empty], dim=1)[scene, rows].view(*self.index.shape, -1)


def voxel_pool(
    visual: Tensor,
    coords: Tensor,
    valid: Tensor,
    voxel_size: float = 0.2,
    *,
    num_voxels: int | None = None,
) -> Voxels:
    """Average the visual tokens of all views in each voxel of space that they occupy.

    This is the scene representation of LLaVA-3D: what many views show at one place becomes one
    token, so the number of tokens grows with the surfaces of a room, not with its views. Voxel
    (i, j, k) is the cube from (i, j, k) to (i + 1, j + 1, k + 1) times ``voxel_size`` in the world
    frame. The result does not depend on the order of the tokens, nor on the rest of the batch.

    Args:
        visual: (b, m, p, d) visual tokens.
        coords: (b, m, p, 3) world position of each, metres.
        valid: (b, m, p) True = the position is known, and the token may be read.
        voxel_size: side of a voxel, metres.
        num_voxels: exactly how many voxels v each scene gets, which makes all shapes known
            beforehand; of a scene with more, those with the fewest tokens are dropped. None = as
            many as the fullest scene of the batch occupies.

    Returns:
        The voxels. Means are summed in float32; tokens have the dtype of ``visual``.

    Raises:
        ValueError: if a shape does not fit, ``valid`` is not boolean, or a number is not positive.

    Example:
        >>> coords = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.3], [0.1, 0.1, 0.15]])
        >>> visual, valid = torch.rand(1, 1, 3, 8), torch.ones(1, 1, 3, dtype=torch.bool)
        >>> voxels = voxel_pool(visual, coords[None, None], valid, 0.2)
        >>> voxels.tokens.shape, voxels.index.tolist()
        (torch.Size([1, 2, 8]), [[[0, 1, 0]]])
    """
    sizes = check_shape("visual", visual, "b m p d")
    check_shape("coords", coords, "b m p 3", **sizes)
    check_shape("valid", valid, "b m p", **sizes)
    if valid.dtype != torch.bool:
        raise ValueError(f"valid must be boolean; got {valid.dtype}")
    if voxel_size <= 0 or (num_voxels is not None and num_voxels < 1):
        got = f"{voxel_size} and {num_voxels}"
        raise ValueError(f"voxel_size and num_voxels must be positive; got {got}")
    coords = full_precision(coords)
    ranks = _ranks(_keys(coords.detach(), valid, voxel_size))
    if num_voxels is None:
        v = int(_counts(ranks).max()) if len(ranks) else 0
    else:
        v, ranks = num_voxels, _fullest(ranks, num_voxels)
    index = ranks.view(valid.shape)
    occupied = torch.arange(v, device=ranks.device) < _counts(ranks)[:, None]
    return Voxels(_means(visual, index, v), _means(coords, index, v), occupied, index)


def _keys(coords: Tensor, valid: Tensor, voxel_size: float) -> Tensor:
    """(b, n) one number per voxel, in the order of x, y, z; the largest number = in no voxel."""
    half = 2**_BITS
    cells = (coords / voxel_size).floor().clamp(-half, half - 2).long() + half
    x, y, z = rearrange(cells, "b m p c -> c b (m p)")
    key = (((x << _BITS + 1) + y) << _BITS + 1) + z
    return torch.where(valid.flatten(1), key, _NONE)


def _ranks(keys: Tensor) -> Tensor:
    """(b, n) number of the voxel of each token among its scene's, in order; -1 = in none."""
    ordered, order = keys.sort(dim=1)
    begins = torch.ones_like(ordered, dtype=torch.bool)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ranks = torch.where(ordered == _NONE, -1, begins.cumsum(1) - 1)
    return torch.empty_like(ranks).scatter(1, order, ranks)


def _counts(ranks: Tensor) -> Tensor:
    """(b,) voxels of each scene."""
    none = ranks.new_full((len(ranks), 1), -1)  # also of scenes without tokens
    return torch.cat([ranks, none], dim=1).amax(1) + 1


def _fullest(ranks: Tensor, count: int) -> Tensor:
    """Renumber the ``count`` voxels with the most tokens, in the same order; -1 for the others."""
    b, n = ranks.shape
    slots = torch.where(ranks < 0, n, ranks)
    held = ranks.new_zeros(b, n + 1).scatter_add(1, slots, torch.ones_like(slots))[:, :n]
    number = torch.arange(n, device=ranks.device)
    # Equally full ones go in the order of their numbers, so that no score is met twice.
    best = (held * n + n - 1 - number).topk(min(count, n), dim=1).indices
    kept = torch.zeros_like(held, dtype=torch.bool).scatter(1, best, True) & (held > 0)
    renumbered = torch.where(kept, kept.cumsum(1) - 1, -1)
    renumbered = torch.cat([renumbered, renumbered.new_full((b, 1), -1)], dim=1)
    return renumbered.gather(1, slots)


def _means(values: Tensor, index: Tensor, v: int) -> Tensor:
    """Mean (b, v, c) of the values (b, m, p, c) of each index (b, m, p), -1 = of none."""
    b = len(values)
    rows = torch.where(index < 0, v, index).flatten(1)  # a last row of each scene is thrown away
    rows = (rows + torch.arange(b, device=rows.device)[:, None] * (v + 1)).flatten()
    source = full_precision(rearrange(values, "b m p c -> (b m p) c"))
    counts = source.new_zeros(b * (v + 1)).index_add(0, rows, torch.ones_like(source[:, 0]))
    means: Tensor = _MeanRows.apply(source, rows, counts.clamp(min=1))  # type: ignore[no-untyped-call]
    return means.view(b, v + 1, source.shape[1])[:, :v].to(values.dtype)


class _MeanRows(torch.autograd.Function):
    """Mean of the rows (n, c) of each index: one buffer, and no rows kept for the gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, source: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(rows, counts)
        sums = source.new_zeros(len(counts), source.shape[1]).index_add_(0, rows, source)
        return sums.div_(counts[:, None])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rows, counts = ctx.saved_tensors
        return (grads[0] / counts[:, None]).index_select(0, rows), None, None
