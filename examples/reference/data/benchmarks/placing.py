"""From the objects that annotations mean to rows of the boxes that a model chooses from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..objects import Box, SceneObjects
from .boxes import MATCHED, best_match
from .sample import GROUNDING, Sample
from .skips import AnnotationError

SAME = 0.01
"""How far two boxes may be apart and still be one, metres."""


@dataclass(frozen=True)
class Candidates:
    """The boxes of one scan that a model chooses from.

    Attributes:
        objects: the boxes, and the rows of object ids.
        predicted: False = true boxes, in which an object is found by its id; True = predicted ones,
            in which it is the box that overlaps the true one most.
        true: true boxes by object id, of targets whose box the annotation does not give.
    """

    objects: SceneObjects
    predicted: bool
    true: Mapping[int, Box]


def place(sample: Sample, candidates: Candidates, *, least: float = MATCHED) -> Sample:
    """Say which candidates a sample means.

    Args:
        sample: as read; one that grounds nothing and points at nothing comes back as it is.
        candidates: of its scan.
        least: overlap (IoU) from which a predicted box stands for a true one.

    Returns:
        The sample; ``turn.objects`` are rows of the candidates, ``target_boxes`` are known.

    Raises:
        AnnotationError: if an object has no true box, its box is not the one that the annotation
            gives, no candidate stands for it, or the object to be described has no box.
    """
    if not sample.matched:
        raise _error(sample, "box_input", "a box that shows the object", None)
    if sample.task not in GROUNDING:
        return sample
    targets = _targets(sample, candidates)
    rows = [_row(sample, candidates, i, box, least) for i, box in enumerate(targets)]
    return replace(
        sample, turn=replace(sample.turn, objects=tuple(sorted(set(rows)))), target_boxes=targets
    )


def place_to_judge(sample: Sample, candidates: Candidates, *, least: float = MATCHED) -> Sample:
    """Say which candidates a sample means, of a sample that is kept whatever is known of it.

    Targets for which no candidate stands are judged by ``target_boxes``, and count as missed.

    Args:
        sample: as read.
        candidates: of its scan.
        least: overlap (IoU) from which a predicted box stands for a true one.

    Raises:
        AnnotationError: if an object has no true box.
    """
    if sample.task not in GROUNDING:
        return sample
    targets, rows = _targets(sample, candidates), set()
    for i, box in enumerate(targets):
        try:
            rows.add(_row(sample, candidates, i, box, least))
        except AnnotationError:
            continue
    turn = replace(sample.turn, objects=tuple(sorted(rows)))
    return replace(sample, turn=turn, target_boxes=targets)


def _targets(sample: Sample, candidates: Candidates) -> tuple[Box, ...]:
    if sample.target_boxes or not sample.object_ids:
        return sample.target_boxes
    if missing := [n for n in sample.object_ids if n not in candidates.true]:
        raise _error(sample, "object_id", f"an object of {sample.scene} that has a box", missing[0])
    return tuple(candidates.true[number] for number in sample.object_ids)


def _row(sample: Sample, candidates: Candidates, index: int, box: Box, least: float) -> int:
    """Row of the candidate that stands for a target."""
    objects = candidates.objects
    boxes = tuple(tuple(row) for row in objects.boxes.tolist())
    if candidates.predicted or not sample.object_ids:
        found = best_match(boxes, box, least)
        if found is None:
            raise _error(sample, "box", f"one that a candidate overlaps by {least}", box)
        return found
    number = sample.object_ids[index]
    if number not in objects.rows:
        raise _error(sample, "object_id", f"a candidate of {sample.scene}", number)
    row = objects.rows[number]
    # A flat box overlaps nothing, not even itself.
    same = max(abs(a - b) for a, b in zip(boxes[row], box, strict=True)) < SAME
    if not same and best_match(boxes[row : row + 1], box) is None:
        expected = f"that of object {number} of {sample.scene}, {boxes[row]}"
        raise _error(sample, "box", expected, box)
    return row


def _error(sample: Sample, field: str, expected: str, got: object) -> AnnotationError:
    return AnnotationError(sample.source, sample.id, field, expected, got)
