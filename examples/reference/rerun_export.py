"""Write a scan for the Rerun viewer (rerun.io), which shows it in 3-D frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ross3d import PosedFrames, require

from .files import replacing

POINTS = 5_000


def export_rerun(path: Path | str, frames: PosedFrames, names: Sequence[str]) -> None:
    """Write cameras with their pictures and depth maps over time, and the points of the scene.

    Args:
        path: the ``.rrd`` file to write.
        frames: b = 1.
        names: of the m views.

    Raises:
        ImportError: if rerun-sdk is not installed.
    """
    rr = require("rerun", "rerun")
    with replacing(Path(path)) as temporary:
        recording = rr.RecordingStream("ross3d_scan")
        recording.save(str(temporary))
        recording.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
        centres = frames.poses[0, :, :3, 3].double().cpu().numpy()
        recording.log("world/path", rr.LineStrips3D([centres]), static=True)
        for view, name in enumerate(names):
            recording.set_time("frame", sequence=view)
            recording.log("name", rr.TextLog(name))
            _log_camera(rr, recording, frames, view)
            points, colours = _points(frames, view)
            # An entity of its own: the viewer keeps it while time goes on.
            recording.log(f"world/points/{view}", rr.Points3D(points, colors=colours))
        recording.disconnect()


def _log_camera(rr: Any, recording: Any, frames: PosedFrames, view: int) -> None:
    """Pose, intrinsics, colour and depth of one view."""
    pose = frames.poses[0, view].double().cpu().numpy()
    placed = rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])
    recording.log("world/camera", placed)
    intrinsics = frames.intrinsics[0, view].double().cpu().clone()
    intrinsics[:2, 2] += 0.5  # the viewer counts from the corner of the first pixel
    axes, (h, w) = rr.ViewCoordinates.RDF, frames.size
    pinhole = rr.Pinhole(image_from_camera=intrinsics.numpy(), resolution=[w, h], camera_xyz=axes)
    recording.log("world/camera/picture", pinhole)
    pixels = frames.images[0, view].mul(255).round().byte().movedim(0, -1).cpu().numpy()
    colour = rr.Image(pixels).compress(jpeg_quality=90)
    recording.log("world/camera/picture/colour", colour)
    millimetres = frames.depths[0, view].double().mul(1000).round().clamp(0, 65535).cpu().numpy()
    depth = rr.DepthImage(millimetres.astype(np.uint16), meter=1000)
    recording.log("world/camera/picture/depth", depth)


def _points(frames: PosedFrames, view: int) -> tuple[Any, Any]:
    """World positions and colours of evenly taken pixels of one view."""
    frame = frames.select(torch.tensor([view], device=frames.depths.device))
    points = frame.world_coords()[frame.valid]
    colours = frame.images.movedim(2, -1)[frame.valid].mul(255).round().byte()
    step = max(1, len(points) // POINTS)
    return points[::step].cpu().numpy(), colours[::step].cpu().numpy()
