"""One generated room, written in every layout that a scan can have."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from reference.data.posed_scan import PosedScan
from reference.data.rooms import room_scene
from scans import text

from ross3d import PosedFrames, scale_intrinsics

HEIGHT, WIDTH = 24, 32
IDENTITY = np.eye(4)
Y_DOWN = np.array([[1.0, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
"""From a world with z up to one with y down: the inverse of the turn for ``-y``."""


@dataclass(frozen=True)
class Room:
    """What a scan's files hold: colour of twice the depth's size, depth in mm, poses."""

    jpegs: tuple[bytes, ...]
    depths: tuple[np.ndarray, ...]
    poses: np.ndarray
    intrinsics: np.ndarray


@cache
def room(views: int = 5) -> Room:
    frames = room_scene(3, views=views, size=36).frames.crop(5, 1, HEIGHT, WIDTH)
    jpegs, depths = [], []
    for image, depth in zip(frames.images[0], frames.depths[0], strict=True):
        pixels = image.mul(255).round().byte().movedim(0, -1).numpy()
        file = BytesIO()
        Image.fromarray(pixels).resize((2 * WIDTH, 2 * HEIGHT)).save(file, "JPEG", quality=95)
        jpegs.append(file.getvalue())
        depths.append((depth.double() * 1000).round().numpy().astype(np.uint16))
        depths[-1][3, 4] = 0
    poses = frames.poses[0].double().numpy()
    return Room(tuple(jpegs), tuple(depths), poses, frames.intrinsics[0, 0].double().numpy())


def square(matrix: np.ndarray) -> np.ndarray:
    """3x3 intrinsics as 4x4."""
    large = np.eye(4)
    large[:3, :3] = matrix
    return large


def write_posed_images(root: Path) -> Path:
    folder = root / "scannet" / "posed_images" / "a"
    folder.mkdir(parents=True)
    made = room()
    (folder / "depth_intrinsic.txt").write_text(text(square(made.intrinsics)))
    for i, (jpeg, depth) in enumerate(zip(made.jpegs, made.depths, strict=True)):
        (folder / f"{i:05d}.jpg").write_bytes(jpeg)
        Image.fromarray(depth).save(folder / f"{i:05d}.png")
        (folder / f"{i:05d}.txt").write_text(text(made.poses[i]))
    return root


def write_exported(root: Path) -> Path:
    made = room()
    for name in ("color", "depth", "pose", "intrinsic"):
        (root / name).mkdir(parents=True)
    (root / "intrinsic" / "intrinsic_depth.txt").write_text(text(square(made.intrinsics)))
    for i, (jpeg, depth) in enumerate(zip(made.jpegs, made.depths, strict=True)):
        (root / "color" / f"{8 + i}.jpg").write_bytes(jpeg)
        Image.fromarray(depth).save(root / "depth" / f"{8 + i}.png")
        (root / "pose" / f"{8 + i}.txt").write_text(text(made.poses[i]))
    return root


def sens_header(*, count: int, depth: int = 1, colour: int = 2, version: int = 4) -> bytes:
    intrinsics = square(room().intrinsics)
    matrices = np.stack([IDENTITY, IDENTITY, intrinsics, IDENTITY]).astype("<f4").tobytes()
    sizes = struct.pack(
        "<ii4IfQ", colour, depth, 2 * WIDTH, 2 * HEIGHT, WIDTH, HEIGHT, 1000.0, count
    )
    return struct.pack("<IQ", version, 3) + b"abc" + matrices + sizes


def write_sens(root: Path, *, raw: bool = False) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    made = room()
    content = sens_header(count=len(made.jpegs), depth=0 if raw else 1)
    for jpeg, depth, pose in zip(made.jpegs, made.depths, made.poses, strict=True):
        pixels = depth.astype("<u2").tobytes()
        packed = pixels if raw else zlib.compress(pixels)
        content += struct.pack("<16f4Q", *pose.flatten(), 0, 0, len(jpeg), len(packed))
        content += jpeg + packed
    path = root / "a.sens"
    path.write_bytes(content + struct.pack("<Q", 0))
    return path


def transforms_content(*, own_intrinsics: bool = False) -> dict[str, object]:
    """What transforms.json says: OpenGL axes, pixels from the corner, colour's intrinsics."""
    made = room()
    k = scale_intrinsics(torch.tensor(made.intrinsics), (2.0, 2.0)).numpy()
    camera = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2] + 0.5, "cy": k[1, 2] + 0.5}
    camera |= {"w": 2 * WIDTH, "h": 2 * HEIGHT}
    frames: list[dict[str, object]] = []
    for i, pose in enumerate(made.poses):
        opengl = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        files = {"file_path": f"images/{i}.jpg", "depth_file_path": f"depth/{i}.png"}
        own = camera if own_intrinsics else {}
        frames.append({**files, **own, "transform_matrix": opengl.tolist()})
    shared = {"fl_x": 1.0, "fl_y": 2.0} if own_intrinsics else camera
    return {"camera_model": "OPENCV", "k1": 0.0, **shared, "frames": frames[::-1]}


