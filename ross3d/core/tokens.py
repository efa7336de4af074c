"""Where visual tokens sit in a language model's sequence: find, read and write them."""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor
from torch.autograd.function import FunctionCtx

from ross3d.core.shapes import check_shape


def token_positions(is_visual: Tensor, views: int) -> Tensor:
    """Find the positions of the visual tokens, in order, grouped by view.

    Whatever lies between them (text, newline tokens, markers) is a gap in the positions.

    Args:
        is_visual: (b, t) True where the sequence holds a visual token.
        views: number of views m that the tokens of a scene are divided into, equally.

    Returns:
        (b, m, p) long positions in 0 .. t-1, ascending.

    Raises:
        ValueError: if ``is_visual`` is not a boolean (b, t), ``views`` is not positive, the scenes
            hold different numbers of visual tokens, or the number is not a multiple of ``views``.

    Example:
        >>> is_visual = torch.tensor([[False, True, True, False, True, True]])
        >>> token_positions(is_visual, views=2)
        tensor([[[1, 2],
                 [4, 5]]])
    """
    b = check_shape("is_visual", is_visual, "b t")["b"]
    if is_visual.dtype != torch.bool:
        raise ValueError(f"is_visual must be boolean; got {is_visual.dtype}")
    if views < 1:
        raise ValueError(f"views must be at least 1; got {views}")
    counts = is_visual.sum(dim=1).tolist()
    if len(set(counts)) > 1:
        raise ValueError(f"is_visual must hold as many True in every row; got {counts}")
    count = counts[0] if counts else 0
    if count % views:
        raise ValueError(f"is_visual must hold a multiple of {views} True in a row; got {count}")
    return is_visual.nonzero()[:, 1].reshape(b, views, count // views)


def gather_tokens(hidden: Tensor, positions: Tensor) -> Tensor:
    """Read the visual tokens out of a sequence: the inverse of :func:`scatter_tokens`.

    Args:
        hidden: (b, t, d) sequence, for example the language model's hidden states.
        positions: (b, m, p) long positions of the visual tokens.

    Returns:
        (b, m, p, d) the tokens at those positions.

    Raises:
        ValueError: if the shapes disagree.

    Example:
        >>> gather_tokens(torch.zeros(1, 6, 8), torch.tensor([[[1, 2], [4, 5]]])).shape
        torch.Size([1, 2, 2, 8])
    """
    sizes = check_shape("hidden", hidden, "b t d")
    check_shape("positions", positions, "b m p", **sizes)
    rows = _flat_rows(positions, sizes["t"])
    tokens = rearrange(hidden, "b t d -> (b t) d").index_select(0, rows)
    return tokens.view(*positions.shape, sizes["d"])


def scatter_tokens(embeds: Tensor, positions: Tensor, tokens: Tensor) -> Tensor:
    """Write visual tokens into a copy of a sequence, which is untouched elsewhere.

    Args:
        embeds: (b, t, d) sequence, for example the language model's input embeddings.
        positions: (b, m, p) long positions of the visual tokens, no position twice.
        tokens: (b, m, p, d) the tokens to be written.

    Returns:
        (b, t, d) the new sequence, in the dtype of ``embeds``.

    Raises:
        ValueError: if the shapes disagree.

    Example:
        >>> positions = torch.tensor([[[1, 2], [4, 5]]])
        >>> scatter_tokens(torch.zeros(1, 6, 8), positions, torch.ones(1, 2, 2, 8)).sum().item()
        32.0
    """
    sizes = check_shape("embeds", embeds, "b t d")
    sizes = check_shape("positions", positions, "b m p", **sizes)
    check_shape("tokens", tokens, "b m p d", **sizes)
    source = rearrange(tokens, "b m p d -> (b m p) d").to(embeds.dtype)
    written: Tensor = _WriteRows.apply(embeds, positions, source)  # type: ignore[no-untyped-call]
    return written


def join_tokens(*parts: tuple[Tensor, Tensor]) -> Tensor:
    """Write a sequence from its parts, each token once and nothing copied before.

    The parts are text, visual tokens, newlines: whatever :func:`token_positions` tells apart.

    Args:
        *parts: positions (b, ...) long, and the tokens (b, ..., d) that stand there, or one token
            (d,) that stands at all of them. Together the positions of a scene are 0 .. t-1, each
            once, which is not checked.

    Returns:
        (b, t, d) the sequence, in the dtype of the first part; t is the number of positions.

    Raises:
        ValueError: if there is no part, or the shapes disagree.

    Example:
        >>> text, visual = torch.tensor([[0, 5]]), torch.tensor([[[1, 2], [3, 4]]])
        >>> join_tokens((text, torch.zeros(1, 2, 8)), (visual, torch.ones(1, 2, 2, 8))).shape
        torch.Size([1, 6, 8])
    """
    if not parts:
        raise ValueError("parts must be at least one; got none")
    first, b, d = parts[0][1], len(parts[0][0]), parts[0][1].shape[-1]
    for positions, tokens in parts:
        if len(positions) != b or tuple(tokens.shape) not in ((*positions.shape, d), (d,)):
            wanted = f"({b}, ...) positions and tokens (..., {d}) or ({d},) for them"
            got = f"{tuple(positions.shape)} and {tuple(tokens.shape)}"
            raise ValueError(f"parts must be {wanted}; got {got}")
    everything = (x for positions, tokens in parts for x in (positions, tokens.to(first.dtype)))
    joined: Tensor = _JoinRows.apply(*everything)  # type: ignore[no-untyped-call]
    return joined


class _WriteRows(torch.autograd.Function):
    """``index_copy`` of rows (n, d) that keeps their positions for backward, and no row."""

    @staticmethod
    def forward(ctx: FunctionCtx, target: Tensor, positions: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(positions)
        rows = _flat_rows(positions, target.shape[1])
        return target.flatten(0, 1).index_copy(0, rows, source).view(target.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (positions,), (grad,) = ctx.saved_tensors, grads
        rows, flat = _flat_rows(positions, grad.shape[1]), grad.flatten(0, 1)
        target = flat.index_fill(0, rows, 0).view(grad.shape) if ctx.needs_input_grad[0] else None
        source = flat.index_select(0, rows) if ctx.needs_input_grad[2] else None
        return target, None, source


class _JoinRows(torch.autograd.Function):
    """A sequence (b, t, d) of positions and tokens in turn; keeps the positions, and no token."""

    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        positions, tokens = parts[::2], parts[1::2]
        ctx.save_for_backward(*positions)
        ctx.alike = [each.ndim == 1 for each in tokens]
        b, t, d = (
            len(positions[0]),
            sum(x.shape[1:].numel() for x in positions),
            tokens[0].shape[-1],
        )
        joined = tokens[0].new_empty(b * t, d)
        for where, each in zip(positions, tokens, strict=True):
            source = each.expand(*where.shape, d).reshape(-1, d)
            joined.index_copy_(0, _flat_rows(where, t), source)
        return joined.view(b, t, d)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        flat, t, d = grad.flatten(0, 1), *grad.shape[1:]
        found: list[Tensor | None] = []
        for i, where in enumerate(ctx.saved_tensors):
            tokens = None
            if ctx.needs_input_grad[2 * i + 1]:
                tokens = flat.index_select(0, _flat_rows(where, t))
                tokens = tokens.sum(0) if ctx.alike[i] else tokens.view(*where.shape, d)
            found += [None, tokens]
        return tuple(found)


def _flat_rows(positions: Tensor, t: int) -> Tensor:
    starts = torch.arange(len(positions), device=positions.device) * t
    return (positions.flatten(1) + starts[:, None]).flatten()
