"""Samples of annotations, with the scans that they ask about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..data.benchmarks.annotations import find_annotations, read_benchmarks
from ..data.benchmarks.sample import TASKS, Sample, Task
from ..data.benchmarks.scenes import BenchmarkScenes
from ..data.benchmarks.skips import Skips
from ..data.objects import Box
from ..data.prepare.report import REPORT
from ..data.scannet import ScanNetScans
from ..data.scene import Scene
from ..files import read_json
from .judged import SCANNET_SCAN, at_most, distinct

PUBLISHED_SPLIT: dict[Task, str] = dict.fromkeys(TASKS, "val") | {"sqa3d": "test"}


class JudgedScans:
    """What the annotations of a data folder ask; see ``Judged``.

    A scan's views are spread evenly over its frames.

    Args:
        data: folder, or the name of a shipped scan.
        views: posed views per scene.
        size: pixels of a view.
        tasks: benchmarks to be judged by; None = all of which there are annotations.
        split: ``"train"``, ``"val"`` or ``"test"``; None = the one that papers report (SQA3D's is
            test), or val where that is not there.
        limit: samples of each task; None = all.

    Raises:
        ValueError: if the folder holds no scans, or no annotations of a task that is asked for.
    """

    def __init__(
        self,
        data: str,
        *,
        views: int,
        size: int,
        tasks: Sequence[Task] | None = None,
        split: str | None = None,
        limit: int | None = None,
    ) -> None:
        self.name, self.skips = data, Skips()
        scans = ScanNetScans(data, views=views, size=size, turns=0)
        self.splits: dict[Task, str] = {}
        for task in tasks or TASKS:
            wanted = [split] if split else [PUBLISHED_SPLIT[task], "val"]
            found = next((s for s in wanted if find_annotations(scans.root, task, s)), None)
            if found is not None:
                self.splits[task] = found
            elif tasks is not None:
                expected = f"annotations of {task}, split {wanted[-1]}"
                raise ValueError(f"{scans.root} must hold {expected}; got none")
        if not self.splits:
            expected = f"annotations of the split {split or 'val'}"
            raise ValueError(f"{scans.root} must hold {expected}; got none")
        samples = self._read(scans, limit)
        self._scenes = BenchmarkScenes(
            scans, samples, together="scene", judged=True, skips=self.skips
        )
        if not self._scenes.items:
            raise ValueError(f"{scans.root} must hold samples that can be used; got none")
        tasks = tuple(self.splits)
        self.training = read_benchmarks(scans.root, "train", tasks=tasks, skips=Skips())
        named = all(SCANNET_SCAN.fullmatch(sample.scene) for sample in samples)
        self.benchmarks = named and all(released(scans.root, *pair) for pair in self._pairs)

    @property
    def _pairs(self) -> list[tuple[Task, str]]:
        return list(self.splits.items())

    def _read(self, scans: ScanNetScans, limit: int | None) -> list[Sample]:
        """The samples of each task, those that share a question as one."""
        samples: list[Sample] = []
        for task, split in self._pairs:
            samples += read_benchmarks(scans.root, split, tasks=[task], skips=self.skips)
        return at_most([_with_box(sample) for sample in distinct(samples)], limit)

    def __len__(self) -> int:
        return len(self._scenes)

    def samples(self, index: int) -> tuple[Sample, ...]:
        """See Judged."""
        return self._scenes.samples(index)

    def scene(self, index: int) -> Scene:
        """See Judged."""
        return replace(self._scenes.scene(index), turns=())

    def boxes(self, index: int) -> tuple[Box, ...]:
        """See Judged."""
        scans, row = self._scenes.scans, self._scenes.items[index].scan
        return tuple(tuple(box) for box in scans.candidates(row).boxes.tolist())


def released(root: Path, task: Task, split: str) -> bool:
    """Whether annotations are a benchmark's own, not plain ones that somebody else has written."""
    found = find_annotations(root, task, split)
    if found is None or found.form != "plain":
        return found is not None
    report = root / REPORT
    converted = read_json(report).get("annotations", {}) if report.is_file() else {}
    return found.paths[0].relative_to(root).as_posix() in converted


def _with_box(sample: Sample) -> Sample:
    """A caption of which only the box to be described is known is about that box."""
    if sample.task != "scan2cap" or sample.target_boxes or sample.box_input is None:
        return sample
    return replace(sample, target_boxes=(sample.box_input,))