def write_transforms(root: Path, content: object = None) -> Path:
    made = room()
    for name in ("images", "depth"):
        (root / name).mkdir(parents=True)
    for i, (jpeg, depth) in enumerate(zip(made.jpegs, made.depths, strict=True)):
        (root / "images" / f"{i}.jpg").write_bytes(jpeg)
        Image.fromarray(depth).save(root / "depth" / f"{i}.png")
    (root / "transforms.json").write_text(json.dumps(content or transforms_content()))
    return root / "transforms.json"


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """x y z w of a rotation, as the eigenvector that the rotation's outer form has."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    form = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    return np.linalg.eigh(form)[1][:, -1]


def write_tum(root: Path, world: np.ndarray = IDENTITY) -> Path:
    made = room()
    lists: dict[str, list[str]] = {
        name: ["# a comment"] for name in ("rgb", "depth", "groundtruth")
    }
    for name in ("rgb", "depth"):
        (root / name).mkdir(parents=True)
    for i, (jpeg, depth, pose) in enumerate(zip(made.jpegs, made.depths, made.poses, strict=True)):
        time, moved = 1305031102 + i / 30, world @ pose
        (root / "rgb" / f"{i}.jpg").write_bytes(jpeg)
        Image.fromarray(depth * 5).save(root / "depth" / f"{i}.png")
        lists["rgb"].append(f"{time:.6f} rgb/{i}.jpg")
        lists["depth"].append(f"{time + 0.009:.6f} depth/{i}.png")
        for shift in (-0.006, 0.001, 0.015):  # only the middle one is right
            noise = 0 if shift == 0.001 else 1
            numbers = " ".join(
                f"{x:.9f}" for x in (*(moved[:3, 3] + noise), *quaternion(moved[:3, :3]))
            )
            lists["groundtruth"].append(f"{time + shift:.6f} {numbers}")
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines))
    return root


def camera() -> tuple[float, float, float, float]:
    """The room's fx, fy, cx, cy."""
    k = room().intrinsics
    return k[0, 0], k[1, 1], k[0, 2], k[1, 2]


def read_all(scan: PosedScan) -> PosedFrames:
    return scan.read_views(range(len(scan)))


def assert_is_the_room(frames: PosedFrames) -> None:
    """Compare with what was rendered, not with another reader."""
    made = room()
    assert frames.images.shape == (1, len(made.jpegs), 3, HEIGHT, WIDTH)
    close = torch.testing.assert_close
    depths = torch.tensor(np.stack(made.depths).astype(np.float32)) / 1000
    close(frames.depths[0], depths, atol=1e-5, rtol=0)
    close(frames.poses[0], torch.tensor(made.poses).float(), atol=1e-5, rtol=0)
    close(frames.intrinsics[0, 0], torch.tensor(made.intrinsics).float(), atol=1e-4, rtol=0)
    assert (frames.intrinsics == frames.intrinsics[:, :1]).all()
    rendered = room_scene(3, views=len(made.jpegs), size=36).frames.crop(5, 1, HEIGHT, WIDTH)
    assert (frames.images - rendered.images).abs().mean() < 0.03
