"""A folder of scans about which nothing is said: posed RGB-D frames are all that is read."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path

import torch

from ross3d import PosedFrames

from .open_scan import open_scan
from .posed_scan import PosedScan
from .recording import POSED_IMAGES, cover, join_views
from .scannet import SHIPPED
from .scene import Scene


class UnlabelledScans:
    """Scenes without text and objects, each a random subset of one scan's frames.

    Every scan is opened at once, though none of its pictures is read: a damaged one, or one with
    too few frames, is named before training starts.

    Args:
        folder: a data folder with ``scannet/posed_images``, or a folder of which each subfolder,
            ``.sens`` file or ``.json`` file is a scan of a layout that ``open_scan`` knows; or the
            name of a scan that is shipped with the examples.
        views: posed views per scene.
        size: pixels of the square views.
        seed: of the draws.
        cache_frames: how many resized frames are kept in memory, the latest used ones.

    Attributes:
        scans: the scans, in the order of their names.

    Raises:
        FileNotFoundError: if a file of a scan is missing.
        ValueError: if the folder holds no scan, or a scan is damaged or has too few frames.

    Example:
        >>> scans = UnlabelledScans("furnished_room", views=4, size=32)
        >>> scans.scene(0).frames.images.shape, scans.scene(0).turns
        (torch.Size([1, 4, 3, 32, 32]), ())
    """

    def __init__(
        self, folder: str | Path, *, views: int, size: int, seed: int = 0, cache_frames: int = 128
    ) -> None:
        self.views, self.size, self.seed, self.cache_frames = views, size, seed, cache_frames
        self.scans = open_scans(folder)
        for scan in self.scans:
            if len(scan) < views:
                raise ValueError(f"{scan.path} must have {views} usable frames; got {len(scan)}")
        self._frames: OrderedDict[tuple[int, int], PosedFrames] = OrderedDict()

    def __len__(self) -> int:
        """Number of scans."""
        return len(self.scans)

    def scene(self, index: int) -> Scene:
        """Scene number ``index`` of an endless stream that takes the scans in turn.

        Raises:
            FileNotFoundError: if a file is missing.
            ValueError: if a frame is damaged; the message names it.
        """
        number = index % len(self.scans)
        rng = random.Random(f"{self.seed}/unlabelled/{index}")
        chosen = sorted(rng.sample(range(len(self.scans[number])), self.views))
        frames = join_views([self._frame(number, frame) for frame in chosen])
        return Scene(f"unlabelled/{self.scans[number].name}", frames, torch.zeros(0, 6))

    def _frame(self, number: int, frame: int) -> PosedFrames:
        """One resized frame, from memory where it is there."""
        key = number, frame
        if key not in self._frames:
            whole = self.scans[number].read(frame)
            self._frames[key], _ = cover(whole, None, (self.size, self.size))
        self._frames.move_to_end(key)
        while len(self._frames) > max(self.cache_frames, 1):
            self._frames.popitem(last=False)
        return self._frames[key]


def open_scans(folder: str | Path) -> list[PosedScan]:
    """Open every scan of a folder (see UnlabelledScans).

    Raises:
        FileNotFoundError: if a file of a scan is missing.
        ValueError: if it holds none, or one is damaged.
    """
    root = Path(folder)
    if not root.exists() and (SHIPPED / folder).exists():
        root = SHIPPED / folder
    if (root / POSED_IMAGES).is_dir():
        names = sorted(path.name for path in (root / POSED_IMAGES).iterdir() if path.is_dir())
        return [open_scan(root, scene=name) for name in names]
    found = sorted(root.iterdir()) if root.is_dir() else []
    places = [x for x in found if x.is_dir() or x.suffix in (".sens", ".json")]
    places = [x for x in places if not x.name.startswith(".")]
    if not places:
        raise ValueError(f"FOLDER must hold scans; got {root}")
    return [open_scan(place) for place in places]
