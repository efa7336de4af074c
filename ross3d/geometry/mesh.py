"""Triangle meshes with a colour at every vertex, and the files that hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from ross3d.core.extras import require
from ross3d.core.shapes import check_shape

_LIBRARIES = "libusb-1.0-0 libgl1 libegl1 libx11-6 libidn2-0 libudev1 libgomp1"
_HEADER = 2**16  # bytes in which a header ends


@dataclass(frozen=True, eq=False)
class Mesh:
    """The surface of one scene: v vertices and f triangles between them.

    Attributes:
        vertices: (v, 3) world positions, metres, z up.
        triangles: (f, 3) long, the vertices of each.
        colours: (v, 3) RGB in [0, 1].

    Raises:
        ValueError: if the shapes do not fit, a position or colour is not finite, or a triangle has
            a vertex that is not there.

    Example:
        >>> mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), torch.ones(3, 3))
        >>> mesh.sample(4).shape
        torch.Size([4, 3])
    """

    vertices: Tensor
    triangles: Tensor
    colours: Tensor

    def __post_init__(self) -> None:
        sizes = check_shape("vertices", self.vertices, "v 3")
        check_shape("colours", self.colours, "v 3", **sizes)
        check_shape("triangles", self.triangles, "f 3")
        for name in ("vertices", "colours"):
            if not getattr(self, name).isfinite().all():
                raise ValueError(f"{name} must be finite; got NaN or inf")
        if self.triangles.dtype != torch.long:
            raise ValueError(f"triangles must be long; got {self.triangles.dtype}")
        if self.triangles.numel():
            lowest, highest = (int(x) for x in self.triangles.aminmax())
            if lowest < 0 or highest >= sizes["v"]:
                got = f"{lowest} to {highest}"
                raise ValueError(f"triangles must be of the {sizes['v']} vertices; got {got}")

    def to(self, device: torch.device | str) -> Mesh:
        """The same mesh on another device."""
        return Mesh(*(x.to(device) for x in (self.vertices, self.triangles, self.colours)))

    def moved(self, transform: Tensor) -> Mesh:
        """The same mesh in another frame.

        Args:
            transform: (4, 4) takes its positions there, for example a scan's axis alignment.

        Raises:
            ValueError: if the shape does not fit.
        """
        check_shape("transform", transform, "4 4")
        matrix = transform.to(self.vertices.device, torch.float64)
        moved = (self.vertices.double()[:, None] * matrix[:3, :3]).sum(-1) + matrix[:3, 3]
        return Mesh(moved.to(self.vertices.dtype), self.triangles, self.colours)

    def sample(self, count: int) -> Tensor:
        """Points spread evenly over the surface, the same ones every time.

        Args:
            count: number of points n.

        Returns:
            (n, 3) world positions, metres; none if the mesh has no area.
        """
        corners = self.vertices.double()[self.triangles]
        edges = corners[:, 1:] - corners[:, :1]
        areas = torch.linalg.cross(edges[:, 0], edges[:, 1]).norm(dim=-1).cumsum(0)
        if not len(areas) or not areas[-1] > 0:
            return self.vertices[:0]
        steps = (torch.arange(count, device=areas.device) + 0.5) / count
        chosen = torch.searchsorted(areas, steps * areas[-1]).clamp(max=len(areas) - 1)
        # Multiples of two irrational numbers fill the unit square evenly; it is folded to a half.
        weights = torch.stack([steps * count * 0.7548776662, steps * count * 0.5698402910], -1) % 1
        weights = torch.where(weights.sum(-1, keepdim=True) > 1, 1 - weights, weights)
        offsets = (edges[chosen] * weights[..., None]).sum(1)
        return (corners[chosen, 0] + offsets).to(self.vertices.dtype)


def read_mesh(path: str | Path) -> Mesh:
    """Read a mesh file with a colour at every vertex, such as ScanNet's ``*_vh_clean_2.ply``.

    Args:
        path: the file. ScanNet's are not axis-aligned: see :meth:`Mesh.moved`.

    Returns:
        The mesh.

    Raises:
        ImportError: if Open3D or a system library it needs is not installed.
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or has no triangles or no colours; the message names it.
    """
    open3d = load_open3d()
    if not Path(path).is_file():
        raise FileNotFoundError(f"mesh must be a file; got {path}")
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        read = open3d.io.read_triangle_mesh(str(path))
    vertices, triangles, colours = (
        np.asarray(x) for x in (read.vertices, read.triangles, read.vertex_colors)
    )
    if not len(triangles):
        raise ValueError(f"mesh must be a whole file with triangles; got none in {path}")
    announced = _announced_faces(Path(path))
    if len(triangles) < announced:
        got = f"{len(triangles)} of {announced} faces in {path}"
        raise ValueError(f"mesh must be a whole file; got {got}")
    if len(colours) != len(vertices):
        raise ValueError(f"mesh must have a colour at every vertex; got none in {path}")
    try:
        return Mesh(
            torch.from_numpy(vertices.astype(np.float32)),
            torch.from_numpy(triangles.astype(np.int64)),
            torch.from_numpy(colours.astype(np.float32)),
        )
    except ValueError as error:
        raise ValueError(f"mesh must be a whole file: {error} in {path}") from error


def _announced_faces(path: Path) -> int:
    """Number of faces that the header of a PLY file announces; 0 of other files.

    Open3D takes files that end early for whole ones.
    """
    with path.open("rb") as file:
        header = file.read(_HEADER).partition(b"end_header")[0]
    found = re.search(rb"^element\s+face\s+(\d+)", header, re.MULTILINE)
    return int(found[1]) if found and header.startswith(b"ply") else 0


def load_open3d() -> ModuleType:
    """Import Open3D, or say what to install.

    Raises:
        ImportError: if Open3D or a system library it needs is not installed.
    """
    try:
        return require("open3d", "mesh")
    except (ImportError, OSError) as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise
        reason = error.__cause__ or error
        raise ImportError(
            f"open3d is installed, but a system library it needs is not ({reason}); "
            f"on Debian and Ubuntu: apt-get install {_LIBRARIES}"
        ) from error
