"""One annotation of a benchmark: all that training, generation and the metrics need of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ..objects import Box
from ..scene import Kind, Turn

Task = Literal["sqa3d", "scanqa", "scan2cap", "scanrefer", "multi3drefer"]
TASKS: tuple[Task, ...] = ("sqa3d", "scanqa", "scan2cap", "scanrefer", "multi3drefer")
KINDS: dict[Task, Kind] = {
    "sqa3d": "sqa",
    "scanqa": "qa",
    "scan2cap": "caption",
    "scanrefer": "grounding",
    "multi3drefer": "multi_grounding",
}
GROUNDING: tuple[Task, ...] = ("scanrefer", "multi3drefer")


@dataclass(frozen=True)
class Sample:
    """A question and what is right about it.

    Attributes:
        id: unique in its task and split.
        task: the benchmark.
        scene: name of the scan, for example ``"scannet/scene0000_00"``.
        turn: what the model is asked and learns. Its ``objects`` are ``object_ids`` as read from a
            file, and rows of the scan's candidate boxes once placed (see ``place``).
        answers: every answer or caption that counts as right; empty for grounding, and where a test
            split keeps them secret.
        words: the benchmark's own words, without what the prompt adds.
        question_type: of SQA3D what, is, how, can, which, others; of Multi3DRefer zt_wo_d, zt_w_d,
            st_wo_d, st_w_d, mt; empty where not known.
        eval_type: of ScanRefer unique or multiple; empty where not known.
        object_ids: ids of the objects that are meant, in the numbering of the ground truth.
        object_name: what the benchmark calls the object.
        box_input: box of the object to be described, metres, world frame; None for other tasks, and
            for an object that no predicted box covers.
        target_boxes: true boxes of the objects that are meant, metres, world frame.
        source: the file that it was read from, for messages.
    """

    id: str
    task: Task
    scene: str
    turn: Turn
    answers: tuple[str, ...] = ()
    words: str = ""
    question_type: str = ""
    eval_type: str = ""
    object_ids: tuple[int, ...] = ()
    object_name: str = ""
    box_input: Box | None = None
    target_boxes: tuple[Box, ...] = ()
    source: str = field(default="", compare=False)

    @property
    def matched(self) -> bool:
        """False for an object to be described that no box shows: its caption counts as empty."""
        return self.task != "scan2cap" or self.box_input is not None
