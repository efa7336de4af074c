"""Several independent questions about one scene, in one pass that reads the scene once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# With five blocks of queries three fifths of the scores are computed, with many half of them.
BLOCKS, SHORTEST = 5, 64


class CausalMask(Tensor):
    """A mask that hides all that is later: under it attention looks at earlier keys only.

    Queries are taken in a few blocks, each with no key after its last, where any other function of
    torch takes it as the tensor that it is, and gives tensors.

    Example:
        >>> mask = torch.full((1, 1, 96, 96), -torch.inf).triu(1).as_subclass(CausalMask)
        >>> q = torch.randn(1, 2, 96, 8)
        >>> F.scaled_dot_product_attention(q, q, q, attn_mask=mask).shape
        torch.Size([1, 2, 96, 8])
    """

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: tuple[type, ...],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch on masks."""
        with torch._C.DisableTorchFunctionSubclass():
            attends = func is F.scaled_dot_product_attention
            return (_in_blocks if attends else func)(*args, **(kwargs or {}))


def _in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    rows, columns = query.shape[-2], key.shape[-2]
    options |= {"dropout_p": dropout_p, "is_causal": is_causal}
    if dropout_p or not rows == columns == attn_mask.shape[-2] == attn_mask.shape[-1]:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, **options)
    read, start = [], 0
    for part in query.split(max(-(-rows // BLOCKS), SHORTEST), dim=-2):
        end = start + part.shape[-2]
        earlier = key[..., :end, :], value[..., :end, :], attn_mask[..., start:end, :end]
        read.append(F.scaled_dot_product_attention(part, *earlier, **options))
        start = end
    return torch.cat(read, dim=-2)


def segment_mask(segments: Tensor, dtype: torch.dtype, together: Tensor | None = None) -> Tensor:
    """Let every turn see the scene and itself, but no other turn.

    Args:
        segments: (b, t) long: 0 = the shared scene in front, 1, 2, ... = the turn that a token
            belongs to, -1 = padding, which may lie within the scene, too.
        dtype: of the mask.
        together: (b, t) True = tokens of the scene that all see each other, later ones too; None =
            every token sees earlier ones only.

    Returns:
        An additive attention mask (b, 1, t, t).

    Example:
        >>> segment_mask(torch.tensor([[0, 0, 1, 1, 2, 2]]), torch.float32).shape
        torch.Size([1, 1, 6, 6])
    """
    shared, index, _ = _runs(segments)
    same = segments[:, :, None] == segments[:, None, :]
    allowed = (same | shared[:, None, :]) & (index <= index[:, None])
    if together is not None:
        together = together & shared
        allowed = allowed | (together[:, :, None] & together[:, None, :])
    return torch.where(allowed, 0.0, torch.finfo(dtype).min).to(dtype)[:, None]


def segment_positions(segments: Tensor) -> Tensor:
    """Place each turn's tokens as if they followed the scene at once.

    The outputs equal those of one pass per question. Padding within the scene takes no place.

    Args:
        segments: (b, t) as in segment_mask.

    Returns:
        position_ids (b, t).

    Example:
        >>> segment_positions(torch.tensor([[0, 0, 1, 1, 2, 2]])).tolist()
        [[0, 1, 2, 3, 2, 3]]
    """
    shared, index, start = _runs(segments)
    own = shared.sum(dim=1, keepdim=True) + index - start
    return torch.where(shared, shared.cumsum(dim=1) - 1, own)


def segment_shift(segments: Tensor) -> Tensor:
    """How far each token stands behind where it would stand if its turn followed the scene at once.

    Subtracting it turns positions of an ordinary pass, of however many axes, into those of
    independent turns.

    Args:
        segments: (b, t) as in segment_mask.

    Returns:
        (b, t) long: 0 in the scene and in padding.

    Example:
        >>> segment_shift(torch.tensor([[0, 0, 1, 1, 2, 2]])).tolist()
        [[0, 0, 0, 0, 2, 2]]
    """
    shared, index, start = _runs(segments)
    end = torch.where(shared, index + 1, 0).amax(dim=1, keepdim=True)
    return torch.where(segments > 0, start - end, 0)


def _runs(segments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens (b, t) are the scene's, every index (t), and where its run begins (b, t)."""
    shared = segments == 0
    index = torch.arange(segments.shape[1], device=segments.device)
    begins = torch.ones_like(shared)
    begins[:, 1:] = segments[:, 1:] != segments[:, :-1]
    return shared, index, torch.where(begins, index, 0).cummax(dim=1).values
