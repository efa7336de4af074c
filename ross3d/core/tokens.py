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
    rows = _flat_rows(positions, sizes["t"])
    source = rearrange(tokens, "b m p d -> (b m p) d").to(embeds.dtype)
    written: Tensor = _WriteRows.apply(  # type: ignore[no-untyped-call]
        rearrange(embeds, "b t d -> (b t) d"), rows, source
    )
    return written.view(embeds.shape)


class _WriteRows(torch.autograd.Function):
    """``index_copy`` along the first axis that keeps the indices for backward, not the rows."""

    @staticmethod
    def forward(ctx: FunctionCtx, target: Tensor, rows: Tensor, source: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return target.index_copy(0, rows, source)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (rows,), (grad,) = ctx.saved_tensors, grads
        target = grad.index_fill(0, rows, 0) if ctx.needs_input_grad[0] else None
        source = grad.index_select(0, rows) if ctx.needs_input_grad[2] else None
        return target, None, source


def _flat_rows(positions: Tensor, t: int) -> Tensor:
    starts = torch.arange(positions.shape[0], device=positions.device) * t
    return (positions + starts[:, None, None]).flatten()
