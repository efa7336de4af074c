"""Pictures of several tasks to latents in one go, and latents back to pictures."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from einops import rearrange
from torch import Tensor

from ross3d.core.tokenizer import Tokenizer


@torch.no_grad()
def encode_pictures(tokenizer: Tokenizer, pictures: Sequence[Tensor]) -> list[Tensor]:
    """Encode sets of pictures, those of one size in one batch; the tokenizer sees no empty one.

    A tokenizer whose kernels round by the size of the batch, such as a VAE, does so here, too.

    Args:
        tokenizer: F.
        pictures: of each task, (b, k, 3, s, s) values in [0, 1]; k may be 0.

    Returns:
        Of each task, (b*k, C, h, w) float32 latents, without history.

    Example:
        >>> from ross3d import DCTTokenizer
        >>> views, above = torch.zeros(2, 3, 3, 32, 32), torch.zeros(2, 1, 3, 64, 64)
        >>> [tuple(z.shape) for z in encode_pictures(DCTTokenizer(), [views, above])]
        [(6, 64, 2, 2), (2, 64, 4, 4)]
    """
    batches: dict[Hashable, list[int]] = {}
    latents = []
    for index, images in enumerate(pictures):
        h, w = (side // tokenizer.stride for side in images.shape[-2:])
        latents.append(images.new_zeros(0, tokenizer.channels, h, w, dtype=torch.float32))
        if images.numel():
            kind = (images.shape[-2:], images.dtype, images.device)
            batches.setdefault(kind, []).append(index)
    for members in batches.values():
        flat = [pictures[index].flatten(0, 1) for index in members]
        encoded = tokenizer.encode(torch.cat(flat) if len(flat) > 1 else flat[0]).float()
        parts = torch.split(encoded, [len(images) for images in flat])
        for index, part in zip(members, parts, strict=True):
            latents[index] = part
    return latents


def decode_pictures(tokenizer: Tokenizer, latents: Tensor, like: Tensor) -> Tensor:
    """Decode latents to pictures that can be shown.

    Args:
        tokenizer: F.
        latents: (b*k, C, h, w).
        like: (b, k, 3, s, s) pictures; k may be 0.

    Returns:
        (b, k, 3, h*stride, w*stride) values in [0, 1].

    Example:
        >>> from ross3d import DCTTokenizer
        >>> like = torch.zeros(2, 3, 3, 32, 32)
        >>> decode_pictures(DCTTokenizer(), torch.zeros(6, 64, 2, 2), like).shape
        torch.Size([2, 3, 3, 32, 32])
    """
    if not like.numel():
        return like
    decoded = tokenizer.decode(latents).clamp(0, 1)
    return rearrange(decoded, "(b k) c h w -> b k c h w", b=like.shape[0])
