"""The view loss the straightforward way: rows sliced one by one, context repeated per draw.

The same parameters as the library's blocks, the equations written out: what the released code
computes, in its order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ross3d import ConditionedDiT, QueryPooler


def slice_rows(hidden: Tensor, starts: Sequence[int], columns: int) -> Tensor:
    """Take each scene's visual tokens out of its sequence, one row of a view at a time.

    The backward pass of each row is a gradient as large as all hidden states.

    Args:
        hidden: (b, t, d) hidden states.
        starts: position of the first token of each row.
        columns: tokens in a row.

    Returns:
        (b * n, d), row by row.
    """
    rows = []
    for scene in range(len(hidden)):
        rows += [hidden[scene, start : start + columns] for start in starts]
    return torch.cat(rows)


def pool(pooler: QueryPooler, context: Tensor, repeats: int) -> Tensor:
    """Pool one condition from a context that is repeated in keys and values, to no effect.

    Args:
        pooler: without position codes.
        context: (s, D) tokens.
        repeats: how often.

    Returns:
        (q, d) the condition.
    """
    tokens = F.layer_norm(context.repeat(repeats, 1), context.shape[-1:], eps=1e-5)
    tokens = pooler.proj(F.silu(tokens))
    queries, keys, values = (
        x.unflatten(-1, (pooler.heads, -1)).transpose(0, 1)
        for x in (pooler.queries, pooler.key(tokens), pooler.value(tokens))
    )
    read = F.scaled_dot_product_attention(queries, keys, values)
    condition: Tensor = pooler.out(read.transpose(0, 1).flatten(1))
    return condition


def denoise(net: ConditionedDiT, z_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
    """The DiT as its equations say: everything per latent, everything kept.

    Args:
        net: whose parameters are used.
        z_t: (n, c, h, w) noisy latents.
        t: (n,) timesteps.
        condition: (n, h*w, d).

    Returns:
        (n, c, h, w) the prediction.
    """
    h, w = z_t.shape[-2:]
    x = net.x_embedder(z_t.flatten(2).mT) + net.positions(h, w, z_t.device)
    c = F.silu(condition + net.t_embedder(t, x.dtype)[:, None])
    for block in net.blocks:
        x = _block(block, x, c)
    shift, scale = net.final_layer.adaLN_modulation[1](c).chunk(2, dim=-1)
    out = net.final_layer.linear(_modulate(x, shift, scale))
    return out.mT.unflatten(-1, (h, w))


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def _block(block: nn.Module, x: Tensor, c: Tensor) -> Tensor:
    shift, scale, gate, shift_m, scale_m, gate_m = block.adaLN_modulation[1](c).chunk(6, dim=-1)
    heads = block.attn.heads
    qkv = block.attn.qkv(_modulate(x, shift, scale)).unflatten(-1, (3, heads, -1))
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    read = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    x = x + gate * block.attn.proj(read)
    hidden = F.gelu(block.mlp.fc1(_modulate(x, shift_m, scale_m)), approximate="tanh")
    return x + gate_m * block.mlp.fc2(hidden)


def view_loss(
    net: ConditionedDiT,
    pooler: QueryPooler,
    context: Tensor,
    z0: Tensor,
    t: Tensor,
    noise: Tensor,
    alphas_cumprod: Tensor,
) -> Tensor:
    """The released loss of a scene's hidden views: one condition for all, every draw apart.

    Args:
        net: the denoiser.
        pooler: without position codes.
        context: (s, D) hidden states of the visible views.
        z0: (k, c, h, w) latents of the hidden views.
        t: (k * draws,) long timesteps.
        noise: (k * draws, c, h, w).
        alphas_cumprod: (steps,) the noise schedule.

    Returns:
        Scalar mean of the squared errors.
    """
    draws = len(t) // len(z0)
    condition = pool(pooler, context, repeats=draws).expand(len(t), -1, -1)
    kept = alphas_cumprod.to(t.device)[t][:, None, None, None]
    z_t = kept.sqrt() * z0.repeat_interleave(draws, dim=0) + (1 - kept).sqrt() * noise
    return (denoise(net, z_t, t, condition) - noise).square().mean()


def row_starts(views: Sequence[int], rows: int, columns: int, first: int) -> list[int]:
    """Position of each row of the given views, where a newline token ends every row.

    Args:
        views: numbers of the views.
        rows: rows of tokens per view.
        columns: tokens in a row, without the newline.
        first: position of the first visual token.

    Returns:
        Ascending positions.

    Example:
        >>> row_starts([0, 2], rows=2, columns=3, first=5)
        [5, 9, 21, 25]
    """
    length = columns + 1
    return [first + (view * rows + row) * length for view in views for row in range(rows)]
