"""Token paths the straightforward way: arithmetic with masks, sines per token, slices per row."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor


def hide_by_arithmetic(visual: Tensor, token: Tensor, masked: Tensor) -> Tensor:
    """Hide views with a mask of the size of the tokens: (b, m, p, d).

    Args:
        visual: (b, m, p, d) visual tokens.
        token: (d,) what stands for a hidden one.
        masked: (b, m) bool, True = hidden.
    """
    keep = repeat(~masked, "b m -> b m p d", p=visual.shape[2], d=visual.shape[3]).to(visual)
    return visual * keep + token * (1 - keep)


def hide_by_broadcast(visual: Tensor, token: Tensor, masked: Tensor) -> Tensor:
    """The same with a mask of one number per view: (b, m, p, d)."""
    keep = (~masked)[..., None, None].to(visual)
    return visual * keep + token * (1 - keep)


def add_sines(visual: Tensor, coords: Tensor, valid: Tensor) -> Tensor:
    """Add the code of each token's bin of 0.1 m, sine by sine: (b, m, p, d).

    Args:
        visual: (b, m, p, d) visual tokens.
        coords: (b, m, p, 3) world positions, metres.
        valid: (b, m, p) True where they are known.
    """
    d = visual.shape[-1]
    low, high = coords.new_tensor([[-15.0, -15.0, -5.0], [15.0, 15.0, 5.0]])
    bins = ((torch.clamp(coords, low, high) - low) / 0.1).round()
    width = d // 3
    wavelengths = 10000.0 ** (torch.arange(0, width, 2) / width)
    angles = bins[..., None] / wavelengths
    code = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)[..., :width].flatten(-2)
    return visual + F.pad(code, (0, d - 3 * width)) * valid[..., None]


def end_rows(visual: Tensor, newline: Tensor, rows: int) -> Tensor:
    """Put a newline token after every row of every view: (b, n, d).

    Args:
        visual: (b, m, rows * columns, d) visual tokens.
        newline: (d,) the token.
        rows: of a view.
    """
    lines = rearrange(visual, "b m (r c) d -> b (m r) c d", r=rows)
    ends = repeat(newline, "d -> b n 1 d", b=lines.shape[0], n=lines.shape[1])
    return rearrange(torch.cat([lines, ends], dim=2), "b n c d -> b (n c) d")


def write_over(embeds: Tensor, placeholder: Tensor, features: Tensor) -> Tensor:
    """Put features in place of placeholders, as multimodal models of transformers do: (b, t, d).

    Args:
        embeds: (b, t, d) embeddings of all ids, placeholders too.
        placeholder: (b, t) True where a feature goes.
        features: (b, n, d) in their order.
    """
    return embeds.masked_scatter(placeholder[..., None].expand_as(embeds), features)


def gather_by_rows(hidden: Tensor, start: int, views: int, rows: int, columns: int) -> Tensor:
    """Read visual tokens row by row, over the newlines: (b, m, p, d).

    Args:
        hidden: (b, t, d) the sequence.
        start: position of the first visual token.
        views: number of views m.
        rows: of a view.
        columns: of a view; a newline stands after each row.
    """
    firsts = [start + i * (columns + 1) for i in range(views * rows)]
    parts = [hidden[:, first : first + columns] for first in firsts]
    return rearrange(torch.cat(parts, dim=1), "b (m p) d -> b m p d", m=views)


def noise_loss(
    denoiser: torch.nn.Module,
    z0: Tensor,
    condition: Tensor,
    timesteps: Tensor,
    noise: Tensor,
    kept: Tensor,
) -> Tensor:
    """The denoising loss as its formula reads: mean |eps - eps(z_t, t, c)|^2.

    Args:
        denoiser: (z_t, t, condition) -> eps.
        z0: (n, c, h, w) clean latents.
        condition: (n, l, d) of each.
        timesteps: (n,) long.
        noise: (n, c, h, w) eps.
        kept: (T,) cumulative product of 1 - beta.
    """
    share = kept[timesteps][:, None, None, None]
    z_t = share.sqrt() * z0 + (1 - share).sqrt() * noise
    loss: Tensor = (denoiser(z_t, timesteps, condition) - noise).square().mean()
    return loss
