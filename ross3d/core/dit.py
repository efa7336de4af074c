"""A diffusion transformer that is conditioned cell by cell, for latents of any size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ross3d.core.attention import Backend, attention
from ross3d.core.autocast import without_autocast
from ross3d.core.embedding import grid_sincos, sincos
from ross3d.core.pretrained import Pretrained
from ross3d.core.recompute import saving_inputs
from ross3d.core.shapes import check_shape


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise each token, then scale and shift it: LN(x) * (1 + scale) + shift."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def _modulated_linear(x: Tensor, shift: Tensor, scale: Tensor, linear: nn.Linear) -> Tensor:
    out: Tensor = linear(modulate(x, shift, scale))
    return out


def _gelu_linear(x: Tensor, linear: nn.Linear) -> Tensor:
    out: Tensor = linear(F.gelu(x, approximate="tanh"))
    return out


class TimestepEmbedder(nn.Module):
    """Embed diffusion timesteps: 256 cosines and sines, then Linear, SiLU, Linear.

    Args:
        dim: width d of the embedding.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        """Embed t (n,) as (n, d), in the dtype of the parameters."""
        code = sincos(t, 256)
        code = torch.cat((code[:, 1::2], code[:, 0::2]), dim=-1)  # DiT: cosines first
        embedded: Tensor = self.mlp(code.to(dtype))
        return embedded


class Attention(nn.Module):
    """Self-attention over the cells of one latent."""

    def __init__(self, dim: int, heads: int, backend: Backend) -> None:
        super().__init__()
        self.heads, self.backend = heads, backend
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Mix the cells of x (n, r, l, d), modulated, within each latent."""
        qkv = saving_inputs(_modulated_linear, x, shift, scale, self.qkv)
        q, k, v = rearrange(
            qkv, "n r l (three heads d) -> three (n r) heads l d", three=3, heads=self.heads
        )
        read = attention(q, k, v, backend=self.backend)
        mixed: Tensor = self.proj(read.view(x.shape))
        return mixed


class FeedForward(nn.Module):
    """Two linear layers with a tanh-GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        """Transform each token of x (n, r, l, d), modulated."""
        return saving_inputs(
            _gelu_linear, saving_inputs(_modulated_linear, x, shift, scale, self.fc1), self.fc2
        )


class Block(nn.Module):
    """Attention and MLP, each modulated and gated by its cell's own condition (adaLN-zero)."""

    def __init__(self, dim: int, heads: int, hidden_dim: int, backend: Backend) -> None:
        super().__init__()
        self.attn = Attention(dim, heads, backend)
        self.mlp = FeedForward(dim, hidden_dim)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Transform x (n, r, l, d) under c (n, 1, l, d)."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.adaLN_modulation(c).chunk(6, -1)
        x = torch.addcmul(x, gate_a, self.attn(x, shift_a, scale_a))
        return torch.addcmul(x, gate_m, self.mlp(x, shift_m, scale_m))


