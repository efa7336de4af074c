"""The released annotations, as plain ones beside the scans."""

from __future__ import annotations

from pathlib import Path

from ..benchmarks.annotations import find_release
from ..benchmarks.boxes import read_scene_boxes
from ..benchmarks.plain import write_plain
from ..benchmarks.sample import TASKS
from ..benchmarks.skips import Skips
from ..infos import SPLITS


def write_annotations(root: Path, releases: Path, skips: Skips) -> dict[str, int]:
    """Convert what a folder has of SQA3D, ScanQA, Scan2Cap, ScanRefer and Multi3DRefer.

    Args:
        root: the data folder, its boxes written: captions and grounding need them.
        releases: the released files, in any folders.
        skips: counts the annotations that cannot be used.

    Returns:
        Number of samples by file: ``ROOT/tasks/TASK_SPLIT.json``.

    Raises:
        ValueError: if a file is no JSON, or the folder holds none of the files or two of a kind.
    """
    boxes = read_scene_boxes(root)
    counts = {}
    for task in TASKS:
        for split in SPLITS:
            found = find_release(releases, task, split)
            if found is not None:
                samples = found.read(boxes, every_answer=False, skips=skips)
                name = f"tasks/{task}_{split}.json"
                write_plain(root / name, samples)
                counts[name] = len(samples)
    if not counts:
        raise ValueError(f"--benchmarks must be a folder of released annotations; got {releases}")
    return counts
