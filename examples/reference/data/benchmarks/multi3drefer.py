"""Multi3DRefer as released: a description of none, one or several objects."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ..scene import Turn
from .boxes import SceneBoxes
from .entry import Entry, collect, entries, read_list
from .prompts import prompt
from .sample import Sample
from .scanrefer import description
from .skips import Skips

QUESTION_TYPES = ("zt_wo_d", "zt_w_d", "st_wo_d", "st_w_d", "mt")
"""None, one (with and without distractors), several objects."""


def read_multi3drefer(
    path: Path, *, boxes: SceneBoxes | None = None, skips: Skips | None = None
) -> tuple[Sample, ...]:
    """Read ``multi3drefer_SPLIT.json``.

    Args:
        path: the file.
        boxes: true boxes of the scans; None leaves the samples without their targets' boxes.
        skips: counts the descriptions that cannot be used; None raises at the first.

    Returns:
        The samples, named SCENE/ANNOTATION.

    Raises:
        AnnotationError: if a description cannot be used and ``skips`` is None.
        FileNotFoundError: if there is no such file.
        ValueError: if it holds something else.
    """
    rows = list(entries(path, read_list(path), "ann_id"))
    for entry in rows:
        entry.id = f"{entry.content.get('scene_id')}/{entry.id}"
    return collect(rows, partial(_sample, boxes), skips)


def _sample(boxes: SceneBoxes | None, entry: Entry) -> tuple[Sample]:
    scene, numbers, words = entry.scene("scene_id"), entry.numbers("object_ids"), description(entry)
    kind = check_type(entry, "eval_type", len(numbers))
    targets = [] if boxes is None else numbers
    question = prompt("multi3drefer", words)
    return (
        Sample(
            id=entry.id,
            task="multi3drefer",
            scene=scene,
            turn=Turn("multi_grounding", question, "<ground>", objects=numbers),
            words=words,
            question_type=kind,
            object_ids=numbers,
            object_name=entry.optional_text("object_name"),
            target_boxes=tuple(boxes.target(entry, "object_ids", scene, n) for n in targets),
            source=entry.source,
        ),
    )


def check_type(entry: Entry, field: str, count: int) -> str:
    """The question type of an entry; it must fit the number of objects.

    Raises:
        AnnotationError: if it is none, or of another number of objects.
    """
    kind = entry.text(field)
    fits = QUESTION_TYPES[:2] if count == 0 else QUESTION_TYPES[2:4] if count == 1 else ("mt",)
    if kind not in fits:
        raise entry.error(field, f"{' or '.join(fits)}, having {count} objects", kind)
    return kind
