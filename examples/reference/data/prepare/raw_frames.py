"""Frames as they were recorded, in the formats of posed images: nothing is resized or aligned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..images import read_depth, read_matrix
from ..posed_scan import natural
from ..sens import SensFile, open_sens
from .raw_scan import RawScan

POSE, COLOUR, DEPTH = "pose is not finite", "colour is damaged", "depth is damaged"
MISSING = "depth or pose is missing"


@dataclass(frozen=True)
class RawFrame:
    """One frame.

    Attributes:
        number: in the recording, from 0.
        colour: a JPEG file.
        depth: a PNG file of 16 bits, millimetres, 0 = unknown.
        pose: (4, 4) float64 camera-to-world, finite, not aligned.
    """

    number: int
    colour: bytes
    depth: bytes
    pose: Tensor


@dataclass(frozen=True)
class RawFrames:
    """The frames of one recording that are wanted.

    Attributes:
        colour_intrinsics: (4, 4) float64, pixels of the colour pictures.
        depth_intrinsics: (4, 4) float64, pixels of the depth maps.
        frames: whole frames; reads one at a time.
        skipped: counts the others by reason, while the frames are read.
    """

    colour_intrinsics: Tensor
    depth_intrinsics: Tensor
    frames: Iterator[RawFrame]
    skipped: Counter[str]


def open_frames(scan: RawScan, *, every: int) -> RawFrames:
    """Open the frames of a recording, or of a folder of exported frames.

    Args:
        scan: the scan.
        every: takes the frames whose number it divides.

    Raises:
        FileNotFoundError: if the intrinsics of exported frames are missing.
        ValueError: if the recording is cut off or of another format.
    """
    skipped: Counter[str] = Counter()
    if scan.sens is not None:
        sens = open_sens(scan.sens)
        frames = _recorded(sens, every, skipped)
        return RawFrames(sens.colour_intrinsics, sens.depth_intrinsics, frames, skipped)
    depth = read_matrix(scan.folder / "intrinsic" / "intrinsic_depth.txt")
    path = scan.folder / "intrinsic" / "intrinsic_color.txt"
    colour = read_matrix(path) if path.is_file() else depth
    return RawFrames(colour, depth, _exported(scan.folder, every, skipped), skipped)


def _recorded(sens: SensFile, every: int, skipped: Counter[str]) -> Iterator[RawFrame]:
    for number in range(0, len(sens), every):
        pose = sens.records[number].pose
        if not pose.isfinite().all():
            skipped[POSE] += 1
            continue
        try:
            colour = _jpeg(sens.colour(number))
        except (OSError, SyntaxError, ValueError):
            skipped[COLOUR] += 1
            continue
        try:
            steps = sens.depth(number)
        except ValueError:
            skipped[DEPTH] += 1
            continue
        if sens.header.steps != 1000:
            scaled = np.round(steps.astype(np.float64) * 1000 / sens.header.steps)
            steps = np.where(scaled < 2**16, scaled, 0).astype(np.uint16)
        yield RawFrame(number, colour, _png(steps), pose)


def _exported(folder: Path, every: int, skipped: Counter[str]) -> Iterator[RawFrame]:
    pictures = [x for x in (folder / "color").iterdir() if x.suffix in (".jpg", ".png")]
    for index, path in enumerate(sorted(pictures, key=lambda x: natural(x.name))):
        number = int(path.stem) if path.stem.isdecimal() else index
        if number % every:
            continue
        depth, pose = (folder / "depth" / f"{path.stem}.png", folder / "pose" / f"{path.stem}.txt")
        if not (depth.is_file() and pose.is_file()):
            skipped[MISSING] += 1
            continue
        matrix = read_matrix(pose)
        if not matrix.isfinite().all():
            skipped[POSE] += 1
            continue
        try:
            colour = _jpeg(BytesIO(path.read_bytes()))
        except (OSError, SyntaxError, ValueError):
            skipped[COLOUR] += 1
            continue
        try:
            read_depth(depth)
        except ValueError:
            skipped[DEPTH] += 1
            continue
        yield RawFrame(number, colour, depth.read_bytes(), matrix)


def _jpeg(file: BytesIO) -> bytes:
    """A picture as a JPEG file: as it is if it is one; complains if it is not whole."""
    from PIL import Image

    with Image.open(file) as picture:
        if picture.format == "JPEG":
            picture.draft("RGB", (picture.width // 8, picture.height // 8))
            picture.load()
            return file.getvalue()
        out = BytesIO()
        picture.convert("RGB").save(out, "JPEG", quality=95)
        return out.getvalue()


def _png(steps: np.ndarray) -> bytes:
    from PIL import Image

    out = BytesIO()
    Image.fromarray(np.ascontiguousarray(steps, dtype=np.uint16)).save(out, "PNG")
    return out.getvalue()


def matrix_text(matrix: Tensor) -> str:
    """A matrix in as many digits as float32 has, a row a line."""
    rows = matrix.to(torch.float32).tolist()
    return "\n".join(" ".join(f"{x:.9g}" for x in row) for row in rows) + "\n"
