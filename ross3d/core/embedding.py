"""Sine-cosine codes of coordinates: of a number, of a point, and of a grid of cells."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sincos(x: Tensor, dim: int, *, temperature: float = 10000.0) -> Tensor:
    """Encode each number by sines and cosines of geometrically spaced wavelengths.

    Channel i is sin(x / w_i) for even i and cos(x / w_i) for odd i, where
    w_i = temperature ** (2 * floor(i / 2) / dim). An odd ``dim`` ends on a sine.

    Args:
        x: (...) numbers, in the unit whose shortest resolved wavelength is 2 * pi.
        dim: number of channels.
        temperature: ratio of the longest wavelength to the shortest, nearly.

    Returns:
        (..., dim) the code; float64 if ``x`` is float64, else float32, so that large coordinates
        keep their phase whatever the model's dtype.

    Raises:
        ValueError: if ``dim`` is negative or ``temperature`` is not positive.

    Example:
        >>> sincos(torch.zeros(2, 5), 6).shape
        torch.Size([2, 5, 6])
    """
    if dim < 0:
        raise ValueError(f"dim must be at least 0; got {dim}")
    if temperature <= 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    exponents = torch.arange((dim + 1) // 2, device=x.device, dtype=dtype) * (2 / max(dim, 1))
    angles = x.to(dtype)[..., None] / temperature**exponents
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :dim]


def sincos_points(points: Tensor, dim: int, *, temperature: float = 10000.0) -> Tensor:
    """Encode points by one block of :func:`sincos` channels per axis, padded with zeros.

    Each of the ``a`` axes gets ``dim // a`` channels, in the order of the axes. Several points that
    share one code, (..., n, 3), are passed as ``points.flatten(-2)``: a block per axis per point.

    Args:
        points: (..., a) coordinates, in the unit of :func:`sincos`.
        dim: number of channels of the whole code.
        temperature: ratio of the longest wavelength to the shortest, nearly.

    Returns:
        (..., dim) the code, float64 or float32 as in :func:`sincos`.

    Raises:
        ValueError: if a point has no axis or ``dim`` is smaller than the number of axes.

    Example:
        >>> sincos_points(torch.zeros(2, 196, 3), 128).shape
        torch.Size([2, 196, 128])
    """
    axes = points.shape[-1] if points.ndim else 0
    if axes == 0:
        raise ValueError(f"points must be of shape (... a) with a >= 1; got {tuple(points.shape)}")
    if dim < axes:
        raise ValueError(f"dim must be at least {axes}, one channel per axis; got {dim}")
    code = sincos(points, dim // axes, temperature=temperature).flatten(-2)
    return F.pad(code, (0, dim % axes))


def grid_sincos(h: int, w: int, dim: int, *, device: torch.device | str | None = None) -> Tensor:
    """Encode the cells of a grid: half of the channels for the row, half for the column.

    Args:
        h: number of rows.
        w: number of columns.
        dim: number of channels; even.
        device: where to put the code.

    Returns:
        (h*w, dim) float32 code of each cell, row by row.

    Raises:
        ValueError: if ``dim`` is not a positive even number.

    Example:
        >>> grid_sincos(14, 14, 64).shape
        torch.Size([196, 64])
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be a positive even number; got {dim}")
    rows = torch.arange(h, device=device, dtype=torch.float32)
    columns = torch.arange(w, device=device, dtype=torch.float32)
    return sincos_points(torch.cartesian_prod(rows, columns), dim)
