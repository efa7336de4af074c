"""Cross-attention fusion: visual tokens read features of the scene."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from ross3d.core.attention import Backend, attention
from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape


class CrossAttentionFusion(Pretrained):
    """Let visual tokens read 3-D features of their scene: the input-level rival of ROSS3D's losses.

    v <- v + W_o softmax(q k^T / sqrt(d)) V with q = W_q LN(v), k and V of LN(context). W_o starts
    at zero, so a pretrained model starts as it was; it has no bias, so tokens of a scene without
    features stay as they are.

    Args:
        dim: width d of the visual tokens.
        context_dim: width D of the scene's features.
        heads: number of attention heads.
        backend: of :func:`ross3d.core.attention.attention`.

    Raises:
        ValueError: if ``dim`` is not a multiple of ``heads``.

    Example:
        >>> fusion = CrossAttentionFusion(16, context_dim=12, heads=4)
        >>> fusion(torch.zeros(2, 3, 9, 16), torch.zeros(2, 50, 12)).shape
        torch.Size([2, 3, 9, 16])
    """

    def __init__(
        self, dim: int, context_dim: int, heads: int = 16, *, backend: Backend = "sdpa"
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise ValueError(f"dim must be a multiple of heads = {heads}; got {dim}")
        self.config = {"dim": dim, "context_dim": context_dim, "heads": heads, "backend": backend}
        self.heads, self.backend = heads, backend
        self.visual_norm, self.context_norm = nn.LayerNorm(dim), nn.LayerNorm(context_dim)
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(context_dim, dim, bias=False)
        self.value = nn.Linear(context_dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.out.weight)  # starts as the identity

    def forward(self, visual: Tensor, context: Tensor, valid: Tensor | None = None) -> Tensor:
        """Add to each visual token what it read.

        Args:
            visual: (b, m, p, d) visual tokens.
            context: (b, s, D) features of the scene in any order, of points or of voxels; they
                must say where they are, for example by a position code.
            valid: (b, s) True = a feature; False = padding. None = all are features.

        Returns:
            (b, m, p, d) in the dtype of ``visual``.

        Raises:
            ValueError: if a shape does not fit, or ``valid`` is not boolean.
        """
        dim, context_dim = self.query.in_features, self.key.in_features
        sizes = check_shape("visual", visual, "b m p d", d=dim)
        check_shape("context", context, "b s D", b=sizes["b"], D=context_dim)
        dtype = self.query.weight.dtype
        tokens = self.visual_norm(rearrange(visual, "b m p d -> b (m p) d").to(dtype))
        context = self.context_norm(context.to(dtype))
        q, k, v = (
            rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)
            for x in (self.query(tokens), self.key(context), self.value(context))
        )
        read: Tensor = self.out(attention(q, k, v, valid=valid, backend=self.backend))
        return torch.add(visual, read.view(visual.shape).to(visual.dtype))
