"""A scan in the layout of the TUM RGB-D benchmark.

FOLDER/rgb.txt, depth.txt    lines ``timestamp path``; depth is a 16-bit PNG, 5000 steps per metre
FOLDER/groundtruth.txt       lines ``timestamp tx ty tz qx qy qz qw``, camera-to-world

The three clocks tick on their own: what is nearest in time belongs together. The benchmark's own
recordings are z up; paths that a SLAM system wrote in this format start with its first camera, so
their y points down.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from .images import picture_size, read_colour, read_depth
from .posed_scan import Frame, Pixels, PosedScan, Skipped, gather

LISTS = ("rgb.txt", "depth.txt", "groundtruth.txt")
STEP = 1 / 5000
WITHIN = 0.02
SIZE = (480, 640)
CAMERAS = {
    "1": (517.3, 516.5, 318.6, 255.3),
    "2": (520.9, 521.0, 325.1, 249.7),
    "3": (535.4, 539.2, 320.1, 247.6),
}
KINECT = (525.0, 525.0, 319.5, 239.5)
"""fx, fy, cx, cy at 640 x 480, as the benchmark publishes them; the folder names the camera."""


def read_tum(
    folder: Path,
    intrinsics: tuple[float, float, float, float] | None = None,
    depth_unit: float | None = None,
) -> PosedScan:
    """Read the three lists and associate their lines by time.

    Args:
        folder: of the lists.
        intrinsics: fx, fy, cx, cy in pixels; None = those of the benchmark's camera.
        depth_unit: metres per step of the depth maps; None = 1 / 5000.

    Raises:
        FileNotFoundError: if a list or the first depth map is missing.
        ValueError: if a line is damaged, no frame is usable, or the camera is not known.
    """
    (rgb_times, rgb), (depth_times, depth), (times, rows) = (
        _read_list(folder / name, words) for name, words in zip(LISTS, (1, 1, 7), strict=True)
    )
    poses = [_pose(folder / LISTS[2], row) for row in rows]
    to_depth, to_pose = associate(rgb_times, depth_times), associate(rgb_times, times)
    camera, notes = (intrinsics, []) if intrinsics else _camera(folder, depth)
    fx, fy, cx, cy = camera
    matrix = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=torch.float64)
    frames, skipped = [], []
    for (name,), i, j in zip(rgb, to_depth, to_pose, strict=True):
        if i is None or j is None:
            kind = "depth map" if i is None else "pose"
            skipped.append(Skipped(name, f"no {kind} within {WITHIN * 1000:.0f} ms"))
            continue
        paths = folder / name, folder / depth[i][0]
        frames.append(Frame(name, poses[j], partial(_load, *paths, matrix, depth_unit or STEP)))
    return gather(folder, "TUM RGB-D", frames, skipped, notes=notes)


def associate(
    first: Sequence[float], second: Sequence[float], within: float = WITHIN
) -> list[int | None]:
    """Pair two lists of times, nearest pairs first; nothing is taken twice.

    Args:
        first: in seconds.
        second: in seconds, ascending.
        within: the largest difference of a pair.

    Returns:
        For each of ``first`` the index of its partner in ``second``; None = it has none.

    Example:
        >>> associate([0.0, 1.0, 2.0], [0.01, 0.99, 1.005])
        [0, 2, None]
    """
    close = []
    for i, time in enumerate(first):
        j = bisect_left(second, time - within)
        while j < len(second) and second[j] <= time + within:
            close.append((abs(time - second[j]), i, j))
            j += 1
    partners: list[int | None] = [None] * len(first)
    taken = set()
    for _, i, j in sorted(close):
        if partners[i] is None and j not in taken:
            partners[i] = j
            taken.add(j)
    return partners


def _read_list(path: Path, words: int) -> tuple[list[float], list[list[str]]]:
    """The times of a list, ascending, and the words after each."""
    lines = []
    content = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(content.splitlines(), 1):
        row = line.partition("#")[0].split()
        if not row:
            continue
        try:
            time = float(row[0])
        except ValueError:
            time = None
        if time is None or len(row) != words + 1:
            raise ValueError(
                f"{path}, line {number}, must be a time and {words} word(s); got {line!r}"
            )
        lines.append((time, row[1:]))
    lines.sort(key=lambda entry: entry[0])
    return [time for time, _ in lines], [row for _, row in lines]


def _pose(path: Path, row: Sequence[str]) -> Tensor:
    """Position and unit quaternion as a matrix; not finite where the quaternion is zero."""
    try:
        values = torch.tensor([float(word) for word in row], dtype=torch.float64)
    except ValueError as error:
        raise ValueError(f"{path} must hold numbers; got {error}") from error
    x, y, z, w = values[3:] / values[3:].norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack(
        [
            torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)]),
            torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)]),
            torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]),
        ]
    )
    pose[:3, 3] = values[:3]
    return pose


def _camera(folder: Path, depth: Sequence[Sequence[str]]) -> tuple[tuple[float, ...], list[str]]:
    """The camera of a recording that does not say it, and a note about that."""
    size = picture_size(folder / depth[0][0]) if depth else SIZE
    if size != SIZE:
        raise ValueError(f"{folder} must be of {SIZE} pixels, or get --intrinsics; got {size}")
    named = re.search(r"freiburg([123])", folder.resolve().name)
    name, camera = (named[0], CAMERAS[named[1]]) if named else ("a Kinect", KINECT)
    values = ", ".join(f"{value:g}" for value in camera)
    return camera, [f"intrinsics are those of {name} ({values}); see --intrinsics"]


def _load(colour: Path, depth: Path, intrinsics: Tensor, step: float) -> Pixels:
    depths = read_depth(depth) * (1000 * step)
    return read_colour(colour, (depths.shape[0], depths.shape[1])), depths, intrinsics
