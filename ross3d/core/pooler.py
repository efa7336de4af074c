"""Attention pooling: learned queries read a condition out of a scene's context."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ross3d.core.attention import Backend, attention
from ross3d.core.embedding import sincos_points
from ross3d.core.pretrained import Pretrained
from ross3d.core.recompute import saving_inputs
from ross3d.core.shapes import check_shape

# Wavelengths of the position code, metres: a quarter of one is 5 cm, half of the other 25 m.
SHORTEST, LONGEST = 0.2, 50.0
# At the start a token's weight falls with this power of its distance: with less than 2, all the
# far tokens of a surface together would outweigh the near one.
FALLOFF = 6.0


class QueryPooler(Pretrained):
    """Pool a set of context tokens into the condition of a denoiser.

    c = W_o softmax(q K(x)^T / sqrt(d)) V(x) with x = W SiLU(LayerNorm(context)): the conditions of
    Eqs. 6 and 7. The queries q are learned and used as they are, without a projection. On their
    own they cannot say which target is wanted, so each may be moved by the position code of the
    latent cell that it stands for: of the cell's world position or, where its depth is not known,
    of the ray through it. Keys and values are computed once per scene, for any number of targets.

    Coordinates are encoded by wavelengths from 0.2 m to some 40 m, which tell apart places from
    5 cm to 20 m from each other; a unit direction is encoded as a point one metre away.

    Args:
        num_queries: cells of a target's latents, h*w (paper: 196 for a view, 729 for the
            bird's-eye view).
        context_dim: width of the context D.
        dim: width of the condition (paper: 1024).
        heads: number of attention heads (paper: 16).
        backend: of :func:`ross3d.core.attention.attention`.
        position_dim: width of a position code; 0 = no position codes, as in the released model.

    Raises:
        ValueError: if ``num_queries`` is not positive, ``dim`` is not a multiple of ``heads``, or
            ``position_dim`` is negative or 1 to 5.

    Example:
        >>> pooler = QueryPooler(4, context_dim=16, dim=8, heads=2)
        >>> pooler(torch.zeros(2, 10, 16)).shape
        torch.Size([2, 4, 8])
        >>> pooler(torch.zeros(2, 10, 16), where=torch.zeros(2, 3 * 4, 3)).shape
        torch.Size([2, 12, 8])
    """

    def __init__(
        self,
        num_queries: int,
        context_dim: int,
        dim: int = 1024,
        heads: int = 16,
        *,
        backend: Backend = "sdpa",
        position_dim: int = 192,
    ) -> None:
        super().__init__()
        if num_queries < 1:
            raise ValueError(f"num_queries must be at least 1; got {num_queries}")
        if dim % heads:
            raise ValueError(f"dim must be a multiple of heads = {heads}; got {dim}")
        if position_dim < 0 or 0 < position_dim < 6:
            raise ValueError(f"position_dim must be 0 or at least 6; got {position_dim}")
        self.config = {"num_queries": num_queries, "context_dim": context_dim, "dim": dim}
        self.config |= {"heads": heads, "backend": backend, "position_dim": position_dim}
        self.heads, self.backend, self.position_dim = heads, backend, position_dim
        self.queries = nn.Parameter(0.02 * torch.randn(num_queries, dim))
        self.proj = nn.Linear(context_dim, dim)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        for linear in (self.proj, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(self.proj.bias)
        if position_dim:
            # One matrix for both kinds of code, so that it has a gradient whichever is given.
            self.position = nn.Linear(2 * position_dim, dim, bias=False)
            # The inner product of two codes falls with the logarithm of their distance, from its
            # largest at SHORTEST to about nothing at LONGEST. Sines and cosines are 1/2 in the
            # mean square, so with a gain of 1 this projects to unit variance.
            gain = FALLOFF * math.log(LONGEST / SHORTEST) / math.sqrt(dim // heads)
            nn.init.normal_(self.position.weight, std=math.sqrt(2 / position_dim * gain))

    def forward(
        self,
        context: Tensor,
        where: Tensor | None = None,
        rays: Tensor | None = None,
        known: Tensor | None = None,
        valid: Tensor | None = None,
        at: Tensor | None = None,
        placed: Tensor | None = None,
    ) -> Tensor:
        """Read the condition.

        Args:
            context: (b, s, D) tokens to be read, in any order; of any dtype.
            where: (b, n, 3) world position of each target cell, metres; n = k * num_queries for k
                targets per scene, target by target. None = the learned queries alone, k = 1.
            rays: (b, n, 6) camera centre, metres, and unit direction of the ray through each cell,
                world frame; used where ``known`` is False.
            known: (b, n) True where ``where`` is known; None = everywhere. A cell that is not known
                gets the code of its ray, or without ``rays`` no code.
            valid: (b, s) True where a context token may be read; None = everywhere.
            at: (b, s, 3) world position of each context token, metres. Its code is added to the
                token's key, so that queries find the tokens at their own place from the start;
                None = tokens are found by what they hold alone.
            placed: (b, s) True where ``at`` is known; None = everywhere.

        Returns:
            (b, n, dim) the condition, in the dtype of the parameters.

        Raises:
            ValueError: if a shape or dtype is wrong, n is not a multiple of ``num_queries``,
                ``rays`` or ``known`` come without ``where``, or ``where`` comes to a pooler
                without position codes.
        """
        sizes = check_shape("context", context, "b s D", D=self.proj.in_features)
        tokens = saving_inputs(_normed_linear, context, self.proj)
        queries = self._queries(sizes["b"], where, rays, known)
        q, k, v = (
            rearrange(x, "b n (heads d) -> b heads n d", heads=self.heads)
            for x in (queries, self._keys(tokens, at, placed), self.value(tokens))
        )
        condition: Tensor = self.out(attention(q, k, v, valid=valid, backend=self.backend))
        return condition

    def _queries(
        self, b: int, where: Tensor | None, rays: Tensor | None, known: Tensor | None
    ) -> Tensor:
        if where is None:
            if rays is not None or known is not None:
                raise ValueError("where must be given along with rays and known; got None")
            return self.queries.expand(b, -1, -1)
        if not self.position_dim:
            raise ValueError("where must be None where position_dim is 0; got a tensor")
        n = check_shape("where", where, "b n 3", b=b)["n"]
        if n % len(self.queries):
            raise ValueError(
                f"where must be of a multiple of {len(self.queries)} cells, one per query; got {n}"
            )
        tiled = repeat(self.queries, "q d -> (k q) d", k=n // len(self.queries))
        codes = self._codes(where, rays, known).to(self.queries.dtype)
        return torch.add(tiled, self.position(codes))

    def _keys(self, tokens: Tensor, at: Tensor | None, placed: Tensor | None) -> Tensor:
        keys: Tensor = self.key(tokens)
        if at is None:
            return keys
        if not self.position_dim:
            raise ValueError("at must be None where position_dim is 0; got a tensor")
        check_shape("at", at, "b s 3", b=tokens.shape[0], s=tokens.shape[1])
        place = _metric_code(at, self.position_dim)
        if placed is not None:
            check_shape("placed", placed, "b s", b=tokens.shape[0], s=tokens.shape[1])
            _check_boolean("placed", placed)
            place = torch.where(placed[..., None], place, 0)
        # A token has no ray, so half of the matrix is not needed.
        weight = self.position.weight[:, : self.position_dim]
        return torch.add(keys, F.linear(place.to(keys.dtype), weight))

    def _codes(self, where: Tensor, rays: Tensor | None, known: Tensor | None) -> Tensor:
        b, n = where.shape[:2]
        place = _metric_code(where, self.position_dim)
        ray = torch.zeros_like(place)
        if rays is not None:
            check_shape("rays", rays, "b n 6", b=b, n=n)
            ray = _metric_code(rays, self.position_dim).to(place.dtype)
        if known is None:
            return torch.cat((place, torch.zeros_like(ray)), dim=-1)
        check_shape("known", known, "b n", b=b, n=n)
        _check_boolean("known", known)
        known = known[..., None]
        return torch.cat((torch.where(known, place, 0), torch.where(known, 0, ray)), dim=-1)


def _check_boolean(name: str, tensor: Tensor) -> None:
    if tensor.dtype != torch.bool:
        raise ValueError(f"{name} must be boolean; got {tensor.dtype}")


def _normed_linear(context: Tensor, linear: nn.Linear) -> Tensor:
    tokens = context.to(torch.promote_types(context.dtype, torch.float32))
    tokens = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-5).to(linear.weight.dtype)
    out: Tensor = linear(F.silu(tokens))
    return out


def _metric_code(metres: Tensor, dim: int) -> Tensor:
    angles = metres.to(torch.promote_types(metres.dtype, torch.float32)) * (2 * math.pi / SHORTEST)
    return sincos_points(angles, dim, temperature=LONGEST / SHORTEST)
