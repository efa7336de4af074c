"""What the values of posed RGB-D frames must be."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ross3d.geometry.camera import full_precision

_OVERSHOOT = 0.25  # of bicubic resizing; bytes and normalised pictures lie far beyond


def check_frame_values(images: Tensor, depths: Tensor, intrinsics: Tensor, poses: Tensor) -> None:
    """Check every value of posed RGB-D frames, with one wait for the device.

    Args:
        images: (b, m, 3, h, w) RGB in [0, 1].
        depths: (b, m, h, w) depth along the optical axis in metres, 0 = unknown.
        intrinsics: (b, m, 3, 3) in pixels of these images.
        poses: (b, m, 4, 4) camera-to-world.

    Raises:
        ValueError: if an image is not finite or far outside [0, 1], a depth is negative or not
            finite, intrinsics are not those of a pinhole camera, or a pose is not rigid; the
            message holds the first such value and its place.
    """
    k, pose = full_precision(intrinsics), full_precision(poses)
    rotation, corner = pose[..., :3, :3], pose.new_tensor([0, 0, 0, 1])
    skewed = (rotation.mT[..., :, :, None] * rotation[..., None, :, :]).sum(-2) - torch.eye(3).to(
        pose
    )
    lower = torch.stack([k[..., 1, 0], k[..., 2, 0], k[..., 2, 1], k[..., 2, 2] - 1], -1)
    rigid = (skewed.abs().amax((-1, -2)) < 1e-3) & (torch.linalg.det(rotation) > 0)
    values = {"images": images, "depths": depths, "intrinsics": k, "poses": pose}
    extremes = {name: _extremes(x) for name, x in values.items()}
    # Called once to know whether all is well, and again only to say where it is not.
    checks: list[tuple[str, str, Callable[[Tensor], Tensor]]] = [
        ("images", "be finite", torch.isfinite),
        ("images", "be RGB in [0, 1]", lambda x: (x - 0.5).abs() <= 0.5 + _OVERSHOOT),
        ("depths", "be finite and not negative", lambda x: x.isfinite() & (x >= 0)),
        ("intrinsics", "be finite", lambda _: k.isfinite().all(-1).all(-1)),
        ("intrinsics", "have fx, fy > 0", lambda _: (k[..., 0, 0] > 0) & (k[..., 1, 1] > 0)),
        (
            "intrinsics",
            "be upper triangular with last row 0 0 1",
            lambda _: (lower.abs() < 1e-4).all(-1),
        ),
        ("poses", "be finite", lambda _: pose.isfinite().all(-1).all(-1)),
        (
            "poses",
            "have last row 0 0 0 1",
            lambda _: ((pose[..., 3, :] - corner).abs() < 1e-4).all(-1),
        ),
        ("poses", "be rigid: R^T R = I within 1e-3 and det R = 1", lambda _: rigid),
    ]
    passed = torch.stack([holds(extremes[name]).all() for name, _, holds in checks]).tolist()
    if not all(passed):
        name, wanted, holds = checks[passed.index(False)]
        index = (~holds(values[name])).nonzero()[0].tolist()
        got = _written(values[name][tuple(index)])
        raise ValueError(f"{name} must {wanted}; got {got} at {name}{index}")


def _extremes(values: Tensor) -> Tensor:
    """The least and the greatest value, both NaN if one is: all that pixels are checked by."""
    values = values.detach()
    return torch.stack(values.aminmax()) if values.numel() else values


def _written(values: Tensor) -> str:
    """A number, or a matrix row by row, in few digits."""
    if values.ndim == 2:
        return "[" + "; ".join(_written(row) for row in values) + "]"
    return " ".join(f"{value:.4g}" for value in values.reshape(-1).tolist())
