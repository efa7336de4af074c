"""Samples of generated rooms that training never sees, of the same five tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..data.benchmarks.sample import KINDS, TASKS, Sample, Task
from ..data.benchmarks.skips import Skips
from ..data.benchmarks.sqa3d import question_type
from ..data.objects import Box
from ..data.rooms import generate_room
from ..data.scene import Scene, SceneObject, Turn
from ..data.sources import HELD_OUT_ROOMS, RoomSource
from ..data.text import object_turns
from .judged import distinct

A_ROOM = 2
"""Questions of each task about a room."""
LEARNED = 400
"""Rooms of training from which guesses are made."""


class JudgedRooms:
    """What is asked about held-out rooms; see ``Judged``.

    Args:
        source: of the rooms.
        tasks: to be judged by; None = all.
        limit: samples of each task; fewer where the rooms do not allow more.
    """

    name, benchmarks = "generated rooms", False

    def __init__(
        self, source: RoomSource, *, tasks: Sequence[Task] | None = None, limit: int = 100
    ) -> None:
        self.source, self.skips = source, Skips()
        self.splits = dict.fromkeys(tasks or TASKS, "")
        self._samples: list[tuple[Sample, ...]] = []
        left = dict.fromkeys(self.splits, limit)
        while any(left.values()) and len(self._samples) < 2 * limit + 8:
            index = len(self._samples)
            made: list[Sample] = []
            for task, wanted in left.items():
                turns = self._turns(self._seed(index), task, min(A_ROOM, wanted))
                made += room_samples(f"room/{self._seed(index):06d}", self._objects(index), turns)
            for sample in made:
                left[sample.task] -= 1
            self._samples.append(tuple(made))

    @property
    def training(self) -> Sequence[Sample]:
        """See Judged."""
        rooms = range(LEARNED)
        return distinct([x for i in rooms for x in room_samples(str(i), (), self.source.turns(i))])

    def __len__(self) -> int:
        return len(self._samples)

    def samples(self, index: int) -> tuple[Sample, ...]:
        """See Judged."""
        return self._samples[index]

    def scene(self, index: int) -> Scene:
        """See Judged."""
        return replace(self.source.held_out(index), turns=())

    def boxes(self, index: int) -> tuple[Box, ...]:
        """See Judged."""
        return tuple(item.box for item in self._objects(index))

    def _seed(self, index: int) -> int:
        return self.source.first + HELD_OUT_ROOMS + index

    def _objects(self, index: int) -> tuple[SceneObject, ...]:
        return generate_room(self._seed(index)).objects

    def _turns(self, seed: int, task: Task, count: int) -> tuple[Turn, ...]:
        objects = generate_room(seed).objects
        return object_turns(objects, seed=seed, count=count, kinds=[KINDS[task]])


def room_samples(
    scene: str, objects: Sequence[SceneObject], turns: Sequence[Turn]
) -> Iterator[Sample]:
    """Turns about named objects as samples; without the objects their boxes stay unknown."""
    tasks = {kind: task for task, kind in KINDS.items()}
    for number, turn in enumerate(turns):
        task = tasks[turn.kind]
        box = next((item.box for item in objects if item.box[:3] == turn.point), None)
        meant = [objects[row] for row in turn.objects] if objects else []
        sample = Sample(
            id=f"{scene}/{task}/{number}",
            task=task,
            scene=scene,
            turn=turn,
            words=turn.question,
            source="generated rooms",
        )
        if task in ("scanrefer", "multi3drefer"):
            yield replace(
                sample,
                target_boxes=tuple(item.box for item in meant),
                object_ids=turn.objects,
                **_kind(task, meant, objects),
            )
        elif task == "scan2cap":
            boxes = () if box is None else (box,)
            yield replace(sample, answers=(turn.answer,), box_input=box, target_boxes=boxes)
        else:
            asked = question_type(turn.question.rpartition(". ")[2]) if task == "sqa3d" else ""
            yield replace(sample, answers=(turn.answer,), question_type=asked)


def _kind(
    task: Task, meant: Sequence[SceneObject], objects: Sequence[SceneObject]
) -> dict[str, str]:
    """In which split of the tables a phrase counts."""
    if task == "multi3drefer":
        return {"question_type": ("zt", "st", "mt")[min(len(meant), 2)]}
    alike = sum(item.name == meant[0].name for item in objects) if meant else 0
    return {"eval_type": "unique" if alike == 1 else "multiple"}
