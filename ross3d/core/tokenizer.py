"""Tokenizers turn target images into latents: the role, and the one that keeps the pixels."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from torch import Tensor

from ross3d.core.shapes import check_shape


class Tokenizer(Protocol):
    """F of the paper: a frozen teacher whose latents are the targets of the denoiser.

    Attributes:
        channels: latent channels C.
        stride: pixels per latent cell, along each side.
    """

    @property
    def channels(self) -> int:
        """Latent channels C."""
        ...

    @property
    def stride(self) -> int:
        """Pixels per latent cell, along each side."""
        ...

    def encode(self, images: Tensor) -> Tensor:
        """Turn images into latents of about unit variance.

        Args:
            images: (n, 3, H, W) RGB in [0, 1]; H and W divisible by the stride; n may be 0.

        Returns:
            (n, C, H/stride, W/stride) latents, without gradient history for frozen networks.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents into images.

        Args:
            latents: (n, C, h, w).

        Returns:
            (n, 3, h*stride, w*stride) RGB, not clamped: clamp to [0, 1] before showing.
        """
        ...


@runtime_checkable
class StagedTokenizer(Tokenizer, Protocol):
    """A tokenizer that encodes in two stages: ``encode(images)`` is ``draw(moments(images))``.

    The first is dear and gives a picture the same each time, so that it can be kept; the second is
    cheap and may be random.
    """

    def moments(self, images: Tensor) -> Tensor:
        """Turn images into what latents are drawn from.

        Args:
            images: (n, 3, H, W) RGB in [0, 1].

        Returns:
            (n, ...) any tensor, the same for the same picture.
        """
        ...

    def draw(self, moments: Tensor) -> Tensor:
        """Draw latents.

        Args:
            moments: (n, ...) what the first stage gave.

        Returns:
            (n, C, H/stride, W/stride) latents.
        """
        ...


def latent_size(images: Tensor, stride: int) -> tuple[int, int]:
    """Check images against a stride, and give the size of their latents.

    Args:
        images: (n, 3, H, W).
        stride: pixels per latent cell.

    Returns:
        h = H / stride and w = W / stride.

    Raises:
        ValueError: if the shape does not fit, or a side is not divisible by the stride.

    Example:
        >>> latent_size(torch.zeros(1, 3, 224, 432), 16)
        (14, 27)
    """
    sizes = check_shape("images", images, "n 3 h w")
    if sizes["h"] % stride or sizes["w"] % stride:
        raise ValueError(
            f"images must have sides divisible by the stride {stride}; got {tuple(images.shape)}"
        )
    return sizes["h"] // stride, sizes["w"] // stride


def pack(cells: Tensor, size: int) -> Tensor:
    """Fold size x size cells into channels, as ``pixel_unshuffle`` does, but for empty batches too.

    Args:
        cells: (n, c, h*size, w*size).
        size: cells along each side that become one.

    Returns:
        (n, c*size^2, h, w), channel c * size^2 + dy * size + dx.

    Example:
        >>> pack(torch.zeros(0, 16, 28, 28), 2).shape
        torch.Size([0, 64, 14, 14])
    """
    packed: Tensor = rearrange(cells, "n c (h dy) (w dx) -> n (c dy dx) h w", dy=size, dx=size)
    return packed


def unpack(cells: Tensor, size: int) -> Tensor:
    """Unfold channels into size x size cells: the inverse of :func:`pack`.

    Args:
        cells: (n, c*size^2, h, w).
        size: cells along each side that one becomes.

    Returns:
        (n, c, h*size, w*size).

    Example:
        >>> unpack(torch.zeros(0, 64, 14, 14), 2).shape
        torch.Size([0, 16, 28, 28])
    """
    unpacked: Tensor = rearrange(cells, "n (c dy dx) h w -> n c (h dy) (w dx)", dy=size, dx=size)
    return unpacked


class PixelTokenizer:
    """Latents are the pixels themselves, in [-1, 1], ``stride`` x ``stride`` of them per cell.

    Args:
        stride: pixels per latent cell, along each side.

    Raises:
        ValueError: if ``stride`` is less than 1.

    Example:
        >>> tokenizer = PixelTokenizer(stride=16)
        >>> tokenizer.encode(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 768, 14, 14])
    """

    def __init__(self, stride: int = 16) -> None:
        if stride < 1:
            raise ValueError(f"stride must be at least 1; got {stride}")
        self.stride = stride
        self.config = {"stride": stride}
        self.channels = 3 * stride * stride

    def encode(self, images: Tensor) -> Tensor:
        """Fold (n, 3, H, W) images in [0, 1] into (n, C, H/stride, W/stride) latents.

        Args:
            images: (n, 3, H, W) RGB in [0, 1].

        Returns:
            (n, C, H/stride, W/stride), channel c * stride^2 + dy * stride + dx; float32 or wider.

        Raises:
            ValueError: if a side is not divisible by the stride.
        """
        latent_size(images, self.stride)
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        return pack(images * 2 - 1, self.stride)

    def decode(self, latents: Tensor) -> Tensor:
        """Unfold (n, C, h, w) latents into (n, 3, h*stride, w*stride) images: the exact inverse.

        Args:
            latents: (n, C, h, w).

        Returns:
            (n, 3, h*stride, w*stride) RGB, not clamped.

        Raises:
            ValueError: if the number of channels is wrong.
        """
        check_shape("latents", latents, "n c h w", c=self.channels)
        return unpack(latents, self.stride) / 2 + 0.5
