"""Position codes: adding to each visual token where in the world it is."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ross3d.core.autocast import without_autocast
from ross3d.core.embedding import sincos
from ross3d.core.pretrained import Pretrained
from ross3d.core.shapes import check_shape
from ross3d.geometry.camera import full_precision

Bounds = tuple[tuple[float, float, float], tuple[float, float, float]]
BOUNDS: Bounds = ((-15.0, -15.0, -5.0), (15.0, 15.0, 5.0))  # of the released bins
_CHUNK = 2**21  # numbers of code that are looked up at a time


def discretise(coords: Tensor, voxel_size: float = 0.1, *, bounds: Bounds = BOUNDS) -> Tensor:
    """Bin positions: q = round((clip(x, low, high) - low) / voxel_size), halves to even.

    Args:
        coords: (..., 3) world positions, metres.
        voxel_size: width of a bin in metres (released: 0.1).
        bounds: lowest and highest (x, y, z) in metres; positions outside fall into the outermost
            bins.

    Returns:
        (..., 3) long bins, counted from the lower bounds.

    Raises:
        ValueError: if the shape does not fit.

    Example:
        >>> discretise(torch.tensor([0.0, 3.14, 9.0])).tolist()
        [150, 181, 100]
    """
    check_shape("coords", coords, "... 3")
    coords = full_precision(coords)
    low, high = coords.new_tensor(bounds)
    bins: Tensor = (torch.clamp(coords, low, high) - low) / voxel_size
    return bins.round().long()


class PositionAwareEncoder(Pretrained):
    """Add to each visual token a code of where in the world it is.

    Geometry is computed in float32 whatever autocast or the features' dtype.

    Args:
        dim: width d of the visual tokens.
        voxel_size: positions are binned to this many metres (released: 0.1); None = metric values.
        kind: "sincos", without parameters, or "mlp": Linear, LayerNorm, ReLU, Linear.
        bounds: lowest and highest (x, y, z) of the bins, metres.
        points: number n of points per token, as :func:`patch_points` gives them; the code's
            channels are shared out to the points in turn.
        hidden_dim: width of the MLP (released: 512).
        temperature: base of the wavelengths of "sincos".

    Raises:
        ValueError: if the kind is neither of the two, or a number is not positive.

    Example:
        >>> encoder = PositionAwareEncoder(64)
        >>> encoder(torch.zeros(1, 2, 4, 64), torch.rand(1, 2, 4, 3)).shape
        torch.Size([1, 2, 4, 64])
    """

    def __init__(
        self,
        dim: int,
        voxel_size: float | None = 0.1,
        *,
        kind: Literal["sincos", "mlp"] = "sincos",
        bounds: Bounds = BOUNDS,
        points: int = 1,
        hidden_dim: int = 512,
        temperature: float = 10000.0,
    ) -> None:
        super().__init__()
        if kind not in ("sincos", "mlp"):
            raise ValueError(f"kind must be 'sincos' or 'mlp'; got {kind!r}")
        if points < 1 or (voxel_size is not None and voxel_size <= 0):
            got = f"{points} and {voxel_size}"
            raise ValueError(f"points and voxel_size must be positive; got {got}")
        if kind == "sincos" and dim < 6 * points:
            raise ValueError(f"dim must be at least 6 channels per point; got {dim} for {points}")
        self.config = {"dim": dim, "voxel_size": voxel_size, "kind": kind, "bounds": bounds}
        self.config |= {"points": points, "hidden_dim": hidden_dim, "temperature": temperature}
        self.dim, self.voxel_size, self.kind = dim, voxel_size, kind
        self.bounds, self.points, self.temperature = bounds, points, temperature
        if kind == "mlp":
            self.first = nn.Linear(3 * points, hidden_dim)
            last = nn.Linear(hidden_dim, dim)
            self.rest = nn.Sequential(nn.LayerNorm(hidden_dim), nn.ReLU(), last)

    def forward(self, visual: Tensor, coords: Tensor, valid: Tensor | None = None) -> Tensor:
        """Add the code.

        Args:
            visual: (b, m, p, d) visual tokens.
            coords: (b, m, p, 3) world position of each, metres, or (b, m, p, n, 3) several.
            valid: (b, m, p) True where the position is known; elsewhere, and where it is not
                finite, the token stays as it is. None = everywhere.

        Returns:
            (b, m, p, d) in the dtype of ``visual``.

        Raises:
            ValueError: if a shape does not fit.
        """
        sizes = check_shape("visual", visual, "b m p d", d=self.dim)
        if coords.ndim == 5:
            check_shape("coords", coords, "b m p n 3", **sizes, n=self.points)
        else:
            check_shape("coords", coords, "b m p 3", **sizes)
            coords = repeat(coords, "b m p c -> b m p n c", n=self.points)
        if valid is not None:
            check_shape("valid", valid, "b m p", **sizes)
        finite = coords.isfinite().flatten(3).all(-1)
        valid = finite if valid is None else valid & finite
        # A compiler fuses the sines into the sum by itself.
        if self.kind == "sincos" and self.voxel_size and not torch.compiler.is_compiling():
            bins = discretise(coords, self.voxel_size, bounds=self.bounds)
            if sum(self._num_bins) <= bins[..., 0, 0].numel():
                return self._add_from_tables(visual, bins, valid)
        code = self._encode(coords.nan_to_num(0.0)).to(visual.dtype)
        return visual + torch.where(valid[..., None], code, 0)

    def code(self, coords: Tensor) -> Tensor:
        """The code alone, for a coordinate in the text or a box centre.

        Args:
            coords: (..., 3) world positions, metres; an encoder of several points repeats each.

        Returns:
            (..., dim) float32 (float64 for float64 positions; an MLP's own dtype); zeros for
            positions that are not finite.

        Raises:
            ValueError: if the shape does not fit.
        """
        check_shape("coords", coords, "... 3")
        several = repeat(full_precision(coords).nan_to_num(0.0), "... c -> ... n c", n=self.points)
        return torch.where(coords.isfinite().all(-1, keepdim=True), self._encode(several), 0)

    def _encode(self, coords: Tensor) -> Tensor:
        """Code (..., dim) of points (..., n, 3)."""
        coords = full_precision(coords)
        if self.voxel_size is not None:
            coords = discretise(coords, self.voxel_size, bounds=self.bounds).to(coords.dtype)
        if self.kind == "mlp":
            return self._mlp(coords)
        code = sincos(coords, self._axis_dim, temperature=self.temperature).flatten(-3)
        return F.pad(code, (0, self.dim - code.shape[-1]))

    def _add_from_tables(self, visual: Tensor, bins: Tensor, valid: Tensor) -> Tensor:
        """Look codes up in one table of all bins: far fewer sines than a code per token."""
        places = torch.arange(max(self._num_bins), device=bins.device, dtype=torch.float32)
        table = sincos(places, self._axis_dim, temperature=self.temperature).to(visual.dtype)
        table = F.pad(table, (0, 0, 0, 1))  # a last row of zeros, for positions that are not known
        bins = torch.where(valid[..., None, None], bins, len(table) - 1)
        with_code: Tensor = _AddRows.apply(visual, table, bins.flatten(-2))  # type: ignore[no-untyped-call]
        return with_code

    def _mlp(self, coords: Tensor) -> Tensor:
        weight, bias = full_precision(self.first.weight), full_precision(self.first.bias)
        values = rearrange(coords.to(weight.dtype), "... n c -> ... (n c)")
        with without_autocast(values.device):  # bfloat16 has no bins above 256
            hidden = F.linear(values, weight, bias)
        code: Tensor = self.rest(hidden.to(self.first.weight.dtype))
        return code

    @property
    def _axis_dim(self) -> int:
        return self.dim // (3 * self.points)

    @property
    def _num_bins(self) -> list[int]:
        voxel_size = self.voxel_size or 1.0
        axes = zip(*self.bounds, strict=True)
        return [round((high - low) / voxel_size) + 1 for low, high in axes]


class _AddRows(torch.autograd.Function):
    """Add table rows (r, w) chosen by index (..., a) to the first a * w channels (..., d).

    Written once, a few tokens at a time: their rows are still in cache. Nothing is kept.
    """

    @staticmethod
    def forward(visual: Tensor, table: Tensor, index: Tensor) -> Tensor:
        total, width = visual.new_empty(visual.shape), table.shape[1] * index.shape[-1]
        flat = (x.flatten(0, -2) for x in (total, visual, index))
        parts = (torch.split(x, max(1, _CHUNK // width)) for x in flat)
        for out, tokens, chosen in zip(*parts, strict=True):
            code = table.index_select(0, chosen.flatten()).view(len(chosen), width)
            torch.add(tokens[:, :width], code, out=out[:, :width])
            out[:, width:] = tokens[:, width:]
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0], None, None
