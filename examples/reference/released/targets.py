"""Targets and latents of the released model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ross3d import BEV, PosedFrames, Targets, VAETokenizer, select_views


class ReleasedTokenizer:
    """Latents as the released model was trained on: an odd number of them is made even.

    216 pixels give 27 x 27 latents, which are resized to 28 x 28 bilinearly before 2 x 2 of them
    are packed; 432 pixels give 54 x 54.

    Args:
        vae: an ``AutoencoderKL`` of diffusers.
        sample: True = draw from the posterior (released); False = its mode.

    Attributes:
        channels: latent channels after packing.
        stride: pixels per packed cell, where nothing is resized.
    """

    def __init__(self, vae: Any, *, sample: bool = True) -> None:
        self.cells = VAETokenizer(vae, pack=1, sample=sample)
        self.channels, self.stride = 4 * self.cells.channels, 2 * self.cells.stride

    def encode(self, images: Tensor) -> Tensor:
        """Turn (n, 3, H, W) in [0, 1] into (n, C, h, w), h = H / stride rounded up."""
        latents = self.cells.encode(images)
        h, w = latents.shape[-2:]
        if w % 2:
            size = (h + 1, w + 1)
            latents = F.interpolate(latents, size, mode="bilinear", align_corners=False)
        return F.pixel_unshuffle(latents, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Turn (n, C, h, w) into (n, 3, h * stride, w * stride), not clamped."""
        return self.cells.decode(F.pixel_shuffle(latents, 2))


class ReleasedViews:
    """Hidden views as targets: resized without antialiasing, to an odd number of latents.

    Args:
        pixels: side of the pictures that are encoded (released: 216).
        stride: pixels per packed latent cell.

    Attributes:
        size: pixels that the resized latents stand for (released: 224).
    """

    def __init__(self, pixels: int = 216, *, stride: int = 16) -> None:
        self.pixels, self.size = pixels, -(-pixels // stride) * stride

    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Name the hidden views as targets."""
        views = select_views(frames.images, masked)
        side = self.pixels if views.numel() else self.size  # no picture has no odd latents
        images = views.new_zeros(*views.shape[:3], side, side)
        if views.numel():
            flat = F.interpolate(views.flatten(0, 1), (side, side), mode="bilinear")
            images = rearrange(flat, "(b k) c h w -> b k c h w", b=views.shape[0])
        weight = select_views(torch.ones_like(masked, dtype=images.dtype), masked)
        return Targets(images, weight[..., None, None].expand(-1, -1, side, side))


class ReleasedBEV:
    """The room from above as a target; cells count whose middle is not black.

    The released filter resizes the picture to one pixel per latent cell, bilinearly and without
    antialiasing, and keeps cells whose mean colour is above 0.

    Args:
        renderer: frames -> BEV, black where nothing was observed.
        size: pixels of the square picture (released: 432).
        stride: pixels per packed latent cell.
    """

    def __init__(
        self, renderer: Callable[[PosedFrames], BEV], size: int = 432, *, stride: int = 16
    ) -> None:
        self.renderer, self.size, self.stride = renderer, size, stride

    @torch.no_grad()
    def __call__(self, frames: PosedFrames, masked: Tensor) -> Targets:
        """Render the room from above.

        Raises:
            ValueError: if the renderer's picture does not have ``size`` pixels.
        """
        images = self.renderer(frames).image
        if images.shape[-2:] != (self.size, self.size):
            got = tuple(images.shape[-2:])
            raise ValueError(f"renderer must return {self.size} x {self.size} pixels; got {got}")
        cells = self.size // self.stride
        seen = F.interpolate(images, (cells, cells), mode="bilinear", align_corners=False)
        kept = (seen.mean(1, keepdim=True) > 0).to(images.dtype)
        weight = F.interpolate(kept, images.shape[-2:], mode="nearest")
        return Targets(images[:, None], weight)
