"""What hypothesis draws: scenes, views, sizes, masks, cameras, frames."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ross3d.geometry.frames import PosedFrames

scenes = st.integers(1, 3)
views = st.integers(1, 5)
image_sizes = st.tuples(st.integers(4, 24), st.integers(4, 24))
grids = st.tuples(st.integers(1, 4), st.integers(1, 4))
seeds = st.integers(0, 2**20)


def rotations(*shape: int, generator: torch.Generator | None = None) -> Tensor:
    """Random rotations (..., 3, 3)."""
    q, _ = torch.linalg.qr(torch.randn(*shape, 3, 3, generator=generator, dtype=torch.float64))
    q[..., 0] *= torch.linalg.det(q)[..., None]
    return q.float()


def rigid(*shape: int, reach: float = 3.0, generator: torch.Generator | None = None) -> Tensor:
    """Random rigid transforms (..., 4, 4), translations up to ``reach`` metres along each axis."""
    poses = torch.eye(4).repeat(*shape, 1, 1)
    poses[..., :3, :3] = rotations(*shape, generator=generator)
    poses[..., :3, 3] = (torch.rand(*shape, 3, generator=generator) * 2 - 1) * reach
    return poses


def pinholes(
    *shape: int, size: tuple[int, int], generator: torch.Generator | None = None
) -> Tensor:
    """Random intrinsics (..., 3, 3) of cameras with fields of view like a phone's."""
    h, w = size
    wobble = torch.rand(*shape, 4, generator=generator)
    intrinsics = torch.eye(3).repeat(*shape, 1, 1)
    intrinsics[..., 0, 0] = max(h, w) * (0.8 + 0.4 * wobble[..., 0])
    intrinsics[..., 1, 1] = max(h, w) * (0.8 + 0.4 * wobble[..., 1])
    intrinsics[..., 0, 2] = w * (0.4 + 0.2 * wobble[..., 2])
    intrinsics[..., 1, 2] = h * (0.4 + 0.2 * wobble[..., 3])
    return intrinsics


def make_frames(
    b: int = 2,
    m: int = 3,
    size: tuple[int, int] = (12, 16),
    *,
    seed: int = 0,
    unknown: float = 0.2,
) -> PosedFrames:
    """Frames of noise: any poses, depths from 0.5 to 4 m, a share of them unknown."""
    generator = torch.Generator().manual_seed(seed)
    depths = 0.5 + 3.5 * torch.rand(b, m, *size, generator=generator)
    hidden = torch.rand(b, m, *size, generator=generator) < unknown
    return PosedFrames(
        torch.rand(b, m, 3, *size, generator=generator),
        depths.masked_fill(hidden, 0),
        pinholes(b, m, size=size, generator=generator),
        rigid(b, m, generator=generator),
    )


def one_scene(frames: PosedFrames, index: int) -> PosedFrames:
    """One scene of a batch, b = 1."""
    part = slice(index, index + 1)
    return PosedFrames(
        frames.images[part], frames.depths[part], frames.intrinsics[part], frames.poses[part]
    )


@st.composite
def posed_frames(draw: Any, unknown: float = 0.2) -> PosedFrames:
    """Frames of any batch, number of views and size."""
    sizes = draw(scenes), draw(views), draw(image_sizes)
    return make_frames(*sizes, seed=draw(seeds), unknown=unknown)


@st.composite
def view_masks(draw: Any) -> Tensor:
    """(b, m) bool: True = hidden."""
    b, m = draw(scenes), draw(views)
    flags = draw(st.lists(st.booleans(), min_size=b * m, max_size=b * m))
    return torch.tensor(flags).view(b, m)
