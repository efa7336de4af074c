"""Features of a frozen encoder as latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from einops import rearrange
from torch import Tensor, nn

from ross3d.core.shapes import check_shape
from ross3d.core.tokenizer import latent_size


class FeatureTokenizer:
    """Latents are the patch features of a frozen encoder, such as DINOv2 or SigLIP.

    For :class:`~ross3d.core.regression.RegressionLoss` as they are; for diffusion, scale them to
    about unit variance inside the encoder. The encoder is no part of your model: this is no
    ``nn.Module``, so that ``parameters()``, ``state_dict()`` and ``train()`` of its owner leave it
    alone. It follows its input's device. There is no way back to pictures: ``decode`` raises.

    Args:
        encoder: images (n, 3, H, W) to features: a map (n, C, h, w), tokens (n, p, C), or an output
            of transformers with ``last_hidden_state``. A module is switched to eval and frozen.
        channels: feature channels C.
        stride: pixels per feature cell, along each side: the patch size.
        mean: per RGB channel, subtracted from images in [0, 1]; None = 0.
        std: per RGB channel, divided by afterwards; None = 1.
        prefix_tokens: tokens in front of the patches to drop: 1 for a class token, 5 for DINOv2
            with registers.

    Raises:
        ValueError: if ``mean`` or ``std`` has not three numbers.

    Example:
        >>> encoder = torch.nn.Conv2d(3, 8, 14, stride=14)
        >>> tokenizer = FeatureTokenizer(encoder, channels=8, stride=14)
        >>> tokenizer.encode(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 8, 16, 16])
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], Any],
        *,
        channels: int,
        stride: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        prefix_tokens: int = 0,
    ) -> None:
        for name, values in (("mean", mean), ("std", std)):
            if values is not None and len(values) != 3:
                raise ValueError(f"{name} must be three numbers; got {len(values)}")
        if isinstance(encoder, nn.Module):
            encoder.eval().requires_grad_(False)
        self.encoder = encoder
        self.channels, self.stride, self.prefix_tokens = channels, stride, prefix_tokens
        self.mean = tuple(mean or (0.0, 0.0, 0.0))
        self.std = tuple(std or (1.0, 1.0, 1.0))

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Encode (n, 3, H, W) images in [0, 1] to (n, C, H/stride, W/stride) features.

        Args:
            images: (n, 3, H, W) RGB in [0, 1]; sides divisible by the stride.

        Returns:
            (n, C, H/stride, W/stride) float32 features, without history.

        Raises:
            ValueError: if a side is not divisible by the stride, or the encoder's output does not
                fit the images.
        """
        h, w = latent_size(images, self.stride)
        if images.shape[0] == 0:  # not every network takes an empty batch
            return images.new_zeros((0, self.channels, h, w), dtype=torch.float32)
        images = images.to(self._dtype(images))
        images = (images - images.new_tensor(self.mean)[:, None, None]) / images.new_tensor(
            self.std
        )[:, None, None]
        output = self.encoder(images)
        features: Tensor = getattr(output, "last_hidden_state", output)
        if features.ndim == 3:
            features = features[:, self.prefix_tokens :]
            check_shape("features", features, "n p c", n=len(images), p=h * w, c=self.channels)
            features = rearrange(features, "n (h w) c -> n c h w", h=h)
        check_shape("features", features, "n c h w", n=len(images), c=self.channels, h=h, w=w)
        return features.float()

    def decode(self, latents: Tensor) -> NoReturn:
        """Refuse: features have no decoder.

        Args:
            latents: (n, C, h, w).

        Raises:
            TypeError: always.
        """
        raise TypeError(
            "FeatureTokenizer cannot decode features to pictures: use DCTTokenizer or VAETokenizer"
        )

    def _dtype(self, images: Tensor) -> torch.dtype:
        if not isinstance(self.encoder, nn.Module):
            return torch.promote_types(images.dtype, torch.float32)
        self.encoder.to(images.device)
        weights = (p.dtype for p in self.encoder.parameters() if p.is_floating_point())
        return next(weights, torch.float32)
