"""Written questions about scans as an endless stream: epoch after epoch, none left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from .groups import Group, count_groups, of_group
from .scene import Turn

Item = tuple[int, tuple[Turn, ...]]
"""A scan, and some of what is asked about it."""


class TurnStream:
    """Items by number: what number i holds is a function of i and of the seed alone.

    An epoch asks every turn once, in an order of its own; turns of a scan are asked together, up to
    ``count``. Epochs follow each other without a gap, so that batches of any size leave none out.

    Args:
        turns: what is asked about each scan.
        count: turns of an item at most.
        seed: of the orders.

    Raises:
        ValueError: if ``count`` is not positive.

    Example:
        >>> turns = [Turn("qa", f"question {i}", "yes") for i in range(5)]
        >>> stream = TurnStream({7: turns}, 2)
        >>> stream.items(), len(stream[0][1]), stream[3] == TurnStream({7: turns}, 2)[3]
        (3, 2, True)
    """

    def __init__(self, turns: Mapping[int, Sequence[Turn]], count: int, seed: int = 0) -> None:
        if count < 1:
            raise ValueError(f"count must be positive; got {count}")
        self.turns, self.count, self.seed = turns, count, seed
        self._epochs: dict[Group | None, tuple[int, list[Item]]] = {}

    @property
    def shares(self) -> dict[Group, int]:
        """Turns of each group."""
        return count_groups(turn.kind for turns in self.turns.values() for turn in turns)

    def items(self, group: Group | None = None) -> int:
        """Items of an epoch of a group; None = of all turns."""
        return len(self._epoch(0, group))

    def __getitem__(self, index: int) -> Item:
        return self.item(index)

    def item(self, index: int, group: Group | None = None) -> Item:
        """Item number ``index`` of the stream of a group; None = of all turns.

        Raises:
            ValueError: if there is no turn of the group.
        """
        per_epoch = self.items(group)
        if not per_epoch:
            raise ValueError(f"turns must hold some of the group {group or 'any'}; got none")
        return self._epoch(index // per_epoch, group)[index % per_epoch]

    def of_scan(self, scan: int, time: int) -> tuple[Turn, ...]:
        """What is asked when a scan's turn comes for the ``time``-th time, from 0."""
        turns = self.turns[scan]
        epoch, place = divmod(time, -(-len(turns) // self.count))
        return self._chunks(turns, Random(f"{self.seed}/turns of/{scan}/{epoch}"))[place]

    def _chunks(self, turns: Sequence[Turn], rng: Random) -> list[tuple[Turn, ...]]:
        """Turns in a random order, cut into items."""
        mixed = rng.sample(turns, len(turns))
        return [tuple(mixed[i : i + self.count]) for i in range(0, len(mixed), self.count)]

    def _epoch(self, epoch: int, group: Group | None) -> list[Item]:
        """The items of an epoch; the latest is kept."""
        known, items = self._epochs.get(group, (-1, []))
        if known != epoch:
            rng = Random(f"{self.seed}/turns/{group}/{epoch}")
            items = []
            for scan, turns in self.turns.items():
                items += [(scan, chunk) for chunk in self._chunks(of_group(turns, group), rng)]
            rng.shuffle(items)
            self._epochs[group] = epoch, items
        return items
