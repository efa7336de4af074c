"""Input representations: what the language model reads of a scene, in place of its posed views.

views    a token per patch with the code of its place (Video-3D-LLM, ROSS3D)
voxels   a token per occupied voxel, the mean of the patches that show it (LLaVA-3D)
points   a few learned tokens that have read the scene's points and their features (3D-LLM)
bev      the views, and the room from above as one view more (GPT4Scene)
fusion   the views, whose tokens have read 3-D features of the scene by cross-attention
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from ross3d import PosedFrames, PositionAwareEncoder

from .data.scene_points import ScenePoints

INPUTS = ("views", "voxels", "points", "bev", "fusion")


@dataclass(frozen=True)
class Seen:
    """What a representation is made of.

    Attributes:
        visual: (b, m, p, d) visual tokens without position code; a hidden view's are the mask
            token.
        coords: (b, m, p, 3) world position of each, metres.
        known: (b, m, p) True where it is known.
        masked: (b, m) True = hidden: nothing of the view but its geometry may be used.
        frames: the posed views.
        points: features that the scenes came with; None = there are none.
        deep: (b, m, p, n * d) what an LMM adds to the tokens in its first layers, zero for a hidden
            view; None = nothing.
    """

    visual: Tensor
    coords: Tensor
    known: Tensor
    masked: Tensor
    frames: PosedFrames
    points: ScenePoints | None = None
    deep: Tensor | None = None

    @property
    def shown(self) -> Tensor:
        """(b, m, p) True = a visible view's token whose place is known."""
        return self.known & ~self.masked[..., None]


@dataclass(frozen=True)
class SceneTokens:
    """What the language model reads.

    Attributes:
        tokens: (b, n, p, d) as many as n views have; deep features may stand behind them.
        per_view: from their hidden states (b, n, p, D) to those of the m views (b, m, p, D), which
            the pretext tasks and their masks are about.
        valid: (b, n, p) True = a token, False = padding; None = all are tokens.
    """

    tokens: Tensor
    per_view: Callable[[Tensor], Tensor]
    valid: Tensor | None = None


class InputRepresentation(Protocol):
    """From posed views to what the language model reads."""

    def num_views(self, views: int) -> int:
        """As many tokens as how many views have are read of a scene with so many views."""
        ...

    def __call__(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Make the tokens.

        Args:
            seen: the scenes.
            place: adds position codes to tokens.
            encode: images (b, n, 3, h, w) -> visual tokens (b, n, p, d).
        """
        ...


class ViewTokens(nn.Module):
    """Each visual token with the code of its place: a position-aware video."""

    config: Mapping[str, object] = {}

    def num_views(self, views: int) -> int:
        """All of them."""
        return views

    def forward(
        self, seen: Seen, place: PositionAwareEncoder, encode: Callable[[Tensor], Tensor]
    ) -> SceneTokens:
        """Add the codes."""
        tokens = place(seen.visual, seen.coords, seen.known)
        if seen.deep is not None:
            tokens = torch.cat([tokens, seen.deep], dim=-1)
        return SceneTokens(tokens, lambda hidden: hidden)
