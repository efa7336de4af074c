"""The released denoiser: one trunk, and per target size an input stem and a table of positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ross3d import ConditionedDiT, QueryPooler

from .names import STEMS

RELEASED_HEADS = 16


class ReleasedDiT(ConditionedDiT):
    """A denoiser for latents of one size, whose positions are a trained table.

    Args:
        cells: latent cells h*w.
        channels: latent channels c.
        dim: width d.
        depth: number of blocks.
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``dim``.
        recompute: see ConditionedDiT.

    Example:
        >>> denoiser = ReleasedDiT(6, channels=16, dim=32, depth=1, heads=2)
        >>> t, condition = torch.tensor([3]), torch.zeros(1, 6, 32)
        >>> denoiser(torch.zeros(1, 16, 2, 3), t, condition).shape
        torch.Size([1, 16, 2, 3])
    """

    def __init__(
        self,
        cells: int,
        channels: int = 64,
        dim: int = 1024,
        depth: int = 3,
        heads: int = RELEASED_HEADS,
        *,
        mlp_ratio: float = 4.0,
        recompute: bool = False,
    ) -> None:
        super().__init__(channels, dim, depth, heads, mlp_ratio=mlp_ratio, recompute=recompute)
        self.config = {"cells": cells, "channels": channels, "dim": dim, "depth": depth}
        self.config |= {"heads": heads, "mlp_ratio": mlp_ratio, "recompute": recompute}
        self.pos_embed = nn.Parameter(0.02 * torch.randn(cells, dim))

    def positions(self, h: int, w: int, device: torch.device) -> Tensor:
        """Give the table (h*w, d), row by row.

        Raises:
            ValueError: if the latents are of another number of cells.
        """
        if h * w != len(self.pos_embed):
            raise ValueError(f"z_t must be of {len(self.pos_embed)} cells; got {h} x {w}")
        return self.pos_embed

    def share_trunk(self, other: ConditionedDiT) -> None:
        """Use the timestep embedding, blocks and final layer of another denoiser: the same."""
        self.t_embedder, self.blocks = other.t_embedder, other.blocks
        self.final_layer = other.final_layer
        self.config["depth"] = len(other.blocks)
        self.config["depth"] = len(other.blocks)


@dataclass(frozen=True)
class DenoiserSizes:
    """Sizes of the released denoiser.

    Attributes:
        context_dim: width of the language model.
        view_cells: latent cells of a view.
        bev_cells: latent cells of the bird's-eye view.
        channels: latent channels.
        dim: width of the denoiser.
        depth: number of blocks.
        heads: attention heads of denoiser and poolers; the released code has 16 at every width.
        mlp_dim: hidden width of the MLPs; None = 4 * dim.
    """

    context_dim: int = 3584
    view_cells: int = 196
    bev_cells: int = 729
    channels: int = 64
    dim: int = 1024
    depth: int = 3
    heads: int = RELEASED_HEADS
    mlp_dim: int | None = None

    @classmethod
    def of(cls, sizes: Mapping[str, int], depth: int, heads: int | None = None) -> DenoiserSizes:
        """Sizes from the letters of the templates.

        Args:
            sizes: letter -> size.
            depth: number of blocks.
            heads: attention heads, which no shape tells. None = 16, as in the released code at
                every width; a width that 16 does not divide has a head per 64 channels.
        """
        dim = sizes["C"]
        if heads is None:
            heads = RELEASED_HEADS if dim % RELEASED_HEADS == 0 else max(1, dim // 64)
        cells = {"view_cells": sizes["W"], "bev_cells": sizes["B"], "channels": sizes["Z"]}
        return cls(sizes["D"], **cells, dim=dim, depth=depth, heads=heads, mlp_dim=sizes["H"])

    @property
    def cells(self) -> dict[str, int]:
        """Pretext task -> latent cells of its targets."""
        return {"cross_view": self.view_cells, "global_view": self.bev_cells}


def released_blocks(
    sizes: DenoiserSizes,
) -> tuple[dict[str, ReleasedDiT], dict[str, QueryPooler]]:
    """Build the denoisers, which share their trunk, and the poolers, with random weights.

    Raises:
        ValueError: if the heads do not divide the width.
    """
    mlp = 4 * sizes.dim if sizes.mlp_dim is None else sizes.mlp_dim
    denoisers = {
        task: ReleasedDiT(
            cells,
            sizes.channels,
            sizes.dim,
            sizes.depth if task == "cross_view" else 0,
            sizes.heads,
            mlp_ratio=(mlp + 0.5) / sizes.dim,  # so that no rounding takes the last unit
        )
        for task, cells in sizes.cells.items()
    }
    denoisers["global_view"].share_trunk(denoisers["cross_view"])
    poolers = {
        task: QueryPooler(cells, sizes.context_dim, sizes.dim, sizes.heads, position_dim=0)
        for task, cells in sizes.cells.items()
    }
    return denoisers, poolers


def holder(denoisers: Mapping[str, nn.Module], poolers: Mapping[str, nn.Module]) -> nn.Module:
    """Put the blocks where ReconstructionLoss has them, so that names of tensors agree."""
    conditioners = {task: nn.ModuleDict({"pooler": poolers[task]}) for task in STEMS}
    reconstruction = nn.ModuleDict(
        {
            "denoisers": nn.ModuleDict({task: denoisers[task] for task in STEMS}),
            "conditioners": nn.ModuleDict(conditioners),
        }
    )
    return nn.ModuleDict({"reconstruction": reconstruction})
