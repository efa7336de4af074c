"""One scan of a data folder in ScanNet's posed-images layout, as a :class:`PosedScan`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from .infos import read_infos
from .posed_scan import Frame, Pixels, PosedScan, Skipped, gather
from .recording import POSED_IMAGES, Recording, read_recording


def read_posed_images(root: Path, scene: str | None = None) -> PosedScan:
    """Read what a scan's text files say.

    Args:
        root: the data folder.
        scene: its folder's name; None = the first.

    Raises:
        FileNotFoundError: if a pose or the intrinsics are missing.
        ValueError: if one of them is damaged, or the scan is not there.
    """
    folder = root / POSED_IMAGES
    scenes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if not scenes or (scene is not None and scene not in scenes):
        wanted = "a scan" if scene is None else f"the scan {scene}"
        raise ValueError(f"{folder} must hold {wanted}; got {', '.join(scenes) or 'none'}")
    chosen = scene or scenes[0]
    name = f"scannet/{chosen}"
    info = read_infos(root / "embodiedscan").get(name)
    recording = replace(read_recording(root, name, info), labels=None)
    frames = [
        Frame(path.stem, recording.poses[index], partial(_load, recording, index))
        for index, path in enumerate(recording.images)
    ]
    notes = [] if len(scenes) == 1 else [f"{chosen} is one of {', '.join(scenes)}; see --scene"]
    listed = None if info is None or not info.images else {Path(x).stem for x in info.images}
    usable = {frame.name for frame in frames}
    skipped = [
        Skipped(stem, "pose is not finite" if listed is None or stem in listed else "not in infos")
        for stem in sorted(path.stem for path in (folder / chosen).glob("*.jpg"))
        if stem not in usable
    ]
    path = folder / chosen
    return gather(path, "ScanNet posed images", frames, skipped, notes=notes, up="+z")


def _load(recording: Recording, index: int) -> Pixels:
    frame, _ = recording.read(index)
    return frame.images[0, 0], frame.depths[0, 0], frame.intrinsics[0, 0]
