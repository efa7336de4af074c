"""Where training scenes and held-out scenes come from."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch

from .benchmarks.turns import BenchmarkTurns, open_turns
from .rooms import generate_room, room_scene
from .scannet import ScanNetScans
from .scene import Scene, Turn
from .text import object_turns, vocabulary

HELD_OUT_ROOMS = 1_000_000
"""Seed of the first held-out room; training never gets there."""


class Source(Protocol):
    """Scenes of one kind. Every scene is a function of its index: runs can be resumed anywhere.

    Attributes:
        name: of the data, for the report.
        hidden: views at the end of a held-out scene that the model must not see.
        num_train: number of training scenes, after which they begin again; None = endless.
    """

    name: str
    hidden: int
    num_train: int | None

    def train(self, index: int) -> Scene:
        """Scene number ``index % num_train``, perhaps seen in other views, of an endless stream."""
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

    name = "generated rooms"

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

    def train(self, index: int) -> Scene:
        """See Source; the stream never repeats a room before it reaches the held-out ones."""
        return self._room(self._seed(index))

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

    def _room(self, seed: int) -> Scene:
        return room_scene(seed, views=self.views, size=self.size, turns=self.count)


class ScanSource:
    """Scans in the ScanNet layout.

    Training scenes are random subsets of a scan's frames. Where the data has a train and a val
    split, the held-out scenes are the scans of val; otherwise every eighth frame of each scan is
    held out, and a held-out scene shows training frames and hides held-out ones.

    Questions are drawn from the annotations beside the scans, of scans that have some; where there
    are no annotations, they are made from the names of the objects.

    Args:
        data: folder, or the name of a shipped scan.
        views: posed views per scene.
        size: pixels of a view.
        turns: questions per scene.
        hidden: views to be hidden of a held-out scene.
        seed: of the draws.

    Attributes:
        asked: what the annotations ask; None = there are none.

    Raises:
        ValueError: if the folder holds no scans, or annotations but none to train on.
    """

    def __init__(
        self, data: str, *, views: int, size: int, turns: int, hidden: int, seed: int = 0
    ) -> None:
        self.scans = ScanNetScans(data, views=views, size=size, turns=0)
        self.asked: BenchmarkTurns | None = open_turns(self.scans)
        self.name, self.views, self.count, self.hidden = data, views, turns, hidden
        self.seed = seed
        splits = self.scans.splits
        both = {"train", "val"} <= set(splits)
        scans = range(len(splits))
        self._train = [i for i in scans if not both or splits[i] == "train"]
        self._held_out = [i for i in scans if not both or splits[i] == "val"]
        self._step = 1 if both else 8
        if self.asked is not None:
            self._train = self._having(self._train, held_out=False)
            self._held_out = self._having(self._held_out, held_out=True) or self._held_out
            if self.asked.skips:
                warnings.warn(str(self.asked.skips), stacklevel=2)
        self.num_train = len(self._train)

    def train(self, index: int) -> Scene:
        """See Source."""
        rng = random.Random(f"{self.seed}/train/{index}")
        scan = self._train[index % len(self._train)]
        seen = self._frames(scan, held_out=False)
        frames = sorted(rng.sample(seen, self._enough(scan, seen, views=self.views)))
        return self._scene(scan, frames, rng, held_out=False)

    def held_out(self, index: int) -> Scene:
        """See Source."""
        rng = random.Random(f"{self.seed}/held out/{index}")
        scan = self._held_out[index % len(self._held_out)]
        unseen = self._frames(scan, held_out=True)
        hidden = rng.sample(unseen, self._enough(scan, unseen, hidden=self.hidden))
        seen = [i for i in self._frames(scan, held_out=self._step == 1) if i not in hidden]
        views = self._enough(scan, seen, views=self.views - self.hidden)
        visible = sorted(rng.sample(seen, views))
        return self._scene(scan, visible + hidden, rng, held_out=True)

    def turns(self, index: int) -> tuple[Turn, ...]:
        """See Source."""
        return self._turns(self._train[index % len(self._train)], index, held_out=False)

    def words(self) -> Iterator[str]:
        """See Source."""
        if self.asked is not None:
            yield from self.asked.words()
            return
        yield from vocabulary()
        for index in range(64 * len(self.scans)):
            for turn in object_turns(
                self.scans.objects(index % len(self.scans)), seed=index, count=16
            ):
                yield turn.question
                yield turn.answer

    def _frames(self, scan: int, *, held_out: bool) -> list[int]:
        total = self.scans.num_frames(scan)
        if self._step == 1:
            return list(range(total))
        return [i for i in range(total) if (i % self._step == self._step // 2) == held_out]

    def _enough(self, scan: int, frames: list[int], **wanted: int) -> int:
        """Check that a scan has as many frames as an option wants of it."""
        ((name, count),) = wanted.items()
        if len(frames) < count:
            at_most = f"at most the {len(frames)} frames of {self.scans.names[scan]}"
            raise ValueError(f"{name} must be {at_most}; got {count}")
        return count

    def _scene(self, scan: int, frames: list[int], rng: random.Random, *, held_out: bool) -> Scene:
        scene = self.scans.scene(scan, frames=torch.tensor(frames))
        turns = self._turns(scan, rng.randrange(2**31), held_out=held_out)
        return Scene(scene.name, scene.frames, scene.boxes, scene.objects, turns, scene.instances)

    def _turns(self, scan: int, seed: int, *, held_out: bool) -> tuple[Turn, ...]:
        if self.asked is not None:
            name = self.scans.names[scan]
            return self.asked.draw(name, count=self.count, seed=seed, held_out=held_out)
        return object_turns(self.scans.objects(scan), seed=seed, count=self.count)

    def _having(self, scans: Sequence[int], *, held_out: bool) -> list[int]:
        """Those of some scans that annotations ask about."""
        kept = [i for i in scans if self.asked and self.asked.of(self.scans.names[i], held_out)]
        if not kept and not held_out:
            raise ValueError(f"{self.scans.root} must hold annotations to train on; got none")
        return kept


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
