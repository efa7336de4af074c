"""A tokenizer without weights: the low frequencies of 8x8 blocks, in the shape of FLUX latents."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ross3d.core.autocast import without_autocast
from ross3d.core.shapes import check_shape
from ross3d.core.tokenizer import latent_size, pack, unpack

# (vertical, horizontal) frequencies in zigzag order; luma keeps ten, each chroma plane three.
ZIGZAG = ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
KEPT = (10, 3, 3)
# Root mean square of each coefficient, of images scaled to [-1, 1] at 224 pixels: the mean over
# three indoor scans (a ray-traced furnished room, a rendered living room, a real kitchen).
SCALES = (
    (3.84, 0.501, 0.551, 0.296, 0.223, 0.255, 0.155, 0.137, 0.159, 0.189),
    (0.818, 0.106, 0.127),
    (1.046, 0.114, 0.153),
)
RED, GREEN, BLUE = 0.299, 0.587, 0.114  # ITU-R BT.601


def _filters(whiten: float) -> tuple[Tensor, Tensor]:
    """Give analysis and synthesis filters, (16, 3, 8, 8) each, that are dual to each other."""
    left = [scale ** (2 - 2 * whiten) for scales in SCALES for scale in scales]
    common = math.sqrt(sum(left) / len(left))  # so that the mean variance stays one
    luma = torch.tensor((RED, GREEN, BLUE), dtype=torch.float64, device="cpu")
    red, _, blue = torch.eye(3, dtype=torch.float64, device="cpu")
    planes = (luma, (blue - luma) / (2 - 2 * BLUE), (red - luma) / (2 - 2 * RED))  # Y, Cb, Cr
    colours = torch.stack(planes).inverse().T
    time = torch.arange(8, dtype=torch.float64, device="cpu")
    waves = ((time + 0.5) * time[:, None] * math.pi / 8).cos() / 2
    waves[0] /= math.sqrt(2)  # orthonormal: waves @ waves.T = 1
    analysis, synthesis = [], []
    for plane, kept in enumerate(KEPT):
        for (v, u), size in zip(ZIGZAG[:kept], SCALES[plane], strict=True):
            scale = common * size**whiten
            wave = torch.outer(waves[v], waves[u])
            analysis.append(planes[plane][:, None, None] * wave / scale)
            synthesis.append(colours[plane][:, None, None] * wave * scale)
    return torch.stack(analysis), torch.stack(synthesis)


class DCTTokenizer:
    """Latents are the 16 lowest DCT coefficients of 8x8 blocks in YCbCr, by default packed 2x2.

    A stand-in for a VAE that needs no download: the shapes are those of FLUX latents, decoding is
    the exact projection on the kept frequencies (a slightly blurred image), and the mean variance
    of the channels is about one on photographs of rooms. Differentiable, on any device.

    Args:
        whiten: 1 = every channel has the same variance, as those of a VAE roughly have; 0 = errors
            count as in pixels, so that what is learned first is colour and shape, not texture.
        pack: side in blocks of a latent cell: 2 = as FLUX is used, 64 channels per 16 pixels; 1 =
            16 channels per 8 pixels, finer cells for small pictures.

    Attributes:
        channels: of a latent cell, 16 * pack^2.
        stride: pixels per latent cell, 8 * pack.

    Raises:
        ValueError: if ``whiten`` is outside [0, 1], or ``pack`` is less than 1.

    Example:
        >>> tokenizer = DCTTokenizer()
        >>> tokenizer.encode(torch.zeros(2, 3, 224, 224)).shape
        torch.Size([2, 64, 14, 14])
    """

    def __init__(self, whiten: float = 1.0, pack: int = 2) -> None:
        if not 0.0 <= whiten <= 1.0:
            raise ValueError(f"whiten must be in [0, 1]; got {whiten}")
        if pack < 1:
            raise ValueError(f"pack must be at least 1; got {pack}")
        self.config = {"whiten": whiten, "pack": pack}
        self.pack, self.channels, self.stride = pack, 16 * pack**2, 8 * pack
        self._analysis, self._synthesis = _filters(whiten)

    def encode(self, images: Tensor) -> Tensor:
        """Analyse (n, 3, H, W) images in [0, 1] into (n, channels, H/stride, W/stride) latents.

        Args:
            images: (n, 3, H, W) RGB in [0, 1]; sides divisible by ``stride``.

        Returns:
            (n, channels, h, w), channel (c * pack + dy) * pack + dx as in ``pixel_unshuffle``;
            float32 or wider.

        Raises:
            ValueError: if a side is not divisible by ``stride``.
        """
        latent_size(images, self.stride)
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        with without_autocast(images.device):
            blocks = F.conv2d(images * 2 - 1, self._analysis.to(images), stride=8)
        return pack(blocks, self.pack)

    def decode(self, latents: Tensor) -> Tensor:
        """Synthesise (n, 3, h*stride, w*stride) images from (n, channels, h, w) latents.

        Args:
            latents: (n, channels, h, w).

        Returns:
            (n, 3, h*stride, w*stride) RGB, not clamped, so that encoding it gives the latents back.

        Raises:
            ValueError: if the number of channels is wrong.
        """
        check_shape("latents", latents, "n c h w", c=self.channels)
        latents = latents.to(torch.promote_types(latents.dtype, torch.float32))
        blocks = unpack(latents, self.pack)
        with without_autocast(latents.device):
            return F.conv_transpose2d(blocks, self._synthesis.to(blocks), stride=8) / 2 + 0.5
