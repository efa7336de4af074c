"""Which files of a data folder hold the annotations of a task and a split, and what they say.

ROOT/processed/[FOLDER/]TASK_SPLIT_llava_style.json   the llava style, flat or in folders by task
ROOT/tasks/TASK_SPLIT.json                            plain (see ``plain``)
ROOT/benchmark/...                                    the releases, in any folders
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .boxes import SceneBoxes, read_scene_boxes
from .classes import LABELS, read_classes
from .llava import read_llava
from .multi3drefer import read_multi3drefer
from .plain import read_plain
from .sample import TASKS, Sample, Task
from .scan2cap import read_scan2cap
from .scanqa import read_scanqa
from .scanrefer import read_scanrefer
from .skips import Skips
from .sqa3d import read_sqa3d

Form = Literal["llava", "plain", "release"]
STEMS: dict[Task, tuple[str, ...]] = {
    "sqa3d": ("sqa3d",),
    "scanqa": ("scanqa",),
    "scan2cap": ("scan2cap",),
    "scanrefer": ("scanrefer", "scanrefer_vg"),
    "multi3drefer": ("multi3drefer", "multi3drefer_vg"),
}
RELEASES: dict[Task, tuple[str, ...]] = {
    "sqa3d": (
        "v1_balanced_questions_{}_scannetv2.json",
        "v1_balanced_sqa_annotations_{}_scannetv2.json",
    ),
    "scanqa": ("ScanQA_v1.0_{}.json",),
    "scan2cap": ("ScanRefer_filtered_{}.json",),
    "scanrefer": ("ScanRefer_filtered_{}.json",),
    "multi3drefer": ("multi3drefer_{}.json",),
}
SCANQA_TEST = "ScanQA_v1.0_test_w_obj.json"


@dataclass(frozen=True)
class Annotations:
    """The files of one task and split.

    Attributes:
        task: the benchmark.
        split: ``"train"``, ``"val"`` or ``"test"``.
        form: what they are.
        paths: one file; two of the release of SQA3D.
        labels: ScanNet's table of labels; None where there is none.
    """

    task: Task
    split: str
    form: Form
    paths: tuple[Path, ...]
    labels: Path | None = None

    def read(
        self, boxes: SceneBoxes, *, every_answer: bool = True, skips: Skips | None = None
    ) -> tuple[Sample, ...]:
        """Read the samples.

        Args:
            boxes: of the scans.
            every_answer: whether every answer of a question to train on makes a sample.
            skips: counts the annotations that cannot be used; None raises at the first.

        Raises:
            AnnotationError: if an annotation cannot be used and ``skips`` is None.
            ValueError: if a file holds something else.
        """
        path, train = self.paths[0], self.split == "train"
        if self.form == "llava":
            return read_llava(path, self.task, skips=skips)
        if self.form == "plain":
            every = train and every_answer
            return read_plain(path, self.task, boxes=boxes, train=every, skips=skips)
        if self.task == "sqa3d":
            return read_sqa3d(*self.paths, train=train, skips=skips)
        if self.task == "scanqa":
            return read_scanqa(path, train=train and every_answer, skips=skips)
        if self.task == "scan2cap":
            return read_scan2cap(path, boxes=boxes, train=train, skips=skips)
        if self.task == "multi3drefer":
            return read_multi3drefer(path, boxes=boxes, skips=skips)
        classes = None if self.labels is None else read_classes(self.labels)
        return read_scanrefer(path, boxes=boxes, classes=classes, skips=skips)


def find_annotations(root: Path, task: Task, split: str) -> Annotations | None:
    """Find the files of a task and a split: the llava style, else plain ones, else the release.

    Raises:
        ValueError: if there are two of a kind, or one of the two files of SQA3D is missing.
    """
    stems = [f"{stem}_{split}_llava_style.json" for stem in STEMS[task]]
    processed = root / "processed"
    llava = [path for stem in stems for path in (processed.glob(stem), processed.glob(f"*/{stem}"))]
    if paths := _one(processed, [path for found in llava for path in found]):
        return Annotations(task, split, "llava", paths)
    if (path := root / "tasks" / f"{task}_{split}.json").is_file():
        return Annotations(task, split, "plain", (path,))
    found = find_release(root / "benchmark", task, split)
    if found is None or found.labels is not None:
        return found
    labels = _one(root, list((root / "metadata").glob(LABELS)))
    return Annotations(task, split, "release", found.paths, next(iter(labels), None))


def find_release(folder: Path, task: Task, split: str) -> Annotations | None:
    """Find the released files of a task and a split in a folder or the folders in it.

    Raises:
        ValueError: if there are two of a kind, or one of the two files of SQA3D is missing.
    """
    if not folder.is_dir():
        return None
    names = [name.format(split) for name in RELEASES[task]]
    if task == "scanqa" and split == "test":
        names = [SCANQA_TEST]
    files = [_one(folder, list(folder.rglob(name))) for name in names]
    if not any(files):
        return None
    if not all(files):
        missing = [name for name, path in zip(names, files, strict=True) if not path]
        raise ValueError(f"{folder} must hold {' and '.join(names)}; got no {missing[0]}")
    labels = _one(folder, list(folder.rglob(LABELS)))
    paths = tuple(path for found in files for path in found)
    return Annotations(task, split, "release", paths, next(iter(labels), None))


def read_benchmarks(
    root: Path,
    split: str,
    *,
    tasks: Iterable[Task] = TASKS,
    boxes: SceneBoxes | None = None,
    skips: Skips | None = None,
) -> tuple[Sample, ...]:
    """Read all annotations of a split that a data folder has.

    Args:
        root: the data folder.
        split: ``"train"``, ``"val"`` or ``"test"``.
        tasks: which benchmarks.
        boxes: of the scans; None reads those of the folder.
        skips: counts the annotations that cannot be used; None raises at the first.

    Returns:
        The samples, task by task; none where there are no annotations.

    Raises:
        AnnotationError: if an annotation cannot be used and ``skips`` is None.
        ValueError: if a file holds something else, or there are two of a kind.
    """
    found = [x for task in tasks if (x := find_annotations(root, task, split)) is not None]
    if not found:
        return ()
    known = read_scene_boxes(root) if boxes is None else boxes
    return tuple(sample for x in found for sample in x.read(known, skips=skips))


def _one(folder: Path, paths: Sequence[Path]) -> tuple[Path, ...]:
    if len(paths) > 1:
        names = ", ".join(str(path.relative_to(folder)) for path in sorted(paths))
        raise ValueError(f"{folder} must hold one file of a kind; got {names}")
    return tuple(paths)
