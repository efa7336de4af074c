"""The input representations beside the posed views: voxels, points, the room from above, fusion."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from einops import rearrange
from torch import Tensor, nn

from ross3d import (
    BEVRenderer,
    CrossAttentionFusion,
    PosedFrames,
    PositionAwareEncoder,
    QueryPooler,
    cell_coords,
    voxel_pool,
)

from .data.scene_points import ScenePoints
from .inputs import INPUTS, InputRepresentation, SceneTokens, Seen, ViewTokens
from .presets import Preset


class VoxelTokens(nn.Module):
    """One token per occupied voxel with the code of its place, in the order of x, y, z.

    A voxel that visible views show holds the mean of their tokens alone; one that only hidden views
    show holds the mask token. A view's hidden states are those of the voxels that it shows.

    Args:
        voxel_size: side of a voxel, metres (LLaVA-3D: 0.2).
        share: of the views' number of tokens that voxels may take; the emptiest beyond are dropped.
    """

    def __init__(self, voxel_size: float = 0.2, share: float = 0.5) -> None:
        super().__init__()
        self.config = {"voxel_size": voxel_size, "share": share}
        self.voxel_size, self.share = voxel_size, share

    def num_views(self, views: int) -> int:
        """The share of them, rounded up."""
        return math.ceil(views * self.share)

    def forward(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Pool, then add the codes."""
        visual, (m, p) = seen.visual, seen.visual.shape[1:3]
        count = self.num_views(m) * p
        voxels = voxel_pool(visual, seen.coords, seen.known, self.voxel_size, num_voxels=count)
        of_visible = voxels.pool(visual, seen.shown)
        visible = voxels.pool(seen.shown[..., None].to(visual.dtype)) > 0
        tokens = torch.where(visible, of_visible, voxels.tokens)
        tokens, coords, occupied = (
            rearrange(x, "b (n p) ... -> b n p ...", p=p)
            for x in (tokens, voxels.coords, voxels.occupied)
        )
        return SceneTokens(
            place(tokens, coords, occupied),
            lambda hidden: voxels.spread(hidden.flatten(1, 2)),
            occupied,
        )


class PointTokens(nn.Module):
    """Learned tokens that attend to the features of the scene's points.

    The points are those that the batch brings along, or else the visible views' patches, lifted to
    where they are. A point's feature carries the code of its place. The tokens belong to no view
    and to no place: every view's hidden states are those of all of them.

    Args:
        dim: width d of the tokens.
        num_tokens: how many: as many as a view has.
        heads: attention heads.
        features_dim: width of the points' features; None = that of visual tokens.
        voxel_size: metres, of the position code.
        temperature: longest over shortest wavelength of the position code.
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        heads: int,
        *,
        features_dim: int | None = None,
        voxel_size: float = 0.1,
        temperature: float = 10_000.0,
    ) -> None:
        super().__init__()
        features_dim = features_dim or dim
        self.config = {"dim": dim, "num_tokens": num_tokens, "heads": heads}
        self.config |= {"features_dim": features_dim, "voxel_size": voxel_size}
        self.config |= {"temperature": temperature}
        self.place = PositionAwareEncoder(features_dim, voxel_size, temperature=temperature)
        self.pooler = QueryPooler(num_tokens, features_dim, dim, heads)
        # Queries of the usual small size would all read the same mean of the scene for long.
        nn.init.normal_(self.pooler.queries)

    def num_views(self, views: int) -> int:
        """One, whatever their number."""
        return 1

    def forward(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Read the points.

        Raises:
            ValueError: if views are hidden from a model that reads points which were made of them.
        """
        points, m = seen.points, seen.visual.shape[1]
        if points is None:
            parts = (seen.coords, seen.visual, seen.shown)
            points = ScenePoints(*(x.flatten(1, 2) for x in parts))
        elif bool(seen.masked.any()):
            raise ValueError("masked must hide no view where points come with the batch; got some")
        features = self.place(points.features[:, None], points.coords[:, None])[:, 0]
        tokens = self.pooler(features, valid=points.valid, at=points.coords)
        return SceneTokens(
            tokens[:, None].to(seen.visual.dtype),
            lambda hidden: hidden.expand(-1, m, -1, -1),
        )


class BEVTokens(nn.Module):
    """The views, and before them the room from above, rendered from the visible ones.

    The picture comes first, so that a causal language model's view of it reaches every view's
    hidden states. Its tokens carry the code of the surfaces that they show.

    Args:
        size: pixels of the picture: those that the vision tower sees.
        grid: rows and columns of visual tokens per view.
    """

    def __init__(self, size: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = {"size": size, "grid": grid}
        self.render, self.grid = BEVRenderer(size), grid

    def num_views(self, views: int) -> int:
        """One more."""
        return views + 1

    def forward(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Render, encode and add the codes."""
        frames, hidden_pixels = seen.frames, seen.masked[..., None, None]
        depths = torch.where(hidden_pixels, 0, frames.depths)  # a pixel without depth is not drawn
        bev = self.render(PosedFrames(frames.images, depths, frames.intrinsics, frames.poses))
        coords, known = cell_coords(bev, self.grid)
        above = encode(bev.image[:, None]).to(seen.visual.dtype)
        tokens = place(
            torch.cat([above, seen.visual], dim=1),
            torch.cat([coords[:, None].to(seen.coords), seen.coords], dim=1),
            torch.cat([known[:, None], seen.known], dim=1),
        )
        return SceneTokens(tokens, lambda hidden: hidden[:, 1:])


class FusedTokens(nn.Module):
    """The views' tokens, each of which has read the scene's voxels by cross-attention.

    Args:
        dim: width d of the tokens.
        heads: attention heads.
        voxel_size: side of a voxel, metres.
    """

    def __init__(self, dim: int, heads: int, voxel_size: float = 0.2) -> None:
        super().__init__()
        self.config = {"dim": dim, "heads": heads, "voxel_size": voxel_size}
        self.fusion, self.voxel_size = CrossAttentionFusion(dim, dim, heads), voxel_size

    def num_views(self, views: int) -> int:
        """All of them."""
        return views

    def forward(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Add the codes to tokens and voxels, then fuse."""
        voxels = voxel_pool(seen.visual, seen.coords, seen.shown, self.voxel_size)
        parts = voxels.tokens, voxels.coords, voxels.occupied
        scene = place(*(x[:, None] for x in parts))[:, 0]
        tokens = place(seen.visual, seen.coords, seen.known)
        return SceneTokens(self.fusion(tokens, scene, voxels.occupied), lambda hidden: hidden)


def build_representation(name: str, preset: Preset, grid: tuple[int, int]) -> InputRepresentation:
    """Build an input representation by its name.

    Args:
        name: one of INPUTS.
        preset: the numbers.
        grid: rows and columns of visual tokens per view.

    Raises:
        ValueError: if the name is unknown.
    """
    dim, heads = preset.dim, preset.heads
    if name == "views":
        return ViewTokens()
    if name == "voxels":
        return VoxelTokens(preset.voxel_size, preset.voxel_share)
    if name == "points":
        return PointTokens(dim, grid[0] * grid[1], heads, temperature=preset.temperature)
    if name == "bev":
        return BEVTokens(preset.image_size, grid)
    if name == "fusion":
        return FusedTokens(dim, heads, preset.voxel_size)
    raise ValueError(f"representation must be one of {INPUTS}; got {name!r}")