class FinalLayer(nn.Module):
    """Modulate by the condition, then project each cell to its latent channels."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """Project x (n, r, l, d) under c (n, 1, l, d) to (n, r, l, channels)."""
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)
        return saving_inputs(_modulated_linear, x, shift, scale, self.linear)


class ConditionedDiT(Pretrained):
    """The denoiser of Eq. 8: DiT blocks modulated per token by timestep + condition.

    Every latent cell is one token with a computed sine-cosine position, so that one network serves
    latents of any h and w. It computes in the dtype of its parameters (keep them float32), whatever
    autocast says. Parameter names follow DiT (Peebles and Xie, 2023).

    Args:
        channels: latent channels c (paper: 64, FLUX latents packed 2x2).
        dim: width d of the tokens and of the condition; divisible by ``heads``.
        depth: number of blocks (paper: 3).
        heads: attention heads.
        mlp_ratio: hidden width of the MLPs over ``dim``.
        backend: see :func:`~ross3d.core.attention.attention`.
        recompute: compute each block again in the backward pass, as hosts do that recompute their
            layers: a fifth of the activations, for a third more arithmetic.

    Raises:
        ValueError: if ``dim`` is not divisible by ``heads`` or by 4.

    Example:
        >>> denoiser = ConditionedDiT(channels=16, dim=32, depth=1, heads=2)
        >>> t, condition = torch.tensor([3, 500]), torch.zeros(2, 35, 32)
        >>> denoiser(torch.zeros(2, 16, 5, 7), t, condition).shape
        torch.Size([2, 16, 5, 7])
    """

    def __init__(
        self,
        channels: int = 64,
        dim: int = 1024,
        depth: int = 3,
        heads: int = 16,
        *,
        mlp_ratio: float = 4.0,
        backend: Backend = "sdpa",
        recompute: bool = False,
    ) -> None:
        super().__init__()
        if dim % heads or dim % 4:
            raise ValueError(f"dim must be divisible by heads = {heads} and by 4; got {dim}")
        self.config = {"channels": channels, "dim": dim, "depth": depth, "heads": heads}
        self.config |= {"mlp_ratio": mlp_ratio, "backend": backend, "recompute": recompute}
        self.channels, self.dim, self.recompute = channels, dim, recompute
        self.x_embedder = nn.Linear(channels, dim)
        self.t_embedder = TimestepEmbedder(dim)
        blocks = (Block(dim, heads, int(dim * mlp_ratio), backend) for _ in range(depth))
        self.blocks = nn.ModuleList(blocks)
        self.final_layer = FinalLayer(dim, channels)
        self._initialise()

    def _initialise(self) -> None:
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
                if name.startswith("t_embedder"):
                    nn.init.normal_(module.weight, std=0.02)
                if "adaLN_modulation" in name:  # every block starts as the identity
                    nn.init.zeros_(module.weight)
        nn.init.zeros_(self.final_layer.linear.weight)  # so that the first loss is mean(target^2)

    def positions(self, h: int, w: int, device: torch.device) -> Tensor:
        """Give the position code of each cell; override it for a trained table of one size.

        Args:
            h: rows of cells.
            w: columns of cells.
            device: where to put it.

        Returns:
            (h*w, d) the code, row by row.
        """
        return grid_sincos(h, w, self.dim, device=device)

    def forward(self, z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """Predict the noise, velocity or clean latents that the objective asks for.

        Args:
            z_t: (n*r, c, h, w) noisy latents, r draws in a row per condition; usually r = 1. With
                r > 1 the modulation, a third of each block's arithmetic, is computed once for all.
            t: (n,) timesteps, 0 to 1000, integer or not.
            condition: (n, h*w, d) one vector per latent cell, row by row.

        Returns:
            (n*r, c, h, w) the prediction, float32 (float64 if the parameters are).

        Raises:
            ValueError: if a shape does not fit.
        """
        sizes = check_shape("z_t", z_t, "rows c h w", c=self.channels)
        rows, h, w = sizes["rows"], sizes["h"], sizes["w"]
        n = check_shape("condition", condition, "n g d", g=h * w, d=self.dim)["n"]
        check_shape("t", t, "n", n=n)
        if rows % max(n, 1) or (rows == 0) != (n == 0):
            raise ValueError(f"z_t must hold a multiple of the {n} conditions; got {rows}")
        dtype = self.x_embedder.weight.dtype
        with without_autocast(z_t.device):
            cells = rearrange(z_t.to(dtype), "(n r) c h w -> n r (h w) c", r=rows // max(n, 1) or 1)
            x = self.x_embedder(cells) + self.positions(h, w, z_t.device).to(dtype)
            c = self.t_embedder(t, dtype)[:, None, None] + condition.to(dtype)[:, None]
            for block in self.blocks:
                x = saving_inputs(block, x, c) if self.recompute else block(x, c)
            out: Tensor = rearrange(self.final_layer(x, c), "n r (h w) c -> (n r) c h w", h=h)
        return out.to(torch.promote_types(dtype, torch.float32))
