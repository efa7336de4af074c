"""Tiny scans in ScanNet's folder layout, written by the tests that read them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

BOXES = [[0.0, 0.0, 2.0, 1.0, 1.0, 1.0], [1.0, 0.0, 2.0, 0.5, 0.5, 0.5]]
ALIGN = [[0.0, -1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 1.0, 3.0], [0.0, 0.0, 0.0, 1.0]]


def text(matrix: object) -> str:
    return "\n".join(" ".join(str(x) for x in row) for row in np.asarray(matrix).tolist())


def pose(x: float) -> np.ndarray:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return matrix


def write_scan(
    root: Path, scene: str = "a", *, frames: int = 3, colour: tuple[int, int] = (12, 16)
) -> Path:
    """A scan of depth maps 12 x 16, each frame of its own colour and depth."""
    folder = root / "scannet" / "posed_images" / scene
    folder.mkdir(parents=True)
    intrinsics = np.diag([10.0, 10.0, 1.0, 1.0])
    intrinsics[:2, 2] = 7.5, 5.5
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        (folder / name).write_text(text(intrinsics))
    for i in range(frames):
        stem = folder / f"{i * 10:05d}"
        picture = np.full((*colour, 3), 40 * (i + 1), dtype=np.uint8)
        Image.fromarray(picture).save(stem.with_suffix(".jpg"))
        depth = np.full((12, 16), 1000 * (i + 1), dtype=np.uint16)
        depth[0, 2] = 0
        Image.fromarray(depth).save(stem.with_suffix(".png"))
        stem.with_suffix(".txt").write_text(text(pose(float(i))))
    return folder


def write_infos(root: Path, split: str = "train", *scenes: str, **fields: object) -> None:
    folder = root / "embodiedscan"
    folder.mkdir(exist_ok=True)
    entries = []
    for scene in scenes:
        path = f"scannet/posed_images/{scene}"
        images = [{"img_path": f"{path}/{i * 10:05d}.jpg"} for i in range(3)]
        entries.append({"sample_idx": f"scannet/{scene}", "images": images, **fields})
    content = pickle.dumps({"data_list": entries})
    (folder / f"embodiedscan_infos_{split}.pkl").write_bytes(content)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def write_boxes(root: Path, boxes: object = BOXES, name: str = "scannet_train_gt_box") -> None:
    write_json(root / "metadata" / f"{name}.json", {"scannet/a": boxes})


def named(boxes: list[list[float]] = BOXES, names: Sequence[str] = "xy") -> list[dict[str, object]]:
    return [
        {"object_id": i, "name": n, "box": b}
        for i, (n, b) in enumerate(zip(names, boxes, strict=True))
    ]
