"""Features of a scene's points, from an array file: what 3-D encoders leave behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ross3d import check_shape

from ..state import load_tensors


@dataclass(frozen=True)
class ScenePoints:
    """Points of b scenes with a feature each.

    Attributes:
        coords: (b, n, 3) world position, metres, z up.
        features: (b, n, c) feature of each point.
        valid: (b, n) True = a point, False = padding.

    Raises:
        ValueError: if the shapes do not fit, or ``valid`` is not boolean.
    """

    coords: Tensor
    features: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape("coords", self.coords, "b n 3")
        check_shape("features", self.features, "b n c", **sizes)
        check_shape("valid", self.valid, "b n", **sizes)
        if self.valid.dtype != torch.bool:
            raise ValueError(f"valid must be boolean; got {self.valid.dtype}")

    def to(self, device: torch.device | str) -> ScenePoints:
        """Move every tensor."""
        parts = (self.coords, self.features, self.valid)
        return ScenePoints(*(part.to(device) for part in parts))

    @staticmethod
    def cat(points: Sequence[ScenePoints]) -> ScenePoints:
        """Join scenes into one batch, padded to the most points.

        Raises:
            ValueError: if there are none.
        """
        if not points:
            raise ValueError("points must hold at least one scene; got none")
        most = max(x.valid.shape[1] for x in points)
        short = [most - x.valid.shape[1] for x in points]
        pad = torch.nn.functional.pad
        return ScenePoints(
            torch.cat([pad(x.coords, (0, 0, 0, n)) for x, n in zip(points, short, strict=True)]),
            torch.cat([pad(x.features, (0, 0, 0, n)) for x, n in zip(points, short, strict=True)]),
            torch.cat([pad(x.valid, (0, n)) for x, n in zip(points, short, strict=True)]),
        )


def load_scene_points(
    path: Path | str, *, coords: str = "coords", features: str = "features"
) -> ScenePoints:
    """Read one scene's points from a ``.npz`` or ``.safetensors`` file; never from a pickle.

    A file of 3D-LLM (two arrays or tensors, points and features of one scene) becomes one with
    ``np.savez(path, coords=points, features=features)``. Points must be in the world frame of the
    views: metres, z up, axis-aligned as the poses are.

    Args:
        path: the file.
        coords: name of the array (n, 3) of positions.
        features: name of the array (n, c) of features.

    Returns:
        Points with b = 1, in float32. Points that are not finite are padding.

    Raises:
        ValueError: if the file is of another kind or damaged, an array is missing, holds no
            numbers or has another shape.
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".safetensors"):
        raise ValueError(f"path must end in .npz or .safetensors; got {path}")
    try:
        where, values = _read(path, coords, features)
    except (KeyError, ValueError, EOFError, BadZipFile) as error:
        wanted = f"arrays of numbers named {coords} and {features}"
        raise ValueError(f"{path} must hold {wanted}; got {error}") from error
    if where.ndim != 2 or where.shape[1] != 3 or values.ndim != 2 or len(where) != len(values):
        got = f"{tuple(where.shape)} and {tuple(values.shape)}"
        raise ValueError(f"{path} must hold {coords} (n, 3) and {features} (n, c); got {got}")
    finite = where.isfinite().all(-1) & values.isfinite().all(-1)
    where, values = (torch.where(finite[:, None], x, 0) for x in (where, values))
    return ScenePoints(where[None], values[None], finite[None])


def _read(path: Path, *names: str) -> list[Tensor]:
    if path.suffix == ".safetensors":
        tensors = load_tensors(path)
        return [tensors[name].float() for name in names]
    # Given a path, NumPy leaves the file open where it is damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return [torch.from_numpy(arrays[name].astype(np.float32)) for name in names]
