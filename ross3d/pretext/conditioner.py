"""From hidden states to one condition per target."""

from __future__ import annotations

from typing import Literal

import torch
from einops import rearrange, repeat
from torch import Tensor

from ross3d.core.pooler import QueryPooler
from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape
from ross3d.pretext.masking import check_mask
from ross3d.pretext.targets import Targets, select_views, view_indices

Context = Literal["visible", "all", "own"]
Places = tuple[Tensor, Tensor]


class Conditioner(Pretrained):
    """Pool the language model's outputs into the denoiser's condition (the c of Eq. 8).

    Learned queries, one per latent cell, read the context. Queries that are the same for every
    target cannot say which view is wanted, so each is told where its cell lies in the world.

    Args:
        num_queries: latent cells g of one target.
        context_dim: width D of the hidden states.
        dim: width d of the condition.
        heads: attention heads.
        context: which hidden states are read: those of the ``"visible"`` views (the released
            model), of ``"all"`` views, or of each target's ``"own"`` view. A target that is no
            view, such as the bird's-eye view, reads all of them under ``"own"``.
        target_coords: tell the queries where their cells lie. False makes all targets of a scene
            share one condition, as the released model does.

    Raises:
        ValueError: if ``context`` is unknown.
    """

    def __init__(
        self,
        num_queries: int,
        context_dim: int,
        dim: int,
        heads: int = 16,
        *,
        context: Context = "all",
        target_coords: bool = True,
    ) -> None:
        super().__init__()
        if context not in ("visible", "all", "own"):
            raise ValueError(f"context must be 'visible', 'all' or 'own'; got {context!r}")
        self.config = {"num_queries": num_queries, "context_dim": context_dim, "dim": dim}
        self.config |= {"heads": heads, "context": context, "target_coords": target_coords}
        self.context, self.target_coords = context, target_coords
        position_dim = 192 if target_coords else 0
        self.pooler = QueryPooler(num_queries, context_dim, dim, heads, position_dim=position_dim)

    def forward(
        self, hidden: Tensor, masked: Tensor, targets: Targets, places: Places | None = None
    ) -> Tensor:
        """Pool one condition per target.

        Args:
            hidden: (b, m, p, D) hidden states of the visual tokens.
            masked: (b, m) bool, True = hidden from the language model.
            targets: k targets per scene; k may be 0.
            places: coords (b, m, p, 3), metres, world frame, and known (b, m, p): where each visual
                token lies, so that queries find the tokens at their own place from the start; None
                = tokens are found by their hidden states alone.

        Returns:
            (b*k, g, d), one vector per latent cell.

        Raises:
            ValueError: if a shape is wrong, a scene has no visible view and only visible ones are
                read, or the targets carry no coordinates though ``target_coords`` is on, or those
                of another number of cells.
        """
        sizes = check_shape("hidden", hidden, "b m p d", d=self.pooler.proj.in_features)
        check_mask(masked, b=sizes["b"], m=sizes["m"])
        k = targets.images.shape[1]
        own = self.context == "own" and (targets.views is not None or not k)
        context, valid = self.read(hidden, masked, targets if own else None)
        if not self.target_coords:
            pooled: Tensor = self.pooler(context, valid=valid)
            return pooled if own else repeat(pooled, "b g d -> (b k) g d", k=k)
        coords = targets.coords
        if coords is None and k:
            raise ValueError("targets must carry coords when target_coords is on; got None")
        if coords is None:
            coords = hidden.new_zeros(sizes["b"], 0, len(self.pooler.queries), 3)
        check_shape("coords", coords, "b k g 3", b=sizes["b"], k=k, g=len(self.pooler.queries))
        at = placed = None
        if places is not None:
            check_shape(
                "places[0]", places[0], "b m p 3", **{letter: sizes[letter] for letter in "bmp"}
            )
            lying = torch.cat((places[0], places[1][..., None].to(places[0])), dim=-1)
            lying, _ = self.read(lying, masked, targets if own else None)
            at, placed = lying[..., :3], lying[..., 3] > 0
        layout = "b k g c -> (b k) g c" if own else "b k g c -> b (k g) c"
        rays, known = targets.rays, targets.known
        pooled = self.pooler(
            context,
            where=rearrange(coords, layout),
            rays=None if rays is None else rearrange(rays, layout),
            known=None if known is None else rearrange(known[..., None], layout)[..., 0],
            valid=valid,
            at=at,
            placed=placed,
        )
        return pooled.reshape(sizes["b"] * k, len(self.pooler.queries), pooled.shape[-1])

    def read(
        self, hidden: Tensor, masked: Tensor, own: Targets | None
    ) -> tuple[Tensor, Tensor | None]:
        """Choose the context (., s, D), and which of its tokens count (., s); None = all.

        Raises:
            ValueError: if only visible views are read and a scene has none.
        """
        if own is not None:
            index = masked.new_zeros(masked.shape[0], 0).long() if own.views is None else own.views
            scene = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
            return rearrange(hidden[scene, index], "b k p d -> (b k) p d"), None
        if self.context != "visible":
            return rearrange(hidden, "b m p d -> b (m p) d"), None
        _, valid = view_indices(~masked)
        if hidden.shape[0] and not bool(valid.any(dim=1).all()):
            raise ValueError("masked must leave a view of every scene visible; got a scene without")
        context = rearrange(select_views(hidden, ~masked), "b v p d -> b (v p) d")
        if bool(valid.all()):
            return context, None
        return context, repeat(valid, "b v -> b (v p)", p=hidden.shape[2])
