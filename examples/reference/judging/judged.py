"""What a model is judged by: samples of benchmarks with their scans, or of generated rooms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from ..data.benchmarks.sample import TASKS, Sample, Task
from ..data.benchmarks.skips import Skips
from ..data.objects import Box
from ..data.scene import Scene
from ..metrics.records import plain_id

SCANNET_SCAN = re.compile(r"scannet/scene\d{4}_\d{2}")


class Judged(Protocol):
    """Scenes with the samples that ask about them.

    Attributes:
        name: of the data.
        splits: which split of each task is judged; empty words where there are no splits.
        training: samples to learn from, for guesses that look at nothing.
        benchmarks: whether the samples are the published benchmarks' own, on ScanNet.
        skips: annotations that cannot be used.
    """

    name: str
    splits: Mapping[Task, str]
    training: Sequence[Sample]
    benchmarks: bool
    skips: Skips

    def __len__(self) -> int:
        """Number of scenes."""

    def samples(self, index: int) -> tuple[Sample, ...]:
        """What is asked about a scene."""

    def scene(self, index: int) -> Scene:
        """The scene itself, without turns; all of its views are seen."""

    def boxes(self, index: int) -> tuple[Box, ...]:
        """The boxes that may be chosen in a scene."""


@dataclass(frozen=True)
class Asked:
    """The samples of a run of the evaluation, by task, in the order of the scenes."""

    by_task: Mapping[Task, tuple[Sample, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, judged: Judged) -> Asked:
        """All that is asked."""
        found: dict[Task, list[Sample]] = {}
        for index in range(len(judged)):
            for sample in judged.samples(index):
                found.setdefault(sample.task, []).append(sample)
        return cls({task: tuple(found[task]) for task in TASKS if task in found})

    def __len__(self) -> int:
        """Number of samples."""
        return sum(map(len, self.by_task.values()))

    def __iter__(self) -> Iterator[Sample]:
        """All of them, task by task."""
        return (sample for samples in self.by_task.values() for sample in samples)


def identity(sample: Sample) -> str:
    """The id under which a sample is predicted and scored."""
    return plain_id(sample.task, sample.id, sample.source)


def distinct(samples: Sequence[Sample]) -> list[Sample]:
    """One sample of each id: those that share a question, an answer each, become one."""
    found: dict[tuple[Task, str], Sample] = {}
    for sample in samples:
        key = sample.task, identity(sample)
        known = found.setdefault(key, sample)
        if known is not sample:
            answers = tuple(dict.fromkeys(known.answers + sample.answers))
            found[key] = replace(known, answers=answers)
    return list(found.values())


def at_most(samples: Sequence[Sample], limit: int | None) -> list[Sample]:
    """So many samples of each task, drawn at random; a smaller draw is part of a larger one."""
    chosen: set[int] = set()
    for task in TASKS:
        rows = [row for row, sample in enumerate(samples) if sample.task == task]
        chosen.update(sorted(rows, key=lambda row: draw(samples[row]))[:limit])
    return [sample for row, sample in enumerate(samples) if row in chosen]


def draw(sample: Sample) -> str:
    """What puts samples into random order, always the same."""
    return hashlib.sha256(f"{sample.task}/{sample.id}".encode()).hexdigest()
