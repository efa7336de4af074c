"""Latents of a frozen variational autoencoder, such as FLUX's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ross3d.core.autocast import without_autocast
from ross3d.core.extras import require
from ross3d.core.objective import draw
from ross3d.core.shapes import check_shape
from ross3d.core.tokenizer import latent_size, pack, unpack


class VAETokenizer:
    """Latents of a diffusers ``AutoencoderKL``, (sample - shift) * scaling, packed 2x2.

    The paper's teacher is FLUX's VAE: 64 channels at stride 16 after packing. The VAE is frozen and
    no part of your model: this is no ``nn.Module``, so that ``parameters()``, ``state_dict()``,
    ``train()`` and ``bfloat16()`` of its owner leave it alone. It follows its input's device.

    Args:
        vae: an ``AutoencoderKL``, with or without its decoder; switched to eval and frozen.
        pack: cells of pack x pack latents become one, in ``pixel_unshuffle`` order (paper: 2).
        sample: True = draw from the posterior (paper); False = its mode: half the bytes in a cache.
        again: gives the whole VAE once more. The decoder, which training never needs and which is
            most of the weights, is then dropped until the first ``decode``. None = keep it.

    Raises:
        ValueError: if ``pack`` is less than 1.

    Attributes:
        channels: latent channels C after packing.
        stride: pixels per latent cell after packing.
    """

    def __init__(
        self,
        vae: Any,
        *,
        pack: int = 2,
        sample: bool = True,
        again: Callable[[], Any] | None = None,
    ) -> None:
        if pack < 1:
            raise ValueError(f"pack must be at least 1; got {pack}")
        self.config: dict[str, Any] | None = None  # a VAE from elsewhere can only be given again
        self.vae = vae.eval().requires_grad_(False)
        self.pack, self.sample = pack, sample
        self.channels: int = vae.config.latent_channels * pack * pack
        self.stride: int = 2 ** (len(vae.config.block_out_channels) - 1) * pack
        self._scaling: float = vae.config.scaling_factor
        self._shift: float = vae.config.shift_factor or 0.0
        self._again = again
        if again is not None:
            self.vae.decoder = None

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        subfolder: str | None = None,
        pack: int = 2,
        sample: bool = True,
        dtype: torch.dtype | str = torch.float32,
    ) -> VAETokenizer:
        """Load a VAE with diffusers, without its decoder until a picture is asked for.

        Args:
            path: a folder, or a repository of the Hugging Face Hub.
            subfolder: where the VAE is inside it, often ``"vae"``.
            pack: see the class.
            sample: see the class.
            dtype: of the VAE's weights, or its name.

        Returns:
            The tokenizer. Its first ``decode`` loads the decoder, and keeps it.

        Raises:
            ImportError: if diffusers is not installed.
            ValueError: if there is no such dtype.
        """
        name = str(dtype).removeprefix("torch.")
        if not isinstance(kind := getattr(torch, name, None), torch.dtype):
            raise ValueError(f"dtype must be a torch.dtype or the name of one; got {name!r}")
        autoencoder = require("diffusers", "vae").AutoencoderKL
        load = partial(autoencoder.from_pretrained, path, subfolder=subfolder, torch_dtype=kind)
        tokenizer = cls(load(), pack=pack, sample=sample, again=load)
        tokenizer.config = {"path": path, "subfolder": subfolder, "pack": pack, "sample": sample}
        tokenizer.config |= {"dtype": name}
        return tokenizer

    @property
    def identity(self) -> dict[str, Any]:
        """What latents depend on, for a cache: not where the weights came from, no decoder."""
        network = {"encoder": self.vae.encoder, "quant_conv": self.vae.quant_conv}
        scales = {"scaling": self._scaling, "shift": self._shift}
        return {**network, **scales, "pack": self.pack, "sample": self.sample}

    def encode(self, images: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Encode (n, 3, H, W) images in [0, 1] to (n, C, H/stride, W/stride) latents.

        Args:
            images: (n, 3, H, W) RGB in [0, 1]; sides divisible by the stride.
            generator: source of the posterior's draws, on any device.

        Returns:
            (n, C, H/stride, W/stride) float32, channel c * 4 + dy * 2 + dx, without history.

        Raises:
            ValueError: if a side is not divisible by the stride, so that latents cannot be packed.
        """
        return self.draw(self.moments(images), generator=generator)

    @torch.no_grad()
    def moments(self, images: Tensor) -> Tensor:
        """Encode images to the moments of their posterior, neither scaled nor packed.

        Args:
            images: (n, 3, H, W) RGB in [0, 1]; sides divisible by the stride.

        Returns:
            (n, 2*c, h, w) means and logarithms of variances, in the VAE's dtype; without
            ``sample``, (n, c, h, w): the means, all that is needed. c = C / pack^2.

        Raises:
            ValueError: if a side is not divisible by the stride.
        """
        h, w = latent_size(images, self.stride)
        if images.shape[0] == 0:  # group normalisation refuses empty batches
            c = self.channels // self.pack**2 * (1 + self.sample)
            return images.new_zeros((0, c, h * self.pack, w * self.pack), dtype=torch.float32)
        vae = self.vae.to(images.device)
        with without_autocast(images.device):
            posterior = vae.encode(images.to(vae.dtype) * 2 - 1).latent_dist
        moments: Tensor = posterior.parameters if self.sample else posterior.mode()
        return moments

    @torch.no_grad()
    def draw(self, moments: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents from moments, or take the means without ``sample``; scale and pack them.

        Args:
            moments: as given by ``moments``.
            generator: source of the draws, on any device.

        Returns:
            (n, C, H/stride, W/stride) float32 latents.
        """
        latents = moments.float()
        if self.sample:
            latents, logarithms = latents.chunk(2, dim=1)
            deviation = (0.5 * logarithms.clamp(-30, 20)).exp()  # as diffusers bounds it
            latents = latents + deviation * draw("normal", latents.shape, latents, generator)
        return pack((latents - self._shift) * self._scaling, self.pack)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode (n, C, h, w) latents to (n, 3, h*stride, w*stride) images.

        Args:
            latents: (n, C, h, w).

        Returns:
            (n, 3, h*stride, w*stride) float32 RGB, not clamped, without history.

        Raises:
            ValueError: if the number of channels is wrong, or the VAE came without its decoder.
        """
        sizes = check_shape("latents", latents, "n c h w", c=self.channels)
        if latents.shape[0] == 0:
            sides = sizes["h"] * self.stride, sizes["w"] * self.stride
            return latents.new_zeros((0, 3, *sides), dtype=torch.float32)
        if self.vae.decoder is None:
            if self._again is None:
                raise ValueError("vae must have its decoder to give pictures; got an encoder only")
            self.vae.decoder = self._again().decoder.eval().requires_grad_(False)
        vae = self.vae.to(latents.device)
        unpacked = unpack(latents, self.pack).float() / self._scaling + self._shift
        with without_autocast(latents.device):
            images: Tensor = vae.decode(unpacked.to(vae.dtype)).sample
        return images.float() / 2 + 0.5
