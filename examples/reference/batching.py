"""Which tasks a step is about: all of them, or one group at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from random import Random

from torch.utils.data import Dataset

from .batch import Batch
from .data.groups import Group
from .data.scene import Scene
from .presets import Preset
from .supervision import SupervisedSource
from .training import StepDataset

BATCHES = ("mixed", "by-task")
"""What ``--batches`` can be."""
ROUND = 64


class TaskSchedule:
    """The group of every step, each as often as its share: a function of step and seed alone.

    Steps come in rounds. After every round each group has had its share of all steps so far, to the
    step rounded down; within a round the order is drawn.

    Args:
        shares: how much there is of each group.
        seed: of the orders.

    Raises:
        ValueError: if there is no group, or a share is not positive.

    Example:
        >>> schedule = TaskSchedule({"qa": 3, "caption": 1})
        >>> [schedule[step][0] for step in range(64)].count("caption")
        16
    """

    def __init__(self, shares: Mapping[Group, int], seed: int = 0) -> None:
        if not shares or min(shares.values()) < 1:
            raise ValueError(f"shares must be positive, of one group or more; got {dict(shares)}")
        self.shares, self.seed = dict(shares), seed
        self._order: tuple[int, list[Group]] = (-1, [])

    def __getitem__(self, step: int) -> tuple[Group, int]:
        """The group of a step, and how many steps before it are of the same group."""
        number = self._round_of(step)
        order, before = self._drawn(number), self._after(number)
        place = step - sum(before.values())
        group = order[place]
        return group, before[group] + order[:place].count(group)

    def _after(self, rounds: int) -> dict[Group, int]:
        """Steps of each group in so many rounds."""
        total = sum(self.shares.values())
        return {group: rounds * ROUND * share // total for group, share in self.shares.items()}

    def _round_of(self, step: int) -> int:
        """The round that holds a step: rounds have ROUND steps or a few less."""
        rounds = range((step + len(self.shares)) // ROUND + 2)
        return bisect_right(rounds, step, key=lambda n: sum(self._after(n).values())) - 1

    def _drawn(self, number: int) -> list[Group]:
        """The groups of a round in their order."""
        if self._order[0] != number:
            before, after = self._after(number), self._after(number + 1)
            order = [group for group in self.shares for _ in range(after[group] - before[group])]
            Random(f"{self.seed}/tasks/{number}").shuffle(order)
            self._order = number, order
        return self._order[1]


class TaskDataset(Dataset[Batch]):
    """Batch number i of a rank, where all scenes of an optimiser step are about one group.

    Args:
        scene: index, group -> scene with turns of that group alone, an endless stream per group.
        collate: scenes -> batch.
        batch: scenes per batch.
        schedule: the group of every optimiser step.
        unlabelled: index -> scene without text (see StepDataset).
        accumulate: batches per optimiser step.
        rank: of this process.
        ranks: number of processes.
    """

    def __init__(
        self,
        scene: Callable[[int, Group], Scene],
        collate: Callable[[Sequence[Scene]], Batch],
        batch: int,
        schedule: TaskSchedule,
        unlabelled: Callable[[int], Scene] | None = None,
        *,
        accumulate: int = 1,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.scene, self.collate, self.batch, self.schedule = scene, collate, batch, schedule
        self.accumulate, self.rank, self.ranks = accumulate, rank, ranks
        self.unlabelled = unlabelled

    def __getitem__(self, index: int) -> Batch:
        step, micro = divmod(index, self.accumulate)
        group, before = self.schedule[step]
        number = before * self.accumulate + micro
        first = (number * self.ranks + self.rank) * self.batch
        scenes = [self.scene(first + i, group) for i in range(self.batch)]
        if self.unlabelled is not None:
            beside = (index * self.ranks + self.rank) * self.batch
            scenes += [self.unlabelled(beside + i) for i in range(self.batch)]
        return self.collate(scenes)


def open_batches(
    source: SupervisedSource,
    collate: Callable[[Sequence[Scene]], Batch],
    preset: Preset,
    kind: str = "mixed",
    *,
    seed: int = 0,
    rank: int = 0,
    ranks: int = 1,
) -> Dataset[Batch]:
    """Make the batches of a run, by number: any of them can be had without those before it.

    Args:
        source: of the scenes.
        collate: scenes -> batch.
        preset: scenes per batch, batches per step.
        kind: one of BATCHES.
        seed: of the order of tasks.
        rank: of this process.
        ranks: number of processes.

    Raises:
        ValueError: if the kind is unknown.
    """
    place = {"rank": rank, "ranks": ranks}
    if kind not in BATCHES:
        raise ValueError(f"kind must be one of {BATCHES}; got {kind!r}")
    scenes = (source.train, collate, preset.batch)
    if kind == "mixed":
        return StepDataset(*scenes, source.unlabelled, **place)
    schedule, steps = TaskSchedule(source.shares, seed), {"accumulate": preset.accumulate}
    return TaskDataset(*scenes, schedule, source.unlabelled, **steps, **place)
