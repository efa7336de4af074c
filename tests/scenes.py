"""Small random scenes for tests."""

from __future__ import annotations

import torch
from torch import Tensor

from ross3d import PosedFrames


def rotations(count: int, generator: torch.Generator) -> Tensor:
    """Random rotations (count, 3, 3)."""
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator))
    q = q * torch.sign(torch.diagonal(r, dim1=-2, dim2=-1))[:, None]
    return q * torch.sign(torch.linalg.det(q))[:, None, None]


def random_frames(
    b: int = 2, m: int = 4, size: int = 32, *, seed: int = 0, unknown: float = 0.1
) -> PosedFrames:
    """Frames of noise, random poses within 2 m, depths from 1 to 3 m with some unknown."""
    generator = torch.Generator().manual_seed(seed)
    depths = 1 + 2 * torch.rand(b, m, size, size, generator=generator)
    depths[torch.rand(b, m, size, size, generator=generator) < unknown] = 0
    intrinsics = torch.tensor([[0.8 * size, 0, (size - 1) / 2], [0, 0.8 * size, (size - 1) / 2], [0, 0, 1]])
    poses = torch.eye(4).repeat(b, m, 1, 1)
    poses[..., :3, :3] = rotations(b * m, generator).view(b, m, 3, 3)
    poses[..., :3, 3] = 2 * torch.rand(b, m, 3, generator=generator) - 1
    images = torch.rand(b, m, 3, size, size, generator=generator)
    return PosedFrames(images, depths, intrinsics.repeat(b, m, 1, 1), poses)


def scene(frames: PosedFrames, index: int) -> PosedFrames:
    """One scene of a batch, b = 1."""
    part = slice(index, index + 1)
    return PosedFrames(
        frames.images[part], frames.depths[part], frames.intrinsics[part], frames.poses[part]
    )
