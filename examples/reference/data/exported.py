"""A scan in the layout that ScanNet's exporter writes.

FOLDER/color/N.jpg   FOLDER/depth/N.png (16 bit, mm)   FOLDER/pose/N.txt   camera-to-world
FOLDER/intrinsic/intrinsic_depth.txt                   4x4, pixels of the depth maps
FOLDER/FOLDER.txt                                      axisAlignment (optional)
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from torch import Tensor

from .images import read_colour, read_depth, read_intrinsics, read_matrix
from .posed_scan import Frame, Pixels, PosedScan, Skipped, gather, natural
from .recording import axis_alignment

FOLDERS = ("color", "depth", "pose")


def read_exported(folder: Path) -> PosedScan:
    """Read what the folder's text files say.

    Frames whose depth map or pose is missing are skipped.

    Raises:
        FileNotFoundError: if the intrinsics are missing.
        ValueError: if a text file is damaged, or no frame is usable.
    """
    intrinsics = read_intrinsics(folder / "intrinsic" / "intrinsic_depth.txt")
    align = axis_alignment(folder / f"{folder.resolve().name}.txt")
    colours = [path for path in (folder / "color").iterdir() if path.suffix in (".jpg", ".png")]
    frames, skipped = [], []
    for colour in sorted(colours, key=lambda path: natural(path.name)):
        depth = folder / "depth" / f"{colour.stem}.png"
        pose = folder / "pose" / f"{colour.stem}.txt"
        if missing := [path for path in (depth, pose) if not path.is_file()]:
            skipped.append(Skipped(colour.stem, f"no {missing[0].parent.name}"))
            continue
        load = partial(_load, colour, depth, intrinsics)
        frames.append(Frame(colour.stem, align @ read_matrix(pose), load))
    return gather(folder, "ScanNet export", frames, skipped, up="+z")


def _load(colour: Path, depth: Path, intrinsics: Tensor) -> Pixels:
    depths = read_depth(depth)
    return read_colour(colour, (depths.shape[0], depths.shape[1])), depths, intrinsics
