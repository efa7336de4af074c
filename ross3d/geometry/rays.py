"""Ray codes: adding to each visual token which way it looks, where nobody knows how far."""

from __future__ import annotations

import math
from typing import Literal

from einops import rearrange
from torch import Tensor

from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision
from ross3d.geometry.position import PositionAwareEncoder


class RayAwareEncoder(Pretrained):
    """Add to each visual token a code of the ray that it looks along.

    The variant of :class:`PositionAwareEncoder` for pictures with poses but without depth. The ray
    is encoded as two points: the camera centre, and its unit direction, as if one metre from the
    origin. With depth in places, use both encoders in turn: positions where they are known
    (``valid``), rays elsewhere (``placed=valid``).

    Args:
        dim: width d of the visual tokens.
        kind: "sincos", without parameters, or "mlp": Linear, LayerNorm, ReLU, Linear of the six
            numbers.
        shortest: shortest wavelength of "sincos" in metres; a quarter of it is told apart.
        longest: longest wavelength of "sincos" in metres, nearly.
        hidden_dim: width of the MLP.

    Raises:
        ValueError: if the kind is neither of the two, the wavelengths are not 0 < shortest <
            longest, or "sincos" has fewer than 12 channels.

    Example:
        >>> import torch
        >>> encoder = RayAwareEncoder(64)
        >>> encoder(torch.zeros(1, 2, 4, 64), torch.rand(1, 2, 4, 6)).shape
        torch.Size([1, 2, 4, 64])
    """

    def __init__(
        self,
        dim: int,
        *,
        kind: Literal["sincos", "mlp"] = "sincos",
        shortest: float = 0.2,
        longest: float = 50.0,
        hidden_dim: int = 512,
    ) -> None:
        super().__init__()
        if not 0 < shortest < longest:
            got = f"{shortest} and {longest}"
            raise ValueError(f"shortest and longest must be 0 < shortest < longest; got {got}")
        self.config = {"dim": dim, "kind": kind, "shortest": shortest, "longest": longest}
        self.config |= {"hidden_dim": hidden_dim}
        self.scale = 1.0 if kind == "mlp" else 2 * math.pi / shortest
        self.points = PositionAwareEncoder(
            dim,
            None,
            kind=kind,
            points=2,
            hidden_dim=hidden_dim,
            temperature=longest / shortest,
        )

    def forward(self, visual: Tensor, rays: Tensor, placed: Tensor | None = None) -> Tensor:
        """Add the code.

        Args:
            visual: (b, m, p, d) visual tokens.
            rays: (b, m, p, 6) camera centre in metres and unit direction, both in the world frame,
                as :func:`patch_rays` gives them.
            placed: (b, m, p) True where the token has the code of its position already, and stays
                as it is; None = nowhere.

        Returns:
            (b, m, p, d) in the dtype of ``visual``.

        Raises:
            ValueError: if a shape does not fit.
        """
        sizes = check_shape("visual", visual, "b m p d", d=self.points.dim)
        check_shape("rays", rays, "b m p 6", **sizes)
        if placed is not None:
            check_shape("placed", placed, "b m p", **sizes)
        coords = rearrange(full_precision(rays) * self.scale, "b m p (n c) -> b m p n c", n=2)
        total: Tensor = self.points(visual, coords, None if placed is None else ~placed)
        return total
