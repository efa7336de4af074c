"""A scan of any layout before its pictures are read: where the cameras were, what is missing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from ross3d import PosedFrames

from .recording import join_views

Pixels = tuple[Tensor, Tensor, Tensor]


class Frame(NamedTuple):
    """One frame that can be read.

    Attributes:
        name: as its files are named.
        pose: (4, 4) camera-to-world, float64, OpenCV axes.
        load: reads image (3, h, w) RGB in [0, 1], depth (h, w) in metres with 0 = unknown, and
            intrinsics (3, 3) in pixels of both.
    """

    name: str
    pose: Tensor
    load: Callable[[], Pixels]


class Skipped(NamedTuple):
    """One frame that is left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class PosedScan:
    """The frames of one scan, none of whose pictures has been read.

    Attributes:
        path: file or folder of the scan, for messages.
        layout: what it was read as, in words.
        frames: the usable frames, in order of recording.
        skipped: the frames that are left out.
        notes: what the files do not say and was assumed.
        up: the axis of the files' world that points up, for example ``"+z"``; None = not known.
    """

    path: Path
    layout: str
    frames: tuple[Frame, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = ()
    up: str | None = None

    def __len__(self) -> int:
        """Number of usable frames."""
        return len(self.frames)

    @property
    def name(self) -> str:
        """What to call the scan: as its folder, or its file, is called."""
        place = self.path.resolve()
        return place.parent.name if place.suffix == ".json" else place.name.removesuffix(".sens")

    def read(self, index: int) -> PosedFrames:
        """Read one frame (b = 1, m = 1) at the size of its depth map.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a file is damaged or the pose is not rigid; the message names it.
        """
        name, pose, load = self.frames[index]
        image, depth, intrinsics = load()
        try:
            return PosedFrames(
                image[None, None],
                depth[None, None],
                intrinsics.float()[None, None],
                pose.float()[None, None],
            )
        except ValueError as error:
            raise ValueError(f"frame {name} of {self.path}: {error}") from error

    def read_views(self, indices: Iterable[int]) -> PosedFrames:
        """Read some frames as one scene (b = 1) of many views.

        Raises:
            FileNotFoundError: as :meth:`read`.
            ValueError: as :meth:`read`, or if the frames are not of one size.
        """
        views: list[PosedFrames] = []
        for index in indices:
            views.append(self._read_like(index, views))
        return join_views(views)

    def read_whole_views(
        self, indices: Iterable[int]
    ) -> tuple[PosedFrames, list[str], list[Skipped]]:
        """Read those of some frames that are whole.

        Returns:
            The views (b = 1), their names, and what is wrong with each of the others.

        Raises:
            ValueError: if none is whole.
        """
        views: list[PosedFrames] = []
        names, damaged = [], []
        for index in indices:
            name = self.frames[index].name
            try:
                views.append(self._read_like(index, views))
                names.append(name)
            except (OSError, ValueError) as error:
                damaged.append(Skipped(name, str(error)))
        if not views:
            got = damaged[0].reason
            raise ValueError(f"{self.path} must hold a whole frame; got {len(damaged)}: {got}")
        return join_views(views), names, damaged

    def _read_like(self, index: int, views: Sequence[PosedFrames]) -> PosedFrames:
        """Read one frame, which must be of the size of those before it."""
        view = self.read(index)
        if views and view.size != views[0].size:
            name = f"frame {self.frames[index].name} of {self.path}"
            raise ValueError(f"{name} must be of size {views[0].size}; got {view.size}")
        return view


def gather(
    path: Path,
    layout: str,
    frames: Iterable[Frame],
    skipped: Iterable[Skipped] = (),
    *,
    notes: Iterable[str] = (),
    up: str | None = None,
) -> PosedScan:
    """Make a scan of the frames whose pose is finite; the others are skipped.

    Raises:
        ValueError: if no frame is usable.
    """
    usable, left_out = [], list(skipped)
    for frame in frames:
        if frame.pose.isfinite().all():
            usable.append(frame)
        else:
            left_out.append(Skipped(frame.name, "pose is not finite"))
    if not usable:
        reasons = "; ".join(sorted({x.reason for x in left_out})) or "it lists none"
        raise ValueError(f"{path} must hold a usable frame; got none of {len(left_out)}: {reasons}")
    return PosedScan(path, layout, tuple(usable), tuple(left_out), tuple(notes), up)


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that counts: 2 comes before 10.

    Example:
        >>> sorted(["10.jpg", "9.jpg", "cover.jpg"], key=natural)
        ['9.jpg', '10.jpg', 'cover.jpg']
    """
    words = re.findall(r"\d+|\D+", name)
    return [(int(word), "") if word.isdecimal() else (2**63, word) for word in words]
