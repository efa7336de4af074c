"""Where training scenes and held-out scenes come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from .groups import Group, count_groups
from .rooms import generate_room, room_scene
from .scan_source import ScanSource
from .scene import Kind, Scene, Turn
from .text import KINDS, kinds_of, object_turns, vocabulary

HELD_OUT_ROOMS = 1_000_000
"""Seed of the first held-out room; training never gets there."""


class Source(Protocol):
    """Scenes of one kind. Every scene is a function of its index: runs can be resumed anywhere.

    Attributes:
        name: of the data, for the report.
        hidden: views at the end of a held-out scene that the model must not see.
        shares: how much is asked of each group of tasks; those of which nothing is are left out.
        num_train: number of training scenes, after which they begin again; None = endless.
    """

    name: str
    hidden: int
    shares: Mapping[Group, int]
    num_train: int | None

    def train(self, index: int, group: Group | None = None) -> Scene:
        """Scene number ``index % num_train``, perhaps seen in other views, of an endless stream.

        Each group of tasks has a stream of its own, of scenes about which such turns are asked.
        """
        ...

    def held_out(self, index: int) -> Scene:
        """Scene number ``index`` of those that training never sees."""
        ...

    def turns(self, index: int) -> tuple[Turn, ...]:
        """Questions and answers about training scene ``index``, without its pictures."""
        ...

    def words(self) -> Iterator[str]:
        """Text that holds every word that questions and answers use."""
        ...


class RoomSource:
    """Generated rooms; the held-out ones are other rooms.

    Args:
        views: posed views per room.
        size: pixels of a view.
        turns: questions per room.
        hidden: views to be hidden of a held-out room.
        seed: of the stream.
        rooms: how many are for training; None = endless.

    Raises:
        ValueError: if ``rooms`` is not positive, or so large that held-out rooms would be among
            them.
    """

    name, shares = "generated rooms", count_groups(KINDS)

    def __init__(
        self,
        *,
        views: int,
        size: int,
        turns: int,
        hidden: int,
        seed: int = 0,
        rooms: int | None = None,
    ) -> None:
        if rooms is not None and not 0 < rooms <= HELD_OUT_ROOMS:
            raise ValueError(f"rooms must be 1 to {HELD_OUT_ROOMS}; got {rooms}")
        self.views, self.size, self.count, self.hidden = views, size, turns, hidden
        self.first, self.num_train = seed * 10_000_000, rooms

    def train(self, index: int, group: Group | None = None) -> Scene:
        """See Source; the stream never repeats a room before it reaches the held-out ones."""
        return self._room(self._seed(index), kinds_of(group))

    def held_out(self, index: int) -> Scene:
        """See Source."""
        return self._room(self.first + HELD_OUT_ROOMS + index)

    def turns(self, index: int) -> tuple[Turn, ...]:
        """See Source."""
        seed = self._seed(index)
        return object_turns(generate_room(seed).objects, seed=seed, count=self.count)

    def words(self) -> Iterator[str]:
        """See Source."""
        yield from vocabulary()

    def _seed(self, index: int) -> int:
        return self.first + index % (self.num_train or HELD_OUT_ROOMS)

    def _room(self, seed: int, kinds: Sequence[Kind] = KINDS) -> Scene:
        return room_scene(seed, views=self.views, size=self.size, turns=self.count, kinds=kinds)


def open_source(
    data: str,
    *,
    views: int,
    size: int,
    turns: int,
    hidden: int,
    seed: int = 0,
    rooms: int | None = None,
) -> Source:
    """Open ``--data``: "rooms" generates them, anything else is a scan folder or a shipped scan.

    Raises:
        ValueError: if a number of rooms is given of something else.
    """
    options = {"views": views, "size": size, "turns": turns, "hidden": hidden, "seed": seed}
    if data == "rooms":
        return RoomSource(**options, rooms=rooms)
    if rooms is not None:
        raise ValueError(f"rooms must be left out, unless they are generated; got {rooms}")
    return ScanSource(data, **options)
