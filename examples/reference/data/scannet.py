"""Scans in ScanNet's folder layout: posed RGB-D frames, boxes, and names where they are known.

ROOT/scannet/posed_images/SCENE/NNNNN.{jpg,png,txt}         colour, depth (16 bit, mm), pose
                                depth_intrinsic.txt         4x4, pixels of the depth maps
ROOT/scannet/scans/SCENE/SCENE.txt                          axisAlignment, if not in the infos
ROOT/embodiedscan/embodiedscan_infos_{train,val,test}.pkl   frames, alignment, split (optional),
                                                            or .json
ROOT/metadata/scannet_{train_gt,val_pred}_box.json          boxes (optional)
ROOT/objects.json, ROOT/objects/SCENE.json                  names of the objects (optional)
ROOT/instance/SCENE/NNNNN.png                               object id of each pixel (optional)
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ross3d import PosedFrames, uniform_frames

from .infos import SPLITS, infos_files, read_infos
from .objects import (
    SceneObjects,
    match_objects,
    predicted_scans,
    read_boxes,
    read_names,
    read_true_boxes,
)
from .recording import POSED_IMAGES, Recording, cover, join_views, read_recording
from .scene import Scene, SceneObject
from .text import object_turns

SHIPPED = Path(__file__).resolve().parents[2] / "data"


def find_scans(data: str | Path) -> Path:
    """Find a data folder: a path, or the name of a scan that is shipped with the examples.

    Args:
        data: a folder in ScanNet's layout, or ``"furnished_room"``.

    Returns:
        The folder.

    Raises:
        ValueError: if it is not such a folder.

    Example:
        >>> find_scans("furnished_room").name
        'furnished_room'
    """
    for root in (Path(data), SHIPPED / data):
        if (root / POSED_IMAGES).is_dir():
            return root
    raise ValueError(f"DATA must be a folder with {POSED_IMAGES.as_posix()}; got {data}")


class ScanNetScans(Dataset[Scene]):
    """A map-style data set of scans; item ``i`` is a ``Scene`` with b = 1.

    World coordinates are those of the aligned scan: camera-to-world poses are multiplied from the
    left with the axis alignment. Colour is resized to the depth map's pixels, with which it is
    registered; both are then resized to cover ``size`` and cropped about the centre. Frames
    without a finite pose are left out.

    Args:
        root: the data folder; see ``find_scans``.
        views: frames per scene m. Paper: 32.
        size: pixels of the square frames, or their height and width. Paper: 384.
        split: ``"train"``, ``"val"`` or ``"test"``, as the infos say; None takes every scan.
        turns: number of questions made from the objects, of scans whose objects have names.
        allow_fewer: take all frames of a scan that has fewer than ``views``.
        cache_frames: how many resized frames are kept in memory, the latest used ones.
        true_boxes: take the measured boxes of every split as candidates, in place of predicted
            ones: an upper bound that proposals leave.

    Attributes:
        names: the scans' names, for example ``"scannet/scene0000_00"``.
        splits: the split of each; None where the infos do not list it.
        absent: number of scans that the infos list but the folder does not hold.
        skipped: number of frames without a finite pose, by name, of the scans read so far.
        predicted: names of the scans whose candidate boxes are predicted ones.

    Raises:
        ValueError: if the folder is not a data folder, has no scan of the split, or an option is
            out of range.

    Example:
        >>> scans = ScanNetScans("furnished_room", views=4, size=32)
        >>> scans[0].frames.images.shape
        torch.Size([1, 4, 3, 32, 32])
    """

    def __init__(
        self,
        root: str | Path,
        *,
        views: int = 32,
        size: int | tuple[int, int] = 384,
        split: str | None = None,
        turns: int = 8,
        allow_fewer: bool = False,
        cache_frames: int = 128,
        true_boxes: bool = False,
    ) -> None:
        self.root = find_scans(root)
        self.views, self.turns, self.allow_fewer = views, turns, allow_fewer
        self.cache_frames = cache_frames
        self.size = (size, size) if isinstance(size, int) else size
        if views < 1 or min(self.size) < 1:
            raise ValueError(f"views and size must be positive; got {views} and {size}")
        if split not in (None, *SPLITS):
            raise ValueError(f"split must be one of {SPLITS} or None; got {split!r}")
        self._infos = read_infos(self.root / "embodiedscan")
        self._named = read_names(self.root)
        self._boxes = (read_true_boxes if true_boxes else read_boxes)(self.root)
        self.predicted = frozenset() if true_boxes else predicted_scans(self.root)
        self.names, self.absent = self._list(split)
        self.splits = tuple(x and x.split for x in map(self._infos.get, self.names))
        self.skipped: dict[str, int] = {}
        self._recordings: dict[str, Recording] = {}
        self._frames: OrderedDict[Path, tuple[PosedFrames, Tensor | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Scene:
        return self.scene(index)

    @property
    def frames_per_scene(self) -> tuple[int, ...]:
        """Number of usable frames of each scan; reads every pose of every scan once."""
        return tuple(self.num_frames(index) for index in range(len(self)))

    def num_frames(self, index: int) -> int:
        """Number of usable frames of one scan; reads its poses once."""
        return len(self._recording(self.names[index]).images)

    def objects(self, index: int) -> tuple[SceneObject, ...]:
        """The named objects of one scan; reads none of its frames."""
        return self.candidates(index).objects

    def candidates(self, index: int) -> SceneObjects:
        """The candidate boxes of one scan, and which object ids they have."""
        return self._candidates(self.names[index])

    def scene(self, index: int, draw: int | None = None, *, frames: Tensor | None = None) -> Scene:
        """Read one scan.

        Args:
            index: which scan.
            draw: None takes frames spread evenly over the scan; a number seeds a random subset,
                so that epochs can see different frames of one scan. Both are in the order of
                recording, without repeats. It also seeds the questions.
            frames: (m,) long, which of the usable frames to take, in this order, instead.

        Raises:
            ValueError: if the scan has too few frames, or one of its files is damaged; the
                message names it.
            FileNotFoundError: if a file is missing.
        """
        name = self.names[index]
        candidates = self._candidates(name)
        chosen = self._choose(index, draw) if frames is None else frames.tolist()
        total = self.num_frames(index)
        if not chosen or min(chosen) < 0 or max(chosen) >= total:
            raise ValueError(f"frames must be some of the {total} of {name}; got {chosen}")
        read, instances = zip(*(self._frame(name, i) for i in chosen), strict=True)
        known = [x for x in instances if x is not None]
        seed = index if draw is None else draw
        return Scene(
            name=name,
            frames=join_views(read),
            boxes=candidates.boxes,
            objects=candidates.objects,
            turns=object_turns(candidates.objects, seed=seed, count=self.turns),
            instances=torch.stack(known) if known else None,
        )

    def _choose(self, index: int, draw: int | None) -> list[int]:
        """Frames of a scan, in ascending order."""
        total, views = self.num_frames(index), self.views
        if total < views and not self.allow_fewer:
            name = self.names[index]
            raise ValueError(f"views must be at most the {total} frames of {name}; got {views}")
        if draw is None:
            return uniform_frames(total, views)
        generator = torch.Generator().manual_seed(draw)
        return sorted(torch.randperm(total, generator=generator)[:views].tolist())

    def _list(self, split: str | None) -> tuple[tuple[str, ...], int]:
        """Names of the scans to read, and how many the folder lacks."""
        folder = self.root / POSED_IMAGES
        here = {f"scannet/{path.name}" for path in folder.iterdir() if path.is_dir()}
        listed = [x.name for x in self._infos.values() if split in (None, x.split)]
        names = [name for name in listed if name in here]
        if split is None:
            names += sorted(here - self._infos.keys())
        if not names:
            asked, got = "a scan", "none"
            if split is not None:
                files = infos_files(self.root / "embodiedscan", split)
                infos = next((path for path in files if path.is_file()), files[-1])
                found = f"lists {len(listed)}" if infos.is_file() else "is no file"
                asked, got = f"a scan of the split {split!r}", f"none; {infos} {found}"
            raise ValueError(f"{folder} must hold {asked}; got {got}")
        absent = sum(name not in here for name in listed)
        if absent:
            warnings.warn(f"{folder} lacks {absent} of {len(listed)} listed scans", stacklevel=3)
        return tuple(names), absent

    def _recording(self, name: str) -> Recording:
        if name not in self._recordings:
            recording = read_recording(self.root, name, self._infos.get(name))
            self._recordings[name] = recording
            if recording.skipped:
                self.skipped[name] = recording.skipped
                message = f"{name}: {recording.skipped} frames without a finite pose are left out"
                warnings.warn(message, stacklevel=4)
        return self._recordings[name]

    def _candidates(self, name: str) -> SceneObjects:
        named = self._named.get(name, self._named.get(None, {}))
        return match_objects(name, self._boxes.get(name), named)

    def _frame(self, name: str, index: int) -> tuple[PosedFrames, Tensor | None]:
        """One resized frame and its instances, from memory where it is there."""
        recording = self._recording(name)
        key = recording.images[index]
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        frame, ids = cover(*recording.read(index), self.size)
        instances = None if ids is None else self._candidates(name).rows_of(ids)
        self._frames[key] = frame, instances
        while len(self._frames) > self.cache_frames:
            self._frames.popitem(last=False)
        return frame, instances
