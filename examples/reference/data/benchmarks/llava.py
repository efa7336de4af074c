"""Samples in the llava style: a conversation of two turns about a scan, and what is known of it.

Each entry has ``id``, ``video`` (the scan), ``conversations`` (a human turn, a gpt turn) and
``metadata``; captions have ``box_input`` too, grounding has ``box``. The wording of the human
turn is used as it stands, without the image token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from ..scene import Turn
from .entry import Entry, collect, entries, read_list
from .sample import GROUNDING, KINDS, Sample, Task
from .skips import Skips

IMAGE, COORD, GROUND = "<image>", "<coord>", "<ground>"
EVAL_TYPES = ("unique", "multiple")


def read_llava(path: Path, task: Task, *, skips: Skips | None = None) -> tuple[Sample, ...]:
    """Read a file of one task.

    Args:
        path: the file.
        task: the benchmark; entries of another one are refused.
        skips: counts the entries that cannot be used; None raises at the first.

    Returns:
        The samples in file order. The situations of an SQA3D question share its id: the second
        and third get ``#1`` and ``#2`` behind it.

    Raises:
        AnnotationError: if an entry cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it is no list in JSON.
    """
    rows = entries(path, read_list(path))
    return collect(rows, partial(_sample, task), skips, variants=task == "sqa3d")


def _sample(task: Task, entry: Entry) -> tuple[Sample]:
    question, answer = _conversation(entry)
    metadata = entry.part("metadata")
    dataset = metadata.text("dataset")
    if dataset.lower() != task:
        raise metadata.error("dataset", task, dataset)
    wanted = int(task == "scan2cap")
    if question.count(COORD) != wanted or GROUND in question:
        raise entry.error("conversations", f"a question with {wanted} {COORD}", question)
    if (answer == GROUND) != (task in GROUNDING) or COORD in answer:
        expected = GROUND if task in GROUNDING else "an answer in words"
        raise entry.error("conversations", expected, answer)
    kind = metadata.optional_text("question_type")
    common = Sample(
        id=entry.id,
        task=task,
        scene=entry.scene("video"),
        turn=Turn(KINDS[task], question, answer),
        words=question,
        question_type=kind if task in ("sqa3d", "multi3drefer") else "",
        object_name=metadata.optional_text("object_name"),
        source=entry.source,
    )
    return (_MAKERS[task](common, entry, metadata),)


def _question(sample: Sample, entry: Entry, metadata: Entry) -> Sample:
    answers = metadata.texts("answers") if metadata.has("answers") else (sample.turn.answer,)
    return replace(sample, answers=answers)


def _caption(sample: Sample, entry: Entry, metadata: Entry) -> Sample:
    place = entry if entry.has("annotations") else metadata
    answers = place.texts("annotations") if place.has("annotations") else (sample.turn.answer,)
    box = entry.box("box_input") if entry.has("box_input") else None
    if "box_input" not in entry.content:
        raise entry.error("box_input", "a box or null", None)
    return replace(
        sample,
        answers=answers,
        turn=replace(sample.turn, point=None if box is None else box[:3]),
        box_input=box,
        target_boxes=(entry.box("gt_box"),) if entry.has("gt_box") else (),
        object_ids=(metadata.number("object_id"),) if metadata.has("object_id") else (),
    )


def _grounding(sample: Sample, entry: Entry, metadata: Entry) -> Sample:
    numbers = (metadata.number("object_id"),)
    kinds = (metadata.optional_text(field) for field in ("eval_type", "question_type"))
    return replace(
        sample,
        turn=replace(sample.turn, objects=numbers),
        object_ids=numbers,
        target_boxes=(entry.box("box"),),
        eval_type=next((kind for kind in kinds if kind in EVAL_TYPES), ""),
    )


def _multi_grounding(sample: Sample, entry: Entry, metadata: Entry) -> Sample:
    numbers, boxes = metadata.numbers("object_id"), entry.boxes("box")
    if len(numbers) != len(boxes):
        raise entry.error("box", f"a box for each of the objects {list(numbers)}", list(boxes))
    return replace(
        sample,
        turn=replace(sample.turn, objects=numbers),
        object_ids=numbers,
        target_boxes=boxes,
    )


def _conversation(entry: Entry) -> tuple[str, str]:
    """What human and gpt say."""
    turns = entry.content.get("conversations")
    speakers = [x.get("from") if isinstance(x, dict) else None for x in _listed(turns)]
    if speakers != ["human", "gpt"]:
        raise entry.error("conversations", "a turn of human and one of gpt", turns)
    human, gpt = (Entry(entry.source, entry.id, x, prefix="conversations.") for x in turns)
    question, answer = human.text("value"), gpt.text("value")
    if question.count(IMAGE) > 1 or IMAGE in answer:
        raise entry.error("conversations", f"a question with one {IMAGE}", question)
    question = question.replace(IMAGE, "").strip()
    if not question:
        raise entry.error("conversations", "a question in words", human.content["value"])
    return question, answer


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


_MAKERS: dict[Task, Callable[[Sample, Entry, Entry], Sample]] = {
    "sqa3d": _question,
    "scanqa": _question,
    "scan2cap": _caption,
    "scanrefer": _grounding,
    "multi3drefer": _multi_grounding,
}
