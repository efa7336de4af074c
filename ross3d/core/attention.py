"""Softmax attention with a mask of readable keys, on an explicitly chosen backend."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from ross3d.core.extras import require
from ross3d.core.shapes import check_shape

Backend = Literal["sdpa", "xformers", "flex"]


def attention(
    q: Tensor, k: Tensor, v: Tensor, *, valid: Tensor | None = None, backend: Backend = "sdpa"
) -> Tensor:
    """Read values by softmax(q k^T / sqrt(d)) v and concatenate the heads.

    A scene without a single valid key reads zeros, and passes zero gradients. The backend is never
    chosen or exchanged silently.

    Args:
        q: (b, heads, l, d) queries.
        k: (b, heads, s, d) keys.
        v: (b, heads, s, d) values.
        valid: (b, s) True where a key may be read; None = everywhere.
        backend: ``"sdpa"`` runs everywhere; ``"xformers"`` has CUDA kernels only; ``"flex"`` is
            compiled on first use, and forward only on a CPU.

    Returns:
        (b, l, heads*d) what each query read.

    Raises:
        ValueError: if the shapes disagree, ``valid`` is not boolean, or the backend is unknown or
            cannot run on these tensors.

    Example:
        >>> q, k = torch.zeros(2, 4, 5, 8), torch.zeros(2, 4, 7, 8)
        >>> attention(q, k, k).shape
        torch.Size([2, 5, 32])
    """
    sizes = check_shape("q", q, "b heads l d")
    sizes = check_shape("k", k, "b heads s d", **sizes)
    check_shape("v", v, "b heads s d", **sizes)
    _check_backend(backend, q, k, v)
    if valid is None:
        out = _run(q, k, v, None, backend)
    else:
        check_shape("valid", valid, "b s", **sizes)
        if valid.dtype != torch.bool:
            raise ValueError(f"valid must be boolean; got {valid.dtype}")
        readable = valid.any(dim=1)
        # A softmax over nothing would be NaN: read everything, and drop what was read.
        out = _run(q, k, v, valid | ~readable[:, None], backend)
        out = torch.where(readable[:, None, None, None], out, 0)
    return rearrange(out, "b heads l d -> b l (heads d)")


def _run(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None, backend: Backend) -> Tensor:
    if q.numel() == 0 or k.numel() == 0:
        return (q @ k.mT).softmax(dim=-1) @ v  # not every kernel takes empty tensors
    if backend == "xformers":
        return _xformers(q, k, v, valid)
    if backend == "flex":
        return _flex(q, k, v, valid)
    mask = None if valid is None else valid[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


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


def _xformers(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
    ops = require("xformers.ops", "xformers")
    bias = None
    if valid is not None:
        s = k.shape[2]
        # Its kernels want rows of a bias aligned to 8 elements: a slice of a wider tensor.
        hidden = F.pad(~valid, (0, -s % 8))[:, None, None]
        bias = torch.zeros_like(hidden, dtype=q.dtype).masked_fill(hidden, float("-inf"))
        bias = bias[..., :s].expand(*q.shape[:3], s)
    q, k, v = (rearrange(tensor, "b heads l d -> b l heads d") for tensor in (q, k, v))
    out: Tensor = ops.memory_efficient_attention(q, k, v, attn_bias=bias)
    return rearrange(out, "b l heads d -> b heads l d")


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    return torch.compile(flex_attention)


def _flex(q: Tensor, k: Tensor, v: Tensor, valid: Tensor | None) -> Tensor:
    run: Callable[..., Tensor] = flex_attention
    if not torch.compiler.is_compiling():
        run = _compiled_flex()
    if not torch.is_grad_enabled():
        # A CPU refuses whatever could need a gradient, even where none is recorded.
        q, k, v = q.detach(), k.detach(), v.detach()
    if valid is None:
        return run(q, k, v)
    readable = valid

    def read_valid(score: Tensor, b: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return torch.where(readable[b, key], score, float("-inf"))

    return run(q, k, v, score_mod=read_valid)
