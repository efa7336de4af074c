"""Scans in the ScanNet layout as a source of training scenes and held-out scenes."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from .benchmarks.turns import BenchmarkTurns, open_turns
from .groups import Group, count_groups
from .scannet import ScanNetScans
from .scene import Scene, Turn
from .text import KINDS, kinds_of, object_turns, vocabulary
from .turn_stream import TurnStream


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
        self.shares = count_groups(KINDS)
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
            samples = {i: self.asked.of(self.scans.names[i]) for i in self._train}
            asked = {i: [sample.turn for sample in found] for i, found in samples.items()}
            self._stream = TurnStream(asked, turns, seed)
            self.shares = self._stream.shares
            self._held_out = self._having(self._held_out, held_out=True) or self._held_out
            if self.asked.skips:
                warnings.warn(str(self.asked.skips), stacklevel=2)
        self.num_train = len(self._train)

    def train(self, index: int, group: Group | None = None) -> Scene:
        """See Source; of annotations, each is asked once before any is asked again.

        A group's stream takes every annotation once per epoch; the stream of all groups takes the
        scans in turn, and the annotations of each one after the other.
        """
        rng = random.Random(f"{self.seed}/train/{index}" + (f"/{group}" if group else ""))
        time, place = divmod(index, len(self._train))
        scan, turns = self._train[place], None
        if self.asked is not None and group is None:
            turns = self._stream.of_scan(scan, time)
        elif self.asked is not None:
            scan, turns = self._stream.item(index, group)
        seen = self._frames(scan, held_out=False)
        frames = sorted(rng.sample(seen, self._enough(scan, seen, views=self.views)))
        scene = self.scans.scene(scan, frames=torch.tensor(frames))
        if turns is None:
            known, drawn = self.scans.objects(scan), rng.randrange(2**31)
            turns = object_turns(known, seed=drawn, count=self.count, kinds=kinds_of(group))
        return replace(scene, turns=turns)

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
