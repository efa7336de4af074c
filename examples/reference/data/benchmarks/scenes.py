"""Annotations and scans together: a data set of scenes with the benchmarks' turns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor
from torch.utils.data import Dataset

from ..scannet import ScanNetScans
from ..scene import Scene
from .boxes import MATCHED, read_scene_boxes
from .placing import Candidates, place, place_to_judge
from .sample import Sample
from .skips import AnnotationError, Skips

Together = Literal["turn", "task", "scene"]


@dataclass(frozen=True)
class Item:
    """One scene of the data set before its pictures are read.

    Attributes:
        scan: row of the scan.
        samples: that ask about it, placed; none = an unlabelled scene.
    """

    scan: int
    samples: tuple[Sample, ...]


class BenchmarkScenes(Dataset[Scene]):
    """A map-style data set: item i is a scan's views, candidates and turns (b = 1).

    Args:
        scans: the scans, or their data folder, opened with ``views`` and ``size``.
        samples: the annotations, as read.
        together: what makes one item: ``"turn"``, a single turn; ``"task"``, the turns of a scan
            and task; ``"scene"``, all turns of a scan.
        most: turns of an item at most; more make further items. None = no limit.
        unlabelled: whether scans without a sample are kept, as items without turns.
        judged: False = for training: a sample that cannot be learned is an error (an object
            without a candidate, a caption of an object that no box shows). True = for evaluation:
            such samples are kept, and count as wrong.
        least: overlap (IoU) from which a predicted box stands for a true one.
        views: frames per scene m, where ``scans`` is a folder. Paper: 32.
        size: pixels of the square frames, where ``scans`` is a folder. Paper: 384.
        skips: counts the samples that cannot be used, of unknown scans too; None raises at the
            first.

    Attributes:
        scans: the scans.
        items: what the items consist of.

    Raises:
        AnnotationError: if a sample cannot be used and ``skips`` is None.
        ValueError: if an option is unknown or out of range, or the folder holds no scans.

    Example:
        >>> from ..scene import Turn
        >>> turn = Turn("qa", "What is it?", "a room")
        >>> sample = Sample("0", "scanqa", "scannet/cc0room_00", turn)
        >>> BenchmarkScenes("furnished_room", [sample], views=2, size=16)[0].turns[0].answer
        'a room'
    """

    def __init__(
        self,
        scans: ScanNetScans | str | Path,
        samples: Sequence[Sample],
        *,
        together: Together = "turn",
        most: int | None = None,
        unlabelled: bool = False,
        judged: bool = False,
        least: float = MATCHED,
        views: int = 32,
        size: int | tuple[int, int] = 384,
        skips: Skips | None = None,
    ) -> None:
        if together not in ("turn", "task", "scene"):
            raise ValueError(f"together must be turn, task or scene; got {together!r}")
        if most is not None and most < 1:
            raise ValueError(f"most must be positive or None; got {most}")
        if not isinstance(scans, ScanNetScans):
            scans = ScanNetScans(scans, views=views, size=size, turns=0)
        self.scans, self.judged, self.least = scans, judged, least
        placed = self._place(samples, skips)
        self.items = _group(placed, together, 1 if together == "turn" else most)
        if unlabelled:
            asked = {item.scan for item in self.items}
            self.items += [Item(i, ()) for i in range(len(scans)) if i not in asked]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Scene:
        return self.scene(index)

    def scene(self, index: int, draw: int | None = None, *, frames: Tensor | None = None) -> Scene:
        """Read one item.

        Args:
            index: which item.
            draw: seeds the frames that are taken; None spreads them evenly.
            frames: (m,) long, which of the usable frames to take instead.

        Raises:
            ValueError: if the scan has too few frames, or one of its files is damaged.
            FileNotFoundError: if a file is missing.
        """
        item = self.items[index]
        scene = self.scans.scene(item.scan, draw, frames=frames)
        return replace(scene, turns=tuple(sample.turn for sample in item.samples))

    def samples(self, index: int) -> tuple[Sample, ...]:
        """The samples of one item, in the order of its turns."""
        return self.items[index].samples

    def _place(self, samples: Sequence[Sample], skips: Skips | None) -> list[tuple[int, Sample]]:
        """Row of the scan and the placed sample, of every sample that can be used."""
        rows = {name: row for row, name in enumerate(self.scans.names)}
        true = read_scene_boxes(self.scans.root).true
        method = place_to_judge if self.judged else place
        known: dict[str, Candidates] = {}
        placed = []
        for sample in samples:
            try:
                name = sample.scene
                if name not in rows:
                    expected = f"a scan of {self.scans.root}"
                    raise AnnotationError(sample.source, sample.id, "scene", expected, name)
                if name not in known:
                    predicted = name in self.scans.predicted
                    objects = self.scans.candidates(rows[name])
                    known[name] = Candidates(objects, predicted, true.get(name, {}))
                found = method(sample, known[name], least=self.least)
                placed.append((rows[name], found))
            except AnnotationError as error:
                if skips is None:
                    raise
                skips.add(error)
        return placed


def _group(placed: Sequence[tuple[int, Sample]], together: str, most: int | None) -> list[Item]:
    """Samples into items, in the order of each item's first sample."""
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for row, sample in placed:
        key = (row, sample.task) if together == "task" else (row,)
        groups.setdefault(key if together != "turn" else (row, len(groups)), []).append(sample)
    items = []
    for key, group in groups.items():
        step = most or len(group)
        chunks = (group[i : i + step] for i in range(0, len(group), step))
        items += [Item(int(str(key[0])), tuple(chunk)) for chunk in chunks]
    return items
