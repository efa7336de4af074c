"""What the training loop is made of: batches by step, the learning rate, one number per loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ross3d import Schedule, sample_view_mask

from .batch import Batch
from .data.scene import Scene
from .run import generator_for


class StepDataset(Dataset[Batch]):
    """Batch number i of a rank: a function of i alone, so that a run can be resumed anywhere.

    Args:
        scene: index -> scene, endless.
        collate: scenes -> batch.
        batch: scenes per batch.
        unlabelled: index -> scene without text, endless; a batch holds as many of them on top,
            those of the same indices. None = there are none.
        rank: of this process.
        ranks: number of processes.
    """

    def __init__(
        self,
        scene: Callable[[int], Scene],
        collate: Callable[[Sequence[Scene]], Batch],
        batch: int,
        unlabelled: Callable[[int], Scene] | None = None,
        *,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.collate, self.batch, self.rank, self.ranks = collate, batch, rank, ranks
        self.streams = [scene] if unlabelled is None else [scene, unlabelled]

    def __getitem__(self, index: int) -> Batch:
        first = (index * self.ranks + self.rank) * self.batch
        numbers = range(first, first + self.batch)
        return self.collate([scene(i) for scene in self.streams for i in numbers])


def batches(dataset: Dataset[Batch], numbers: range, *, workers: int = 1) -> Iterator[Batch]:
    """Read the numbered batches in order, prepared by other processes while the model trains.

    Args:
        dataset: batch by number.
        numbers: which batches.
        workers: processes; 0 = none.

    Returns:
        An iterator over the batches.
    """
    return iter(
        DataLoader(
            dataset,
            batch_size=None,
            sampler=numbers,
            num_workers=workers,
            worker_init_fn=one_thread,
        )
    )


def one_thread(_: int) -> None:
    """Leave the other cores to the training process."""
    torch.set_num_threads(1)


def draw_mask(
    batch: Batch,
    ratio: float,
    every: int,
    *,
    step: int,
    generator: torch.Generator,
    among: Tensor | None = None,
) -> Tensor:
    """Hide views on every Δt-th step, nothing on the others.

    Args:
        batch: the scenes.
        ratio: share of hidden views.
        every: Δt.
        step: optimiser step.
        generator: of the choice.
        among: (b,) bool, scenes of which views may be hidden; None = all.

    Returns:
        masked (b, m) bool, on the batch's device.
    """
    b, m = batch.frames.images.shape[:2]
    masked = torch.zeros(b, m, dtype=torch.bool)
    if Schedule(every=every).active(step):
        masked = sample_view_mask(b, m, ratio, generator=generator)
    masked = masked.to(batch.frames.images.device)
    return masked if among is None else masked & among[:, None]


def learning_rate(step: int, steps: int, peak: float, *, warmup: float = 0.03) -> float:
    """Linear warm-up, then a cosine to zero (paper: 3 % warm-up).

    Args:
        step: optimiser step, from 0.
        steps: how many there are.
        peak: highest rate.
        warmup: share of the steps that warms up.

    Returns:
        The rate of this step.

    Example:
        >>> [round(learning_rate(step, 100, 1.0), 2) for step in (0, 2, 51, 99)]
        [0.33, 1.0, 0.5, 0.0]
    """
    rising = max(1, round(steps * warmup))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising + 1) / (steps - rising + 1)))


def step_generators(seed: int, step: int, micro: int, rank: int) -> tuple[torch.Generator, ...]:
    """Generators of the mask and of the noise: functions of where the run is, and of the rank."""
    return tuple(generator_for(seed, name, step, micro, rank) for name in ("mask", "noise"))
