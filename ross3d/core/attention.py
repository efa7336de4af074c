"""Softmax attention with a mask of readable keys, on an explicitly chosen backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from ross3d.core.extras import require
from ross3d.core.shapes import check_shape

Backend = Literal["sdpa", "xformers", "flex"]
Groups = tuple[Tensor, Tensor]


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    valid: Tensor | None = None,
    groups: Groups | None = None,
    backend: Backend = "sdpa",
) -> Tensor:
    """Read values by softmax(q k^T / sqrt(d)) v and concatenate the heads.

    A query without a single key that it may read reads zeros, and passes zero gradients. The
    backend is never chosen or exchanged silently.

    Sequences of several lengths can be packed into one row, each a group: its queries read its own
    keys alone, as if the sequences were read one by one. Only ``"flex"`` skips the blocks between
    groups; the others compute and mask them.

    Args:
        q: (b, heads, l, d) queries.
        k: (b, heads, s, d) keys.
        v: (b, heads, s, d) values.
        valid: (b, s) True where a key may be read; None = everywhere.
        groups: the group of each query (b, l) and of each key (b, s), long; negative = padding,
            which reads nothing and is not read. Any order will do, though whole blocks can be
            skipped only where groups are contiguous. None = one group.
        backend: ``"sdpa"`` runs everywhere; ``"xformers"`` has CUDA kernels only; ``"flex"`` is
            compiled on first use, and forward only on a CPU.

    Returns:
        (b, l, heads*d) what each query read.

    Raises:
        ValueError: if the shapes disagree, ``valid`` is not boolean, ``groups`` are not long, or
            the backend is unknown or cannot run on these tensors.

    Example:
        >>> q, k = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8)
        >>> attention(q, k, k).shape
        torch.Size([2, 5, 32])
        >>> lengths = torch.tensor([3, 4]), torch.tensor([2, 5])  # of queries and of keys
        >>> group = [torch.arange(2).repeat_interleave(n)[None] for n in lengths]
        >>> q, k = torch.zeros(1, 4, 7, 8), torch.zeros(1, 4, 7, 8)
        >>> attention(q, k, k, groups=(group[0], group[1])).shape
        torch.Size([1, 7, 32])
    """
    sizes = check_shape("q", q, "b heads l d")
    sizes |= check_shape("k", k, "b heads s d", **sizes)
    check_shape("v", v, "b heads s d", **sizes)
    _check_backend(backend, q, k, v)
    asked = _ask(sizes, k.device, valid, groups)
    if asked is None or k.numel() == 0:
        out = _run(q, k, v, None, backend)
    else:
        q_groups, k_groups = asked
        readable = (q_groups[..., None] == k_groups[:, None]).any(dim=-1) & (q_groups >= 0)
        # A softmax over nothing would be NaN: read the first key's group, and drop what was read.
        q_groups = torch.where(readable, q_groups, k_groups[:, :1])
        out = _run(q, k, v, (q_groups, k_groups), backend)
        out = torch.where(readable[:, None, :, None], out, 0)
    return rearrange(out, "b heads l d -> b l (heads d)")


def _ask(
    sizes: dict[str, int], device: torch.device, valid: Tensor | None, groups: Groups | None
) -> Groups | None:
    """Say by groups alone, (b, l or 1) and (b, s), which keys a query may read; None = all."""
    if groups is not None:
        for name, group, shape in zip(("0", "1"), groups, ("b l", "b s"), strict=True):
            check_shape(f"groups[{name}]", group, shape, **sizes)
            if group.dtype != torch.long:
                raise ValueError(f"groups[{name}] must be long; got {group.dtype}")
    if valid is None:
        return groups
    check_shape("valid", valid, "b s", **sizes)
    if valid.dtype != torch.bool:
        raise ValueError(f"valid must be boolean; got {valid.dtype}")
    if groups is None:
        return torch.zeros(len(valid), 1, dtype=torch.long, device=device), valid.long() - 1
    return groups[0], torch.where(valid, groups[1], -1)


def _run(q: Tensor, k: Tensor, v: Tensor, groups: Groups | None, backend: Backend) -> Tensor:
    if q.numel() == 0 or k.numel() == 0:
        return (q @ k.mT).softmax(dim=-1) @ v  # not every kernel takes empty tensors
    if backend == "xformers":
        return _xformers(q, k, v, groups)
    if backend == "flex":
        return _flex(q, k, v, groups)
    mask = None if groups is None else _mask(groups)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _mask(groups: Groups) -> Tensor:
    """(b, 1, l or 1, s) True where a query reads a key."""
    return groups[0][:, None, :, None] == groups[1][:, None, None]


def _check_backend(backend: Backend, *tensors: Tensor) -> None:
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {get_args(Backend)}; got {backend!r}")
    device = tensors[0].device.type
    if backend == "xformers" and device != "cuda":
        raise ValueError(
            f"backend must be 'sdpa' or 'flex' on {device}, as xformers has CUDA kernels only; "
            "got 'xformers'"
        )
    needs_grad = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
    if backend == "flex" and device == "cpu" and needs_grad:
        raise ValueError(
            "backend must be 'sdpa' where gradients are needed on a CPU, as flex attention is "
            "forward only there; got 'flex'"
        )


def _xformers(q: Tensor, k: Tensor, v: Tensor, groups: Groups | None) -> Tensor:
    ops = require("xformers.ops", "xformers")
    bias = None
    if groups is not None:
        s = k.shape[2]
        # Its kernels want rows of a bias aligned to 8 elements: a slice of a wider tensor.
        hidden = F.pad(~_mask(groups), (0, -s % 8))
        bias = torch.zeros_like(hidden, dtype=q.dtype).masked_fill(hidden, float("-inf"))
        bias = bias[..., :s].expand(*q.shape[:3], s)
    q, k, v = (rearrange(tensor, "b heads l d -> b l heads d") for tensor in (q, k, v))
    out: Tensor = ops.memory_efficient_attention(q, k, v, attn_bias=bias)
    return rearrange(out, "b l heads d -> b heads l d")


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


def _flex(q: Tensor, k: Tensor, v: Tensor, groups: Groups | None) -> Tensor:
    run: Callable[..., Tensor] = flex_attention
    if not torch.compiler.is_compiling():
        run = _compiled_flex()
    if not torch.is_grad_enabled():
        # A CPU refuses whatever could need a gradient, even where none is recorded.
        q, k, v = q.detach(), k.detach(), v.detach()
    if groups is None:
        return run(q, k, v)
    b, queries, keys = q.shape[0], q.shape[2], k.shape[2]
    reading, read = groups[0].expand(b, queries), groups[1]

    def same(b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return reading[b, query] == read[b, key]

    mask = create_block_mask(same, b, None, queries, keys, device=q.device)
    return run(q, k, v, block_mask=mask)
