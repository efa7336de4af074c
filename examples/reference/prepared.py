"""Targets that do not depend on what is hidden, made where batches are: by the data workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from ross3d import GlobalViewTask, PretextTask

from .batch import Batch
from .data.scene import Scene


class Preparing:
    """Collate scenes, and render them from above for the pretext task that rebuilds that picture.

    The picture shows what all views saw, whichever of them are hidden later. So the training
    process need not wait for it.

    Args:
        collate: scenes -> batch.
        tasks: the pretext tasks of the model; the targets of the others are left to them.
    """

    def __init__(
        self, collate: Callable[[Sequence[Scene]], Batch], tasks: Mapping[str, PretextTask]
    ) -> None:
        self.collate = collate
        self.tasks = {k: task for k, task in tasks.items() if isinstance(task, GlobalViewTask)}

    def __call__(self, scenes: Sequence[Scene]) -> Batch:
        """Make the batch, with ``prepared`` targets."""
        batch = self.collate(scenes)
        hidden = torch.zeros(batch.frames.images.shape[:2], dtype=torch.bool)
        made = {name: task(batch.frames, hidden) for name, task in self.tasks.items()}
        return replace(batch, prepared=made)
