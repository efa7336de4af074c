"""A scan that a ``transforms.json`` lists, as nerfstudio and phone scanners write it.

Cameras are OpenGL's (x right, y up, z backward): two axes are turned. Pixel coordinates count from
the picture's corner: half a pixel is taken off. Intrinsics are the file's or, if it has its own,
the frame's; they are scaled to the depth map's pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ross3d import scale_intrinsics

from .images import picture_size, read_colour, read_depth, read_json
from .posed_scan import Frame, Pixels, PosedScan, Skipped, gather, natural

MILLIMETRE = 0.001
UNITS = ("depth_unit_scale_factor", "integer_depth_scale")
PINHOLES = ("PINHOLE", "SIMPLE_PINHOLE", "OPENCV", "SIMPLE_RADIAL", "RADIAL")
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_transforms(path: Path, depth_unit: float | None = None) -> PosedScan:
    """Read the frames that the file lists, those with a depth map.

    Args:
        path: the file.
        depth_unit: metres per step of the depth maps; None = what the file says
            (``depth_unit_scale_factor`` or ``integer_depth_scale``), else millimetres.

    Raises:
        FileNotFoundError: if the file, or a picture whose size is not given, is missing.
        ValueError: if the file is damaged or no frame is usable.
    """
    content = read_json(path)
    listed = content.get("frames")
    if not isinstance(listed, list):
        raise ValueError(f"{path} must hold a list 'frames'; got {type(listed).__name__}")
    unit, notes = depth_unit, []
    for key in UNITS:
        if unit is None and key in content:
            unit = _number(path, content, key)
    if unit is None:
        unit, notes = MILLIMETRE, ["depth is taken as millimetres; see --depth-unit"]
    frames, skipped, distorted = [], [], False
    for number, entry in enumerate(listed):
        if not isinstance(entry, dict) or not isinstance(entry.get("file_path"), str):
            raise ValueError(f"{path} must give 'file_path' of frame {number} as text; got {entry}")
        name = entry["file_path"]
        if not isinstance(entry.get("depth_file_path"), str):
            skipped.append(Skipped(name, "no depth_file_path"))
            continue
        camera = {**content, **entry}
        distorted |= any(camera.get(key) for key in DISTORTION)
        colour = path.parent / name
        colour = colour if colour.suffix else colour.with_suffix(".png")
        intrinsics, size = _intrinsics(path, camera, colour)
        files = colour, path.parent / entry["depth_file_path"]
        load = partial(_load, *files, intrinsics, size, unit)
        frames.append(Frame(name, _pose(path, name, entry.get("transform_matrix")), load))
    notes += ["lens distortion is ignored"] * distorted
    frames.sort(key=lambda frame: natural(frame.name))
    return gather(path, "transforms.json", frames, skipped, notes=notes)


def _pose(path: Path, name: str, matrix: object) -> Tensor:
    """Camera-to-world with OpenCV's camera axes."""
    try:
        pose = torch.tensor(matrix, dtype=torch.float64).reshape(4, 4)
    except (TypeError, ValueError, RuntimeError) as error:
        wanted = f"transform_matrix of {name} as 4 x 4 numbers"
        raise ValueError(f"{path} must give {wanted}; got {error}") from error
    return pose * torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)


def _intrinsics(
    path: Path, camera: Mapping[str, Any], colour: Path
) -> tuple[Tensor, tuple[int, int]]:
    """Intrinsics (3, 3) and size of the colour picture, pixel centres at integers."""
    if (model := camera.get("camera_model", "PINHOLE")) not in PINHOLES:
        raise ValueError(f"{path} must give camera_model as one of {PINHOLES}; got {model!r}")
    if "w" in camera and "h" in camera:
        height, width = (int(_number(path, camera, key)) for key in ("h", "w"))
    else:
        height, width = picture_size(colour)
    if "fl_x" in camera:
        fx = _number(path, camera, "fl_x")
    else:
        fx = width / 2 / math.tan(_number(path, camera, "camera_angle_x") / 2)
    fy = _number(path, camera, "fl_y") if "fl_y" in camera else fx
    cx = _number(path, camera, "cx") if "cx" in camera else width / 2
    cy = _number(path, camera, "cy") if "cy" in camera else height / 2
    if min(fx, fy, width, height) <= 0:
        got = f"{fx}, {fy}, {width} x {height}"
        raise ValueError(f"{path} must give positive focal lengths and sizes; got {got}")
    rows = [[fx, 0, cx - 0.5], [0, fy, cy - 0.5], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64), (height, width)


def _number(path: Path, camera: Mapping[str, Any], key: str) -> float:
    value = camera.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{path} must give {key} as a number; got {value!r}")
    return float(value)


def _load(
    colour: Path, depth: Path, intrinsics: Tensor, size: tuple[int, int], unit: float
) -> Pixels:
    depths = _array(depth) * unit if depth.suffix == ".npy" else read_depth(depth) * (1000 * unit)
    height, width = depths.shape
    scaled = scale_intrinsics(intrinsics, (width / size[1], height / size[0]))
    return read_colour(colour, (height, width)), depths, scaled


def _array(path: Path) -> Tensor:
    """A depth map that is a numpy array, in its own unit."""
    try:
        array = np.load(path, allow_pickle=False)
        depths = torch.from_numpy(array.astype(np.float32).squeeze())
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path} must be an array of numbers; got {error}") from error
    if depths.ndim != 2:
        raise ValueError(f"{path} must be an array of (h, w); got {tuple(depths.shape)}")
    return depths
