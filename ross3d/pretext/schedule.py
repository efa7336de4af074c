"""When a pretext task takes part."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Decide, from the step's number alone, whether a task is active.

    There is no state to save: a resumed run decides as the uninterrupted one did, and every rank
    decides alike.

    Attributes:
        every: active on every n-th step (the paper's Δt: 4 for the cross-view task).
        offset: the first active step.
        probability: chance that such a step is used.
        seed: of that chance.

    Example:
        >>> [step for step in range(9) if Schedule(every=4).active(step)]
        [0, 4, 8]
    """

    every: int = 1
    offset: int = 0
    probability: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: if ``every`` < 1, ``offset`` < 0, or ``probability`` is outside [0, 1].
        """
        if self.every < 1:
            raise ValueError(f"every must be at least 1; got {self.every}")
        if self.offset < 0:
            raise ValueError(f"offset must be at least 0; got {self.offset}")
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability must be in [0, 1]; got {self.probability}")

    def active(self, step: int) -> bool:
        """Say whether the task takes part in optimiser step ``step``."""
        if step < self.offset or (step - self.offset) % self.every:
            return False
        return random.Random(f"{self.seed}/{step}").random() < self.probability
