"""Plain samples, for data of your own: ``ROOT/tasks/TASK_SPLIT.json``, a list of objects.

All have ``id`` (unique in the file), ``scene`` (the scan's folder), and may have ``prompt``, to be
used in place of our wording. An object is an id of ``metadata/scannet_SPLIT_gt_box.json`` or of
``objects/SCENE.json``; a box of your own (x, y, z, dx, dy, dz) can be given in its place.

sqa3d         question, answers [words, ...]; situation, question_type
scanqa        question, answers; objects [ids]
scan2cap      captions [words, ...], object or box; box_input: a box, or null where none covers it
scanrefer     description, object or box; name, eval_type
multi3drefer  description, objects [ids, or none] or boxes; question_type
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...files import replacing
from ..objects import Box
from ..scene import Turn
from .boxes import SceneBoxes
from .entry import Entry, collect, entries, read_list
from .llava import COORD, EVAL_TYPES, GROUND, IMAGE
from .multi3drefer import check_type
from .prompts import prompt
from .sample import GROUNDING, KINDS, Sample, Task
from .skips import Skips
from .sqa3d import question_type


def read_plain(
    path: Path,
    task: Task,
    *,
    boxes: SceneBoxes | None = None,
    train: bool = False,
    skips: Skips | None = None,
) -> tuple[Sample, ...]:
    """Read plain samples of one task.

    Args:
        path: the file.
        task: the benchmark.
        boxes: of the scans; None allows only boxes that the file gives.
        train: whether every answer or caption makes a sample of its own, whose id is the entry's
            with ``/1``, ``/2`` behind it. Otherwise the first is the turn's.
        skips: counts the entries that cannot be used; None raises at the first.

    Raises:
        AnnotationError: if an entry cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it is no list in JSON.
    """
    make = partial(_samples, task, boxes or SceneBoxes(), train)
    return collect(entries(path, read_list(path)), make, skips)


def write_plain(path: Path, samples: Sequence[Sample]) -> None:
    """Write samples of one task; read again without ``train`` they are the same."""
    rows = [_row(sample) for sample in samples]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(rows, indent=1, ensure_ascii=False), encoding="utf-8")


def _samples(task: Task, boxes: SceneBoxes, train: bool, entry: Entry) -> list[Sample]:
    sample = Sample(
        id=entry.id,
        task=task,
        scene=entry.scene("scene"),
        turn=Turn(KINDS[task], "", GROUND),
        source=entry.source,
        object_name=entry.optional_text("name"),
    )
    sample = _MAKERS[task](sample, boxes, entry)
    question = entry.optional_text("prompt") or prompt(task, sample.words)
    wanted = int(task == "scan2cap")
    if question.count(COORD) != wanted or GROUND in question or IMAGE in question:
        raise entry.error("prompt", f"text with {wanted} {COORD} and nothing else in <>", question)
    turn = replace(sample.turn, question=question)
    if task in GROUNDING:
        return [replace(sample, turn=replace(turn, objects=sample.object_ids))]
    return [
        replace(
            sample,
            id=f"{sample.id}/{number}" if number else sample.id,
            turn=replace(turn, answer=answer),
        )
        for number, answer in enumerate(sample.answers if train else sample.answers[:1])
    ]


def _question(sample: Sample, boxes: SceneBoxes, entry: Entry) -> Sample:
    asked, kind = entry.text("question"), entry.optional_text("question_type")
    if sample.task == "sqa3d":
        kind = kind or question_type(asked)
    return replace(
        sample,
        words=f"{entry.optional_text('situation')} {asked}".strip(),
        question_type=kind,
        answers=entry.texts("answers"),
        object_ids=entry.numbers("objects") if entry.has("objects") else (),
    )


def _caption(sample: Sample, boxes: SceneBoxes, entry: Entry) -> Sample:
    numbers, targets = _target(boxes, entry, sample.scene)
    box = targets[0]
    if "box_input" in entry.content:
        box = entry.box("box_input") if entry.has("box_input") else None
    return replace(
        sample,
        answers=entry.texts("captions"),
        object_ids=numbers,
        target_boxes=targets,
        box_input=box,
        turn=replace(sample.turn, point=None if box is None else box[:3]),
    )


def _reference(sample: Sample, boxes: SceneBoxes, entry: Entry) -> Sample:
    numbers, targets = _target(boxes, entry, sample.scene)
    kind = entry.optional_text("eval_type")
    if kind not in ("", *EVAL_TYPES):
        raise entry.error("eval_type", " or ".join(EVAL_TYPES), kind)
    words = entry.text("description")
    return replace(sample, words=words, object_ids=numbers, target_boxes=targets, eval_type=kind)


def _references(sample: Sample, boxes: SceneBoxes, entry: Entry) -> Sample:
    numbers = entry.numbers("objects") if entry.has("objects") else ()
    if entry.has("boxes"):
        targets = entry.boxes("boxes")
    else:
        numbers = entry.numbers("objects")
        targets = tuple(boxes.target(entry, "objects", sample.scene, n) for n in numbers)
    if numbers and len(numbers) != len(targets):
        raise entry.error("boxes", f"a box for each of the objects {list(numbers)}", list(targets))
    kind = check_type(entry, "question_type", len(targets)) if entry.has("question_type") else ""
    words = entry.text("description")
    return replace(
        sample, words=words, object_ids=numbers, target_boxes=targets, question_type=kind
    )


def _target(boxes: SceneBoxes, entry: Entry, scene: str) -> tuple[tuple[int, ...], tuple[Box, ...]]:
    """Id, where there is one, and box of the object that is meant."""
    numbers = (entry.number("object"),) if entry.has("object") or not entry.has("box") else ()
    if entry.has("box"):
        return numbers, (entry.box("box"),)
    return numbers, (boxes.target(entry, "object", scene, numbers[0]),)


def _row(sample: Sample) -> dict[str, Any]:
    row: dict[str, Any] = {"id": sample.id, "scene": sample.scene.partition("/")[2]}
    if sample.turn.question != prompt(sample.task, sample.words):
        row["prompt"] = sample.turn.question
    numbers, targets = list(sample.object_ids), [list(box) for box in sample.target_boxes]
    if sample.task in ("sqa3d", "scanqa"):
        row |= {"question": sample.words, "answers": list(sample.answers)}
        row |= {"objects": numbers} if numbers else {}
    elif sample.task == "multi3drefer":
        row |= {"description": sample.words, "objects": numbers, "boxes": targets}
    else:
        row |= {"object": numbers[0]} if numbers else {}
        row |= {"box": targets[0]} if targets else {}
    if sample.task == "scan2cap":
        row |= {"captions": list(sample.answers), "box_input": sample.box_input}
    if sample.task == "scanrefer":
        row["description"] = sample.words
    known = {"question_type": sample.question_type, "eval_type": sample.eval_type}
    known["name"] = sample.object_name
    return row | {field: value for field, value in known.items() if value}


_MAKERS: dict[Task, Callable[[Sample, SceneBoxes, Entry], Sample]] = {
    "sqa3d": _question,
    "scanqa": _question,
    "scan2cap": _caption,
    "scanrefer": _reference,
    "multi3drefer": _references,
}
