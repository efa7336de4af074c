"""One scan's pictures in every layout that scans come in, written for the benchmarks."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Frame = tuple[Path, Path, np.ndarray]
"""Colour picture, depth map in millimetres, and camera-to-world pose (4, 4)."""


def list_frames(folder: Path, count: int) -> list[Frame]:
    """The first frames of a folder of posed images."""
    pictures = sorted(folder.glob("*.jpg"))[:count]
    return [(x, x.with_suffix(".png"), np.loadtxt(x.with_suffix(".txt"))) for x in pictures]


def write_sens(frames: list[Frame], intrinsics: np.ndarray, root: Path) -> Path:
    """ScanNet's container: JPEG bytes, and depth compressed by zlib."""
    height, width = _size(frames)
    square = np.eye(4)
    square[:3, :3] = intrinsics[:3, :3]
    matrices = np.stack([square, np.eye(4), square, np.eye(4)]).astype("<f4").tobytes()
    sizes = struct.pack("<ii4IfQ", 2, 1, width, height, width, height, 1000.0, len(frames))
    content = [struct.pack("<IQ", 4, 0) + matrices + sizes]
    for colour, depth, pose in frames:
        jpeg, packed = colour.read_bytes(), zlib.compress(_pixels(depth).astype("<u2").tobytes())
        content.append(struct.pack("<16f4Q", *pose.flatten(), 0, 0, len(jpeg), len(packed)))
        content += [jpeg, packed]
    path = root / "scan.sens"
    path.write_bytes(b"".join(content) + struct.pack("<Q", 0))
    return path


def write_transforms(frames: list[Frame], intrinsics: np.ndarray, root: Path) -> Path:
    """A transforms.json beside which the pictures lie: OpenGL axes, pixels from the corner."""
    height, width = _size(frames)
    k = intrinsics
    listed = [
        {
            "file_path": str(colour),
            "depth_file_path": str(depth),
            "transform_matrix": (pose @ np.diag([1.0, -1.0, -1.0, 1.0])).tolist(),
        }
        for colour, depth, pose in frames
    ]
    camera = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5}
    path = root / "transforms.json"
    path.write_text(json.dumps({**camera, "w": width, "h": height, "frames": listed}))
    return path


def write_tum(frames: list[Frame], intrinsics: np.ndarray, root: Path) -> Path:
    """A TUM RGB-D folder: three lists, and depth in steps of 0.2 mm."""
    folder = root / "rgbd_dataset_freiburg1_scan"
    (folder / "depth").mkdir(parents=True)
    lists: dict[str, list[str]] = {name: [] for name in ("rgb", "depth", "groundtruth")}
    for i, (colour, depth, pose) in enumerate(frames):
        pixels = np.minimum(_pixels(depth).astype(np.int64) * 5, 2**16 - 1).astype(np.uint16)
        Image.fromarray(pixels).save(folder / "depth" / f"{i}.png")
        (folder / f"{i}.jpg").symlink_to(colour.resolve())
        position = " ".join(str(x) for x in pose[:3, 3])
        lists["rgb"].append(f"{i / 30:.6f} {i}.jpg")
        lists["depth"].append(f"{i / 30:.6f} depth/{i}.png")
        lists["groundtruth"].append(f"{i / 30:.6f} {position} 0 0 0 1")  # reading costs the same
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines))
    return folder


LAYOUTS: dict[str, Callable[[list[Frame], np.ndarray, Path], Path]] = {
    ".sens": write_sens,
    "transforms.json": write_transforms,
    "TUM RGB-D": write_tum,
}


def _pixels(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def _size(frames: list[Frame]) -> tuple[int, int]:
    height, width = _pixels(frames[0][1]).shape
    return height, width
